// Goal: a stopped server whose end of WAL cannot be read is dealt with by what pg_control says of it. Method: the real task over a
// PostgreSQL whose answers are the test's, and the rules on what it leaves behind.

import { expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { PostgresError } from "../../../lib/model/errors.ts";
import type { ControlData } from "../../../lib/model/postgres.ts";
import { err, ok } from "../../../lib/model/result.ts";
import { lsn, ms, timeline } from "../../../lib/model/units.ts";
import type { NodeContext } from "../../../lib/runtime/node-context.ts";
import { runTask } from "../../../lib/runtime/perform-postgres.ts";
import { local, observation } from "../core/observations.ts";
import { Bench } from "./fenced-node.ts";

const LEADER = { name: "a", host: "127.0.0.1", port: 5432, slotName: null } as const;
const FAILED: PostgresError = { kind: "failed", message: "out of memory" };

/** Plans as often as it takes, and leaves the finished task as the loop does. */
async function planned(node: NodeContext, state: string) {
  node.postgres.controlData = async () => ok({ systemIdentifier: "1", state, walLogHints: true, dataChecksums: true } as ControlData);
  node.postgres.upstreamHistory = async () => ok({ timeline: timeline(2), switches: [], walLsn: lsn(10n), inRecovery: false } as never);
  node.postgres.localEndOfWal = async () => err(FAILED);
  node.state.local.process = { kind: "none" };
  const effect = { kind: "plan-rejoin", target: LEADER, leader: "a", leaderSession: "s-a" } as const;
  for (let failures = 1; failures < 9; failures += 1) {
    const result = await runTask(node, effect, new AbortController().signal);
    const plan = "plan" in result ? (result.plan ?? null) : null;
    const finished = { kind: effect.kind, finishedAt: ms(0), ok: result.ok, message: "", failures: result.ok ? 0 : failures };
    node.state.lastTask = { ...finished, plan };
    if (plan !== null) return plan.plan;
  }
  throw new Error("no plan is made");
}

function decided(node: NodeContext, mayCopy: boolean): string {
  const { rewindFailed } = node.state.local;
  const o = observation({ local: local({ process: { kind: "none" }, status: null, rewindFailed }), lastTask: node.state.lastTask });
  return decide({ ...o, self: { ...o.self, removeDataDirectoryOnRewindFailure: mayCopy } }).rule;
}

async function standby(changes: { usePgRewind: boolean; mayCopy: boolean }): Promise<NodeContext> {
  const node = await new Bench().node("replica", "b");
  const { node: config } = node.state.settings;
  const { usePgRewind, mayCopy: removeDataDirectoryOnRewindFailure } = changes;
  const postgresql = { ...config.postgresql, usePgRewind, removeDataDirectoryOnRewindFailure };
  node.state.settings = { ...node.state.settings, node: { ...config, postgresql } };
  node.postgres.start = async () => err(FAILED);
  node.postgres.rewind = async () => err(FAILED);
  node.postgres.crashRecover = async () => ok(null);
  return node;
}

const start = (node: NodeContext) =>
  runTask(node, { kind: "start", role: "standby", target: LEADER, syncNames: null }, new AbortController().signal);

test("a standby is started, and where that fails too the configuration alone lets it be copied anew", async () => {
  for (const mayCopy of [true, false]) {
    const node = await standby({ usePgRewind: false, mayCopy });
    expect(await planned(node, "in archive recovery")).toMatchObject({ kind: "follow" });
    expect(decided(node, mayCopy)).toBe("rejoin-start");
    expect((await start(node)).ok).toBe(false);
    node.state.lastTask = null;
    expect(await planned(node, "in archive recovery")).toMatchObject({ kind: mayCopy ? "clone" : "follow" });
    expect(decided(node, mayCopy)).toBe(mayCopy ? "rejoin-clone" : "rejoin-start");
  }
});

test("a standby that does not start is rewound before it is copied anew, and without leave for that start and rewind take turns", async () => {
  for (const mayCopy of [true, false]) {
    const node = await standby({ usePgRewind: true, mayCopy });
    for (const round of [1, 2]) {
      expect(await planned(node, "in archive recovery")).toMatchObject({ kind: "follow" });
      expect((await start(node)).ok).toBe(false);
      node.state.lastTask = null;
      expect(await planned(node, "in archive recovery")).toMatchObject({ kind: "rewind" });
      // What the rule of a rewind that has failed would do, had the start's failure counted as one.
      if (round === 1) expect(decided(node, mayCopy)).toBe("rejoin-rewind");
      expect((await runTask(node, { kind: "rewind", target: LEADER }, new AbortController().signal)).ok).toBe(false);
      node.state.lastTask = null;
      if (mayCopy) break;
    }
    if (mayCopy) expect(await planned(node, "in archive recovery")).toMatchObject({ kind: "clone" });
    if (mayCopy) expect(decided(node, mayCopy)).toBe("rejoin-clone");
  }
});

test("a start that failed is no pg_rewind that failed: with its end readable again, the standby is rewound and not replaced", async () => {
  const node = await standby({ usePgRewind: true, mayCopy: true });
  expect(await planned(node, "in archive recovery")).toMatchObject({ kind: "follow" });
  expect((await start(node)).ok).toBe(false);
  node.state.lastTask = null;
  await planned(node, "in production");
  expect(decided(node, true)).toBe("rejoin-rewind");
});

test("a former primary is for pg_rewind to look at", async () => {
  const node = await new Bench().node("primary", "b");
  const { node: config } = node.state.settings;
  const postgresql = { ...config.postgresql, usePgRewind: true };
  node.state.settings = { ...node.state.settings, node: { ...config, postgresql } };
  expect(await planned(node, "in production")).toMatchObject({ kind: "rewind" });
  expect(decided(node, false)).toBe("rejoin-rewind");
});

test("a crashed standby whose rewind is refused is started, found to have diverged, stopped and rewound", async () => {
  const node = await new Bench().node("replica", "b");
  const { node: config } = node.state.settings;
  node.state.settings = { ...node.state.settings, node: { ...config, postgresql: { ...config.postgresql, usePgRewind: true } } };
  const plan = async (state: string) => {
    node.postgres.controlData = async () => ok({ systemIdentifier: "1", state, walLogHints: true, dataChecksums: true } as ControlData);
    const effect = { kind: "plan-rejoin", target: LEADER, leader: "a", leaderSession: "s-a" } as const;
    const result = await runTask(node, effect, new AbortController().signal);
    return "plan" in result ? result.plan?.plan : undefined;
  };
  node.postgres.upstreamHistory = async () => ok({ timeline: timeline(1), switches: [], walLsn: lsn(10n), inRecovery: false } as never);
  node.postgres.timelineSwitches = async () => ok([]);
  node.postgres.localEndOfWal = async () => ok({ timeline: 2, lsn: 20n });
  node.postgres.crashRecover = async () => ok(null);
  node.state.local.process = { kind: "none" };
  const rewind = () => runTask(node, { kind: "rewind", target: LEADER }, new AbortController().signal);
  const start = () => runTask(node, { kind: "start", role: "standby", target: LEADER, syncNames: null }, new AbortController().signal);
  expect(await plan("in archive recovery")).toMatchObject({ kind: "rewind" });
  node.postgres.rewind = async () => err({ kind: "refused", message: "start it first" });
  expect((await rewind()).ok).toBe(false);
  expect(node.state.local.rewindFailed).toBe(false);
  expect(await plan("in archive recovery")).toMatchObject({ kind: "follow", why: expect.stringContaining("start it first") });
  // What the refusal has taken away may have come back with the start: it is asked for again after each that fails.
  const follows = { leader: "a", leaderSession: "s-a", plan: { kind: "follow", why: "", unread: true } } as const;
  node.state.lastTask = { kind: "plan-rejoin", finishedAt: ms(0), ok: true, message: "", failures: 0, plan: follows };
  node.postgres.start = async () => err(FAILED);
  expect((await start()).ok).toBe(false);
  expect(await plan("in archive recovery")).toMatchObject({ kind: "rewind" });
  expect((await rewind()).ok).toBe(false);
  expect(await plan("in archive recovery")).toMatchObject({ kind: "follow", why: expect.stringContaining("reinitialize") });
  node.postgres.start = async () => ok(null);
  expect((await start()).ok).toBe(true);
  expect(await plan("shut down in recovery")).toMatchObject({ kind: "rewind" });
});
