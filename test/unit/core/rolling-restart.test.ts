// Which member a rolling restart takes next, whom it leaves alone, and when it goes no further.

import { describe, expect, test } from "bun:test";
import {
  chosenNodes,
  isRestarted,
  type RollingNode,
  remainingSteps,
  restartBody,
  restartOutcome,
  shrinkingSettings,
  troubles,
} from "../../../lib/core/rolling-restart.ts";

const status = {
  state: "running",
  role: "replica",
  timeline: 3,
  replicationState: "streaming",
  startedAt: "2026-01-01 10:00:00.000000+00:00",
  serverVersion: 150018,
  pendingRestart: false,
} as const;
type Status = NonNullable<RollingNode["status"]>;
const replica = (name: string, over: Partial<RollingNode> = {}, more: Partial<Status> = {}): RollingNode => ({
  name,
  leads: false,
  synchronous: false,
  streams: true,
  status: { ...status, ...more },
  ...over,
});
const leader = (name: string, more: Partial<Status> = {}): RollingNode =>
  replica(name, { leads: true }, { role: "primary", replicationState: null, ...more });
const all = (nodes: readonly RollingNode[]) => nodes.map(({ name }) => name);

describe("the order", () => {
  const nodes = [leader("a"), replica("b", { synchronous: true }), replica("c"), replica("d")];

  test("is standbys, those that commits wait for last, then a switchover from the leader", () => {
    expect(remainingSteps(nodes, { left: all(nodes), inPlace: false })).toEqual([
      { kind: "restart", member: "c" },
      { kind: "restart", member: "d" },
      { kind: "restart", member: "b" },
      { kind: "switchover", from: "a" },
    ]);
  });

  test("ends with a restart of the leader where that was asked for", () => {
    expect(remainingSteps(nodes, { left: ["a"], inPlace: true })).toEqual([{ kind: "restart", member: "a" }]);
  });

  test("goes by who leads now: after a failover in the middle the new leader is last", () => {
    const after = [replica("a"), leader("b"), replica("c")];
    expect(remainingSteps(after, { left: ["a", "b"], inPlace: false })).toEqual([
      { kind: "restart", member: "a" },
      { kind: "switchover", from: "b" },
    ]);
  });
});

describe("the members that are meant", () => {
  const nodes = [
    leader("a", { pendingRestart: true }),
    replica("b", {}, { serverVersion: 150017 }),
    replica("c", {}, { pendingRestart: true }),
  ];
  const filters = { names: [], pending: false, olderThan: null };

  test("are all, those named, those pending, or those of an older version", () => {
    expect(all(chosenNodes(nodes, filters))).toEqual(["a", "b", "c"]);
    expect(all(chosenNodes(nodes, { ...filters, names: ["c", "a"] }))).toEqual(["a", "c"]);
    expect(all(chosenNodes(nodes, { ...filters, pending: true }))).toEqual(["a", "c"]);
    expect(all(chosenNodes(nodes, { ...filters, olderThan: 150018 }))).toEqual(["b"]);
  });

  test("are not those of which nothing is known", () => {
    const silent = [replica("b", { status: null }), replica("c", {}, { serverVersion: null })];
    expect(chosenNodes(silent, { ...filters, pending: true })).toEqual([]);
    expect(chosenNodes(silent, { ...filters, olderThan: 990000 })).toEqual([]);
  });
});

describe("a restart is seen", () => {
  const before = status.startedAt;
  test("by another instant, in whatever timezone the server writes it", () => {
    const written = (startedAt: string) => replica("b", {}, { startedAt });
    const before = "2026-01-01 10:00:00.000001+00:00";
    expect(isRestarted(written("2026-01-01 15:30:00.000001+05:30"), before)).toBe(false);
    expect(isRestarted(written("2026-01-01 15:30:04.500000+05:30"), before)).toBe(true);
    expect(isRestarted(written("2026-01-01 10:00:00.000001+05:30"), before)).toBe(true);
  });

  test("by another start time, and by nothing else", () => {
    expect(isRestarted(replica("b"), before)).toBe(false);
    expect(isRestarted(replica("b", {}, { startedAt: "2026-01-01 10:00:09.000000+00:00" }), before)).toBe(true);
    expect(isRestarted(replica("b", {}, { startedAt: null }), before)).toBe(false);
    expect(isRestarted(replica("b", { status: null }), before)).toBe(false);
  });
});

describe("it goes no further", () => {
  test("while a member is silent, down, behind on its timeline or does not stream", () => {
    expect(troubles([leader("a"), replica("b")])).toEqual([]);
    expect(troubles([leader("a"), replica("b", { status: null })])).toEqual(["b: its REST API does not answer"]);
    expect(troubles([leader("a"), replica("b", {}, { state: "start failed" })])).toEqual([
      "b: its PostgreSQL is not running (start failed)",
    ]);
    expect(troubles([leader("a"), replica("b", {}, { timeline: 2 })])).toEqual(["b: it is on timeline 2, the leader on 3"]);
    expect(troubles([leader("a"), replica("b", {}, { replicationState: "in archive recovery" })])).toEqual([
      "b: it does not stream (in archive recovery)",
    ]);
    expect(troubles([leader("a"), replica("b", {}, { role: "primary" })])).toEqual(["b: it runs as primary without the lock"]);
  });

  test("while nobody leads, or the holder of the lock is not promoted yet", () => {
    expect(troubles([replica("b")])).toEqual(["nobody leads", "b: nobody leads"]);
    expect(troubles([leader("a", { role: "replica" })])).toEqual(["a: it holds the lock and is replica"]);
  });

  test("but not for a member that lives from the archive on purpose", () => {
    expect(troubles([leader("a"), replica("b", { streams: false }, { replicationState: "in archive recovery" })])).toEqual([]);
  });

  test("with a setting that shrinks and is restarted on the primary first", () => {
    expect(
      shrinkingSettings({ max_connections: { old_value: "100", new_value: "50" }, work_mem: { old_value: "9", new_value: "1" } }),
    ).toEqual(["max_connections"]);
    expect(shrinkingSettings({ max_connections: { old_value: "50", new_value: "100" } })).toEqual([]);
  });
});

describe("a restart", () => {
  test("of a standby says that it is for a replica: one that was promoted meanwhile refuses it", () => {
    expect(restartBody({ leads: false, timeout: null })).toEqual({ role: "replica" });
    expect(restartBody({ leads: false, timeout: "30s" })).toEqual({ role: "replica", timeout: "30s" });
    expect(restartBody({ leads: true, timeout: null })).toEqual({});
  });

  test("that is still running when its time is over is not refused: what came of it is waited for", () => {
    expect(restartOutcome({ status: 200, text: "restarted successfully" })).toBe("restarted");
    expect(restartOutcome({ status: 503, text: "restart is still running" })).toBe("unknown");
    expect(restartOutcome({ status: 503, text: "postgres is still starting" })).toBe("unknown");
    for (const text of ["restart failed: no start", "restart conditions are not satisfied", "restart already in progress"])
      expect(restartOutcome({ status: 503, text })).toBe("refused");
  });
});
