// Goal: where a check ends this node's session sooner than ttl, everything here that counts with the lease counts with the shorter one:
// its own end, the stop before it, the guard, the mark for others, the REST answers, failsafe mode, and a restart of the supervisor.
// Method: the real effects and cluster store over a memory store; ttl is 30 s and the check 3 s.

import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { ClusterStore } from "../../../lib/dcs/cluster-store.ts";
import { clusterKeys } from "../../../lib/dcs/keys.ts";
import { MemoryCluster } from "../../../lib/dcs/memory.ts";
import { MemoryStore } from "../../../lib/dcs/memory-store.ts";
import type { OpenSessionOptions } from "../../../lib/dcs/store.ts";
import type { FailsafeHeartbeat } from "../../../lib/model/failsafe.ts";
import { err } from "../../../lib/model/result.ts";
import { type Ms, ms, seconds } from "../../../lib/model/units.ts";
import { recallLease } from "../../../lib/runtime/adoption.ts";
import { askFailsafe, takeHeartbeat } from "../../../lib/runtime/failsafe.ts";
import { keepFenced } from "../../../lib/runtime/fencing.ts";
import { dcsDeadline, stopBudget } from "../../../lib/runtime/lease-bounds.ts";
import { DiskLeaseKeeper } from "../../../lib/runtime/lease-keeper.ts";
import type { FormerLease, NodeContext } from "../../../lib/runtime/node-context.ts";
import { refreshCluster } from "../../../lib/runtime/perform-dcs.ts";
import { renewLock } from "../../../lib/runtime/perform-lock.ts";
import { stateDir } from "../../../lib/runtime/run-lock.ts";
import { SessionTtl } from "../../../lib/runtime/session-ttl.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { CONFIG } from "../core/observations.ts";
import { ManualClock } from "../dcs/manual-clock.ts";
import { Bench, RUNNING, type TestWatchdog, template } from "./fenced-node.ts";

const CHECK_TTL = seconds(3);
/** 3 s without the margin. */
const LEASE_MS = 2_800;

const leaseOf = ({ state }: NodeContext): number => (state.heldFacts()?.leaseEndsAt ?? 0) - (state.held?.confirmedAt ?? 0);

test("lease, mark, guard and file are as short as the check, from the first confirmation on", async () => {
  const bench = new Bench({ sessionCheckTtl: CHECK_TTL });
  const a = await bench.leader();
  const saved: number[] = [];
  a.lease.save = ({ deadline }) => void saved.push(deadline);
  await bench.clock.advance(1_000);
  expect((await renewLock(a)).ok).toBe(true);
  expect(leaseOf(a)).toBe(LEASE_MS);
  expect((await bench.mark())?.ttl).toBe(CHECK_TTL);
  const watchdog = a.watchdog as TestWatchdog;
  expect(watchdog.leaseEnd).toBe(1_000 + LEASE_MS);
  expect(watchdog.ttls.at(-1)).toBe(CHECK_TTL);
  expect(saved).toEqual([1_000 + LEASE_MS]);
  expect(stopBudget(a, a.state.heldFacts())).toBe(ms(750));
  // A running primary waits for the DCS until it has to begin stopping.
  expect(dcsDeadline(a)).toBeLessThanOrEqual(1_000 + LEASE_MS - 750 - 500);
});

test("the lock is held for the API, and by the store, no longer than the check lasts", async () => {
  const bench = new Bench({ sessionCheckTtl: CHECK_TTL });
  const a = await bench.leader();
  const leader = (): string | null => bench.data.get(clusterKeys({ ...template, group: null }).leader)?.value ?? null;
  await bench.clock.advance(LEASE_MS - 1);
  expect([a.state.leaseValid(), leader()]).toEqual([true, "a"]);
  await bench.clock.advance(1);
  expect([a.state.leaseValid(), leader()]).toEqual([false, "a"]);
  await bench.clock.advance(CHECK_TTL - LEASE_MS);
  expect(leader()).toBeNull();
});

test("in failsafe mode the members prolong the lease by no more than that, and promise a peer no less than ttl", async () => {
  const bench = new Bench({ sessionCheckTtl: CHECK_TTL });
  const a = await bench.leader();
  const beats: FailsafeHeartbeat[] = [];
  a.peers.failsafe = async (_url, beat) => {
    beats.push(beat);
    return { kind: "accepted", lsn: null };
  };
  const key = clusterKeys({ ...template, group: null }).failsafe;
  bench.data.apply([{ kind: "put", key, value: JSON.stringify({ a: "http://a/patroni", b: "http://b/patroni" }) }]);
  a.state.settings = { ...a.state.settings, dynamic: { ...a.state.settings.dynamic, failsafeMode: true } };
  await refreshCluster(a);
  await bench.clock.advance(1_000);
  expect((await askFailsafe(a, {})).ok).toBe(true);
  expect(beats.map(({ ttl }) => ttl)).toEqual([CHECK_TTL]);
  expect(a.state.leaseCountsUntil()).toBe(ms(1_000 + LEASE_MS));
  // The members say nothing of the check: what a restarted supervisor may believe of it stands still.
  expect(a.state.confirmedUntil()).toBe(ms(LEASE_MS));
  // The members have agreed to that much, whatever a reload makes of the ttl before the next round.
  a.state.settings = { ...a.state.settings, dynamic: { ...a.state.settings.dynamic, leaseTtlMs: ms(1_000) } };
  expect(a.state.leaseCountsUntil()).toBe(ms(1_000 + LEASE_MS));
  // As a member it waits for another holder, whose check it does not know.
  const b = await bench.node("replica", "b");
  b.state.settings = { ...b.state.settings, dynamic: { ...b.state.settings.dynamic, failsafeMode: true } };
  expect(takeHeartbeat(b, { name: "a", connUrl: "", apiUrl: "", slots: {}, ttl: null }).status).toBe(200);
  expect(b.state.failsafe.promise?.until).toBe(ms(1_000 + CONFIG.ttlMs));
});

test("a restarted supervisor goes on with the lease as it was written, guard and all", async () => {
  const bench = new Bench({ sessionCheckTtl: CHECK_TTL });
  const a = await bench.node("primary");
  const record: FormerLease = {
    session: "s",
    revision: 1 as FormerLease["revision"],
    deadline: ms(2_000),
    sameBoot: true,
    checkedUntil: ms(2_000),
    systemIdentifier: "",
    postmaster: { pid: RUNNING.pid, startTicks: RUNNING.startTicks },
    guard: null,
  };
  a.lease.former = () => record;
  await recallLease(a);
  expect(a.state.heldFacts()?.leaseEndsAt).toBe(ms(2_000));
  const watchdog = a.watchdog as TestWatchdog;
  expect([watchdog.leaseEnd, watchdog.ttls.at(-1)]).toEqual([2_000, CHECK_TTL]);
});

test("a lease that members had prolonged says no more of the check, after a second restart as well, than the store had confirmed", async () => {
  const bench = new Bench({ sessionCheckTtl: CHECK_TTL });
  const a = await bench.node("primary");
  const postmaster = { pid: RUNNING.pid, startTicks: RUNNING.startTicks };
  a.lease.former = () => ({
    ...{ session: "s", revision: 1 as FormerLease["revision"], sameBoot: true, systemIdentifier: "", postmaster, guard: null },
    ...{ deadline: ms(2_000), checkedUntil: ms(500) },
  });
  await recallLease(a);
  expect([a.state.confirmedUntil(), a.state.checkedUntil()]).toEqual([ms(2_000), ms(500)]);
  a.state.startOver();
  const dataDir = join(mkdtempSync(join(tmpdir(), "lease-")), "data");
  const keeper = () => {
    mkdirSync(stateDir(dataDir), { recursive: true });
    const opened = DiskLeaseKeeper.open({ dataDir, state: a.state, watchdog: a.watchdog, log: a.log });
    if (!opened.ok) throw new Error(opened.error.message);
    return opened.value;
  };
  keeper().save({ session: "s", revision: 1 as FormerLease["revision"], deadline: ms(4_000) });
  expect(keeper().former()).toMatchObject({ deadline: ms(4_000), checkedUntil: ms(500) });
  rmSync(dirname(dataDir), { recursive: true });
  const lock = { session: "s", revision: 1 as FormerLease["revision"], confirmedAt: ms(1_000), promisedMs: CHECK_TTL };
  a.state.hold(lock);
  expect(a.state.checkedUntil()).toBe(ms(1_000 + LEASE_MS));
});

test("a check that is switched on by a reload shortens the next lease at once, and the session once the long one has run down", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  const sessionTtl = new SessionTtl(a);
  const set = (check: Ms | null): void => {
    const consul = template.consul === null ? null : { ...template.consul, sessionCheckTtlMs: check };
    const { node, dynamic } = a.state.settings;
    a.state.settings = { node: { ...node, consul }, dynamic: { ...dynamic, leaseTtlMs: check ?? dynamic.ttlMs } };
  };
  expect(sessionTtl.settled).toBe(true);
  const former = a.state.held?.session;
  set(CHECK_TTL);
  expect(sessionTtl.settled).toBe(false);
  await sessionTtl.follow();
  expect((await renewLock(a)).ok).toBe(true);
  await keepFenced(a);
  expect([leaseOf(a), a.state.held?.session]).toEqual([LEASE_MS, former as string]);
  expect((a.watchdog as TestWatchdog).ttls.at(-1)).toBe(CHECK_TTL);
  for (let cycle = 0; cycle < 40 && !sessionTtl.settled; cycle++) {
    await bench.clock.advance(1_000);
    expect((await renewLock(a)).ok).toBe(true);
    await sessionTtl.follow();
  }
  expect(sessionTtl.settled).toBe(true);
  expect(a.state.held?.session).not.toBe(former);
  expect(leaseOf(a)).toBe(LEASE_MS);
  expect(a.store.session()).toMatchObject({ checkTtl: CHECK_TTL, promisedMs: CHECK_TTL });
  set(null);
  await sessionTtl.follow();
  expect(a.store.session()).toMatchObject({ checkTtl: null, promisedMs: CONFIG.ttlMs });
  expect(leaseOf(a)).toBe(CONFIG.ttlMs - 600);
});

test("a lock that went over to another session is on disk and at the guard at once: a supervisor that dies now leaves what holds", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  const former = a.state.held?.session;
  const saved: Parameters<NodeContext["lease"]["save"]>[0][] = [];
  a.lease.save = (lease) => void saved.push(lease);
  const sessionTtl = new SessionTtl(a);
  await bench.clock.advance(1_000);
  a.state.settings = { ...a.state.settings, dynamic: { ...a.state.settings.dynamic, ttlMs: seconds(40), leaseTtlMs: seconds(40) } };
  await sessionTtl.follow();
  const held = a.state.held;
  expect(held?.session).not.toBe(former as string);
  const leaseEnd = a.state.heldFacts()?.leaseEndsAt ?? ms(0);
  expect(saved).toEqual([{ session: held?.session ?? "", revision: held?.revision ?? (0 as FormerLease["revision"]), deadline: leaseEnd }]);
  expect((a.watchdog as TestWatchdog).leaseEnd).toBe(leaseEnd);
});

test("why a session cannot be exchanged is told once, and again after it was exchanged", async () => {
  const bench = new Bench({});
  const a = await bench.leader();
  const sessionTtl = new SessionTtl(a);
  const warnings: string[] = [];
  a.log.warning = (text) => void warnings.push(text);
  const reloadConfig = a.store.reloadConfig.bind(a.store);
  const wish = async (ttl: Ms, reason: string | null): Promise<void> => {
    a.state.settings = { ...a.state.settings, dynamic: { ...a.state.settings.dynamic, ttlMs: ttl, leaseTtlMs: ttl } };
    a.store.reloadConfig = reason === null ? reloadConfig : async () => err({ kind: "unavailable", reason });
    await sessionTtl.follow();
  };
  await bench.clock.advance(1_000);
  for (const reason of ["one", "one", "two", "two", null, "two"]) await wish(seconds(reason === null ? 40 : 50), reason);
  expect(warnings.map((text) => text.split(": ").at(-1))).toEqual(["one", "two", "two"]);
});

test("a check that the store goes on refusing is asked for each half minute, not in each cycle and not while the lock is free; another wish at once", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  await refreshCluster(a);
  const sessionTtl = new SessionTtl(a);
  const asked: (Ms | null | undefined)[] = [];
  a.store.reloadConfig = async ({ sessionCheckTtl }) => {
    asked.push(sessionCheckTtl);
    return err({ kind: "unavailable", reason: "the servers do not know the check" });
  };
  const wish = (check: Ms): void => {
    const consul = template.consul === null ? null : { ...template.consul, sessionCheckTtlMs: check };
    a.state.settings = { ...a.state.settings, node: { ...a.state.settings.node, consul } };
  };
  const cycles = async (count: number): Promise<number> => {
    const before = asked.length;
    for (let each = 0; each < count; each++) {
      await sessionTtl.follow();
      await bench.clock.advance(1_000);
    }
    return asked.length - before;
  };
  wish(CHECK_TTL);
  // An agent may be late with it.
  expect(await cycles(15)).toBe(15);
  expect(await cycles(29)).toBe(0);
  expect(await cycles(30)).toBe(1);
  const { cluster } = a.state;
  if (cluster === null) throw new Error("the store is there");
  a.state.cluster = { ...cluster, leader: null };
  expect(await cycles(40)).toBe(0);
  a.state.cluster = cluster;
  expect(await cycles(1)).toBe(1);
  wish(seconds(4));
  expect(await cycles(5)).toBe(5);
  expect(asked.at(-1)).toBe(seconds(4));
});

test("a session without its check is taken where there is none, and not in exchange for one: that would be exchanged for ever", async () => {
  const clock = new ManualClock();
  const asked: OpenSessionOptions["unchecked"][] = [];
  const store = new MemoryStore({ cluster: new MemoryCluster({ clock }), clock });
  const openSession = store.openSession.bind(store);
  store.openSession = (options) => {
    asked.push(options.unchecked ?? "allowed");
    return openSession({ ...options, check: null });
  };
  const { namespace, scope } = template;
  const names = { namespace, scope, group: null, name: "a" };
  const ours = new ClusterStore({ ...names, store, clock, log: recordingLog(), ttl: CONFIG.ttlMs, sessionCheckTtl: CHECK_TTL });
  const deadline = ms(5_000);
  expect((await ours.ensureSession({ deadline })).ok).toBe(true);
  expect(ours.sessionOutdated).toBe(true);
  await ours.reloadConfig({ ttl: CONFIG.ttlMs, sessionCheckTtl: CHECK_TTL, deadline });
  expect(asked).toEqual(["allowed", "refused"]);
});
