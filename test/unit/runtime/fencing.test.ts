// Goal: a pause lets the guard go only while the lease mark of the lock that is held surely says that nothing fences PostgreSQL
// (docs/adr/0004), whatever became of earlier marks, locks and processes. Method: the real effects and cluster store over a memory
// store with a gate that makes the faults; PostgreSQL and the guard are facts that the test sets. Outside a pause the fencing follows ttl.

import { expect, test } from "bun:test";
import { traceUnfenced } from "../../../lib/core/leader-trace.ts";
import { err } from "../../../lib/model/result.ts";
import { type Ms, ms } from "../../../lib/model/units.ts";
import { adoptLock, recallLease } from "../../../lib/runtime/adoption.ts";
import { disarmUnfenced, keepFenced, rearm } from "../../../lib/runtime/fencing.ts";
import { dcsDeadline } from "../../../lib/runtime/lease-bounds.ts";
import type { NodeContext } from "../../../lib/runtime/node-context.ts";
import { refreshCluster } from "../../../lib/runtime/perform-dcs.ts";
import { acquireLock, releaseLock, renewLock } from "../../../lib/runtime/perform-lock.ts";
import { SessionTtl } from "../../../lib/runtime/session-ttl.ts";
import type { RecordingLog } from "../../harness/recording-log.ts";
import { CONFIG, primaryStatus } from "../core/observations.ts";

import { Bench, RUNNING, type TestWatchdog } from "./fenced-node.ts";

function pause({ state }: NodeContext, to: "on" | "off"): void {
  state.settings = { ...state.settings, dynamic: { ...state.settings.dynamic, pause: to === "on" } };
}

/** A pause that has ended: the mark said that nothing fences PostgreSQL, and the guard is armed again. */
async function pausedOnce(context: NodeContext): Promise<void> {
  pause(context, "on");
  await renewLock(context);
  pause(context, "off");
  await rearm(context);
}

test("a changed ttl is what the fencing counts with from then on, and one that is as before is not asked for again", async () => {
  const a = await new Bench().leader();
  const { ttls } = a.watchdog as TestWatchdog;
  for (const ttl of [30_000, 30_000, 20_000, 20_000]) {
    a.state.settings = { ...a.state.settings, dynamic: { ...a.state.settings.dynamic, ttlMs: ms(ttl), leaseTtlMs: ms(ttl) } };
    await keepFenced(a);
  }
  expect(ttls).toEqual([30_000, 20_000]);
});

test("a ttl that the watchdog has no timeout for leaves it armed as it was, and is told once", async () => {
  const a = await new Bench().leader();
  const watchdog = a.watchdog as TestWatchdog;
  watchdog.tooLong = 60_000;
  a.state.settings = { ...a.state.settings, dynamic: { ...a.state.settings.dynamic, ttlMs: ms(60_000), leaseTtlMs: ms(60_000) } };
  for (let cycle = 0; cycle < 3; cycle++) await keepFenced(a);
  expect(watchdog.armed).toBe(true);
  expect(watchdog.ttls.filter((ttl) => ttl === 60_000)).toHaveLength(1);
  expect((a.log as unknown as RecordingLog).lines.filter((line) => line.startsWith("WARNING"))).toEqual([
    "WARNING: the watchdog goes on with its former timeout: no such timeout",
  ]);
});

test("a guard that is gone and cannot be had again is missed where it is required alone", async () => {
  for (const mode of ["automatic", "required"] as const) {
    const a = await new Bench().leader();
    const watchdog = a.watchdog as TestWatchdog;
    a.state.settings = { ...a.state.settings, node: { ...a.state.settings.node, watchdog: { ...a.state.settings.node.watchdog, mode } } };
    watchdog.armed = false;
    watchdog.tooLong = 0;
    await keepFenced(a);
    expect(a.state.fencingMissing).toBe(mode === "required");
  }
});

function required({ state }: NodeContext): void {
  state.settings = { ...state.settings, node: { ...state.settings.node, watchdog: { ...state.settings.node.watchdog, mode: "required" } } };
}

test("fencing that was missed is not missed any more once it is armed", async () => {
  const a = await new Bench().leader();
  required(a);
  a.state.fencingMissing = true;
  await rearm(a);
  expect(a.state.fencingMissing).toBe(false);
});

test("a node whose required watchdog was gone is looked after once in a loop_wait, and may lead once that is back", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  const watchdog = a.watchdog as TestWatchdog;
  required(a);
  watchdog.armed = false;
  watchdog.tooLong = 0;
  await keepFenced(a);
  expect(a.state.fencingMissing).toBe(true);
  // The rules stop it: until then it leads, and nothing is taken back.
  await bench.clock.advance(CONFIG.loopWaitMs);
  await keepFenced(a);
  Object.assign(a.state.local, { process: { kind: "none" }, status: null });
  await bench.clock.advance(CONFIG.loopWaitMs);
  for (let wake = 0; wake < 3; wake++) await keepFenced(a);
  expect(a.state.fencingMissing).toBe(true);
  expect(watchdog.looks).toBe(1);
  watchdog.tooLong = Number.POSITIVE_INFINITY;
  await keepFenced(a);
  expect(a.state.fencingMissing).toBe(true);
  await bench.clock.advance(CONFIG.loopWaitMs);
  await keepFenced(a);
  expect(a.state.fencingMissing).toBe(false);
  expect(watchdog.looks).toBe(2);
});

test("a required watchdog that was missed before or in a pause and is back: the end of the pause arms it and stops nothing", async () => {
  for (const device of ["back", "gone"] as const) {
    const a = await new Bench().leader();
    const watchdog = a.watchdog as TestWatchdog;
    required(a);
    watchdog.armed = false;
    a.state.fencingMissing = true;
    pause(a, "on");
    await keepFenced(a);
    pause(a, "off");
    expect(a.state.fencingMissing).toBe(false);
    if (device === "gone") watchdog.tooLong = 0;
    await keepFenced(a);
    expect(watchdog.armed).toBe(device === "back");
    expect(a.state.fencingMissing).toBe(device === "gone");
  }
});

test("a ttl that was lowered by mistake and put right before the session followed: leases count with the right one again", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  const sessionTtl = new SessionTtl(a);
  const lease = () => (a.state.heldFacts()?.leaseEndsAt ?? 0) - (a.state.held?.confirmedAt ?? 0);
  const before = lease();
  for (const ttl of [ms(3_000), CONFIG.ttlMs]) {
    a.state.settings = { ...a.state.settings, dynamic: { ...a.state.settings.dynamic, ttlMs: ttl, leaseTtlMs: ttl } };
    await sessionTtl.follow();
    await bench.clock.advance(500);
    expect((await renewLock(a)).ok).toBe(true);
    expect(lease() < before).toBe(ttl < CONFIG.ttlMs);
  }
  expect(lease()).toBe(before);
  expect(sessionTtl.settled).toBe(true);
});

test("a lowered ttl ends no lease that was confirmed before: it counts from the next confirmation on", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  const sessionTtl = new SessionTtl(a);
  await bench.clock.advance(9_000);
  const end = a.state.heldFacts()?.leaseEndsAt;
  a.state.settings = { ...a.state.settings, dynamic: { ...a.state.settings.dynamic, ttlMs: ms(5_000), leaseTtlMs: ms(5_000) } };
  expect(a.state.heldFacts()?.leaseEndsAt).toBe(end as Ms);
  await sessionTtl.follow();
  expect((await renewLock(a)).ok).toBe(true);
  expect((a.state.heldFacts()?.leaseEndsAt ?? 0) - bench.clock.now()).toBeLessThan(5_000);
});

test("between the two halves of a restart in a pause the mark goes on saying that nothing fences PostgreSQL", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  pause(a, "on");
  await renewLock(a);
  expect((await bench.mark())?.unfenced?.name).toBe("a");
  a.state.task = {
    kind: "restart",
    startedAt: bench.clock.now(),
    aborting: false,
    controller: new AbortController(),
    settled: Promise.resolve(),
  };
  a.state.local.process = { kind: "none" };
  await renewLock(a);
  expect((await bench.mark())?.unfenced?.name).toBe("a");
  a.state.task = null;
  await renewLock(a);
  expect((await bench.mark())?.unfenced).toBeNull();
});

test("who released the lock takes it again after a restart of its supervisor, with PostgreSQL down: the record says that it was ours", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  const saved: Parameters<NodeContext["lease"]["save"]>[0][] = [];
  Object.assign(a.lease, { save: (lease: (typeof saved)[number]) => saved.push(lease) });
  expect((await releaseLock(a, null)).ok).toBe(true);
  expect(saved.at(-1)).toMatchObject({ deadline: ms(0) });
  const later = await bench.node("primary");
  Object.assign(later.state.local, { process: { kind: "none" }, status: null });
  expect((await acquireLock(later)).ok).toBe(false);
  Object.assign(later.lease, { former: () => saved.at(-1) ?? null });
  expect((await acquireLock(later)).ok).toBe(true);
});

test("a pause lets the guard go once the mark has said so, and not before", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  pause(a, "on");
  await disarmUnfenced(a);
  expect(bench.machine.guard).toBe("armed");
  expect((await renewLock(a)).ok).toBe(true);
  expect(bench.machine.guard).toBe("disarmed");
  expect((await bench.mark())?.unfenced?.name).toBe("a");
});

test("a reload that switches the watchdog off lets the guard go once the mark has said so, and another one arms it again", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  const { settings } = a.state;
  const mode = (to: "off" | "automatic") => {
    a.state.settings = { ...settings, node: { ...settings.node, watchdog: { ...settings.node.watchdog, mode: to } } };
  };
  mode("off");
  await disarmUnfenced(a);
  expect(bench.machine.guard).toBe("armed");
  expect((await renewLock(a)).ok).toBe(true);
  expect(bench.machine.guard).toBe("disarmed");
  expect((await bench.mark())?.unfenced?.name).toBe("a");
  mode("automatic");
  expect((await renewLock(a)).ok).toBe(true);
  expect(bench.machine.guard).toBe("armed");
});

test("the guard stays in a second pause while a mark that says otherwise is under way, or may have been written", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  await pausedOnce(a);
  bench.plan.push({ kind: "pass" }, { kind: "lose-answer" });
  const renewing = renewLock(a);
  await bench.clock.advance(1);
  expect(bench.plan).toEqual([]);
  pause(a, "on");
  await disarmUnfenced(a);
  expect(bench.machine.guard).toBe("armed");
  await bench.clock.advance(5_000);
  expect(await renewing).toMatchObject({ ok: false });
  expect((await bench.mark())?.unfenced).toBeNull();
  await disarmUnfenced(a);
  expect(bench.machine.guard).toBe("armed");
  expect((await renewLock(a)).ok).toBe(true);
  expect(bench.machine.guard).toBe("disarmed");
  expect((await bench.mark())?.unfenced?.name).toBe("a");
});

test("what the mark of a lock said that is gone lets no guard go", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  await pausedOnce(a);
  pause(a, "on");
  a.state.held = null;
  await disarmUnfenced(a);
  expect(bench.machine.guard).toBe("armed");
});

test("a process that takes over in a pause leaves no moment in which the mark says that PostgreSQL is fenced", async () => {
  const bench = new Bench();
  const former = await bench.leader();
  pause(former, "on");
  await renewLock(former);
  const again = await bench.node("primary");
  pause(again, "on");
  expect(await adoptLock(again)).toBe(true);
  expect(await bench.mark()).toMatchObject({ session: former.state.held?.session, unfenced: { name: "a" }, timeline: 1 });
  expect(again.state.isMarkedUnfenced()).toBe(true);
});

test("a process that takes over in a pause says so in its first mark, and only then ends the guard that the former one armed", async () => {
  const bench = new Bench();
  await bench.leader();
  const again = await bench.node("primary");
  pause(again, "on");
  bench.plan.push({ kind: "pass" }, { kind: "pass" }, { kind: "pass" }, { kind: "refuse" });
  expect(await adoptLock(again)).toBe(false);
  expect(bench.machine.guard).toBe("armed");
  expect((await bench.mark())?.unfenced).toBeNull();
  await refreshCluster(again);
  expect(await adoptLock(again)).toBe(true);
  expect((await bench.mark())?.unfenced?.name).toBe("a");
  expect(bench.machine.guard).toBe("disarmed");
});

test("a process that took over the guard with the rest of the former lease tells it of the lease that it renews", async () => {
  const bench = new Bench();
  const former = await bench.leader();
  const { session, revision } = former.state.held ?? { session: "", revision: null };
  if (revision === null) throw new Error("the lock is held");
  const deadline = former.state.heldFacts()?.leaseEndsAt ?? ms(0);
  await bench.clock.advance(5_000);
  const again = await bench.node("primary");
  const { systemIdentifier } = primaryStatus();
  const record = {
    session,
    revision,
    deadline,
    sameBoot: true,
    checkedUntil: deadline,
    systemIdentifier,
    postmaster: RUNNING,
    guard: null,
  };
  const continued = { ...again, lease: { ...again.lease, former: () => record } };
  const watchdog = again.watchdog as TestWatchdog;
  continued.state.fencingMissing = true;
  await recallLease(continued);
  expect(watchdog.leaseEnd).toBe(deadline);
  expect(continued.state.fencingMissing).toBe(false);
  expect(await adoptLock(continued)).toBe(true);
  expect(watchdog.leaseEnd).toBe(continued.state.heldFacts()?.leaseEndsAt ?? Number.NaN);
  expect(watchdog.leaseEnd).toBeGreaterThan(deadline);
});

test("a process that takes over while the cluster is not paused arms the guard, and the mark tells when there was none", async () => {
  const bench = new Bench();
  const former = await bench.leader();
  pause(former, "on");
  await renewLock(former);
  const again = await bench.node("primary");
  expect(await adoptLock(again)).toBe(true);
  expect((await bench.mark())?.unfenced?.name).toBe("a");
  expect(bench.machine.guard).toBe("armed");
  expect((await renewLock(again)).ok).toBe(true);
  expect((await bench.mark())?.unfenced).toBeNull();
});

test("a standby that takes the lock in a pause says at once that its promotion is not fenced, and otherwise that it is", async () => {
  const bench = new Bench();
  const a = await bench.node("replica");
  pause(a, "on");
  expect((await acquireLock(a)).ok).toBe(true);
  expect((await bench.mark())?.unfenced?.name).toBe("a");
  pause(a, "off");
  expect((await acquireLock(a)).ok).toBe(true);
  expect((await bench.mark())?.unfenced).toBeNull();
});

test("a primary that takes its vanished lock again after a pause is fenced with the lock, and a standby that races is not", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  pause(a, "on");
  await renewLock(a);
  expect(bench.machine.guard).toBe("disarmed");
  const session = a.state.held?.session ?? "";
  bench.data.closeSession(session);
  await refreshCluster(a);
  pause(a, "off");
  a.store.abandonSession();
  expect((await acquireLock(a)).ok).toBe(true);
  expect(bench.machine.guard).toBe("armed");
  const replica = new Bench();
  expect((await acquireLock(await replica.node("replica"))).ok).toBe(true);
  expect(replica.machine.guard).toBe("disarmed");
});

test("a primary without a lease knows within one deadline that the DCS does not give it the lock", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  bench.data.closeSession(a.state.held?.session ?? "");
  await refreshCluster(a);
  const asked = bench.clock.now();
  bench.plan.push({ kind: "silence" }, { kind: "silence" }, { kind: "silence" });
  const failedAfter: number[] = [];
  const taking = acquireLock(a).then((outcome) => {
    expect(outcome.ok).toBe(false);
    failedAfter.push(bench.clock.now() - asked);
  });
  for (let second = 0; second < 20 && failedAfter.length === 0; second += 1) await bench.clock.advance(1_000);
  await taking;
  expect(failedAfter).toEqual([dcsDeadline(a) - bench.clock.now()]);
});

test("a lease in doubt is confirmed by a DCS that takes two seconds for it, and by nothing else", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  await bench.clock.advance(3_000);
  a.state.leaseDoubtedAt = bench.clock.now();
  expect(a.state.leaseValid()).toBe(false);
  bench.plan.push({ kind: "delay", requestMs: 1_000, answerMs: 1_000 });
  const renewed = renewLock(a);
  await bench.clock.advance(1_900);
  expect(a.state.leaseValid()).toBe(false);
  await bench.clock.advance(100);
  expect((await renewed).ok).toBe(true);
  expect(a.state.leaseValid()).toBe(true);
});

test("a candidate that reads only right before it takes the lock of whom nothing fences takes it not yet", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  pause(a, "on");
  await renewLock(a);
  const b = await bench.node("replica", "b");
  bench.data.closeSession(a.state.held?.session ?? "");
  await refreshCluster(b);
  await bench.clock.advance(3 * CONFIG.ttlMs);
  expect(await acquireLock(b)).toMatchObject({ ok: false, message: "the lease mark says that somebody has to be asked first" });
  expect(b.state.trace.mark?.unfenced?.name).toBe("a");
  await bench.clock.advance(CONFIG.ttlMs);
  b.state.trace = traceUnfenced(b.state.trace, "down", bench.clock.now());
  expect((await acquireLock(b)).ok).toBe(true);
});

test("a restarted supervisor whose PostgreSQL hangs gives its former lock not away: it is taken over once that answers", async () => {
  const bench = new Bench();
  const a = await bench.leader();
  const again = await bench.node("primary");
  const { status } = again.postgres;
  again.postgres.status = async () => err({ kind: "timeout", message: "it hangs" });
  expect(await adoptLock(again)).toBe("later");
  expect(again.store.session()).toBeNull();
  again.postgres.status = status;
  expect(await adoptLock(again)).toBe(true);
  expect(again.state.held?.session).toBe(a.state.held?.session as string);
});

test("a renewal that the release of the lock has overtaken is no loss of it: nothing warns", async () => {
  for (const whose of ["our own release", "somebody's"] as const) {
    const bench = new Bench();
    const lines: string[] = [];
    const a = await bench.leader();
    a.log.warning = (text) => void lines.push(text);
    bench.plan.push({ kind: "delay", requestMs: 100, answerMs: 1 });
    const renewing = renewLock(a);
    if (whose === "our own release") expect((await releaseLock(a, null)).ok).toBe(true);
    else bench.data.apply([{ kind: "delete", key: a.store.keys.leader }]);
    await bench.clock.advance(200);
    expect((await renewing).ok).toBe(false);
    expect(a.state.held).toBeNull();
    expect(lines).toEqual(whose === "our own release" ? [] : ["failed to update leader lock: it is not ours any more"]);
  }
});
