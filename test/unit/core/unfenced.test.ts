// Goal: a primary that nothing fences is looked at before anybody is promoted, and the mark says in time that nothing does
// (docs/adr/0004). Method: one observation a case.

import { describe, expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import { type LeaderTrace, traceUnfenced, UNFENCED_FRESH_MS, type UnfencedKind } from "../../../lib/core/leader-trace.ts";
import type { Observation } from "../../../lib/core/observation.ts";
import type { DynamicConfig } from "../../../lib/model/dynamic-config.ts";
import type { SyncState } from "../../../lib/model/sync-state.ts";
import { type Ms, ms, revision } from "../../../lib/model/units.ts";
import { CONFIG, cluster, leading, local, mark, observation, released, unlocked } from "./observations.ts";

const NOW = ms(100_000);
const place = { name: "a", apiUrl: "http://host-a:8008/patroni", connUrl: "postgres://host-a:5432/postgres" };
/** The lease of a is over since long, its session ended by its TTL. */
const over = {
  ...released,
  vanishedAt: ms(20_000),
  mark: mark({ released: false, unfenced: place }),
  markSeenAt: ms(10_000),
  markReadAt: NOW,
};

function race(trace: LeaderTrace, fields: Partial<Observation> = {}): ReturnType<typeof decide> {
  return decide(observation({ cluster: unlocked, trace, ...fields }));
}

function seen(kind: UnfencedKind, at: Ms, since: Ms = at): LeaderTrace {
  return { ...over, unfenced: { kind, at, since } };
}

describe("before a race for the lock of a holder that nothing fenced", () => {
  test("it is asked for although its lease is over and it was silent", () => {
    expect(race(over).effect).toEqual({ kind: "ask-old-leader" });
    expect(race({ ...over, mark: mark({ released: false }) }).effect.kind).toBe("ask-peers");
  });

  test("nobody races while its PostgreSQL runs, not after ttl, not on an operator's request either", () => {
    const alive = race(seen("alive", ms(99_000)));
    expect(alive).toMatchObject({ rule: "race-wait", effect: { kind: "wait", until: ms(101_000) } });
    expect(alive.why).toContain("start its supervisor, or stop that PostgreSQL");
    const failover = { revision: unlocked.revision, leader: null, candidate: "b", scheduledAt: null, scheduledAtText: null };
    expect(race(seen("alive", ms(99_000)), { dcs: { kind: "reachable", readAt: NOW, cluster: { ...unlocked, failover } } }).rule).toBe(
      "race-wait",
    );
  });

  test("it is in nobody's way where, by the key and by its own settings, all of its commits wait for this node", () => {
    const inSync = (kind: UnfencedKind, fields: Partial<SyncState> = {}, config: Partial<DynamicConfig> = {}) => {
      const sync = { revision: revision(7), leader: "a", standbys: ["b"], quorum: 0, ...fields };
      return race(seen(kind, ms(99_000)), {
        config: { ...CONFIG, synchronousMode: "on", ...config },
        dcs: { kind: "reachable", readAt: NOW, cluster: { ...unlocked, sync } },
      });
    };
    expect(inSync("starved").effect.kind).toBe("ask-peers");
    // Its settings say otherwise than the key, or its supervisor answered for it.
    expect(inSync("alive").rule).toBe("race-wait");
    expect(inSync("starved", {}, { synchronousMode: "off" }).rule).toBe("race-wait");
    expect(inSync("starved", { leader: "c" }).rule).toBe("race-wait");
    expect(inSync("starved", { standbys: ["b", "c"], quorum: 1 }, { synchronousMode: "quorum" }).rule).toBe("race-wait");
  });

  test("an answer grows old and is asked for again", () => {
    expect(race(seen("alive", ms(NOW - UNFENCED_FRESH_MS))).effect).toEqual({ kind: "ask-old-leader" });
  });

  test("one that is stopped or a standby is in nobody's way", () => {
    expect(race(seen("down", ms(99_000))).effect.kind).toBe("ask-peers");
  });

  test("silence has to last: a lost packet is no proof", () => {
    expect(race(seen("silent", ms(99_500), ms(98_000))).rule).toBe("race-wait");
    expect(race(seen("silent", ms(99_500), ms(94_500))).effect.kind).toBe("ask-peers");
    const began = traceUnfenced(over, "silent", ms(90_000));
    expect(traceUnfenced(began, "silent", ms(92_000)).unfenced).toEqual({ kind: "silent", since: ms(90_000), at: ms(92_000) });
    expect(traceUnfenced(began, "alive", ms(92_000)).unfenced).toEqual({ kind: "alive", since: ms(92_000), at: ms(92_000) });
  });

  test("a candidate that has never seen that leader knows it from the mark", () => {
    const fresh = { ...over, name: null, session: null, apiUrl: null };
    expect(race(fresh).effect).toEqual({ kind: "ask-old-leader" });
    expect(race({ ...seen("alive", ms(99_000)), name: null, session: null, apiUrl: null }).rule).toBe("race-wait");
  });

  test("a release on purpose, and the own mark, say enough", () => {
    expect(race({ ...over, mark: mark({ unfenced: place }) }).effect.kind).toBe("ask-peers");
    expect(race({ ...over, name: "b", mark: mark({ released: false, unfenced: { ...place, name: "b" } }) }).effect.kind).toBe("ask-peers");
  });
});

describe("the holder", () => {
  const stale = { ...observation().self, markStale: true };
  const paused = { ...CONFIG, pause: true };

  test("renews its lock at once where the mark says otherwise than is so", () => {
    expect(decide(leading({ self: stale, config: paused })).effect).toEqual({ kind: "renew-lock" });
    expect(decide(leading({ self: stale })).effect).toEqual({ kind: "renew-lock" });
  });

  test("that is to end in pause says so in the mark first, once", () => {
    const requests = { shutdown: true, restart: false, reinitialize: null };
    const o = leading({ self: stale, config: paused, requests });
    expect(decide(o)).toMatchObject({ rule: "shutdown-paused-mark", effect: { kind: "renew-lock" } });
    expect(decide({ ...o, done: [{ kind: "renew-lock", ok: false, message: "" }] }).rule).toBe("shutdown-paused");
    expect(decide({ ...o, self: observation().self }).rule).toBe("shutdown-paused");
  });

  test("that is to end stops its primary within the lease, and at once where a pause left it without one", () => {
    const requests = { shutdown: true, restart: false, reinitialize: null };
    const a = cluster({ leader: { name: "b", session: "s-former", revision: revision(4) } });
    const primary = local({ status: null, lastRole: "primary", upstream: "" });
    const ending = (held: Observation["lock"]["held"]) => decide(observation({ cluster: a, local: primary, lock: { held }, requests }));
    expect(ending(null)).toMatchObject({ rule: "shutdown-stop", effect: { kind: "stop", mode: "immediate", within: 0 } });
    const held = { session: "s-b", revision: revision(4), confirmedAt: ms(90_000), leaseEndsAt: ms(110_000) };
    const { stopBudgetMs } = observation().self;
    expect(ending(held).effect).toEqual({ kind: "stop", mode: "fast", within: ms(10_000 - stopBudgetMs) });
    const standby = decide(observation({ local: local(), requests }));
    expect(standby.effect).toEqual({ kind: "stop", mode: "fast", within: ms(60_000) });
  });
});
