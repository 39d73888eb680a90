// Goal: what the effects on the DCS do when the view is older than the truth. Method: the real cluster store over a memory
// store, the state of a standby or a primary, and a clock that the test moves.

import { expect, test } from "bun:test";
import type { PeerStatus } from "../../../lib/core/observation.ts";
import { ClusterStore } from "../../../lib/dcs/cluster-store.ts";
import { clusterKeys } from "../../../lib/dcs/keys.ts";
import { MemoryCluster } from "../../../lib/dcs/memory.ts";
import { type Gate, type GateVerdict, MemoryStore } from "../../../lib/dcs/memory-store.ts";
import { ok } from "../../../lib/model/result.ts";
import { lsn, ms, timeline } from "../../../lib/model/units.ts";
import { LocalPostgresql } from "../../../lib/postgres/local.ts";
import { NoWatchdog } from "../../../lib/postgres/watchdog/choose.ts";
import { dcsDeadline } from "../../../lib/runtime/lease-bounds.ts";
import type { FormerLease, NodeContext } from "../../../lib/runtime/node-context.ts";
import { NodeState } from "../../../lib/runtime/node-state.ts";
import { Performer } from "../../../lib/runtime/perform.ts";
import { refreshCluster, refreshMark, writeSync } from "../../../lib/runtime/perform-dcs.ts";
import { acquireLock, releaseLock, writeHistory } from "../../../lib/runtime/perform-lock.ts";
import { runTask } from "../../../lib/runtime/perform-postgres.ts";
import { askOldLeader } from "../../../lib/runtime/perform-questions.ts";
import { Waker } from "../../../lib/runtime/waker.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { loadTemplate } from "../../simulation/node-config.ts";
import { CONFIG, primaryStatus, status } from "../core/observations.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

const template = await loadTemplate();
const RUNNING = { kind: "running", pid: 10, startTicks: 1, stopped: false } as const;

class Bench {
  readonly clock = new ManualClock();
  data = new MemoryCluster({ clock: this.clock });
  answer: PeerStatus | null = null;
  /** What becomes of each request. */
  gate: Gate = () => ({ kind: "pass" });

  store(name: string): ClusterStore {
    const store = new MemoryStore({ cluster: this.data, clock: this.clock, gate: (operation, key) => this.gate(operation, key) });
    const { namespace, scope } = template;
    return new ClusterStore({ store, clock: this.clock, log: recordingLog(), namespace, scope, group: null, name, ttl: CONFIG.ttlMs });
  }

  node(name: string, former: FormerLease | null = null): NodeContext {
    const { clock } = this;
    const log = { ...recordingLog(), heartbeat: () => undefined };
    const node = { ...template, name };
    const state = new NodeState(clock, { node, dynamic: CONFIG });
    const postgres = new LocalPostgresql({ config: node.postgresql, name, scope: node.scope, clock, log });
    return {
      clock,
      log,
      store: this.store(name),
      postgres,
      peers: { ask: async () => this.answer, failsafe: async () => ({ kind: "silent", reason: "" }) },
      watchdog: new NoWatchdog(),
      lease: { former: () => former, save: () => undefined, clear: () => undefined },
      promises: { former: () => null, save: () => true },
      state,
      waker: new Waker(clock),
    };
  }

  soon(): { readonly deadline: ReturnType<typeof ms> } {
    return { deadline: ms(this.clock.now() + 1000) };
  }
}

function asStandby({ state }: NodeContext): void {
  Object.assign(state.local, { process: RUNNING, status: status(), lastRole: "replica" });
}

function asPrimary({ state }: NodeContext): void {
  Object.assign(state.local, { process: RUNNING, status: primaryStatus(), lastRole: "primary" });
}

test("a former leader does not race while the lease of a leader that it never saw may still run", async () => {
  const bench = new Bench();
  const a = bench.node("a");
  asStandby(a);
  await refreshCluster(a);
  expect(await acquireLock(a)).toMatchObject({ ok: true });
  await refreshCluster(a);
  // Cut off from here on: its lock ends, b leads, and b's session is destroyed while b goes on under its lease.
  await bench.clock.advance(31_000);
  const b = bench.store("b");
  expect((await b.attemptToAcquireLeader(bench.soon())).ok).toBe(true);
  bench.data.closeSession(b.session()?.id ?? "");
  // Back again, it sees the lock free, and remembers itself as the last leader.
  a.store.abandonSession();
  await refreshCluster(a);
  expect(a.state.trace.name).toBe("a");
  expect(await acquireLock(a)).toMatchObject({ ok: false });
  await bench.clock.advance(30_001);
  expect(await acquireLock(a)).toMatchObject({ ok: true });
});

test("a node that saw the lock free, and nobody hold it, counts from the mark of whoever led meanwhile", async () => {
  const bench = new Bench();
  const b = bench.store("b");
  await b.attemptToAcquireLeader(bench.soon());
  bench.data.closeSession(b.session()?.id ?? "");
  const a = bench.node("a");
  asStandby(a);
  await refreshCluster(a);
  await refreshMark(a);
  // Cut off from here on: b leads again under another session, which is destroyed while b goes on under its lease.
  await bench.clock.advance(25_000);
  expect((await b.attemptToAcquireLeader(bench.soon())).ok).toBe(true);
  bench.data.closeSession(b.session()?.id ?? "");
  await bench.clock.advance(6_000);
  await refreshCluster(a);
  expect(a.state.trace).toMatchObject({ name: null, vanishedAt: 0 });
  expect(await acquireLock(a)).toMatchObject({ ok: false });
  await bench.clock.advance(30_001);
  expect(await acquireLock(a)).toMatchObject({ ok: true });
});

test("an answer from before the old leader took its lock again, unseen, lets nobody race", async () => {
  const bench = new Bench();
  const b = bench.store("b");
  const { namespace, scope } = template;
  const deleteLock = () => bench.data.apply([{ kind: "delete", key: clusterKeys({ namespace, scope, group: null }).leader }]);
  await b.attemptToAcquireLeader(bench.soon());
  const a = bench.node("a");
  asStandby(a);
  await refreshCluster(a);
  deleteLock();
  await refreshCluster(a);
  await refreshMark(a);
  a.state.trace = { ...a.state.trace, answer: { kind: "not-primary", at: bench.clock.now() } };
  // Cut off from here on: b takes it again, and it is deleted by hand once more.
  await bench.clock.advance(5_000);
  expect((await b.attemptToAcquireLeader(bench.soon())).ok).toBe(true);
  deleteLock();
  await refreshCluster(a);
  expect(await acquireLock(a)).toMatchObject({ ok: false });
  await bench.clock.advance(30_001);
  expect(await acquireLock(a)).toMatchObject({ ok: true });
});

test("a primary takes a vanished lock again, unless somebody else has held it, also where it has lost sight of its own", async () => {
  const bench = new Bench();
  const a = bench.node("a");
  asStandby(a);
  await refreshCluster(a);
  await acquireLock(a);
  asPrimary(a);
  bench.data.closeSession(a.store.session()?.id ?? "");
  a.state.held = null;
  a.store.abandonSession();
  await refreshCluster(a);
  expect(await acquireLock(a)).toMatchObject({ ok: true });
  bench.data.closeSession(a.store.session()?.id ?? "");
  const b = bench.store("b");
  await b.attemptToAcquireLeader(bench.soon());
  bench.data.closeSession(b.session()?.id ?? "");
  a.state.held = null;
  a.store.abandonSession();
  await refreshCluster(a);
  expect(await acquireLock(a)).toMatchObject({ ok: false, message: "somebody else held the lock in between" });
});

test("the node that restores takes a lock that somebody else held last, once his lease is over; without a restore it does not", async () => {
  const bench = new Bench();
  const a = bench.node("a");
  a.state.local.process = { kind: "none" };
  const b = bench.store("b");
  expect((await b.attemptToAcquireLeader(bench.soon())).ok).toBe(true);
  await refreshCluster(a);
  bench.data.closeSession(b.session()?.id ?? "");
  await refreshCluster(a);
  await bench.clock.advance(31_000);
  expect(await acquireLock(a)).toMatchObject({ ok: false, message: "somebody else held the lock in between" });
  const value = {
    id: "20260131-120000",
    phase: "restore",
    direction: "forward",
    label: "F",
    target: null,
    recoveryTimeline: "latest",
    timeline: null,
    cloned: [],
    message: null,
  } as const;
  expect((await b.values.setRestoreValue({ ...value, node: "a" }, null, bench.soon())).ok).toBe(true);
  const again = bench.store("b");
  expect((await again.attemptToAcquireLeader(bench.soon())).ok).toBe(true);
  await refreshCluster(a);
  bench.data.closeSession(again.session()?.id ?? "");
  await refreshCluster(a);
  expect(await acquireLock(a)).toMatchObject({ ok: false });
  await bench.clock.advance(30_001);
  a.state.local.process = RUNNING;
  expect(await acquireLock(a)).toMatchObject({ ok: false, message: "somebody else held the lock in between" });
  a.state.local.process = { kind: "none" };
  expect(await acquireLock(a)).toMatchObject({ ok: true });
});

test("a primary of which nobody knows whether it ever led takes no lock that another node's mark tells of", async () => {
  const bench = new Bench();
  const b = bench.store("b");
  await b.attemptToAcquireLeader(bench.soon());
  bench.data.closeSession(b.session()?.id ?? "");
  const a = bench.node("a");
  asPrimary(a);
  await refreshCluster(a);
  expect(await acquireLock(a)).toMatchObject({ ok: false });
});

test("a release whose answer was lost counts as done the second time, and nothing is held any more", async () => {
  const bench = new Bench();
  const a = bench.node("a");
  asStandby(a);
  await refreshCluster(a);
  await acquireLock(a);
  const held = a.state.held;
  expect(await releaseLock(a, null)).toMatchObject({ ok: true });
  a.state.held = held;
  expect(await releaseLock(a, null)).toMatchObject({ ok: true });
  expect(a.state.held).toBeNull();
});

test("a store that was made anew is believed, although its revisions are lower", async () => {
  const bench = new Bench();
  const a = bench.node("a");
  asStandby(a);
  for (let write = 0; write < 20; write += 1) await a.store.touchMember({ write }, bench.soon());
  await refreshCluster(a);
  await acquireLock(a);
  const before = a.state.cluster?.revision ?? 0;
  bench.data = new MemoryCluster({ clock: bench.clock });
  const again = { ...a, store: bench.store("a") };
  await refreshCluster(again);
  expect(again.state.cluster?.revision).toBeLessThan(before);
  expect(again.state.cluster?.leader).toBeNull();
});

test("an old leader that starts, stops or counts on a lease may write; a standby without one may not", async () => {
  const bench = new Bench();
  const c = bench.node("c");
  await refreshCluster(c);
  c.state.trace = { ...c.state.trace, name: "a", apiUrl: "http://a:8008/patroni" };
  const standby = { role: "replica", state: "running", timeline: timeline(1), lsn: lsn(1), tags: {}, watchdogFailed: false, paused: false };
  const cases: readonly [Partial<PeerStatus> | null, string][] = [
    [{ role: "primary" }, "primary"],
    [{ role: "primary", state: "starting" }, "primary"],
    [{ role: "primary", state: "restarting" }, "primary"],
    [{ role: "primary", state: "stopping" }, "primary"],
    [{ role: "replica", state: "crashed", leaseHeld: true }, "primary"],
    [{ leaseHeld: true }, "primary"],
    [{}, "not-primary"],
    [{ role: "primary", state: "stopped" }, "not-primary"],
    [null, "silent"],
  ];
  for (const [fields, kind] of cases) {
    bench.answer = fields === null ? null : { ...standby, leaseHeld: false, ...fields };
    await askOldLeader(c);
    expect(c.state.trace.answer?.kind).toBe(kind as "primary");
  }
});

test("a running primary waits for the DCS no longer than until it has to begin stopping", async () => {
  const bench = new Bench();
  const a = bench.node("a");
  asStandby(a);
  await refreshCluster(a);
  await refreshMark(a);
  await acquireLock(a);
  asPrimary(a);
  expect(dcsDeadline(a)).toBe(ms(bench.clock.now() + 5000));
  await bench.clock.advance(22_000);
  // 30 s less 600 ms of margin, 2 s of stop budget and 3 s for a fast stop.
  expect(dcsDeadline(a)).toBe(ms(24_400));
  // In doubt it counts as it was confirmed: no longer, and no shorter.
  a.state.leaseDoubtedAt = bench.clock.now();
  expect(dcsDeadline(a)).toBe(ms(24_400));
  await bench.clock.advance(5_000);
  expect(dcsDeadline(a)).toBe(ms(bench.clock.now() + 500));
});

test("the history is published with its newest max_timelines_history lines; 0 is all of them", async () => {
  const switches = [1, 2, 3].map((number) => ({ timeline: timeline(number), switchpoint: lsn(number * 100), reason: "no reason" }));
  for (const [maxTimelinesHistory, published] of [
    [0, [1, 2, 3]],
    [2, [2, 3]],
    [9, [1, 2, 3]],
  ] as const) {
    const bench = new Bench();
    const a = bench.node("a");
    asStandby(a);
    await refreshCluster(a);
    await refreshMark(a);
    await acquireLock(a);
    asPrimary(a);
    Object.assign(a.state.local, { status: { ...primaryStatus(), timeline: timeline(4) } });
    a.state.settings = { ...a.state.settings, dynamic: { ...CONFIG, maxTimelinesHistory } };
    a.postgres.timelineSwitches = async () => ok(switches);
    await refreshCluster(a);
    expect(await writeHistory(a)).toMatchObject({ ok: true });
    await refreshCluster(a);
    expect(a.state.cluster?.history.map((line) => Number(line.timeline))).toEqual([...published]);
  }
});

/** A primary whose key names b. */
async function promising() {
  const bench = new Bench();
  const a = bench.node("a");
  asPrimary(a);
  await refreshCluster(a);
  const promise = (...standbys: readonly string[]) => writeSync(a, { kind: "write-sync", leader: "a", standbys, quorum: 0 });
  expect(await promise("b")).toMatchObject({ ok: true });
  await refreshCluster(a);
  return { bench, a, promise };
}

test("what was read before a write of the sync key, and is heard after it, does not take the new promise out of view", async () => {
  const { bench, a, promise } = await promising();
  const readBefore = await a.store.getCluster(bench.soon());
  expect(await promise("b", "c")).toMatchObject({ ok: true });
  if (!readBefore.ok) throw new Error("the memory store answers");
  expect(a.state.applyCluster(readBefore.value)).toBe(true);
  expect(a.state.cluster?.sync.standbys).toEqual(["b", "c"]);
  expect(await promise("b")).toMatchObject({ ok: true });
  // Another one's word that is newer counts.
  const now = a.state.cluster?.sync.revision ?? null;
  const theirs = await bench.store("b").values.setSyncStateValue({ leader: "b", standbys: ["c"], quorum: 0 }, now, bench.soon());
  expect(theirs.ok).toBe(true);
  await refreshCluster(a);
  expect(a.state.cluster?.sync).toMatchObject({ leader: "b", standbys: ["c"] });
});

/** As above, and its write of b and c met `verdict`; it has heard of the DCS since. Tells what PostgreSQL was told to wait for. */
async function afterDoubtfulWrite(verdict: GateVerdict) {
  const { bench, a, promise } = await promising();
  bench.gate = (operation, key) => (operation === "put" && key.endsWith("/sync") ? verdict : { kind: "pass" });
  const doubtful = promise("b", "c");
  await bench.clock.advance(CONFIG.ttlMs);
  expect(await doubtful).toMatchObject({ ok: false });
  bench.gate = () => ({ kind: "pass" });
  a.state.dcsSeen();
  expect(a.state.cluster?.sync.standbys).toEqual(["b"]);
  const told: (string | null)[] = [];
  a.postgres.setSynchronousStandbyNames = async (value) => {
    told.push(value);
    return ok(null);
  };
  const performer = new Performer(a);
  return { bench, a, told, setNames: async () => await performer.perform({ kind: "set-sync-names", value: "b" }) };
}

test("names of standbys whose promise was written, although no answer said so, are not dropped before the key is read again", async () => {
  const { a, told, setNames } = await afterDoubtfulWrite({ kind: "lose-answer" });
  expect(await setNames()).toMatchObject({ ok: false });
  expect(told).toEqual([]);
  expect(a.state.cluster?.sync.standbys).toEqual(["b", "c"]);
  expect(await writeSync(a, { kind: "write-sync", leader: "a", standbys: ["b"], quorum: 0 })).toMatchObject({ ok: true });
  expect(await setNames()).toMatchObject({ ok: true });
});

test("a promise that is still on its way to the store is never written once the names without it are in force", async () => {
  const late = 3 * CONFIG.ttlMs;
  const { bench, a, told, setNames } = await afterDoubtfulWrite({ kind: "delay", requestMs: late, answerMs: 0 });
  expect(await setNames()).toMatchObject({ ok: true });
  expect(told).toEqual(["b"]);
  await bench.clock.advance(late);
  await refreshCluster(a);
  expect(a.state.cluster?.sync).toMatchObject({ leader: "a", standbys: ["b"], quorum: 0 });
  expect(a.state.syncIsInDoubt()).toBe(false);
});

test("with a promise in doubt and no DCS to ask, no names are set and no primary is started", async () => {
  const { bench, a, told, setNames } = await afterDoubtfulWrite({ kind: "lose-answer" });
  bench.gate = () => ({ kind: "refuse" });
  expect(await setNames()).toMatchObject({ ok: false });
  const start = { kind: "start", role: "primary", target: null, syncNames: "b" } as const;
  expect(await runTask(a, start, new AbortController().signal)).toMatchObject({
    ok: false,
    message: "whom the sync key names is not known",
  });
  expect(told).toEqual([]);
});
