import { describe, expect, test } from "bun:test";
import { HEALTH_PATHS, type HealthFacts, judgeHealth, parseHealthQuery, parseLag } from "../../../lib/core/role-health.ts";
import { lsn, seconds } from "../../../lib/model/units.ts";

const replica: HealthFacts = {
  running: true,
  inRecovery: true,
  holdsLock: false,
  leaderRole: false,
  standbyCluster: false,
  synchronous: "none",
  dcsReachable: true,
  paused: false,
  tags: { zone: "a", backup: true, two: "2" },
  replicationState: "streaming",
  receivedLsn: lsn(1000),
  replayedLsn: lsn(900),
  leaderLsn: lsn(1000),
  sinceLastCycleMs: seconds(1),
  ttlMs: seconds(30),
  maximumLagOnFailoverBytes: 1024,
};
const primary: HealthFacts = {
  ...replica,
  inRecovery: false,
  holdsLock: true,
  leaderRole: true,
  replicationState: null,
  receivedLsn: null,
  replayedLsn: null,
};
const standbyLeader: HealthFacts = { ...replica, holdsLock: true, leaderRole: true, standbyCluster: true };

function status(path: string, facts: HealthFacts): number {
  const [name = "", search = ""] = path.split("?");
  const check = HEALTH_PATHS.get(name);
  if (check === undefined) throw new Error(`no such path: ${name}`);
  return judgeHealth(check, facts, parseHealthQuery(search));
}

/** The paths that answer 200, of all. */
function green(facts: HealthFacts): string[] {
  return [...HEALTH_PATHS.keys()].filter((path) => status(path, facts) === 200);
}

const LEADER_PATHS = ["/", "/primary", "/master", "/read-write", "/leader"];
const READ_ONLY = ["/read-only", "/read-only-sync", "/read-only-synchronous", "/read-only-quorum"];
const ALWAYS = ["/health", "/liveness", "/readiness"];

describe("role health", () => {
  test("a primary with the lock is green on the leader's and the read-only paths", () => {
    expect(green(primary)).toEqual([
      ...LEADER_PATHS,
      "/read-only",
      "/read-only-sync",
      "/read-only-synchronous",
      "/read-only-quorum",
      ...ALWAYS,
    ]);
  });

  test("a primary whose lease has ended is green nowhere but on /health and /liveness", () => {
    expect(green({ ...primary, holdsLock: false })).toEqual(["/health", "/liveness"]);
  });

  test("a holder of the lock that is still in recovery is /leader, not /primary", () => {
    expect(status("/primary", { ...replica, holdsLock: true })).toBe(503);
    expect(status("/leader", { ...replica, holdsLock: true })).toBe(200);
  });

  test("a standby leader is green on its own paths, not on /primary or /replica", () => {
    expect(green(standbyLeader)).toEqual(["/leader", "/standby-leader", "/standby_leader", ...READ_ONLY, ...ALWAYS]);
  });

  test("a replica is green on the replica paths, by its place in the sync key", () => {
    expect(green(replica)).toEqual(["/replica", "/read-only", "/async", "/asynchronous", ...ALWAYS]);
    expect(green({ ...replica, synchronous: "sync" })).toEqual([
      "/replica",
      "/read-only",
      "/sync",
      "/synchronous",
      "/read-only-sync",
      "/read-only-synchronous",
      ...ALWAYS,
    ]);
    expect(green({ ...replica, synchronous: "quorum" })).toEqual(["/replica", "/read-only", "/quorum", "/read-only-quorum", ...ALWAYS]);
  });

  test("noloadbalance takes a replica off every path that serves reads", () => {
    for (const synchronous of ["none", "sync", "quorum"] as const) {
      expect(green({ ...replica, synchronous, tags: { noloadbalance: true } })).toEqual(ALWAYS);
    }
  });

  test("without PostgreSQL nothing but /liveness is green", () => {
    for (const facts of [primary, replica, standbyLeader]) expect(green({ ...facts, running: false })).toEqual(["/liveness"]);
  });

  test("while the DCS is unknown nobody is sync, async or quorum", () => {
    for (const facts of [primary, { ...replica, synchronous: "sync" as const }, { ...replica, synchronous: "quorum" as const }, replica]) {
      const paths = green({ ...facts, dcsReachable: false });
      expect(paths.filter((path) => /sync|quorum/.test(path))).toEqual([]);
    }
    expect(status("/replica", { ...replica, dcsReachable: false })).toBe(200);
  });

  test("lag counts replayed bytes against the leader's published position", () => {
    expect(status("/replica?lag=100", replica)).toBe(200);
    expect(status("/replica?lag=99", replica)).toBe(503);
    expect(status("/replica?lag=1kB", replica)).toBe(200);
    expect(status("/replica?lag=-1", replica)).toBe(503);
    expect(status("/async?lag=99", replica)).toBe(503);
    expect(status("/replica?lag=0", { ...replica, leaderLsn: null })).toBe(200);
    expect(status("/replica?lag=1MB", { ...replica, replayedLsn: null })).toBe(503);
  });

  test("a lag that cannot be read counts as not given", () => {
    for (const lag of ["x", "", "10XB", "1mb"]) expect(status(`/replica?lag=${lag}`, replica)).toBe(200);
  });

  test("lag is exact where doubles are not", () => {
    const far = { ...replica, leaderLsn: lsn(9007199254740993n), replayedLsn: lsn(9007199254740992n) };
    expect(status("/replica?lag=0", far)).toBe(503);
    expect(status("/replica?lag=1", far)).toBe(200);
  });

  test("tags must all match, on the primary's read-only path too, and are ignored on leader paths", () => {
    expect(status("/replica?tag_zone=a&tag_backup=true", replica)).toBe(200);
    expect(status("/replica?tag_backup=True", replica)).toBe(200);
    expect(status("/replica?tag_two=2", replica)).toBe(200);
    expect(status("/replica?tag_zone=a&tag_backup=false", replica)).toBe(503);
    expect(status("/replica?tag_zone=A", replica)).toBe(503);
    expect(status("/replica?tag_absent=x", replica)).toBe(503);
    expect(status("/read-only?tag_zone=b", primary)).toBe(503);
    expect(status("/primary?tag_zone=b", primary)).toBe(200);
    expect(status("/leader?tag_zone=b", primary)).toBe(200);
  });

  test("replication_state must match where it is asked for", () => {
    expect(status("/replica?replication_state=streaming", replica)).toBe(200);
    expect(status("/replica?replication_state=in+archive+recovery", replica)).toBe(503);
    expect(status("/replica?replication_state=streaming", { ...replica, replicationState: null })).toBe(503);
  });

  test("/readiness wants streaming within the limit, by what mode counts", () => {
    const behind = { ...replica, replayedLsn: lsn(1), leaderLsn: lsn(5000), receivedLsn: lsn(4990) };
    expect(status("/readiness", behind)).toBe(503);
    expect(status("/readiness?mode=write", behind)).toBe(200);
    expect(status("/readiness?lag=10kB", behind)).toBe(200);
    expect(status("/readiness", { ...replica, replicationState: "in archive recovery" })).toBe(503);
  });

  test("/liveness fails after ttl on a leader, twice that on a replica, never while paused", () => {
    expect(status("/liveness", { ...primary, sinceLastCycleMs: seconds(31) })).toBe(503);
    expect(status("/liveness", { ...replica, sinceLastCycleMs: seconds(59) })).toBe(200);
    expect(status("/liveness", { ...replica, sinceLastCycleMs: seconds(61) })).toBe(503);
    expect(status("/liveness", { ...primary, sinceLastCycleMs: seconds(600), paused: true })).toBe(200);
  });
});

test("lag is read in bytes and in PostgreSQL's units", () => {
  expect(["0", "16kB", "64MB", "1GB", "2TB", "1.5kB", "1 MB", "5B"].map(parseLag)).toEqual([
    0, 16384, 67108864, 1073741824, 2199023255552, 1536, 1048576, 5,
  ]);
  expect(["", "x", "1KB", "--1", "1e999"].map(parseLag)).toEqual([null, null, null, null, null]);
});
