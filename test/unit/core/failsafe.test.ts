// Goal: in failsafe mode a primary goes on without the DCS only where everybody agrees, and who has agreed or is not known does not
// lead. Method: one observation a case, before and after the instant that decides.

import { describe, expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import {
  failsafeMembers,
  failsafeVoters,
  NO_FAILSAFE,
  NO_KEY_TRACE,
  sameMembers,
  traceKeyWrite,
  traceKeyWritten,
} from "../../../lib/core/failsafe.ts";
import type { Observation } from "../../../lib/core/observation.ts";
import { lsn, ms } from "../../../lib/model/units.ts";
import { answer, CONFIG, cluster, leading, local, member, observation, primaryStatus, released, status, unlocked } from "./observations.ts";

const config = { ...CONFIG, failsafeMode: true };
const ask = { kind: "ask-failsafe" as const, message: "" };
const held = { session: "s-b", revision: leading().lock.held?.revision ?? (0 as never), confirmedAt: ms(88_000), leaseEndsAt: ms(117_400) };
const failsafe = { ...NO_FAILSAFE, voters: ["a", "c"], leaseCountsUntil: held.leaseEndsAt };

const tried = [{ kind: "renew-lock" as const, ok: false, message: "" }];

/** b leads; the DCS has just been tried in vain. */
function cutOff(fields: Partial<Observation> = {}): Observation {
  const away = { kind: "unreachable" as const, since: ms(99_000), cluster: leading().dcs.cluster, reason: "no answer" };
  return leading({ config, dcs: away, lock: { held }, failsafe, done: tried, ...fields });
}

describe("a primary without the DCS", () => {
  test("asks all members, after it has tried the DCS once more", () => {
    expect(decide(cutOff({ done: [] })).effect).toEqual({ kind: "renew-lock" });
    expect(decide(cutOff()).effect.kind).toBe("ask-failsafe");
  });

  test("goes on where all agree, and asks again once a loop_wait and four times a lease", () => {
    const agreed = cutOff({
      lock: { held: { ...held, leaseEndsAt: ms(129_300) } },
      failsafe: { ...failsafe, roundAt: ms(99_900), leaseCountsUntil: ms(129_300) },
      done: [{ ...ask, ok: true }],
    });
    expect(decide(agreed)).toMatchObject({
      why: "continue to run as a leader because failsafe mode is enabled and all members are accessible",
      effect: { kind: "wait", until: ms(101_000) },
    });
    // The DCS was tried by the read that began the cycle: the round is what keeps PostgreSQL going.
    expect(decide({ ...agreed, now: ms(106_700), done: [] }).effect.kind).toBe("ask-failsafe");
    expect(decide({ ...agreed, now: ms(106_600), done: [] }).effect.kind).toBe("wait");
  });

  test("steps down at once where one refuses or is silent, with as much time for the stop as the lease leaves", () => {
    expect(decide(cutOff({ done: [...tried, { ...ask, ok: false }] }))).toMatchObject({
      why: "demoting self because DCS is not accessible and I was a leader",
      effect: { kind: "stop", mode: "fast", within: ms(16_400) },
    });
  });

  test("asks nobody and keeps to its lease where failsafe mode is off, or the key is missing or does not name it", () => {
    expect(decide(cutOff({ failsafe: NO_FAILSAFE })).rule).toBe("outage-keep");
    const over = cutOff({ failsafe: NO_FAILSAFE, lock: { held: { ...held, leaseEndsAt: ms(103_000) } } });
    expect(decide(over).rule).toBe("outage-demote");
  });

  test("asks nobody once it is time to stop", () => {
    const late = { ...held, leaseEndsAt: ms(103_000) };
    expect(decide(cutOff({ lock: { held: late }, failsafe: { ...failsafe, leaseCountsUntil: late.leaseEndsAt } })).rule).toBe(
      "outage-demote",
    );
  });

  test("whose lease is in doubt asks the members as it would ask the DCS", () => {
    const doubted = { ...held, leaseEndsAt: ms(100_000) };
    expect(decide(cutOff({ lock: { held: doubted } })).effect.kind).toBe("ask-failsafe");
    expect(decide(cutOff({ lock: { held: doubted }, failsafe: NO_FAILSAFE })).rule).toBe("outage-demote");
  });

  test("in pause goes on without asking", () => {
    expect(decide(cutOff({ config: { ...config, pause: true } })).rule).toBe("outage-paused");
  });
});

describe("a standby", () => {
  const asked = { done: [{ kind: "ask-peers" as const, ok: true, message: "" }], peers: { answers: [answer("c")] } };
  const free = observation({ config, cluster: unlocked, trace: released, ...asked });
  const promise = { leader: "a", until: ms(103_000) };

  test("that has agreed follows on, also where the lock is free, until its promise is over", () => {
    expect(decide(free).effect.kind).toBe("acquire-lock");
    const bound = { ...free, failsafe: { ...NO_FAILSAFE, promise } };
    expect(decide(bound)).toMatchObject({
      why: "no action. I am (b), a secondary, and following a leader (a)",
      effect: { kind: "wait", until: ms(103_000) },
    });
    expect(
      decide({ ...bound, now: ms(103_000), trace: { ...released, vanishedAt: ms(102_990), markReadAt: ms(102_995) } }).effect.kind,
    ).toBe("acquire-lock");
  });

  test("that has agreed while its request for the lock was under way keeps the lock and is not promoted before the end", () => {
    const holder = leading({ config, local: local(), failsafe: { ...NO_FAILSAFE, promise } });
    expect(decide(holder)).toMatchObject({ rule: "promote-failsafe-promised", effect: { kind: "wait", until: ms(103_000) } });
    expect(decide({ ...holder, now: ms(103_000) }).effect.kind).toBe("promote");
  });

  test("that the failsafe key does not name never leads; an empty key, one that cannot be read, and another mode bind nobody", () => {
    const key = (names: readonly string[] | null) =>
      names === null ? null : Object.fromEntries(names.map((name) => [name, `http://${name}`]));
    const race = (names: readonly string[] | null, mode = config) => decide({ ...free, config: mode, dcs: seen(names) }).rule;
    const seen = (names: readonly string[] | null) => ({
      kind: "reachable" as const,
      readAt: ms(99_990),
      cluster: { ...unlocked, failsafe: key(names) },
    });
    expect(race(["a", "c"])).toBe("race-failsafe-unknown");
    for (const names of [["a", "b"], [], null]) expect(race(names)).toBe("race");
    expect(race(["a", "c"], CONFIG)).toBe("race");
    const holder = leading({ config, local: local() });
    const mine = { ...holder, dcs: { ...holder.dcs, cluster: { ...(holder.dcs.cluster ?? unlocked), failsafe: key(["a", "c"]) } } };
    expect(decide(mine as Observation).effect).toEqual({ kind: "release-lock" });
    const tried = { ...mine, done: [{ kind: "release-lock" as const, ok: false, message: "" }] };
    expect(decide(tried as Observation).effect.kind).toBe("wait");
  });

  test("waits for no other that the failsafe key does not name, however well that one stands", () => {
    const better = { peers: { answers: [answer("c", { lsn: lsn(1001), tags: { failover_priority: 9 } })] } };
    const race = (names: readonly string[]) => {
      const failsafe = Object.fromEntries(names.map((name) => [name, `http://${name}`]));
      return decide({ ...free, ...better, dcs: { kind: "reachable", readAt: ms(99_990), cluster: { ...unlocked, failsafe } } }).rule;
    };
    expect(race(["a", "b"])).toBe("race");
    expect(race(["a", "b", "c"])).toBe("race-not-healthiest");
  });

  test("that comes back without a leader is pointed where it was, but only by its promise", () => {
    const down = { ...free, local: local({ process: { kind: "none" }, status: null, lastRole: "replica" }) };
    expect(decide(down).effect).toMatchObject({ kind: "start", target: null });
    const target = { host: "host-a", port: 5432, slotName: "b" };
    expect(decide({ ...down, failsafe: { ...NO_FAILSAFE, promise } }).effect).toMatchObject({ kind: "start", target });
    const away = { kind: "unreachable" as const, since: ms(99_000), cluster: null, reason: "" };
    expect(decide({ ...down, dcs: away }).effect).toMatchObject({ kind: "start", target });
    expect(decide({ ...down, dcs: away, local: { ...down.local, lastRole: "primary" } }).effect).toMatchObject({ target: null });
  });
});

describe("slots", () => {
  const perm = {
    name: "perm",
    type: "physical" as const,
    active: false,
    plugin: null,
    database: null,
    restartLsn: lsn(500),
    confirmedFlushLsn: null,
    temporary: false,
    xmin: null,
    catalogXmin: null,
    failover: false,
    lost: false,
  };
  const wanted = { ...config, slots: [{ kind: "physical" as const, name: "perm", clusterType: null }] };
  const told = { optime: lsn(1000), slots: { perm: lsn(900) }, retainSlots: [] };
  const advance = { kind: "sync-slots", actions: [{ kind: "advance", name: "perm", to: lsn(900), database: null }] };
  const promise = { leader: "a", until: ms(103_000) };

  test("of a member that has agreed follow the positions that the primary tells; none is made or dropped", () => {
    const away = { kind: "unreachable" as const, since: ms(99_000), cluster: cluster({ status: told }), reason: "" };
    const at = local({ status: status({ slots: [perm, { ...perm, name: "unknown" }] }), slotsFor: "", slotsAt: ms(80_000) });
    const bound = observation({ config: wanted, dcs: away, local: at, failsafe: { ...NO_FAILSAFE, promise } });
    expect(decide(bound).effect).toMatchObject(advance);
    expect(decide({ ...bound, failsafe: NO_FAILSAFE }).rule).toBe("outage-wait");
    const free = { kind: "reachable" as const, cluster: { ...unlocked, status: told }, readAt: ms(99_990) };
    expect(decide({ ...bound, dcs: free }).effect).toMatchObject(advance);
    const done = [{ kind: "sync-slots" as const, ok: true, message: "" }];
    for (const dcs of [away, free]) expect(decide({ ...bound, dcs, done }).effect.kind).toBe("wait");
  });

  test("of the primary go with its heartbeat", () => {
    const primary = local({ status: primaryStatus({ slots: [{ ...perm, active: true }] }), lastRole: "primary", upstream: "" });
    expect(decide(cutOff({ config: wanted, local: primary })).effect).toMatchObject({ kind: "ask-failsafe", slots: { perm: lsn(500) } });
  });
});

describe("the failsafe key", () => {
  test("names every member whose address is known, and its keeper", () => {
    const view = cluster({ members: [member("a"), member("c", { apiUrl: null })] });
    const wanted = { a: "http://host-a:8008/patroni", b: "http://b/patroni" };
    expect(failsafeMembers(view, { name: "b", apiUrl: "http://b/patroni" })).toEqual(wanted);
    expect(sameMembers(wanted, { ...wanted })).toBe(true);
    for (const other of [null, {}, { a: wanted.a }, { ...wanted, c: "" }, { ...wanted, b: "http://elsewhere/patroni" }])
      expect(sameMembers(other, wanted)).toBe(false);
  });

  test("is brought up to date at once by its keeper alone, once a cycle", () => {
    const stale = leading({ failsafe: { ...NO_FAILSAFE, keyStale: true } });
    expect(decide(stale).effect).toEqual({ kind: "renew-lock" });
    expect(decide({ ...stale, done: [{ kind: "renew-lock", ok: true, message: "" }] }).effect.kind).toBe("wait");
  });

  test("asks also those whom a write may have named whose outcome is not known, and no longer those whom a confirmed one left out", () => {
    const key = { b: "u-b", c: "u-c" };
    const names = (...parameters: Parameters<typeof failsafeVoters>) => Object.keys(failsafeVoters(...parameters) ?? {}).sort();
    expect(names(key, NO_KEY_TRACE, "b")).toEqual(["c"]);
    const doubtful = traceKeyWrite(NO_KEY_TRACE, { b: "u-b", c: "u-c", d: "u-d" });
    expect(names(key, doubtful, "b")).toEqual(["c", "d"]);
    // Without c, and then again with an answer: a late d cannot come any more, and a snapshot from before counts beside it.
    const written = traceKeyWritten({ b: "u-b", e: "u-e" });
    expect(names(key, written, "b")).toEqual(["c", "e"]);
    expect(names({ b: "u-b", e: "u-e" }, written, "b")).toEqual(["e"]);
    expect(failsafeVoters({ b: "u-b" }, NO_KEY_TRACE, "b")).toEqual({});
    for (const nothing of [null, {}, { c: "u-c" }]) expect(failsafeVoters(nothing, NO_KEY_TRACE, "b")).toBeNull();
  });
});
