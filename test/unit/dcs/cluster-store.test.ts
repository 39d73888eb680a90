// Goal: lost answers, late requests and gone sessions never make a node believe more than it knows, and nothing is asked
// or read twice without need. Method: the memory store with a clock moved by hand and a gate that makes the faults.

import { describe, expect, test } from "bun:test";
import { ClusterStore } from "../../../lib/dcs/cluster-store.ts";
import { MemoryCluster } from "../../../lib/dcs/memory.ts";
import { type GateVerdict, MemoryStore, type StoreOperation } from "../../../lib/dcs/memory-store.ts";
import type { RequestOptions } from "../../../lib/dcs/store.ts";
import type { Log } from "../../../lib/model/log.ts";
import { lsn, ms, timeline } from "../../../lib/model/units.ts";
import { ManualClock } from "./manual-clock.ts";

const TTL = ms(30_000);
const RECORD = { conn_url: "postgres://h:1/postgres", state: "running", role: "replica" };

const quiet: Log = { debug: ignore, info: ignore, warning: ignore, error: ignore, critical: ignore };
function ignore(): void {}

function openNodes() {
  const clock = new ManualClock();
  const cluster = new MemoryCluster({ clock });
  const asked: StoreOperation[] = [];
  /** One verdict for each coming request; then everything passes. */
  const plan: GateVerdict[] = [];
  const node = (name: string) => {
    const gate = (operation: StoreOperation): GateVerdict => {
      asked.push(operation);
      return plan.shift() ?? { kind: "pass" };
    };
    const store = new MemoryStore({ cluster, clock, gate });
    return new ClusterStore({ store, clock, log: quiet, namespace: "service", scope: "demo", group: null, name, ttl: TTL });
  };
  const within = (budgetMs = 1_000) => ({ deadline: ms(clock.now() + budgetMs) });
  const leader = () => cluster.get("service/demo/leader");
  return { clock, cluster, node, asked, plan, within, leader };
}

describe("requests", () => {
  test("an update asks twice, an unchanged member not at all, and a read once", async () => {
    const { node, asked, within } = openNodes();
    const a = node("a");
    await a.attemptToAcquireLeader(within());
    expect(asked.splice(0)).toEqual(["openSession", "transaction"]);
    await a.attemptToAcquireLeader(within());
    expect(asked.splice(0)).toEqual(["transaction"]);
    await a.updateLeader({ ...within(), status: { optime: lsn(1), slots: {}, retainSlots: [] }, member: RECORD });
    expect(asked.splice(0)).toEqual(["renewSession", "transaction"]);
    await a.touchMember(RECORD, within());
    expect(asked.splice(0)).toEqual([]);
    await a.touchMember(RECORD, { ...within(), force: true });
    expect(asked.splice(0)).toEqual(["put"]);
    await a.getCluster(within());
    expect(asked.splice(0)).toEqual(["snapshot"]);
  });

  test("what did not change is not read again: one changed member decodes one value", async () => {
    const { node, within } = openNodes();
    const [a, b] = [node("a"), node("b")];
    await a.touchMember(RECORD, within());
    await b.touchMember(RECORD, within());
    const first = await a.getCluster(within());
    const again = await a.getCluster(within());
    expect(first.ok && again.ok && first.value === again.value).toBe(true);
    await b.touchMember({ ...RECORD, state: "stopping" }, within());
    const changed = await a.getCluster(within());
    if (!first.ok || !changed.ok) throw new Error("the store is there");
    expect(changed.value.members[0]).toBe(first.value.members[0] as never);
    expect(changed.value.members[1]?.state).toBe("stopping");
  });
});

describe("the instant from which a lease counts", () => {
  test("is before the renewal was sent, however long the answers take", async () => {
    const { clock, node, plan, within } = openNodes();
    const a = node("a");
    await a.attemptToAcquireLeader(within());
    await clock.advance(5_000);
    plan.push({ kind: "delay", requestMs: 300, answerMs: 200 }, { kind: "delay", requestMs: 100, answerMs: 100 });
    const updating = a.updateLeader(within());
    await clock.advance(700);
    expect(await updating).toMatchObject({ ok: true, value: { confirmedAt: 5_000, promisedMs: TTL } });
  });

  test("does not move where the second of the two answers is lost", async () => {
    const { clock, node, plan, within } = openNodes();
    const a = node("a");
    await a.attemptToAcquireLeader(within());
    await clock.advance(5_000);
    plan.push({ kind: "pass" }, { kind: "lose-answer" });
    const updating = a.updateLeader(within());
    await clock.advance(1_000);
    expect(await updating).toMatchObject({ ok: false, error: { kind: "unknown-outcome" } });
  });
});

describe("lost answers", () => {
  test("an acquisition whose answer was lost holds the key, and is confirmed by the next one under the same session", async () => {
    const { clock, node, plan, within, leader } = openNodes();
    const a = node("a");
    await a.ensureSession(within());
    plan.push({ kind: "lose-answer" });
    const acquiring = a.attemptToAcquireLeader(within());
    await clock.advance(1_000);
    expect(await acquiring).toMatchObject({ ok: false, error: { kind: "unknown-outcome" } });
    expect(leader()?.session).toBe("session-1");
    expect(await a.attemptToAcquireLeader(within())).toMatchObject({ ok: true, value: { session: "session-1" } });
  });

  test("a renewal without an answer keeps the session as it was", async () => {
    const { clock, node, plan, within } = openNodes();
    const a = node("a");
    await a.ensureSession(within());
    await clock.advance(1_000);
    plan.push({ kind: "silence" });
    const renewing = a.renewSession(within());
    await clock.advance(1_000);
    expect(await renewing).toMatchObject({ ok: false, error: { kind: "unknown-outcome" } });
    expect(a.session()).toEqual({ id: "session-1", confirmedAt: ms(0), promisedMs: TTL, checkTtl: null });
  });

  test("a session that was given up while its renewal was under way does not come back", async () => {
    const { clock, node, plan, within } = openNodes();
    const a = node("a");
    await a.ensureSession(within());
    plan.push({ kind: "delay", requestMs: 10, answerMs: 10 });
    const renewing = a.renewSession(within());
    a.abandonSession();
    await clock.advance(100);
    expect((await renewing).ok).toBe(true);
    expect(a.session()).toBeNull();
  });

  test("a close whose answer was lost keeps the session in mind, and the next close counts as done", async () => {
    const { clock, node, plan, within } = openNodes();
    const a = node("a");
    await a.ensureSession(within());
    plan.push({ kind: "lose-answer" });
    const closing = a.closeSession(within());
    await clock.advance(1_000);
    expect(await closing).toMatchObject({ ok: false, error: { kind: "unknown-outcome" } });
    expect(a.session()?.id).toBe("session-1");
    expect((await a.closeSession(within())).ok).toBe(true);
    expect(a.session()).toBeNull();
  });

  test("a move to a session with another ttl that lost its answer is found out by the next read", async () => {
    const { clock, node, plan, within, leader } = openNodes();
    const a = node("a");
    await a.attemptToAcquireLeader(within());
    plan.push({ kind: "pass" }, { kind: "pass" }, { kind: "lose-answer" });
    const moving = a.reloadConfig({ ...within(), ttl: ms(60_000) });
    await clock.advance(1_000);
    expect(await moving).toMatchObject({ ok: false, error: { kind: "unknown-outcome" } });
    expect(leader()?.session).toBe("session-2");
    expect(a.session()?.id).toBe("session-1");
    await a.getCluster(within());
    expect(a.session()).toMatchObject({ id: "session-2", promisedMs: 60_000 });
    expect(await a.updateLeader(within())).toMatchObject({
      ok: true,
      value: { session: "session-2", revision: leader()?.revision as never },
    });
  });

  test("a move that was refused leaves everything under the old session, and no other behind", async () => {
    const { node, plan, within, leader, cluster } = openNodes();
    const a = node("a");
    await a.attemptToAcquireLeader(within());
    plan.push({ kind: "pass" }, { kind: "pass" }, { kind: "refuse" });
    expect(await a.reloadConfig({ ...within(), ttl: ms(60_000) })).toMatchObject({ ok: false, error: { kind: "unavailable" } });
    expect(leader()?.session).toBe("session-1");
    expect(cluster.sessionInfo("session-2")).toBeNull();
    expect(await a.reloadConfig({ ...within(), ttl: ms(60_000) })).toMatchObject({ ok: true, value: { lock: { session: "session-3" } } });
  });
});

describe("sessions that end", () => {
  test("the lock vanishes with the session at its ttl; the mark stays and tells which it was", async () => {
    const { clock, node, within, leader } = openNodes();
    const [a, b] = [node("a"), node("b")];
    await a.attemptToAcquireLeader(within());
    await clock.advance(TTL - 1);
    expect(leader()).not.toBeNull();
    await clock.advance(1);
    expect(leader()).toBeNull();
    expect(await b.readLease(within())).toMatchObject({ ok: true, value: { session: "session-1", ttl: TTL, released: false } });
    expect(await a.updateLeader(within())).toMatchObject({ ok: false, error: { kind: "session-gone" } });
  });

  test("an acquisition tries once more after its session ended, and not a third time", async () => {
    const { cluster, node, within, asked } = openNodes();
    const a = node("a");
    await a.ensureSession(within());
    cluster.closeSession("session-1");
    asked.length = 0;
    expect(await a.attemptToAcquireLeader(within())).toMatchObject({ ok: true, value: { session: "session-2" } });
    expect(asked).toEqual(["transaction", "openSession", "transaction"]);
    expect(a.sessionsOpened).toBe(2);
  });

  test("a member key that another session holds does not make the lock look lost", async () => {
    const { cluster, node, within } = openNodes();
    const [a, twin] = [node("a"), node("a")];
    await a.attemptToAcquireLeader(within());
    await twin.touchMember(RECORD, within());
    expect((await a.updateLeader({ ...within(), member: RECORD })).ok).toBe(true);
    expect(cluster.get("service/demo/members/a")?.session).toBe(a.session()?.id as never);
  });
});

describe("the timeline in the lease mark", () => {
  async function shown(reader: ClusterStore, options: RequestOptions): Promise<number | null> {
    const mark = await reader.readLease(options);
    if (!mark.ok || mark.value === null) throw new Error("there is no mark");
    return mark.value.timeline;
  }

  test("is the holder's once it has published it, and stays through a release, the next holder's first mark and a new session", async () => {
    const { node, within } = openNodes();
    const [a, b] = [node("a"), node("b")];
    const lock = await a.attemptToAcquireLeader(within());
    if (!lock.ok) throw new Error("the store is there");
    expect(await shown(b, within())).toBeNull();
    await a.updateLeader({ ...within(), timeline: timeline(3) });
    await a.updateLeader(within());
    expect(await shown(b, within())).toBe(3);
    expect((await a.deleteLeader({ ...within(), lock: lock.value })).ok).toBe(true);
    expect(await shown(b, within())).toBe(3);
    expect((await b.attemptToAcquireLeader(within())).ok).toBe(true);
    expect(await shown(a, within())).toBe(3);
    expect((await b.reloadConfig({ ...within(), ttl: ms(60_000) })).ok).toBe(true);
    expect(await shown(a, within())).toBe(3);
  });

  test("is not taken for published where the update that says so is not applied", async () => {
    const { node, plan, within } = openNodes();
    const [a, b] = [node("a"), node("b")];
    await a.attemptToAcquireLeader(within());
    await a.updateLeader({ ...within(), timeline: timeline(1) });
    plan.push({ kind: "pass" }, { kind: "refuse" });
    expect((await a.updateLeader({ ...within(), timeline: timeline(2) })).ok).toBe(false);
    await a.updateLeader(within());
    expect(await shown(b, within())).toBe(1);
  });
});

describe("what the lease mark says of the fencing", () => {
  const place = { name: "a", apiUrl: null, connUrl: "postgres://a:5432/postgres" };

  async function shown(reader: ClusterStore, options: RequestOptions): Promise<unknown> {
    const mark = await reader.readLease(options);
    return mark.ok ? mark.value?.unfenced : mark;
  }

  test("stays as it was through confirmations that do not speak of it and through a new session, also after a restart", async () => {
    const { node, within } = openNodes();
    const [a, b] = [node("a"), node("b")];
    await a.attemptToAcquireLeader({ ...within(), unfenced: place });
    expect(await shown(b, within())).toEqual(place);
    await a.updateLeader(within());
    expect(await shown(b, within())).toEqual(place);
    expect((await a.reloadConfig({ ...within(), ttl: ms(60_000) })).ok).toBe(true);
    expect(await shown(b, within())).toEqual(place);
    const again = node("a");
    await again.adoptSession(a.session()?.id ?? "", within());
    expect((await again.updateLeader(within())).ok).toBe(true);
    expect(await shown(b, within())).toEqual(place);
    expect((await again.updateLeader({ ...within(), unfenced: null })).ok).toBe(true);
    expect(await shown(b, within())).toBeNull();
  });

  test("is over with a release, and is not the next holder's", async () => {
    const { cluster, node, within } = openNodes();
    const [a, b] = [node("a"), node("b")];
    const lock = await a.attemptToAcquireLeader({ ...within(), unfenced: place });
    if (!lock.ok) throw new Error("the store is there");
    await a.deleteLeader({ ...within(), lock: lock.value });
    expect(await shown(b, within())).toBeNull();
    await a.attemptToAcquireLeader({ ...within(), unfenced: place });
    cluster.closeSession(a.session()?.id ?? "");
    expect(await shown(b, within())).toEqual(place);
    expect((await b.attemptToAcquireLeader(within())).ok).toBe(true);
    expect(await shown(a, within())).toBeNull();
  });
});

describe("requests that are applied late", () => {
  test("a release whose caller gave up and took the lock again takes nothing away", async () => {
    const { clock, node, plan, within, leader } = openNodes();
    const a = node("a");
    const lock = await a.attemptToAcquireLeader(within());
    if (!lock.ok) throw new Error("the store is there");
    plan.push({ kind: "delay", requestMs: 1_500, answerMs: 0 });
    const releasing = a.deleteLeader({ ...within(), lock: lock.value });
    await clock.advance(1_000);
    expect(await releasing).toMatchObject({ ok: false, error: { kind: "unknown-outcome" } });
    expect((await a.attemptToAcquireLeader(within())).ok).toBe(true);
    await clock.advance(1_000);
    expect(leader()?.session).toBe(lock.value.session);
    expect(await a.readLease(within())).toMatchObject({ ok: true, value: { released: false } });
  });

  test("an update whose caller gave up and wrote another takes nothing back of what the later mark says", async () => {
    const { clock, node, plan, within } = openNodes();
    const a = node("a");
    const unfenced = { name: "a", apiUrl: null, connUrl: "postgres://host-a:5432/postgres" };
    await a.attemptToAcquireLeader(within());
    plan.push({ kind: "pass" }, { kind: "delay", requestMs: 3_000, answerMs: 0 });
    const updating = a.updateLeader({ ...within(), unfenced: null, timeline: timeline(1) });
    await clock.advance(1_000);
    expect(await updating).toMatchObject({ ok: false, error: { kind: "unknown-outcome" } });
    expect((await a.updateLeader({ ...within(), unfenced, timeline: timeline(2) })).ok).toBe(true);
    await clock.advance(5_000);
    expect(await a.readLease(within())).toMatchObject({ ok: true, value: { unfenced, timeline: 2 } });
  });

  test("an update succeeds although somebody touched the mark, and fails at once where another node's mark tells of its lock", async () => {
    const { cluster, node, asked, within } = openNodes();
    const [a, b] = [node("a"), node("b")];
    await a.attemptToAcquireLeader(within());
    cluster.apply([{ kind: "delete", key: "service/demo.lease" }]);
    expect((await a.updateLeader(within())).ok).toBe(true);
    cluster.apply([{ kind: "delete", key: "service/demo/leader" }]);
    expect((await b.attemptToAcquireLeader(within())).ok).toBe(true);
    asked.length = 0;
    expect(await a.updateLeader(within())).toMatchObject({ ok: false, error: { kind: "condition-failed" } });
    expect(asked).toEqual(["renewSession", "transaction", "snapshot"]);
    expect(await b.readLease(within())).toMatchObject({ ok: true, value: { session: b.session()?.id } });
  });

  test("a release after an update without an answer looks the mark up, and succeeds", async () => {
    const { clock, node, plan, within, leader } = openNodes();
    const a = node("a");
    const lock = await a.attemptToAcquireLeader(within());
    if (!lock.ok) throw new Error("the store is there");
    plan.push({ kind: "pass" }, { kind: "lose-answer" });
    const updating = a.updateLeader(within());
    await clock.advance(1_000);
    await updating;
    expect((await a.deleteLeader({ ...within(), lock: lock.value })).ok).toBe(true);
    expect(leader()).toBeNull();
  });

  test("a release succeeds although somebody touched the mark", async () => {
    const { cluster, node, within, leader } = openNodes();
    const a = node("a");
    const lock = await a.attemptToAcquireLeader(within());
    if (!lock.ok) throw new Error("the store is there");
    cluster.apply([{ kind: "delete", key: "service/demo.lease" }]);
    expect((await a.deleteLeader({ ...within(), lock: lock.value })).ok).toBe(true);
    expect(leader()).toBeNull();
  });
});

describe("a lowered ttl", () => {
  test("counts from the next confirmation on, and moves the session once the old lease has run down to it", async () => {
    const { clock, node, within, leader } = openNodes();
    const a = node("a");
    await a.attemptToAcquireLeader(within());
    const ttl = ms(20_000);
    expect(await a.reloadConfig({ ...within(), ttl })).toMatchObject({
      ok: true,
      value: { session: { id: "session-1" }, lock: null, pending: true },
    });
    expect(await a.updateLeader(within())).toMatchObject({ ok: true, value: { session: "session-1", promisedMs: ttl } });
    await clock.advance(9_999);
    await a.updateLeader(within());
    expect(await a.reloadConfig({ ...within(), ttl })).toMatchObject({ ok: true, value: { session: { id: "session-1" } } });
    await clock.advance(1);
    expect(await a.reloadConfig({ ...within(), ttl })).toMatchObject({
      ok: true,
      value: { lock: { session: "session-2", promisedMs: ttl } },
    });
    expect(leader()?.session).toBe("session-2");
  });

  test("waits as well for the lease of an earlier run whose session was adopted", async () => {
    const { clock, node, within } = openNodes();
    const before = node("a");
    await before.attemptToAcquireLeader(within());
    const after = node("a");
    await after.adoptSession("session-1", within());
    const ttl = ms(20_000);
    expect(await after.reloadConfig({ ...within(), ttl })).toMatchObject({ ok: true, value: { session: { id: "session-1" } } });
    await clock.advance(10_000);
    expect(await after.reloadConfig({ ...within(), ttl })).toMatchObject({ ok: true, value: { session: { id: "session-2" } } });
  });
});

test("the holder of the lock completes the identifier although its claim has moved on with the session", async () => {
  const { cluster, node, within } = openNodes();
  const a = node("a");
  await a.values.initialize({ ...within(), systemIdentifier: "", createNew: true });
  const lock = await a.takeLeader(within());
  if (!lock.ok) throw new Error("the store is there");
  const claim = cluster.get("service/demo/initialize");
  cluster.apply([
    { kind: "delete", key: "service/demo/initialize" },
    { kind: "put", key: "service/demo/initialize", value: "", session: lock.value.session },
  ]);
  expect(cluster.get("service/demo/initialize")?.revision).not.toBe(claim?.revision);
  const written = await a.values.initialize({ ...within(), systemIdentifier: "7", createNew: false, lock: lock.value });
  expect(written.ok).toBe(true);
  expect(cluster.get("service/demo/initialize")).toMatchObject({ value: "7", session: null });
});
