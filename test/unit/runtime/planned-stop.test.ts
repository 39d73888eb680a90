// What precedes a planned stop of the primary: clients go on writing until the poolers have answered, and nothing is done before that
// could not be taken back. Real lock, state and fencing; the poolers' answer, and what PostgreSQL does, are given.

import { expect, test } from "bun:test";
import { err, ok } from "../../../lib/model/result.ts";
import { ms } from "../../../lib/model/units.ts";
import { handOver } from "../../../lib/runtime/hand-over.ts";
import type { NodeContext } from "../../../lib/runtime/node-context.ts";
import { lookAtPostgres } from "../../../lib/runtime/observe.ts";
import type { PoolersBeforeStop } from "../../../lib/runtime/pooler-gate.ts";
import { postgresState } from "../../../lib/runtime/postgres-words.ts";
import { restart } from "../../../lib/runtime/restart.ts";
import { stop } from "../../../lib/runtime/stop.ts";
import { Bench, RUNNING, template } from "./fenced-node.ts";

const AGAINST = { kind: "abandon", why: "pooler a cannot be paused" } as const;

/** Everything that happens, in order, with the state of PostgreSQL as health checks are told it, and whether it is looked at. */
async function given(options: {
  readonly task: "hand-over" | "restart" | "stop";
  readonly verdict?: PoolersBeforeStop["verdict"];
  readonly role?: "primary" | "replica";
  /** Called at each step, with its name. */
  readonly at?: (what: string, node: NodeContext) => void;
}) {
  const { task, verdict = { kind: "go" }, role = "primary", at } = options;
  const bench = new Bench();
  const node = role === "primary" ? await bench.leader() : await bench.node("replica");
  const postgresql = { ...template.postgresql, beforeStop: "/usr/local/bin/before_stop" };
  node.state.settings = { ...node.state.settings, node: { ...node.state.settings.node, postgresql } };
  const settled = Promise.resolve();
  node.state.task = { kind: task, aborting: false, startedAt: bench.clock.now(), controller: new AbortController(), settled };
  const seen: string[] = [];
  const note = async (what: string): Promise<void> => {
    await lookAtPostgres(node);
    seen.push(`${what}: ${postgresState(node.state)}, ${node.state.local.status === null ? "not asked" : "serves"}`);
    at?.(what, node);
  };
  node.state.poolers = {
    beforeStop: async () => {
      await note("poolers asked");
      return { verdict, withdraw: async () => void seen.push("announcement taken back") };
    },
  };
  node.postgres.hook = async (name) => {
    await note(name);
    return ok(null);
  };
  node.postgres.stop = async ({ mode, beforeShutdown }) => {
    if (mode === "immediate") {
      seen.push("stopped at once");
      return ok(null);
    }
    await note("checkpoint");
    if ((await beforeShutdown?.()) === "stay") return err({ kind: "cancelled", message: "the stop was called off" });
    await note("stopped");
    return ok(null);
  };
  node.postgres.start = async () => {
    seen.push("started");
    return ok(null);
  };
  node.postgres.callback = () => undefined;
  return { bench, node, seen, deadline: ms(bench.clock.now() + 60_000), signal: new AbortController().signal };
}

test("a switchover's primary serves until the poolers have answered; before_stop comes right before the stop", async () => {
  const { node, seen, deadline, signal } = await given({ task: "hand-over" });
  expect(await handOver(node, deadline, signal)).toMatchObject({ ok: true });
  expect(seen).toEqual([
    "checkpoint: running, serves",
    "poolers asked: running, serves",
    "before_stop: stopping, not asked",
    "stopped: stopping, not asked",
    "announcement taken back",
  ]);
});

test("a restart waits for the poolers as a switchover does, and lets their clients go on once PostgreSQL is there again", async () => {
  const { node, seen, signal } = await given({ task: "restart" });
  expect(await restart(node, null, signal)).toMatchObject({ ok: true });
  expect(seen).toEqual([
    "checkpoint: running, serves",
    "poolers asked: running, serves",
    "before_stop: restarting, not asked",
    "stopped: restarting, not asked",
    "started",
    "announcement taken back",
  ]);
});

test("callbacks are told of a restart, and of a stop and a start where files are changed in between, as with copied slots", async () => {
  for (const [whileStopped, expected] of [
    [null, ["on_restart replica"]],
    [async () => ok(null), ["on_stop replica", "on_start replica"]],
  ] as const) {
    const { node, signal } = await given({ task: "restart", role: "replica" });
    const told: string[] = [];
    node.postgres.callback = (action, role) => void told.push(`${action} ${role}`);
    expect(await restart(node, null, signal, whileStopped)).toMatchObject({ ok: true });
    expect(told).toEqual([...expected]);
  }
});

test("a primary that was never seen comes back with the names that its restart was given, one that was seen with those it had", async () => {
  for (const [seen, expected] of [
    [null, "b"],
    [{ names: "c", at: ms(0) }, "c"],
    [{ names: "", at: ms(0) }, ""],
  ] as const) {
    const { node, signal } = await given({ task: "restart" });
    node.state.local.syncNamesSeen = seen;
    // It gives no status, before its stop and after.
    node.postgres.status = async () => err({ kind: "unreachable", message: "no slot is left" });
    const started: (string | null)[] = [];
    node.postgres.start = async ({ synchronousStandbyNames }) => {
      started.push(synchronousStandbyNames);
      return ok(null);
    };
    expect(await restart(node, "b", signal)).toMatchObject({ ok: true });
    expect(started).toEqual([expected]);
  }
});

test("a restart that a pooler's operator is against is given up: PostgreSQL was not touched, and before_stop has not run", async () => {
  const { node, seen, signal } = await given({ task: "restart", verdict: AGAINST });
  expect(await restart(node, null, signal)).toEqual({ ok: false, message: `it is given up: ${AGAINST.why}` });
  expect(seen).toEqual(["checkpoint: running, serves", "poolers asked: running, serves", "announcement taken back"]);
  expect(postgresState(node.state)).toBe("running");
});

test("a replica is stopped and restarted without a word to the poolers, and before_stop runs there too", async () => {
  for (const task of ["restart", "stop"] as const) {
    const { node, seen, deadline, signal } = await given({ task, role: "replica" });
    if (task === "restart") await restart(node, null, signal);
    else await stop(node, "fast", deadline);
    expect(seen.filter((line) => line.startsWith("poolers"))).toEqual([]);
    expect(seen.some((line) => line.startsWith("before_stop"))).toBe(true);
  }
});

test("a primary whose lease ends waits for no before_stop", async () => {
  const { node, seen, deadline } = await given({ task: "stop" });
  expect(node.state.local.process).toEqual(RUNNING);
  await stop(node, "fast", deadline);
  expect(seen.some((line) => line.startsWith("before_stop"))).toBe(false);
  expect(seen).toContain("stopped: stopping, not asked");
});

test("a primary whose lease ends in the middle of a restart or hand-over is stopped at once, without before_stop, and not started again", async () => {
  for (const task of ["restart", "hand-over"] as const) {
    for (const step of ["checkpoint", "poolers asked", "before_stop", "stopped"]) {
      const lease = new AbortController();
      const { node, seen, deadline } = await given({ task, at: (what) => void (what === step && lease.abort()) });
      const done = task === "restart" ? restart(node, null, lease.signal) : handOver(node, deadline, lease.signal);
      const { ok: went } = await done;
      const at = seen.findIndex((line) => line.startsWith(`${step}:`));
      expect([task, step, seen[at + 1]]).toEqual([task, step, "stopped at once"]);
      expect(seen.slice(at + 1).some((line) => line.startsWith("before_stop") || line === "started")).toBe(false);
      expect([node.watchdog.armed, node.state.local.status]).toEqual([false, null]);
      if (task === "restart") expect(went).toBe(false);
    }
  }
});

test("the end of a restart is the end of what its lease could stop", async () => {
  const lease = new AbortController();
  const { node, seen } = await given({ task: "restart" });
  expect(await restart(node, null, lease.signal)).toMatchObject({ ok: true });
  lease.abort();
  expect(seen).not.toContain("stopped at once");
});

test("a shutdown that is asked for before a restart has touched PostgreSQL takes the restart's place", async () => {
  for (const [role, step] of [
    ["primary", "checkpoint"],
    ["primary", "poolers asked"],
    ["replica", "checkpoint"],
  ] as const) {
    const shutDown = (what: string, { state }: NodeContext): void => {
      if (what === step) state.requests = { ...state.requests, shutdown: true };
    };
    const { node, seen, signal } = await given({ task: "restart", role, at: shutDown });
    expect(await restart(node, null, signal)).toEqual({ ok: false, message: "it is given up: the node is shut down" });
    expect(seen.filter((line) => /^(before_stop|stopped|started)/.test(line))).toEqual([]);
    expect(postgresState(node.state)).toBe("running");
  }
});

test("a shutdown that is asked for while a restart waits for the poolers ends the waiting", async () => {
  const { node, signal } = await given({ task: "restart" });
  const asked = Promise.withResolvers<void>();
  node.state.poolers = {
    // They never answer.
    beforeStop: async (_deadline, until) => {
      asked.resolve();
      await new Promise((resolve) => until.addEventListener("abort", resolve, { once: true }));
      return { verdict: { kind: "go" }, withdraw: async () => undefined };
    },
  };
  const restarted = restart(node, null, signal);
  await asked.promise;
  node.state.requests = { ...node.state.requests, shutdown: true };
  node.state.shutdownAsked.abort();
  expect(await restarted).toEqual({ ok: false, message: "it is given up: the node is shut down" });
});

test("before_stop has half of the time that is left, and one that takes longer is told of", async () => {
  const { bench, node, seen, deadline, signal } = await given({ task: "hand-over" });
  const limits: number[] = [];
  node.postgres.hook = async (_name, limit) => {
    limits.push(limit - bench.clock.now());
    await bench.clock.advance(limit - bench.clock.now());
    return err({ kind: "timeout", message: "before_stop did not end in time" });
  };
  const log: string[] = [];
  node.log.warning = (text) => void log.push(text);
  expect(await handOver(node, deadline, signal)).toMatchObject({ ok: true });
  expect(limits).toEqual([30_000]);
  expect(log).toContain("before_stop was ended after 30 s: PostgreSQL needs the rest of the time to stop");
  expect(seen).toContain("stopped: stopping, not asked");
});
