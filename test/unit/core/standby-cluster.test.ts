// Goal: the leader of a standby cluster holds the lock, follows the remote primary and never takes writes. Method: one observation a case.

import { describe, expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { FinishedTask, Observation } from "../../../lib/core/observation.ts";
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
  STANDBY_CLUSTER,
  status,
  unlocked,
} from "./observations.ts";

const REMOTE = "remote:5433";
const config = { ...CONFIG, standbyCluster: STANDBY_CLUSTER };
const held = leading().lock;

/** b holds the lock; a and c are its members. */
function led(fields: Partial<Cluster> = {}): Cluster {
  return cluster({
    leader: { name: "b", session: "s-b", revision: revision(4) },
    members: [member("a"), member("b", { role: "standby_leader" }), member("c")],
    ...fields,
  });
}

/** It follows the remote primary, with the settings of a standby leader. */
const SETTLED = { upstream: REMOTE, standbyRole: "standby_leader" } as const;

function standbyLeader(fields: Partial<Observation> & { readonly cluster?: Cluster } = {}): Observation {
  return observation({ cluster: led(), config, lock: held, local: local(SETTLED), ...fields });
}

function planned(plan: "follow" | "rewind" | "clone"): FinishedTask {
  const made = plan === "clone" ? { kind: plan, why: "", allowed: false } : { kind: plan, why: "" };
  return {
    kind: "plan-rejoin",
    finishedAt: ms(99_999),
    ok: true,
    message: "",
    failures: 0,
    plan: { leader: `remote primary ${REMOTE}`, leaderSession: null, plan: made },
  };
}

function failed(kind: FinishedTask["kind"], failures = 1): FinishedTask {
  return { kind, finishedAt: ms(99_999), ok: false, message: "no", failures, plan: null };
}

const down = local({ process: { kind: "none" }, status: null });
const empty = local({ process: { kind: "none" }, status: null, dataDirectory: { kind: "empty" } });
const asked = [{ kind: "ask-peers" as const, ok: true, message: "" }];
const request = { revision: revision(9), leader: "b", candidate: null, scheduledAt: null, scheduledAtText: null };

describe("the standby leader", () => {
  test("at work tells that it has the lock", () => {
    expect(decide(standbyLeader()).why).toBe("no action. I am (b), the standby leader with the lock");
  });

  test("who has just taken the lock follows the remote primary, once its data was measured by that one's history", () => {
    const taken = standbyLeader({ local: local({ upstream: "host-a:5432" }) });
    expect(decide(taken)).toMatchObject({
      rule: "standby-leader-follow-plan",
      effect: { target: { name: null, host: "remote", port: 5433, slotName: "site_b" }, leaderSession: null },
    });
    expect(decide({ ...taken, lastTask: planned("follow") })).toMatchObject({
      effect: { kind: "follow", role: "standby_leader", target: { host: "remote" } },
      why: "promoted self to a standby leader by acquiring session lock",
    });
  });

  test("follows a remote primary that does not answer all the same: it goes on as soon as that comes back", () => {
    const taken = standbyLeader({ local: local({ upstream: "host-a:5432" }), lastTask: failed("plan-rejoin") });
    expect(decide(taken).rule).toBe("standby-leader-follow");
  });

  test("follows another remote primary where the configuration names another one", () => {
    const moved = standbyLeader({ local: local({ ...SETTLED, upstream: "elsewhere:5432" }), lastTask: planned("follow") });
    expect(decide(moved).why).toBe("following the remote primary remote:5433");
  });

  test("is never promoted, paused or not, whatever it was told", () => {
    const named = led({ failover: { ...request, leader: null, candidate: "b" } });
    for (const view of [led(), named]) {
      for (const pause of [true, false]) {
        const rule = decide(standbyLeader({ cluster: view, config: { ...config, pause } })).rule;
        expect(rule.startsWith("standby-leader")).toBe(true);
      }
    }
  });

  test("that runs as primary is demoted under its lock, but not in pause", () => {
    const primary = local({ status: primaryStatus(), lastRole: "primary", upstream: "" });
    expect(decide(standbyLeader({ local: primary }))).toMatchObject({
      rule: "standby-leader-demote",
      effect: { kind: "stop", mode: "fast", archive: true },
      why: expect.stringContaining("cannot be a real primary in standby cluster"),
    });
    expect(decide(standbyLeader({ local: primary, config: { ...config, pause: true } })).rule).toBe("standby-leader-paused-primary");
  });

  test("that was started behind the remote primary while nobody led gets a standby leader's settings, and is told of", () => {
    expect(decide(standbyLeader({ local: local({ upstream: REMOTE }) }))).toMatchObject({
      effect: { kind: "follow", target: { host: "remote" }, role: "standby_leader" },
      why: "promoted self to a standby leader by acquiring session lock",
    });
  });

  test("whose cluster is a standby cluster no more is promoted", () => {
    const alone = standbyLeader({ config: CONFIG, local: local(SETTLED) });
    expect(decide(alone)).toMatchObject({ effect: { kind: "promote" }, why: "promoted self to leader because I had the session lock" });
  });

  test("takes the sync key away, so that it binds nobody after the promotion of the cluster", () => {
    const view = led({ sync: { revision: revision(3), leader: "a", standbys: ["c"], quorum: 0 } });
    expect(decide(standbyLeader({ cluster: view })).effect).toEqual({ kind: "write-sync", leader: null, standbys: [], quorum: 0 });
  });

  test("publishes its position where none is published, or one that it will never reach", () => {
    for (const optime of [null, lsn(5000)]) {
      const view = led({ status: { optime, slots: {}, retainSlots: [] } });
      expect(decide(standbyLeader({ cluster: view })).rule).toBe("renew-lock");
    }
  });

  test("keeps the slots of its members", () => {
    const o = standbyLeader({ local: local({ ...SETTLED, slotsFor: "" }), done: [{ kind: "renew-lock", ok: true, message: "" }] });
    const actions = ["a", "c"].map((name) => ({ kind: "create-physical", name }));
    expect(decide(o)).toMatchObject({ rule: "standby-leader-slots", effect: { kind: "sync-slots", actions } });
  });

  test("restarts on request", () => {
    expect(decide(standbyLeader({ requests: { shutdown: false, restart: true, reinitialize: null } })).effect).toEqual({
      kind: "restart",
      syncNames: null,
    });
  });
});

describe("a stopped standby leader", () => {
  test("starts as what it is once its data may follow the remote primary", () => {
    expect(decide(standbyLeader({ local: down })).rule).toBe("standby-leader-plan");
    expect(decide(standbyLeader({ local: down, lastTask: planned("follow") }))).toMatchObject({
      effect: { kind: "start", role: "standby_leader", target: { host: "remote" } },
      why: "starting as a standby leader because i had the session lock",
    });
  });

  test("starts also while the remote primary does not answer, and behind an archive alone", () => {
    expect(decide(standbyLeader({ local: down, lastTask: failed("plan-rejoin") })).rule).toBe("standby-leader-start");
    const archive = { ...config, standbyCluster: { ...STANDBY_CLUSTER, host: null, port: null, restore_command: "cp" } };
    expect(decide(standbyLeader({ local: down, config: archive })).effect).toMatchObject({ role: "standby_leader", target: null });
  });

  test("that has diverged is rewound from the remote primary, copied anew where that is allowed, and else never streams", () => {
    expect(decide(standbyLeader({ local: down, lastTask: planned("rewind") })).effect).toMatchObject({
      kind: "rewind",
      target: { host: "remote" },
    });
    const self = { ...observation().self, removeDataDirectoryOnDivergedTimelines: true };
    expect(decide(standbyLeader({ local: down, lastTask: planned("clone"), self })).effect).toMatchObject({
      kind: "clone",
      methods: "remote",
      clear: true,
    });
    expect(decide(standbyLeader({ local: down, lastTask: planned("clone") })).effect).toMatchObject({ kind: "start", target: null });
    const started = local({ upstream: "", notStreamingSince: ms(99_000) });
    expect(decide(standbyLeader({ local: started, lastTask: planned("clone") })).rule).toBe("standby-leader");
  });

  test("that does not start gives way to a member that can lead, and waits where there is none", () => {
    const o = standbyLeader({ local: down, lastTask: failed("start", 3) });
    expect(decide(o).rule).toBe("standby-leader-crashed-ask");
    expect(decide({ ...o, done: asked, peers: { answers: [answer("c")] } })).toMatchObject({
      rule: "standby-leader-crashed-release",
      effect: { kind: "release-lock" },
    });
    expect(decide({ ...o, done: asked }).rule).toBe("standby-leader-start-retry");
  });

  test("that is down for another reason keeps the lock, although somebody was asked and could lead", () => {
    const o = standbyLeader({ local: down });
    expect(decide({ ...o, done: asked, peers: { answers: [answer("c")] } }).effect.kind).not.toBe("release-lock");
  });

  test("without data gives the lock away", () => {
    expect(decide(standbyLeader({ local: empty })).rule).toBe("standby-leader-without-data");
  });
});

describe("a standby leader that does not stream", () => {
  const silent = local({ ...SETTLED, notStreamingSince: ms(90_000) });

  test("compares timelines, and stops to be rewound where it has diverged, but not in pause", () => {
    expect(decide(standbyLeader({ local: silent })).rule).toBe("standby-leader-diverged-plan");
    expect(decide(standbyLeader({ local: silent, lastTask: planned("rewind") }))).toMatchObject({
      rule: "standby-leader-diverged-stop",
      effect: { kind: "stop" },
    });
    expect(decide(standbyLeader({ local: silent, lastTask: planned("rewind"), config: { ...config, pause: true } })).rule).toBe(
      "standby-leader",
    );
  });

  test("leaves a remote primary that does not answer in peace for a while", () => {
    expect(decide(standbyLeader({ local: silent, lastTask: failed("plan-rejoin") })).rule).toBe("standby-leader");
  });
});

describe("a switchover in a standby cluster", () => {
  const streaming = local({ upstream: REMOTE, status: status({ replication: [connection("a"), connection("c")] }) });

  test("gives the lock to whoever streams, without a stop", () => {
    const o = standbyLeader({ cluster: led({ failover: request }), local: streaming });
    expect(decide(o)).toMatchObject({ rule: "standby-leader-failover-ask", effect: { names: ["a", "c"] } });
    expect(decide({ ...o, done: asked, peers: { answers: [answer("a"), answer("c")] } })).toMatchObject({
      rule: "standby-leader-hand-over",
      effect: { kind: "release-lock" },
    });
  });

  test("that nobody can serve, or that names another leader, is dropped", () => {
    const o = standbyLeader({ cluster: led({ failover: request }), local: streaming });
    const nobody = {
      ...o,
      done: asked,
      peers: { answers: [answer("a", { state: "stopped" }), answer("c", { tags: { nofailover: true } })] },
    };
    expect(decide(nobody).rule).toBe("standby-leader-failover-impossible");
    const foreign = standbyLeader({ cluster: led({ failover: { ...request, leader: "a" } }) });
    expect(decide(foreign).rule).toBe("standby-leader-failover-stale");
  });

  test("that nobody took is not obeyed again by whoever took the lock afterwards: the lead would go round and round (simulation, seed 2253)", () => {
    const tried = { ...request, leader: null, candidate: "c", revision: revision(3) };
    const o = standbyLeader({ cluster: led({ failover: tried }), local: streaming });
    expect(decide(o)).toMatchObject({
      rule: "standby-leader-failover-stale",
      why: "Cleaning up failover key after acquiring leader lock...",
    });
    const appointed = { ...tried, scheduledAt: 1_700_000_000_000, scheduledAtText: "soon" };
    expect(decide(standbyLeader({ cluster: led({ failover: appointed }), local: streaming })).rule).toBe("standby-leader-failover-ask");
  });

  test("the history of a life of its own, which a Patroni leaves behind, keeps nobody from leading", () => {
    const line = { timeline: timeline(1), lsn: lsn(10), reason: "", time: null, newLeader: "a" };
    const stale = { ...unlocked, history: [line], status: { optime: lsn(9_000_000), slots: {}, retainSlots: [] } };
    const near = local({ status: status({ receivedLsn: lsn(9_000_000) }) });
    for (const checkTimeline of [false, true]) {
      const o = { cluster: stale, config: { ...config, checkTimeline }, local: near, trace: released, done: asked, peers: { answers: [] } };
      expect(decide(observation(o)).effect).toEqual({ kind: "acquire-lock" });
    }
  });

  test("the one who races takes the lock and is not promoted", () => {
    const racing = observation({ cluster: unlocked, config, trace: released, done: asked, peers: { answers: [answer("c")] } });
    expect(decide(racing).effect).toEqual({ kind: "acquire-lock" });
    const took = standbyLeader({ local: local({ upstream: "host-a:5432" }), done: [{ kind: "acquire-lock", ok: true, message: "" }] });
    expect(decide(took).effect.kind).not.toBe("promote");
  });
});

describe("a member of a standby cluster", () => {
  const view = cluster({ members: [member("a", { role: "standby_leader" }), member("b"), member("c")] });

  test("follows the standby leader, not the remote primary", () => {
    expect(decide(observation({ cluster: view, config })).why).toBe("no action. I am (b), a secondary, and following a standby leader (a)");
    expect(decide(observation({ cluster: view, config, local: local({ upstream: REMOTE }) }))).toMatchObject({
      rule: "standby-follow-plan",
      effect: { target: { name: "a" } },
    });
  });

  test("that has diverged is rewound from the remote primary: a standby is no source for older versions", () => {
    const plan = { leader: "a", leaderSession: "s-a", plan: { kind: "rewind" as const, why: "" } };
    const lastTask = { ...planned("rewind"), plan };
    expect(decide(observation({ cluster: view, config, local: down, lastTask })).effect).toMatchObject({
      kind: "rewind",
      target: { host: "remote" },
    });
    // Its leader has not been demoted yet: that one's history is what the plan was made by (simulation, seed 4328).
    expect(decide(observation({ config, local: down, lastTask })).effect).toMatchObject({ kind: "rewind", target: { name: "a" } });
  });

  test("without a leader starts behind the remote primary, and an empty one is copied from it", () => {
    expect(decide(observation({ cluster: unlocked, config, local: down })).effect).toMatchObject({
      kind: "start",
      role: "standby",
      target: { host: "remote" },
    });
    expect(decide(observation({ cluster: unlocked, config, local: empty }))).toMatchObject({
      rule: "leaderless-clone",
      effect: { methods: "remote", target: { host: "remote" }, from: "the remote primary" },
    });
  });
});

describe("the founding of a standby cluster", () => {
  const fresh = { ...unlocked, initialize: null, members: [] };

  test("is a copy of the remote primary", () => {
    expect(decide(observation({ cluster: fresh, config, local: empty })).why).toBe("trying to bootstrap a new standby leader");
    const claimed = [{ kind: "claim-initialize" as const, ok: true, message: "" }];
    expect(decide(observation({ cluster: { ...fresh, initialize: "" }, config, local: empty, done: claimed })).effect).toMatchObject({
      kind: "bootstrap-standby",
      target: { host: "remote", port: 5433 },
    });
  });

  test("that failed is given up, and others wait for it", () => {
    const o = observation({ cluster: { ...fresh, initialize: "" }, config, local: empty });
    expect(decide({ ...o, lastTask: failed("bootstrap-standby") }).rule).toBe("bootstrap-failed");
    // In the cycle of its claim too: one that cannot even begin is not tried again at once.
    const done = [{ kind: "claim-initialize" as const, ok: true, message: "" }];
    expect(decide({ ...o, done, lastTask: failed("bootstrap-standby") }).rule).toBe("bootstrap-failed");
    expect(decide({ ...o, done, lastTask: { ...failed("bootstrap-standby"), finishedAt: ms(50_000) } }).rule).toBe("bootstrap");
    expect(decide(o).why).toBe("waiting for standby_leader to bootstrap");
  });
});
