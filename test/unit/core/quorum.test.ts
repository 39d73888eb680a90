// Goal: in quorum mode nobody takes over that was not compared with enough voters, and who takes over claims no more than it can keep.
// Method: one observation a case.

import { describe, expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { Observation, PeerAnswer } from "../../../lib/core/observation.ts";
import type { Cluster } from "../../../lib/model/cluster.ts";
import { lsn, ms, revision, timeline } from "../../../lib/model/units.ts";
import {
  answer,
  CONFIG,
  cluster,
  connection,
  leading,
  local,
  member,
  observation,
  primaryStatus,
  released,
  status,
  unlocked,
} from "./observations.ts";

const config = { ...CONFIG, synchronousMode: "quorum" as const };
const asked = [{ kind: "ask-peers" as const, ok: true, message: "" }];
const four = [member("b"), member("c"), member("d")];

function key(standbys: readonly string[], quorum: number, leader = "a"): Cluster["sync"] {
  return { revision: revision(3), leader, standbys, quorum };
}

/** b, a voter beside c and d, after a has gone. */
function race(
  quorum: number,
  answers: readonly PeerAnswer[],
  fields: Partial<Observation> & { readonly view?: Partial<Cluster> } = {},
): Observation {
  const { view, ...rest } = fields;
  const sync = key(["b", "c", "d"], quorum);
  return observation({
    config,
    cluster: { ...unlocked, members: four, sync, ...view },
    trace: released,
    done: asked,
    peers: { answers },
    ...rest,
  });
}

/** b with the lock, not promoted yet. */
function elected(sync: Cluster["sync"], fields: Partial<Observation> = {}, view: Partial<Cluster> = {}): Observation {
  const { lock } = leading();
  return observation({
    config,
    cluster: cluster({ leader: { name: "b", session: "s-b", revision: revision(4) }, sync, ...view }),
    lock,
    ...fields,
  });
}

describe("a voter", () => {
  test("races with as many votes as the key demands, and says whose they are", () => {
    expect(decide(race(1, [answer("c")]))).toMatchObject({ rule: "race", effect: { kind: "acquire-lock" } });
    expect(decide(race(1, [answer("c")])).why).toStartWith("Got quorum vote from c");
    expect(decide(race(2, [answer("c")])).rule).toBe("race-without-quorum");
    expect(decide(race(2, [answer("c")])).why).toContain("2 votes are needed, 1 came (c)");
    expect(decide(race(2, [answer("c"), answer("d")])).rule).toBe("race");
  });

  test("gets no vote from who has more WAL, is on a newer timeline, shows no position, does not run, or is no voter", () => {
    const others: readonly PeerAnswer[] = [
      // More WAL, but may not lead: it does not go first, and does not vote.
      answer("c", { lsn: lsn(1001), tags: { nofailover: true } }),
      answer("c", { timeline: timeline(2), lsn: lsn(900) }),
      answer("c", { timeline: null }),
      answer("c", { lsn: null }),
      answer("c", { state: "starting" }),
      answer("x"),
      { name: "c", status: null, askedAt: ms(99_999) },
    ];
    for (const other of others) expect(decide(race(1, [other])).rule).toBe("race-without-quorum");
    expect(decide(race(1, [answer("c", { lsn: lsn(999) })])).rule).toBe("race");
  });

  test("needs votes also where the configuration was switched to mode on meanwhile: the key is what its leader promised", () => {
    const on = { ...CONFIG, synchronousMode: "on" as const };
    expect(decide(race(1, [], { config: on })).rule).toBe("race-without-quorum");
    expect(decide(race(1, [answer("c")], { config: on })).rule).toBe("race");
  });

  test("lets a higher priority go first only where that one might get its votes: c needs two, and b's own is one of them", () => {
    const preferred = answer("c", { tags: { failover_priority: 2 } });
    // Nobody else answers: c cannot be elected, and the leader of the key, which needs no votes, is back.
    const former = { view: { sync: key(["c", "d"], 2, "b") } };
    expect(decide(race(2, [preferred], former)).rule).toBe("race");
    expect(decide(race(2, [preferred, answer("d")], former)).rule).toBe("race");
    expect(decide(race(1, [preferred, answer("d")], { view: { sync: key(["c", "d"], 1, "b") } })).rule).toBe("race-not-healthiest");
    expect(decide(race(2, [preferred, answer("d")])).rule).toBe("race-not-healthiest");
  });

  test("named by a switchover needs votes; named by a failover goes without", () => {
    const request = { revision: revision(9), leader: "a", candidate: "b", scheduledAt: null, scheduledAtText: null };
    expect(decide(race(1, [], { view: { failover: request } })).rule).toBe("race-without-quorum");
    expect(decide(race(1, [], { view: { failover: { ...request, leader: null } } })).rule).toBe("race");
  });

  test("that is the leader of the key needs none: it wrote every commit itself; who is not in the key never races", () => {
    expect(decide(race(1, [], { view: { sync: key(["c", "d"], 1, "b") } })).rule).toBe("race");
    expect(decide(race(1, [answer("c"), answer("d")], { view: { sync: key(["c", "d"], 1) } })).rule).toBe("race-not-synchronous");
  });

  test("does not wait for the leader of the key, which may have WAL that nobody was promised", () => {
    const former = answer("a", { lsn: lsn(5000) });
    expect(decide(race(1, [former, answer("c")])).rule).toBe("race");
    const asynchronous = observation({ cluster: unlocked, trace: released, done: asked, peers: { answers: [former] } });
    expect(decide(asynchronous)).toMatchObject({ rule: "race-not-healthiest" });
    expect(decide(asynchronous).why).toEndWith("Wal position of a is ahead of my wal position");
  });
});

describe("the holder of the lock, before its promotion", () => {
  test("counts the votes of its race again with the key as it is now, and asks where it knows none", () => {
    expect(decide(elected(key(["b", "c"], 1)))).toMatchObject({ rule: "promote-ask-voters", effect: { kind: "ask-peers", names: ["c"] } });
    const met = { done: asked, peers: { answers: [answer("c")] } };
    expect(decide(elected(key(["b", "c"], 1), met)).rule).toBe("promote-sync-key");
    expect(decide(elected(key(["b", "c", "d"], 2), met))).toMatchObject({ rule: "promote-not-allowed", effect: { kind: "release-lock" } });
    expect(decide(elected(key(["c"], 0), met)).rule).toBe("promote-not-allowed");
  });

  test("takes the key over alone; strict keeps the other voters and their quorum", () => {
    const met = { done: asked, peers: { answers: [answer("c"), answer("d")] } };
    const sync = key(["b", "c", "d"], 1);
    expect(decide(elected(sync, met)).effect).toEqual({ kind: "write-sync", leader: "b", standbys: [], quorum: 0 });
    const strict = { ...config, synchronousModeStrict: true };
    expect(decide(elected(sync, { ...met, config: strict })).effect).toEqual({
      kind: "write-sync",
      leader: "b",
      standbys: ["c", "d"],
      quorum: 1,
    });
    const one = elected(key(["b"], 0), { config: strict });
    expect(decide(one).effect).toEqual({ kind: "write-sync", leader: "b", standbys: [], quorum: 0 });
    // In mode on each name has to stand for itself.
    const on = { ...strict, synchronousMode: "on" as const };
    expect(decide(elected(sync, { ...met, config: on })).effect).toMatchObject({ standbys: [] });
    const chosen = { revision: revision(9), leader: null, candidate: "b", scheduledAt: null, scheduledAtText: null };
    expect(decide(elected(sync, { config: strict }, { failover: chosen })).effect).toMatchObject({ standbys: [], quorum: 0 });
  });

  test("waits from its first commit on for enough of the voters that it kept, else for any other member", () => {
    expect(decide(elected(key(["c", "d", "e"], 1, "b"))).effect).toEqual({ kind: "promote", syncNames: "ANY 2 (c,d,e)" });
    expect(decide(elected(key(["c"], 1, "b"))).effect).toEqual({ kind: "promote", syncNames: "ANY 1 (c)" });
    expect(decide(elected(key([], 0, "b"))).effect).toEqual({ kind: "promote", syncNames: "ANY 1 (a,c)" });
    const on = { ...CONFIG, synchronousMode: "on" as const };
    expect(decide(elected(key(["c", "d"], 0, "b"), { config: on })).effect).toEqual({ kind: "promote", syncNames: "2 (c,d)" });
    expect(decide(elected(key([], 0, "b"), { config: on })).effect).toEqual({ kind: "promote", syncNames: "1 (a,c)" });
  });

  test("deletes what a former leader has left of the key where the mode is off, before it is promoted", () => {
    const off = { ...CONFIG, synchronousMode: "off" as const };
    expect(decide(elected(key(["c"], 0, "a"), { config: off }))).toMatchObject({
      rule: "promote-sync-key",
      effect: { kind: "write-sync", leader: null },
    });
    expect(decide(elected({ ...key([], 0), leader: null }, { config: off })).effect).toEqual({ kind: "promote", syncNames: null });
  });

  test("asks pre_promote first, and touches the sync key only after that", () => {
    const self = { ...observation().self, prePromote: "due" as const };
    const o = elected(key(["b"], 0), { self });
    expect(decide(o)).toMatchObject({ rule: "promote-hook", effect: { kind: "pre-promote" } });
    expect(decide({ ...o, self: { ...self, prePromote: "passed" } }).rule).toBe("promote-sync-key");
    const failed = { kind: "promote" as const, finishedAt: ms(99_999), ok: false, message: "", failures: 1, plan: null };
    const again = elected(key([], 0, "b"), { self: { ...self, prePromote: "passed" }, lastTask: failed });
    expect(decide(again).rule).toBe("promote-wait");
  });

  test("whose pre_promote vetoed leaves the race to the others for a while", () => {
    const lastTask = { kind: "pre-promote" as const, finishedAt: ms(99_000), ok: false, message: "exit 1", failures: 1, plan: null };
    expect(decide(race(1, [answer("c")], { lastTask })).rule).toBe("race-promotion-failed");
    expect(decide(race(1, [answer("c")], { lastTask: { ...lastTask, finishedAt: ms(90_000) } })).rule).toBe("race");
  });
});

describe("a leader of a quorum", () => {
  const request = { revision: revision(9), leader: "b", candidate: null, scheduledAt: null, scheduledAtText: null };
  const streams = primaryStatus({ synchronousStandbyNames: "ANY 1 (a,c)", replication: [connection("a"), connection("c")] });

  function switchover(answers: readonly PeerAnswer[], candidate: string | null = null): Observation {
    const base = leading().dcs.cluster;
    if (base === null) throw new Error("the leader knows its cluster");
    const view = { ...base, sync: key(["a", "c"], 1, "b"), failover: { ...request, candidate } };
    return leading({
      config,
      cluster: view,
      local: local({ status: streams, lastRole: "primary", upstream: "" }),
      done: asked,
      peers: { answers },
    });
  }

  test("hands over only where enough voters are there to elect one of them; a named candidate decides by his own look", () => {
    expect(decide(switchover([answer("a"), answer("c")])).effect.kind).toBe("hand-over");
    expect(decide(switchover([answer("a")]))).toMatchObject({ rule: "failover-impossible", effect: { kind: "clear-failover" } });
    expect(decide(switchover([answer("a")])).why).toContain("too few voters");
    expect(decide(switchover([answer("a")], "a")).effect.kind).toBe("hand-over");
  });

  test("that crashed lets go only where enough voters are there", () => {
    const control = { state: "in production" } as NonNullable<Observation["local"]["control"]>;
    const crashed = local({ process: { kind: "none" }, status: null, lastRole: "primary", crashedAt: ms(1000), control });
    const view = { ...leading().dcs.cluster, sync: key(["a", "c"], 1, "b") } as Cluster;
    const o = leading({ config: { ...config, primaryStartTimeoutMs: ms(0) }, cluster: view, local: crashed, done: asked });
    expect(decide({ ...o, peers: { answers: [answer("a"), answer("c")] } }).rule).toBe("holder-crashed-release");
    expect(decide({ ...o, peers: { answers: [answer("a")] } }).rule).toBe("holder-crashed-alone");
  });
});

describe("a synchronous standby that is to stop", () => {
  const view = cluster({ sync: key(["b"], 0) });
  const duty = (requests: Partial<Observation["requests"]>, fields: Partial<Observation> = {}): Observation =>
    observation({ config, cluster: view, requests: { shutdown: false, restart: false, reinitialize: null, ...requests }, ...fields });
  const waiting = { ...observation().self, releaseAskedAt: ms(99_000) };

  test("asks the leader for its release first, whatever it stops for", () => {
    for (const requests of [{ shutdown: true }, { restart: true }, { reinitialize: { fromLeader: false } }]) {
      const o = duty(requests);
      expect(decide(o)).toMatchObject({ rule: "sync-release-ask", effect: { kind: "ask-release" } });
      expect(decide({ ...o, self: waiting }).rule).toBe("sync-release-wait");
    }
  });

  test("goes on at once when the key does not name it any more, when it could not ask, and in the end in any case", () => {
    const o = duty({ restart: true }, { self: waiting });
    const free = { ...view, sync: key(["c"], 0) };
    expect(decide({ ...o, dcs: { kind: "reachable", cluster: free, readAt: o.now } }).rule).toBe("standby-restart");
    expect(decide({ ...o, now: ms(102_100) }).rule).toBe("standby-restart");
    expect(decide(duty({ restart: true }, { done: [{ kind: "ask-release", ok: false, message: "" }] })).rule).toBe("standby-restart");
  });

  test("gives a Patroni the time of two cycles", () => {
    const patroni = { ...view, members: [member("a", { role: "primary", product: null }), member("b"), member("c")] };
    const o = duty({ restart: true }, { self: waiting, now: ms(110_000) });
    expect(decide(o).rule).toBe("standby-restart");
    expect(decide({ ...o, dcs: { kind: "reachable", cluster: patroni, readAt: o.now } }).rule).toBe("sync-release-wait");
  });

  test("asks nobody where PostgreSQL goes on in pause, nor where strict has nobody else to name", () => {
    expect(decide(duty({ shutdown: true }, { config: { ...config, pause: true } })).rule).toBe("shutdown-paused");
    const strict = { ...config, synchronousModeStrict: true };
    expect(decide(duty({ restart: true }, { config: strict })).rule).toBe("sync-release-ask");
    const pair = { ...view, members: [member("a", { role: "primary" }), member("b")] };
    expect(decide(duty({ restart: true }, { config: strict, dcs: { kind: "reachable", cluster: pair, readAt: ms(99_990) } })).rule).toBe(
      "standby-restart",
    );
  });
});

describe("of equals", () => {
  const tags = { failover_priority: 2 };
  const asynchronous = (answers: readonly PeerAnswer[], fields: Partial<Observation> = {}): Observation =>
    observation({ cluster: { ...unlocked, members: four }, trace: released, done: asked, peers: { answers }, ...fields });

  test("the one with the higher failover_priority goes first, more WAL goes before both", () => {
    const o = asynchronous([answer("c", { tags })]);
    expect(decide(o).rule).toBe("race-not-healthiest");
    expect(decide(o).why).toEndWith("c has equally tolerable WAL position and priority 2, while this node has priority 1");
    expect(decide(asynchronous([answer("c", { tags, lsn: lsn(999) })])).rule).toBe("race");
    expect(decide(race(1, [answer("c", { tags })])).rule).toBe("race-not-healthiest");
  });

  test("the former leader does not go first by its priority", () => {
    expect(decide(asynchronous([answer("a", { tags })])).rule).toBe("race");
  });

  test("nofailover wins over a failover_priority that says otherwise, both ways", () => {
    const self = { ...observation().self, tags: { nofailover: true, failover_priority: 1 } };
    expect(decide(asynchronous([], { self })).rule).toBe("race-nofailover");
    expect(decide(asynchronous([], { self: { ...self, tags: { nofailover: false, failover_priority: 0 } } })).rule).toBe("race");
  });

  test("who led before holds back for primary_race_backoff while there is somebody else", () => {
    const trace = { ...released, name: "b", session: "s-old", mark: null };
    const backoff = { ...CONFIG, primaryRaceBackoffMs: ms(5000) };
    expect(decide(asynchronous([], { trace, config: backoff })).rule).toBe("race-backoff");
    expect(decide(asynchronous([], { trace: { ...trace, vanishedAt: ms(95_000) }, config: backoff })).rule).toBe("race");
    expect(decide(asynchronous([], { trace, config: CONFIG })).rule).toBe("race");
    const alone = { ...unlocked, members: [member("b")] };
    expect(decide(observation({ cluster: alone, trace, config: backoff, done: asked })).rule).toBe("race");
  });
});

describe("with check_timeline", () => {
  const checks = { ...CONFIG, checkTimeline: true };
  const history = [{ timeline: timeline(1), lsn: lsn(1000), reason: "", time: null, newLeader: null }];

  test("nobody races from an older timeline than the cluster's, and nobody is handed over to", () => {
    const older = observation({ config: checks, cluster: { ...unlocked, history }, trace: released, done: asked });
    expect(decide(older)).toMatchObject({ rule: "race-not-healthiest" });
    expect(decide({ ...older, config: CONFIG }).rule).toBe("race");
    expect(decide({ ...older, local: local({ status: status({ timeline: timeline(2) }) }) }).rule).toBe("race");
  });

  test("a switchover goes to no older timeline; a failover, an operator's own word, goes there", () => {
    const primary = primaryStatus({ timeline: timeline(2), replication: [connection("c")] });
    const to = (leader: string | null): Observation => {
      const failover = { revision: revision(9), leader, candidate: "c", scheduledAt: null, scheduledAtText: null };
      const view = { ...leading().dcs.cluster, failover } as Cluster;
      const here = local({ status: primary, lastRole: "primary", upstream: "", historyPublished: timeline(2) });
      return leading({ config: checks, cluster: view, local: here, done: asked, peers: { answers: [answer("c")] } });
    };
    expect(decide(to("b")).why).toContain("c is on an older timeline");
    expect(decide(to(null)).effect.kind).toBe("hand-over");
  });
});

test("a switchover does not go to a member that exceeds maximum replication lag; a failover does", () => {
  const to = (leader: string | null): Observation => {
    const failover = { revision: revision(9), leader, candidate: "c", scheduledAt: null, scheduledAtText: null };
    const here = local({
      status: primaryStatus({ walLsn: lsn(9_000_000), replication: [connection("c")] }),
      lastRole: "primary",
      upstream: "",
    });
    return leading({
      cluster: { ...leading().dcs.cluster, failover } as Cluster,
      local: here,
      done: asked,
      peers: { answers: [answer("c")] },
    });
  };
  expect(decide(to("b")).why).toContain("c exceeds maximum replication lag");
  expect(decide(to(null)).effect.kind).toBe("hand-over");
});
