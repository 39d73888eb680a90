// Owns one simulation of whole members from its seed to its verdict: found, faults, heal, converge, serve, and the judgement of
// what the clients saw.

import { RaftCommands } from "../../../lib/dcs/raft/client/commands.ts";
import type { ClientAnswer } from "../../../lib/dcs/raft/kv/client-protocol.ts";
import { ms } from "../../../lib/model/units.ts";
import { withLightAbort } from "../../simulation/light-abort.ts";
import { checkBySearch, checkWitnessed, isPassed } from "../linearizability.ts";
import type { RaftRunOptions, RaftRunResult } from "./core-run.ts";
import { type Host, TrueClock } from "./host.ts";
import { asItIs, Violation } from "./trace.ts";
import { WHOLE_FAULTS } from "./whole-faults.ts";
import { boundsOf } from "./whole-settings.ts";
import { WAKE_MS } from "./whole-watchers.ts";
import { WholeWorld } from "./whole-world.ts";

const TAIL_LINES = 60;
/** Elections, a join with a snapshot, whatever a full disk held up. */
const CONVERGE_MS = 60_000;
const LOOK_EVERY_MS = 500;
const ANSWER_MS = 10_000;
/** Reading a clock, rounding, and an expiry that is proposed a turn late or early. */
const LEASE_SLACK_MS = 5;

export function runWhole(options: RaftRunOptions): RaftRunResult {
  const world = withLightAbort(() => new WholeWorld(options.seed, options.print));
  let violation: string | null = null;
  try {
    withLightAbort(() => world.observer.watch(() => live(world, options.seconds * 1000)));
  } catch (error) {
    violation = error instanceof Violation ? error.message : `${(error as Error).stack}`;
  }
  const { operations } = world.clients;
  return {
    seed: options.seed,
    violation,
    tail: violation === null ? [] : world.trace.tail(TAIL_LINES),
    events: world.steps,
    simulatedMs: world.queue.now,
    faults: world.trace.faults,
    committed: world.observer.log.length,
    acknowledged: operations.filter((operation) => operation.kind === "command" && operation.answer?.ok === true).length,
    reads: operations.filter(({ kind }) => kind === "query").length,
    watched: world.watchers.answers,
    held: world.holders.acts,
    hash: world.trace.hash >>> 0,
  };
}

function live(world: WholeWorld, forMs: number): void {
  const { queue, random, settings } = world;
  world.trace.record(0, "settings", JSON.stringify(settings), asItIs);
  for (const host of world.hosts) queue.after(random.between(0, 2000), () => host.start());
  const end = 5000 + forMs;
  world.clients.start(end);
  world.watchers.start();
  world.holders.start(end);
  world.tend();
  const harm = (): void => {
    if (queue.now >= end) return;
    const name = random.pick(settings.faults);
    const what = WHOLE_FAULTS[name](world);
    if (what !== null) world.trace.fault(queue.now, name, what);
    queue.after(settings.faultEveryMs * 2 * random.next(), harm);
  };
  if (settings.faults.length > 0) queue.after(random.between(0, 6000), harm);
  world.runUntil(end);
  world.heal();
  world.trace.record(queue.now, "world", "everything is healed", asItIs);
  converge(world);
  serve(world);
  world.runUntil(queue.now + WAKE_MS);
  judge(world);
}

function converge(world: WholeWorld): void {
  const end = world.queue.now + CONVERGE_MS;
  for (;;) {
    world.runUntil(world.queue.now + LOOK_EVERY_MS);
    const lagging = world.hosts.find((host) => !world.isWhole(host));
    if (lagging === undefined) return;
    if (world.queue.now < end) continue;
    const status = lagging.node?.status();
    throw new Violation(
      `not converged ${CONVERGE_MS / 1000} s after everything was healed: ${lagging.name} is ${lagging.state}, ${status?.state ?? lagging.fault}, ${status?.detail ?? ""} ${status?.role ?? ""} applied ${status?.applied ?? "-"} log ${status?.log ?? "-"}; leader ${world.leader()?.name ?? "nobody"}`,
    );
  }
}

/** Each member takes a write and reads, linearizably, what all of them took; all read the same. */
function serve(world: WholeWorld): void {
  const { queue } = world;
  const puts = world.hosts.map((host) => {
    const commands = new RaftCommands({
      channel: { request: (request, deadline) => host.request(request, deadline) },
      clock: new TrueClock(queue),
      random: (bytes) => Uint8Array.from({ length: bytes }, () => world.random.whole(0, 255)),
    });
    const changes = [{ kind: "put", key: `end/${host.name}`, value: host.name }] as const;
    return within(world, commands.run({ kind: "change", changes }, ms(queue.now + ANSWER_MS)), `${host.name} takes no write`);
  });
  for (const put of puts) if (!put.ok) throw new Violation(`a write at the end failed: ${JSON.stringify(put.error)}`);
  const reads = world.hosts.map((host) => readAll(world, host));
  const [first] = reads;
  for (const [index, read] of reads.entries())
    if (read !== first)
      throw new Violation(`${world.hosts[index]?.name} reads otherwise than ${world.hosts[0]?.name}: ${read} and ${first}`);
  for (const { name } of world.hosts)
    if (first?.includes(`end/${name}`) !== true) throw new Violation(`the write of ${name} at the end is lost`);
}

function readAll(world: WholeWorld, host: Host): string {
  const query = { kind: "snapshot", prefix: "end/", consistency: "linearizable" } as const;
  const answer = within<ClientAnswer>(
    world,
    host.request({ kind: "query", query }, world.queue.now + ANSWER_MS),
    `${host.name} reads nothing`,
  );
  if (answer.kind !== "query") throw new Violation(`${host.name} reads nothing at the end: ${JSON.stringify(answer)}`);
  // Without the revision: sessions of clients end meanwhile.
  return answer.value.kind === "snapshot" ? JSON.stringify(answer.value.snapshot.entries) : "";
}

/** The answer, which must come within the time. */
function within<T>(world: WholeWorld, asked: Promise<T>, otherwise: string): T {
  let answer: { readonly value: T } | null = null;
  void asked.then((value) => {
    answer = { value };
  });
  const end = world.queue.now + ANSWER_MS + LOOK_EVERY_MS;
  const come = (): { readonly value: T } | null => answer;
  while (come() === null && world.queue.now < end) world.runUntil(world.queue.now + 10);
  const found = come();
  if (found === null) throw new Violation(`${otherwise} within ${ANSWER_MS} ms`);
  return found.value;
}

/** What clients saw is linearizable: with the log as witness, and by search that believes nothing else. */
function judge(world: WholeWorld): void {
  const operations = world.clients.finish();
  const bounds = boundsOf(world.settings);
  const { log, committedAt } = world.observer;
  const [first] = checkWitnessed({ log, operations, bounds });
  if (first !== undefined) throw new Violation(`not linearizable by the log: ${first}`);
  const leaseSlackMs = LEASE_SLACK_MS + world.settings.ttlMs * world.settings.clockError * 2;
  // Who wants the lock changes keys as well, which the search knows nothing of: revisions have gaps then.
  const snapshotRevision = world.holders.holders.length === 0 ? "global" : "prefix";
  const verdict = checkBySearch(operations, { leaseSlackMs, snapshotRevision });
  const commands = operations.filter((operation) => operation.kind === "command");
  world.watchers.judge({ log, committedAt, commands, bounds });
  if (!isPassed(verdict)) throw new Violation(`not linearizable by search: ${JSON.stringify(verdict)}`);
}
