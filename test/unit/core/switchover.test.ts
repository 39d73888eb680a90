import { describe, expect, test } from "bun:test";
import { mergeConfig } from "../../../lib/core/config-patch.ts";
import { parsePostgresVersion, restartFiltersMatch } from "../../../lib/core/restart-filters.ts";
import { isFitCandidate } from "../../../lib/core/switchover-check.ts";
import { switchoverOutcome } from "../../../lib/core/switchover-outcome.ts";
import { lsn, revision } from "../../../lib/model/units.ts";
import { cluster, leading, member } from "../api/node-under-test.ts";

const REQUEST = { leader: "node1", candidate: null };
const PENDING = { revision: revision(30), leader: "node1", candidate: null, scheduledAt: null, scheduledAtText: null };
const BEFORE = cluster().leader;

describe("the outcome of a switchover", () => {
  test("is open while the request stands, and while nobody leads", () => {
    expect(switchoverOutcome(REQUEST, BEFORE, cluster({ failover: PENDING })).kind).toBe("pending");
    expect(switchoverOutcome(REQUEST, BEFORE, cluster({ leader: null })).kind).toBe("pending");
  });

  test("is open until the new holder of the lock runs as primary", () => {
    const leader = { name: "node2", session: "s", revision: revision(31) };
    expect(switchoverOutcome(REQUEST, BEFORE, cluster({ leader })).kind).toBe("pending");
    expect(switchoverOutcome(REQUEST, BEFORE, cluster({ leader, members: [leading("node2", { state: "starting" })] })).kind).toBe(
      "pending",
    );
    expect(switchoverOutcome(REQUEST, BEFORE, cluster({ leader, members: [leading("node2")] }))).toEqual({ kind: "done", leader: "node2" });
  });

  test("is failed when the request is gone, or another took its place, and the old leader leads", () => {
    expect(switchoverOutcome(REQUEST, BEFORE, cluster()).kind).toBe("failed");
    expect(switchoverOutcome(REQUEST, BEFORE, cluster({ failover: { ...PENDING, candidate: "node3" } })).kind).toBe("failed");
  });

  test("counts any leader where there was none before", () => {
    const request = { leader: null, candidate: "node2" };
    const leader = { name: "node2", session: "s", revision: revision(31) };
    expect(switchoverOutcome(request, null, cluster({ leader, members: [leading("node2")] })).kind).toBe("done");
  });
});

describe("a candidate", () => {
  const limits = { action: "switchover" as const, leaderLsn: lsn(2000), leaderTimeline: 2, maximumLagBytes: 100, checkTimeline: false };
  const answer = { timeline: 2, lsn: lsn(1950), nofailover: false };

  test("is fit when it answers, may fail over and is near enough", () => {
    expect(isFitCandidate(member("a"), answer, limits)).toBe(true);
    expect(isFitCandidate(member("a"), null, limits)).toBe(false);
    expect(isFitCandidate(member("a"), { ...answer, nofailover: true }, limits)).toBe(false);
    expect(isFitCandidate(member("a", { tags: { failover_priority: 0 } }), answer, limits)).toBe(false);
    expect(isFitCandidate(member("a"), { ...answer, lsn: lsn(1899) }, limits)).toBe(false);
    expect(isFitCandidate(member("a"), { ...answer, timeline: 1 }, { ...limits, checkTimeline: true })).toBe(false);
  });

  test("of a manual failover may lag: the operator knows", () => {
    expect(
      isFitCandidate(member("a"), { timeline: 1, lsn: lsn(1), nofailover: false }, { ...limits, action: "failover", checkTimeline: true }),
    ).toBe(true);
  });
});

describe("restart filters", () => {
  const node = { role: "replica", serverVersion: 150004, pendingRestart: false };
  const any = { role: null, postgresVersion: null, restartPending: false };

  test("match by role, by version below, by a pending restart", () => {
    expect(restartFiltersMatch(any, node)).toBe(true);
    expect(restartFiltersMatch({ ...any, role: "primary" }, node)).toBe(false);
    expect(restartFiltersMatch({ ...any, postgresVersion: "15.5" }, node)).toBe(true);
    expect(restartFiltersMatch({ ...any, postgresVersion: "15.4" }, node)).toBe(false);
    expect(restartFiltersMatch({ ...any, restartPending: true }, node)).toBe(false);
    expect(restartFiltersMatch({ ...any, restartPending: true }, { ...node, pendingRestart: true })).toBe(true);
  });

  test("read versions as PostgreSQL numbers them", () => {
    expect(["15", "15.4", "9.6.3", "9.6", "abc", "15.4.1", ""].map(parsePostgresVersion)).toEqual([
      150000,
      150004,
      90603,
      90600,
      null,
      null,
      null,
    ]);
  });
});

describe("a patch of the configuration", () => {
  test("merges objects, deletes by null at every depth, replaces the rest", () => {
    const current = { ttl: 20, postgresql: { parameters: { a: 1, b: 2 }, use_slots: true }, list: [1] };
    const patch = { ttl: 30, postgresql: { parameters: { a: null, c: { x: null, y: 1 } } }, list: [2], new: { n: null } };
    expect(mergeConfig(current, patch)).toEqual({
      ttl: 30,
      postgresql: { parameters: { b: 2, c: { y: 1 } }, use_slots: true },
      list: [2],
      new: {},
    });
    expect(current.postgresql.parameters).toEqual({ a: 1, b: 2 });
  });

  test("cannot reach a prototype", () => {
    const merged = mergeConfig({}, JSON.parse('{"__proto__": {"polluted": true}, "a": {"__proto__": {"polluted": true}}}'));
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
    expect(Object.getPrototypeOf(merged)).toBe(Object.prototype);
    expect(JSON.stringify(merged)).toBe('{"__proto__":{"polluted":true},"a":{"__proto__":{"polluted":true}}}');
  });
});
