// What precedes a planned stop of the primary: clients go on writing until the poolers have answered, and nothing is done before that
// could not be taken back. Real lock, state and fencing; the poolers' answer, and what PostgreSQL does, are given.

import { expect, test } from "bun:test";
import { err, ok } from "../../../lib/model/result.ts";
import { ms } from "../../../lib/model/units.ts";
import { handOver } from "../../../lib/runtime/hand-over.ts";
import { lookAtPostgres } from "../../../lib/runtime/observe.ts";
import type { PoolersBeforeStop } from "../../../lib/runtime/pooler-gate.ts";
import { restart } from "../../../lib/runtime/restart.ts";
import { stop } from "../../../lib/runtime/stop.ts";
import { Bench, RUNNING, template } from "./fenced-node.ts";

const AGAINST = { kind: "abandon", why: "pooler a cannot be paused" } as const;

/** Everything that happens, in order, with the state of PostgreSQL as health checks are told it, and whether it is looked at. */
async function given(options: {
  readonly task: "hand-over" | "restart" | "stop";
  readonly verdict?: PoolersBeforeStop["verdict"];
  readonly role?: "primary" | "replica";
}) {
  const { task, verdict = { kind: "go" }, role = "primary" } = options;
  const bench = new Bench();
  const node = role === "primary" ? await bench.leader() : await bench.node("replica");
  const postgresql = { ...template.postgresql, beforeStop: "/usr/local/bin/before_stop" };
  node.state.settings = { ...node.state.settings, node: { ...node.state.settings.node, postgresql } };
  const settled = Promise.resolve();
  node.state.task = { kind: task, aborting: false, startedAt: bench.clock.now(), controller: new AbortController(), settled };
  const seen: string[] = [];
  const note = async (what: string): Promise<void> => {
    await lookAtPostgres(node);
    seen.push(`${what}: ${node.state.postgresState()}, ${node.state.local.status === null ? "not asked" : "serves"}`);
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
  node.postgres.stop = async ({ beforeShutdown }) => {
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
  expect(await restart(node, signal)).toMatchObject({ ok: true });
  expect(seen).toEqual([
    "checkpoint: running, serves",
    "poolers asked: running, serves",
    "before_stop: restarting, not asked",
    "stopped: restarting, not asked",
    "started",
    "announcement taken back",
  ]);
});

test("a restart that a pooler's operator is against is given up: PostgreSQL was not touched, and before_stop has not run", async () => {
  const { node, seen, signal } = await given({ task: "restart", verdict: AGAINST });
  expect(await restart(node, signal)).toEqual({ ok: false, message: `it is given up: ${AGAINST.why}` });
  expect(seen).toEqual(["checkpoint: running, serves", "poolers asked: running, serves", "announcement taken back"]);
  expect(node.state.postgresState()).toBe("running");
});

test("a replica is stopped and restarted without a word to the poolers, and before_stop runs there too", async () => {
  for (const task of ["restart", "stop"] as const) {
    const { node, seen, deadline, signal } = await given({ task, role: "replica" });
    if (task === "restart") await restart(node, signal);
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
