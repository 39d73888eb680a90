// Owns the steps of a move between two stores as they are performed and waited for. At each moment at most one of the stores is
// unsealed, and between them none: what a node may decide by is never in two places. Every step can be repeated.

import { exportOf } from "../../dcs/cluster-export.ts";
import { breakSeal, noteLeaving, type SealRecord, sealPlace, unsealed } from "../../dcs/cluster-seal.ts";
import type { StoreError } from "../../model/errors.ts";
import type { Result } from "../../model/result.ts";
import { type Ms, ms, seconds } from "../../model/units.ts";
import { setMaintenance } from "./commands/pause.ts";
import type { CtlContext } from "./context.ts";
import { orRefuse } from "./context.ts";
import { isPaused } from "./member-requests.ts";
import { lookAt, type MovePlace, type MoveSight, stillThere } from "./move-places.ts";
import { operatorOf } from "./operator.ts";
import { CtlRefusal } from "./refusal.ts";

/** The lock that a seal is made with ends by itself after this: longer than a node goes on with what it read before. */
const SEAL_TTL = seconds(30);
/** People stop and start services meanwhile: nobody waits for the last tenth of a second. */
const LOOK_EVERY = seconds(1);
const ANSWERS_WITHIN = seconds(3);

export interface Move {
  readonly scope: string;
  readonly from: MovePlace;
  readonly to: MovePlace;
  /** When to give up waiting for supervisors that are stopped or started. */
  readonly deadline: Ms;
}

/** Seals the new place, where nothing is yet: a supervisor that is started with it too early ends, and promotes nobody. */
export async function reserve(move: Move, { from, to }: { readonly from: MoveSight; readonly to: MoveSight }): Promise<void> {
  if (to.sealed) return;
  const record: SealRecord = { ...recordOf(move, from, move.from.name), state: "reserved" };
  const { context, keys } = move.to;
  const sealed = await sealPlace(context.store, keys, {
    present: to.snapshot,
    record,
    config: configOf(move.from, from),
    expected: to.seal?.revision ?? null,
    ttl: SEAL_TTL,
    ...context.storeDeadline(),
  });
  changedMeanwhile(sealed, move.to);
  context.terminal.out(`${move.to.name} is reserved for ${move.scope}\n`);
}

/** In pause, with everybody having seen it, and noted who was there. Value: what is noted. */
export async function enterPause(move: Move, from: MoveSight): Promise<SealRecord> {
  const { context, keys } = move.from;
  const known = from.seal?.record ?? null;
  const fresh = recordOf(move, from, move.to.name);
  // A second call finds some of them stopped already; one that begins anew, after a resume, knows better who is there.
  const goesOn = known?.state === "leaving" && isPaused(from.read);
  const record = goesOn ? { ...known, leader: known.leader ?? fresh.leader, members: { ...known.members, ...fresh.members } } : fresh;
  changedMeanwhile(
    await noteLeaving(context.store, keys, { record, expected: from.seal?.revision ?? null, ...context.storeDeadline() }),
    move.from,
  );
  if (!isPaused(from.read)) await setMaintenance(context, from.read, { mode: "on", wait: true });
  const late = (await context.readGroup(move.scope, null)).cluster.members.filter(({ pause }) => pause !== true);
  if (late.length > 0) throw new CtlRefusal(`not yet in pause: ${late.map(({ name }) => name).join(", ")}`);
  return record;
}

/** Until no supervisor is left that knows the old store. Throws CtlRefusal at the deadline. */
export async function awaitStopped(move: Move, record: SealRecord): Promise<MoveSight> {
  const { context } = move.from;
  const names = Object.keys(record.members).join(", ");
  context.terminal.out(`Now stop the supervisor on each node (${names}): in pause PostgreSQL runs on. Waiting until all are stopped …\n`);
  return pollUntil(move, move.from, async (sight, tell) => {
    const running = await answering(context, record);
    const left = stillThere(sight);
    tell([
      ...running.map((name) => `${name} runs`),
      ...left.filter((name) => !running.includes(name)).map((name) => `the key of ${name} ends with its session`),
    ]);
    if (!isPaused(sight.read)) throw new CtlRefusal("the pause was ended by somebody: nothing is moved");
    return running.length === 0 && left.length === 0;
  });
}

/** Seals the old place as it is read. Value: how it is then. */
export async function leave(move: Move, sight: MoveSight): Promise<MoveSight> {
  const { context, keys } = move.from;
  if (sight.seal === null) throw new CtlRefusal("what was noted of the move is gone: call it again");
  const record: SealRecord = { ...sight.seal.record, state: "left", at: nowText(context) };
  const sealed = await sealPlace(context.store, keys, {
    present: sight.snapshot,
    record,
    config: configOf(move.from, sight),
    expected: sight.seal.revision,
    ttl: SEAL_TTL,
    ...context.storeDeadline(),
  });
  changedMeanwhile(sealed, move.from);
  context.terminal.out(`${move.scope} has left ${move.from.name}: a supervisor that is started with it ends\n`);
  return lookAt(move.from, move.scope);
}

/** Writes the state into the new place, in pause, and breaks its seal. */
export async function arrive(move: Move, { from, to }: { readonly from: MoveSight; readonly to: MoveSight }): Promise<void> {
  const { context, keys } = move.to;
  const { namespace } = context.config;
  if (from.seal === null || to.seal === null) throw new CtlRefusal("one of the stores has lost what was noted of the move");
  const left = exportOf(from.snapshot, move.from.keys, {
    scope: move.scope,
    namespace,
    group: null,
    now: context.terminal.clock.wallNow(),
  });
  const document = unsealed(left, from.seal);
  if (!document.ok) throw new CtlRefusal(document.error);
  changedMeanwhile(
    await breakSeal(context.store, keys, { document: document.value, present: to.snapshot, seal: to.seal, ...context.storeDeadline() }),
    move.to,
  );
  context.terminal.out(`${move.scope} is in ${move.to.name}, in pause\n`);
}

/** Until the same primary holds the lock in the new store, and everybody who was there is back. Throws CtlRefusal where another one does. */
export async function awaitSettled(move: Move, record: SealRecord): Promise<MoveSight> {
  const { context } = move.to;
  const names = Object.keys(record.members);
  context.terminal.out(`Now start the supervisor on each node (${names.join(", ")}) with ${move.to.name}. Waiting until all are there …\n`);
  return pollUntil(move, move.to, async ({ read }, tell) => {
    const leader = read.cluster.leader?.name ?? null;
    if (leader !== null && record.leader !== null && leader !== record.leader) {
      throw new CtlRefusal(
        `${leader} holds the lock in ${move.to.name}, and ${record.leader} led before: look at both before the pause ends`,
      );
    }
    const missing = names.filter(
      (name) => !read.view.members.some((member) => member.name === name && ["running", "streaming"].includes(member.state)),
    );
    tell([...(leader === null ? ["nobody holds the lock"] : []), ...missing.map((name) => `${name} is not there`)]);
    return leader !== null && missing.length === 0;
  });
}

export async function endPause(move: Move, sight: MoveSight): Promise<void> {
  if (isPaused(sight.read)) await setMaintenance(move.to.context, sight.read, { mode: "off", wait: true });
}

/** Throws CtlRefusal where the cluster has none. */
function configOf({ keys, name }: MovePlace, { snapshot }: MoveSight): string {
  const config = snapshot.inside.find(({ key }) => key === keys.config)?.value;
  if (config === undefined) throw new CtlRefusal(`${name} has no configuration of the cluster (key ${keys.config})`);
  return config;
}

function recordOf(move: Move, from: MoveSight, other: string): SealRecord {
  const { context } = move.from;
  const { cluster } = from.read;
  return {
    state: "leaving",
    systemIdentifier: cluster.initialize ?? "",
    other,
    at: nowText(context),
    by: operatorOf(context.terminal.env),
    leader: cluster.leader?.name ?? null,
    members: Object.fromEntries(cluster.members.map(({ name, apiUrl }) => [name, apiUrl ?? ""])),
  };
}

function nowText({ terminal }: CtlContext): string {
  return new Date(terminal.clock.wallNow()).toISOString();
}

/** Those whose supervisor says itself that it runs. Who is silent is known by its key alone. */
async function answering(context: CtlContext, record: SealRecord): Promise<readonly string[]> {
  const asked = await Promise.all(
    Object.entries(record.members).map(async ([name, apiUrl]) => {
      const answer = apiUrl === "" ? null : await context.peers.status(apiUrl, context.within(ANSWERS_WITHIN));
      return answer?.ok === true && answer.value.name === name ? [name] : [];
    }),
  );
  return asked.flat();
}

/** Looks again and again; each change of what it waits for is told once. A store that is away for a while, as its members are restarted, is waited for. */
async function pollUntil(
  move: Move,
  place: MovePlace,
  done: (sight: MoveSight, tell: (waitingFor: readonly string[]) => void) => Promise<boolean>,
): Promise<MoveSight> {
  const { clock, signal, out } = place.context.terminal;
  let told = "";
  const tell = (waitingFor: readonly string[]): void => {
    const text = waitingFor.join("; ");
    if (text !== "" && text !== told) out(`  waiting: ${text}\n`);
    told = text;
  };
  for (;;) {
    const sight = await lookAt(place, move.scope).catch((error: unknown) => {
      if (!(error instanceof CtlRefusal)) throw error;
      tell([error.message.split("\n")[0] ?? ""]);
      return null;
    });
    if (sight !== null && (await done(sight, tell))) return sight;
    if (signal.aborted || clock.now() >= move.deadline) {
      throw new CtlRefusal(
        `${signal.aborted ? "Interrupted" : "Not in time"} while waiting (${told}). The same command goes on from here.`,
      );
    }
    await clock.sleepUntil(ms(Math.min(move.deadline, clock.now() + LOOK_EVERY)), signal);
  }
}

function changedMeanwhile(answer: Result<unknown, StoreError>, place: MovePlace): void {
  if (!answer.ok && answer.error.kind === "condition-failed") {
    throw new CtlRefusal(`${place.name} has changed since it was read, or somebody holds the lock there: nothing was done. Call it again`);
  }
  orRefuse(answer);
}
