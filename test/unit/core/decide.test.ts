// Goal: the rule table decides what safety.md and the contract demand. Method: one observation a case, and random ones for holes.

import { describe, expect, test } from "bun:test";
import { decide, RULES } from "../../../lib/core/decide.ts";
import type { Observation } from "../../../lib/core/observation.ts";
import { nearStandbys } from "../../../lib/core/sync-standbys.ts";
import { lsn, ms, revision } from "../../../lib/model/units.ts";
import { fc } from "../../harness/properties.ts";
import {
  answer,
  CONFIG,
  cluster,
  connection,
  leading,
  local,
  mark,
  observation,
  planned,
  primaryStatus,
  released,
  status,
  unlocked,
} from "./observations.ts";

describe("the table", () => {
  test("every id is used once", () => {
    expect(new Set(RULES.map(({ id }) => id)).size).toBe(RULES.length);
  });

  test("every observation matches a rule", () => {
    fc.assert(
      fc.property(observations(), (o) => decide(o).rule !== ""),
      { numRuns: 3000 },
    );
  });

  test("a section is closed only where none of its rules applies: the decision is that of the plain table", () => {
    fc.assert(
      fc.property(observations(), (o) => {
        expect(decide(o).rule).toBe(RULES.find((rule) => rule.when(o))?.id ?? "");
        for (const rule of RULES) if (rule.section?.(o) === false) expect(rule.when(o)).toBe(false);
      }),
      { numRuns: 3000 },
    );
  });

  test("no random observation promotes without the lock and a valid lease", () => {
    fc.assert(
      fc.property(observations(), (o) => {
        const { effect } = decide(o);
        if (effect.kind !== "promote" && !(effect.kind === "start" && effect.role === "primary")) return true;
        const held = o.lock.held;
        return held !== null && held.leaseEndsAt > o.now && o.dcs.cluster?.leader?.session === o.self.session;
      }),
      { numRuns: 5000 },
    );
  });
});

describe("the leader", () => {
  test("at work waits for its next cycle", () => {
    expect(decide(leading()).rule).toBe("leader");
  });

  test("in synchronous mode hears of its standbys, also where their lag decides", () => {
    const sync = { revision: revision(3), leader: "b", standbys: [], quorum: 0 };
    const view = leading().dcs.cluster;
    if (view === null) throw new Error("the leader knows its cluster");
    const at = (config: Partial<typeof CONFIG>): ReturnType<typeof decide> =>
      decide(leading({ config: { ...CONFIG, synchronousMode: "on", ...config }, cluster: { ...view, sync } }));
    expect(at({})).toMatchObject({ rule: "leader", effect: { kind: "wait", until: ms(110_000), watch: "standbys" } });
    expect(at({ maximumLagOnSyncnodeBytes: 1000 })).toEqual(at({}));
  });

  test("knows by maximum_lag_on_syncnode whose lag has come to count, and asks for no positions without it", () => {
    const view = leading().dcs.cluster;
    if (view === null) throw new Error("the leader knows its cluster");
    const rows = (a: number): ReturnType<typeof primaryStatus> =>
      primaryStatus({
        walLsn: lsn(9000),
        replication: [connection("a", { flushLsn: lsn(a) }), connection("c", { flushLsn: lsn(8000) })],
      });
    const at = (limit: number) => leading({ config: { ...CONFIG, synchronousMode: "on", maximumLagOnSyncnodeBytes: limit } });
    expect(nearStandbys(at(0))).toBeNull();
    expect(nearStandbys(at(-1))).toBeNull();
    const near = nearStandbys(at(1000));
    if (near === null) throw new Error("there is a limit");
    expect(near(rows(7500))).toBe(near(rows(7000)));
    expect(near(rows(6999))).not.toBe(near(rows(7000)));
    expect(near(rows(6000))).toBe(near(rows(6999)));
  });

  test("renews its lock when a loop_wait has gone by", () => {
    const o = leading({ lock: { held: { session: "s-b", revision: revision(4), confirmedAt: ms(90_500), leaseEndsAt: ms(120_000) } } });
    expect(decide(o).effect).toEqual({ kind: "renew-lock" });
  });

  test("renews a lease that is short for its loop_wait in the middle, and not before", () => {
    const at = (confirmedAt: number) =>
      leading({
        lock: { held: { session: "s-b", revision: revision(4), confirmedAt: ms(confirmedAt), leaseEndsAt: ms(confirmedAt + 2_800) } },
      });
    expect(decide(at(98_500)).effect).toEqual({ kind: "renew-lock" });
    expect(decide(at(98_700)).rule).toBe("leader");
  });

  test("renews at once a lease that is longer than the ttl in force, so that a lowered ttl counts", () => {
    const lock = { held: { session: "s-b", revision: revision(4), confirmedAt: ms(99_900), leaseEndsAt: ms(129_300) } };
    expect(decide(leading({ lock })).rule).toBe("leader");
    expect(decide(leading({ lock, config: { ...CONFIG, ttlMs: ms(20_000), leaseTtlMs: ms(20_000) } })).effect).toEqual({
      kind: "renew-lock",
    });
  });

  test("renews its lock for a member that has just joined, so that it knows when the lease began", () => {
    expect(decide(leading({ local: local({ status: primaryStatus(), lastRole: "primary", slotsFor: "a" }) })).effect).toEqual({
      kind: "renew-lock",
    });
  });

  test("stops at once when the lock is somebody else's", () => {
    const o = leading({ cluster: cluster() });
    expect(decide(o).effect).toEqual({ kind: "stop", mode: "immediate", within: ms(0) });
  });

  test("whose lock vanished takes it again before anything else", () => {
    expect(decide(leading({ cluster: unlocked })).effect).toEqual({ kind: "acquire-lock" });
  });

  test("keeps PostgreSQL while the DCS is away and the lease runs", () => {
    const o = leading({
      dcs: { kind: "unreachable", since: ms(99_000), cluster: cluster(), reason: "" },
      done: [{ kind: "renew-lock", ok: false, message: "" }],
    });
    expect(decide(o).rule).toBe("outage-keep");
  });

  test("stops PostgreSQL before its lease ends", () => {
    const held = { session: "s-b", revision: revision(4), confirmedAt: ms(70_000), leaseEndsAt: ms(102_000) };
    const o = leading({ lock: { held }, dcs: { kind: "unreachable", since: ms(70_000), cluster: cluster(), reason: "" } });
    expect(decide(o)).toMatchObject({ rule: "outage-demote", effect: { kind: "stop", mode: "fast" } });
  });

  test("in synchronous mode stops it within primary_stop_timeout where the lease leaves more, and no sooner by force", () => {
    const held = { session: "s-b", revision: revision(4), confirmedAt: ms(70_000), leaseEndsAt: ms(102_000) };
    const dcs = { kind: "unreachable" as const, since: ms(70_000), cluster: cluster(), reason: "" };
    const stop = (synchronousMode: "off" | "on", primaryStopTimeoutMs: number) =>
      decide(leading({ lock: { held }, dcs, config: { ...CONFIG, synchronousMode, primaryStopTimeoutMs: ms(primaryStopTimeoutMs) } }))
        .effect;
    const unlimited = stop("off", 300);
    expect(unlimited).toMatchObject({ kind: "stop", mode: "fast" });
    expect(stop("on", 0)).toEqual(unlimited);
    expect(stop("on", 300)).toEqual({ kind: "stop", mode: "fast", within: ms(300) });
    expect(stop("on", 90_000)).toEqual(unlimited);
  });

  test("without time left stops immediately", () => {
    const held = { session: "s-b", revision: revision(4), confirmedAt: ms(70_000), leaseEndsAt: ms(101_100) };
    const o = leading({ lock: { held }, dcs: { kind: "unreachable", since: ms(70_000), cluster: cluster(), reason: "" } });
    expect(decide(o)).toMatchObject({ rule: "outage-demote", effect: { kind: "stop", mode: "immediate" } });
  });

  test("in pause goes on without the DCS", () => {
    const o = leading({ config: { ...CONFIG, pause: true }, dcs: { kind: "unreachable", since: ms(1), cluster: cluster(), reason: "" } });
    expect(decide(o).rule).toBe("outage-paused");
  });

  test("whose PostgreSQL crashed starts it again as the primary that it was", () => {
    const control = { state: "in production" } as NonNullable<Observation["local"]["control"]>;
    const o = leading({ local: local({ process: { kind: "none" }, status: null, lastRole: "primary", crashedAt: ms(99_990), control }) });
    expect(decide(o).effect).toMatchObject({ kind: "start", role: "primary" });
  });

  test("whose standby stopped under the lock never starts it as a primary on the same timeline", () => {
    const control = { state: "shut down in recovery" } as NonNullable<Observation["local"]["control"]>;
    const o = leading({ local: local({ process: { kind: "none" }, status: null, lastRole: null, control }) });
    expect(decide(o).effect).toMatchObject({ kind: "start", role: "standby" });
  });

  test("with primary_start_timeout 0 asks for a replica and releases", () => {
    const control = { state: "in production" } as NonNullable<Observation["local"]["control"]>;
    const config = { ...CONFIG, primaryStartTimeoutMs: ms(0) };
    const crashed = leading({
      config,
      local: local({ process: { kind: "none" }, status: null, lastRole: "primary", crashedAt: ms(99_990), control }),
    });
    expect(decide(crashed).effect).toEqual({ kind: "ask-peers", names: ["a", "c"] });
    const asked = { ...crashed, done: [{ kind: "ask-peers" as const, ok: true, message: "" }], peers: { answers: [answer("a")] } };
    expect(decide(asked).effect).toEqual({ kind: "release-lock" });
  });

  test("hands over on a switchover to a candidate that is fit", () => {
    const failover = { revision: revision(9), leader: "b", candidate: "c", scheduledAt: null, scheduledAtText: null };
    const view = { ...leading().dcs.cluster, failover } as NonNullable<Observation["dcs"]["cluster"]>;
    const asked = { done: [{ kind: "ask-peers" as const, ok: true, message: "" }], peers: { answers: [answer("c")] } };
    expect(decide(leading({ cluster: view })).effect).toEqual({ kind: "ask-peers", names: ["c"] });
    const streaming = local({ status: primaryStatus({ replication: [connection("c")] }), lastRole: "primary", upstream: "" });
    expect(decide(leading({ cluster: view, ...asked, local: streaming })).effect.kind).toBe("hand-over");
    expect(decide(leading({ cluster: view, ...asked }))).toMatchObject({ rule: "failover-impossible", effect: { kind: "clear-failover" } });
    const lagging = { ...asked, local: local({ status: primaryStatus({ walLsn: lsn(9_000_000) }), lastRole: "primary" }) };
    expect(decide(leading({ cluster: view, ...lagging })).effect.kind).toBe("clear-failover");
  });
});

describe("a replica beside a leader", () => {
  test("waits", () => {
    expect(decide(observation()).why).toBe("no action. I am (b), a secondary, and following a leader (a)");
  });

  test("follows the new leader", () => {
    const o = observation({ local: local({ upstream: "host-c:5432" }) });
    expect(decide(o).effect).toMatchObject({ kind: "plan-rejoin", leader: "a", leaderSession: "s-a" });
    expect(decide({ ...o, lastTask: planned("follow") }).effect).toMatchObject({
      kind: "follow",
      target: { host: "host-a", port: 5432, slotName: "b" },
    });
    expect(decide({ ...o, lastTask: planned("rewind") }).effect).toMatchObject({ kind: "stop", mode: "fast" });
  });

  test("without data makes a copy, and only into a directory of its own making", () => {
    const empty = observation({ local: local({ process: { kind: "none" }, status: null, dataDirectory: { kind: "empty" } }) });
    expect(decide(empty).effect).toMatchObject({ kind: "clone", clear: false });
    const foreign = observation({
      local: local({ process: { kind: "none" }, status: null, dataDirectory: { kind: "foreign", sample: "x" } }),
    });
    expect(decide(foreign).effect).toMatchObject({ kind: "exit", code: 1 });
  });

  test("with diverged data rewinds, and without permission never deletes", () => {
    const stopped = local({ process: { kind: "none" }, status: null });
    const lastTask = { kind: "plan-rejoin" as const, finishedAt: ms(99_999), ok: true, message: "", failures: 0 };
    const rewind = {
      ...lastTask,
      plan: { leader: "a", leaderSession: "s-a", plan: { kind: "rewind" as const, why: "" } },
    };
    expect(decide(observation({ local: stopped, lastTask: rewind })).effect.kind).toBe("rewind");
    const clone = { ...lastTask, plan: { leader: "a", leaderSession: "s-a", plan: { kind: "clone" as const, allowed: false, why: "" } } };
    expect(decide(observation({ local: stopped, lastTask: clone })).effect).toMatchObject({ kind: "start", role: "standby" });
  });

  test("that pg_rewind could not bring back is replaced by a copy only with remove_data_directory_on_rewind_failure", () => {
    const stopped = local({ process: { kind: "none" }, status: null, rewindFailed: true });
    const plan = { leader: "a", leaderSession: "s-a", plan: { kind: "rewind" as const, why: "" } };
    const lastTask = { kind: "plan-rejoin" as const, finishedAt: ms(99_999), ok: true, message: "", failures: 0, plan };
    const decided = (removeDataDirectoryOnRewindFailure: boolean) =>
      decide(observation({ local: stopped, lastTask, self: { ...observation().self, removeDataDirectoryOnRewindFailure } }));
    expect(decided(false)).toMatchObject({ rule: "rejoin-rewind", effect: { kind: "rewind" } });
    expect(decided(true)).toMatchObject({ rule: "rejoin-clone", effect: { kind: "clone", clear: true } });
  });
});

describe("what failed a moment ago", () => {
  const failedTask = (kind: "clone" | "promote", failures: number) => ({
    kind,
    finishedAt: ms(99_999),
    ok: false,
    message: "no",
    failures,
    plan: null,
  });

  test("is not tried again at once: a reinitialization waits before its next copy", () => {
    const stopped = local({ process: { kind: "none" }, status: null });
    const requests = { shutdown: false, restart: false, reinitialize: { fromLeader: false } };
    const o = observation({ local: stopped, requests, lastTask: failedTask("clone", 1) });
    expect(decide(o)).toMatchObject({ rule: "clone-retry", effect: { kind: "wait", until: ms(100_999) } });
  });

  test("is not tried again at once: a promotion waits, with the lock and in the next race", () => {
    const held = { lock: leading().lock, cluster: leading().dcs.cluster as NonNullable<Observation["dcs"]["cluster"]> };
    expect(decide(observation({ ...held, lastTask: failedTask("promote", 1) })).rule).toBe("promote-wait");
    expect(decide(observation({ cluster: unlocked, trace: released, lastTask: failedTask("promote", 3) })).rule).toBe(
      "race-promotion-failed",
    );
  });
});

describe("without a leader", () => {
  test("an empty node claims the bootstrap, the second waits", () => {
    const none = local({ process: { kind: "none" }, status: null, dataDirectory: { kind: "absent" }, systemIdentifier: null });
    expect(decide(observation({ cluster: cluster({ leader: null, initialize: null }), local: none })).effect.kind).toBe("claim-initialize");
    expect(decide(observation({ cluster: cluster({ leader: null, initialize: "" }), local: none })).effect.kind).toBe("wait");
  });

  test("after a release the healthiest node takes the lock", () => {
    const asked = { done: [{ kind: "ask-peers" as const, ok: true, message: "" }], trace: released };
    expect(decide(observation({ cluster: unlocked, trace: released })).effect.kind).toBe("ask-peers");
    expect(decide(observation({ cluster: unlocked, ...asked, peers: { answers: [answer("c")] } })).effect.kind).toBe("acquire-lock");
    const ahead = decide(observation({ cluster: unlocked, ...asked, peers: { answers: [answer("c", { lsn: lsn(1001) })] } }));
    expect(ahead.rule).toBe("race-not-healthiest");
  });

  test("a silent old leader whose mark moved less than ttl ago holds the race up", () => {
    const trace = {
      ...observation().trace,
      vanishedAt: ms(99_990),
      mark: mark({ released: false }),
      markSeenAt: ms(90_000),
      markReadAt: ms(99_990),
      answer: { kind: "silent" as const, at: ms(99_995) },
    };
    expect(decide(observation({ cluster: unlocked, trace })).rule).toBe("race-wait");
    const over = { ...trace, markSeenAt: ms(70_000) };
    expect(decide(observation({ cluster: unlocked, trace: over })).rule).toBe("race-ask-peers");
    // Seen long ago, but not read since the lock vanished: the holder may have written another since (simulation, seed 67).
    const unread = { ...over, markReadAt: ms(80_000) };
    expect(decide(observation({ cluster: unlocked, trace: unread })).rule).not.toBe("race-ask-peers");
    expect(decide(observation({ cluster: unlocked, trace: { ...released, markReadAt: ms(80_000) } })).rule).not.toBe("race-ask-peers");
  });

  test("in synchronous mode only a standby of the sync key races", () => {
    const config = { ...CONFIG, synchronousMode: "on" as const };
    const sync = { revision: revision(3), leader: "a", standbys: ["c"], quorum: 0 };
    expect(decide(observation({ config, cluster: { ...unlocked, sync }, trace: released })).rule).toBe("race-not-synchronous");
    expect(decide(observation({ config, cluster: { ...unlocked, sync: { ...sync, standbys: ["b"] } }, trace: released })).rule).toBe(
      "race-ask-peers",
    );
  });

  test("in pause nobody races", () => {
    expect(decide(observation({ config: { ...CONFIG, pause: true }, cluster: unlocked, trace: released })).rule).toBe("race-paused");
  });
});

/** Random combinations of everything that rules look at. */
function observations(): fc.Arbitrary<Observation> {
  const process = fc.constantFrom<Observation["local"]["process"]>(
    { kind: "none" },
    { kind: "running", pid: 1, startTicks: 1, stopped: false },
  );
  const directory = fc.constantFrom<Observation["local"]["dataDirectory"]>(
    { kind: "absent" },
    { kind: "empty" },
    { kind: "valid", majorVersion: 15 },
    { kind: "half-made", by: "clone" },
  );
  const leader = fc.constantFrom(null, "a", "b", "b-old");
  return fc
    .record({
      process,
      directory,
      leader,
      answers: fc.constantFrom("none", "standby", "primary"),
      paused: fc.boolean(),
      reachable: fc.boolean(),
      shutdown: fc.boolean(),
      held: fc.constantFrom(null, 95_000, 99_900, 100_500, 110_000, 128_000),
      initialize: fc.constantFrom(null, "", "7000000000000000001"),
      crashed: fc.boolean(),
      sync: fc.boolean(),
      task: fc.constantFrom(null, "clone" as const, "promote" as const),
      renewed: fc.boolean(),
      control: fc.constantFrom(null, "in production", "shut down", "shut down in recovery"),
    })
    .map((r) => {
      const owner =
        r.leader === null
          ? null
          : r.leader === "a"
            ? { name: "a", session: "s-a" }
            : { name: "b", session: r.leader === "b" ? "s-b" : "s-old" };
      const view = cluster({ leader: owner === null ? null : { ...owner, revision: revision(4) }, initialize: r.initialize });
      const running = r.process.kind === "running";
      const facts = !running || r.answers === "none" ? null : r.answers === "primary" ? primaryStatus() : status();
      return observation({
        config: { ...CONFIG, pause: r.paused, synchronousMode: r.sync ? "on" : "off" },
        dcs: r.reachable
          ? { kind: "reachable", cluster: view, readAt: ms(99_990) }
          : { kind: "unreachable", since: ms(99_000), cluster: view, reason: "" },
        lock: {
          held:
            r.held === null ? null : { session: "s-b", revision: revision(4), confirmedAt: ms(r.held - 29_000), leaseEndsAt: ms(r.held) },
        },
        local: local({
          process: r.process,
          dataDirectory: running ? { kind: "valid", majorVersion: 15 } : r.directory,
          status: facts,
          lastRole: facts === null ? null : facts.inRecovery ? "replica" : "primary",
          crashedAt: r.crashed && !running ? ms(90_000) : null,
          control: r.control === null ? null : ({ state: r.control } as NonNullable<Observation["local"]["control"]>),
        }),
        task: r.task === null ? null : { kind: r.task, startedAt: ms(99_000), aborting: false },
        requests: { shutdown: r.shutdown, restart: false, reinitialize: null },
        done: r.renewed ? [{ kind: "renew-lock", ok: false, message: "" }] : [],
      });
    });
}
