// Owns the cases on the leader lock and the lease mark (docs/adr/0002).

import { expect, test } from "bun:test";
import type { ClusterStore, HeldLock } from "../../lib/dcs/cluster-store.ts";
import { lsn, ms } from "../../lib/model/units.ts";
import type { ClusterSuiteContext } from "./cluster-store-suite.ts";
import { CASE_TIMEOUT_MS, expectError, value } from "./suite-context.ts";

export function lockCases(context: ClusterSuiteContext): void {
  acquireCases(context);
  updateCases(context);
  releaseCases(context);
}

function acquireCases(context: ClusterSuiteContext): void {
  test(
    "of two nodes that race for the lock exactly one holds it, and its mark says so",
    async () => {
      const cluster = context.cluster();
      const nodes = [cluster.node("a"), cluster.node("b")] as const;
      const before = context.clock.now();
      const results = await Promise.all(nodes.map((node) => node.attemptToAcquireLeader(context.within())));
      expect(results.filter((result) => result.ok)).toHaveLength(1);
      const lock = value(results.find((result) => result.ok) ?? (results[0] as (typeof results)[number]));
      const [name, other] = results[0]?.ok === true ? (["a", nodes[1]] as const) : (["b", nodes[0]] as const);
      for (const result of results) if (!result.ok) expect(result.error.kind).toBe("condition-failed");
      expect(lock.confirmedAt).toBeGreaterThanOrEqual(before);
      expect(lock.promisedMs).toBeGreaterThan(0);
      const seen = value(await other.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(seen.leader).toEqual({ name, session: lock.session, revision: lock.revision });
      const mark = value(await other.readLease(context.within()));
      expect(mark).toMatchObject({ session: lock.session, ttl: lock.promisedMs, released: false });
      await leave(context, ...nodes);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "taking the lock again under the same session succeeds and confirms it later",
    async () => {
      const node = context.cluster().node("a");
      const first = value(await node.attemptToAcquireLeader(context.within()));
      const mark = value(await node.readLease(context.within()));
      await context.pause(2);
      const second = value(await node.takeLeader(context.within()));
      expect(second.session).toBe(first.session);
      expect(second.confirmedAt).toBeGreaterThanOrEqual(first.confirmedAt);
      expect(node.sessionsOpened).toBe(1);
      expect(value(await node.readLease(context.within()))?.revision).toBeGreaterThan(mark?.revision ?? 0);
      await leave(context, node);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a session that was destroyed is replaced by a new one while acquiring",
    async () => {
      const cluster = context.cluster();
      const node = cluster.node("a");
      const old = value(await node.ensureSession(context.within()));
      value(await context.client().closeSession(old.id, context.within()));
      const lock = value(await node.attemptToAcquireLeader(context.within()));
      expect(lock.session).not.toBe(old.id);
      expect(node.session()?.id).toBe(lock.session);
      expect(node.sessionsOpened).toBe(2);
      await leave(context, node);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a lock whose key was deleted by hand can be taken by another, although the old holder's session lives",
    async () => {
      const cluster = context.cluster();
      const [a, b] = [cluster.node("a"), cluster.node("b")];
      value(await a.attemptToAcquireLeader(context.within()));
      value(await context.client().delete(a.keys.leader, context.within()));
      const lock = value(await b.attemptToAcquireLeader(context.within()));
      expectError(await a.updateLeader(context.within()), "condition-failed");
      expect(value(await a.readLease(context.within()))?.session).toBe(lock.session);
      await leave(context, a, b);
    },
    CASE_TIMEOUT_MS,
  );
}

function updateCases(context: ClusterSuiteContext): void {
  test(
    "each update moves the mark, also when nothing else changes, and leaves the leader key alone",
    async () => {
      const cluster = context.cluster();
      const [a, b] = [cluster.node("a"), cluster.node("b")];
      const lock = value(await a.attemptToAcquireLeader(context.within()));
      const seen = value(await b.getCluster(context.within()));
      let last = value(await b.readLease(context.within()));
      let after = last?.revision ?? lock.revision;
      for (let round = 0; round < 3; round++) {
        const before = context.clock.now();
        const watching = b.watchLease(after, context.within());
        const confirmed = value(await a.updateLeader(context.within()));
        expect(confirmed).toMatchObject({ session: lock.session, revision: lock.revision });
        expect(confirmed.confirmedAt).toBeGreaterThanOrEqual(before);
        const woken = value(await watching);
        expect(woken.mark?.revision).toBeGreaterThan(last?.revision ?? 0);
        last = woken.mark;
        after = woken.revision;
      }
      expect(value(await b.getCluster(context.within())).leader).toEqual(seen.leader);
      await leave(context, a, b);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "updates of the mark do not wake a watch of the cluster",
    async () => {
      const cluster = context.cluster();
      const [a, b] = [cluster.node("a"), cluster.node("b")];
      value(await a.attemptToAcquireLeader(context.within()));
      const seen = value(await b.getCluster({ ...context.within(), consistency: "consistent" }));
      const deadline = ms(context.clock.now() + 1000);
      const watching = b.watchCluster(seen.revision, { deadline });
      value(await a.updateLeader(context.within()));
      value(await watching);
      expect(context.clock.now() - deadline).toBeGreaterThan(-300);
      await leave(context, a, b);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "status, failsafe and the member record are written with the confirmation, or not at all",
    async () => {
      const cluster = context.cluster();
      const [a, b] = [cluster.node("a"), cluster.node("b")];
      value(await a.attemptToAcquireLeader(context.within()));
      const status = { optime: lsn(2n ** 60n + 1n), slots: { b: lsn(5) }, retainSlots: ["a", "b"] };
      const failsafe = { a: "http://a/patroni" };
      const member = { conn_url: "postgres://a/postgres", state: "running", role: "primary", timeline: 3 };
      value(await a.updateLeader({ ...context.within(), status, failsafe, member }));
      const seen = value(await b.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(seen.status).toEqual(status);
      expect(seen.failsafe).toEqual(failsafe);
      expect(seen.members).toHaveLength(1);
      expect(seen.members[0]).toMatchObject({ name: "a", session: a.session()?.id ?? "", role: "primary", timeline: 3 as never });
      // Known to be there: asked for nothing.
      expect(value(await a.touchMember(member, context.within()))).toBe(seen.members[0]?.revision as never);

      value(await context.client().delete(a.keys.leader, context.within()));
      const lost = await a.updateLeader({
        ...context.within(),
        status: { ...status, optime: lsn(7) },
        member: { ...member, role: "replica" },
      });
      expectError(lost, "condition-failed");
      const unchanged = value(await b.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(unchanged.status).toEqual(status);
      expect(unchanged.members).toEqual(seen.members);
      await leave(context, a, b);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "an update never opens a session: without one, and with a destroyed one, it is session-gone",
    async () => {
      const node = context.cluster().node("a");
      expectError(await node.updateLeader(context.within()), "session-gone");
      const lock = value(await node.attemptToAcquireLeader(context.within()));
      value(await context.client().closeSession(lock.session, context.within()));
      expectError(await node.updateLeader(context.within()), "session-gone");
      expect(node.session()).toBeNull();
      expect(node.sessionsOpened).toBe(1);
      expect(value(await node.readLease(context.within()))).toMatchObject({ session: lock.session, released: false });
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "writes that carry a lock fail once it is not held any more",
    async () => {
      const node = context.cluster().node("a");
      const lock = value(await node.attemptToAcquireLeader(context.within()));
      const sync = { leader: "a", standbys: ["c", "b"], quorum: 0 };
      const revision = value(await node.values.setSyncStateValue(sync, null, { ...context.within(), lock }));
      const next = value(await node.values.setSyncStateValue({ ...sync, standbys: [] }, revision, { ...context.within(), lock }));
      value(await node.deleteLeader({ ...context.within(), lock }));
      expectError(await node.values.setSyncStateValue(sync, next, { ...context.within(), lock }), "condition-failed");
      expectError(await node.values.setHistoryValue([], { ...context.within(), lock }), "condition-failed");
      expect(value(await node.getCluster({ ...context.within(), consistency: "consistent" })).sync).toMatchObject({
        revision: next,
        standbys: [],
      });
      await leave(context, node);
    },
    CASE_TIMEOUT_MS,
  );
}

function releaseCases(context: ClusterSuiteContext): void {
  test(
    "a release writes the last status, frees the lock, marks it released and keeps the session",
    async () => {
      const cluster = context.cluster();
      const [a, b] = [cluster.node("a"), cluster.node("b")];
      const lock = value(await a.attemptToAcquireLeader(context.within()));
      const status = { optime: lsn(99), slots: {}, retainSlots: [] };
      expect(value(await a.deleteLeader({ ...context.within(), lock, status }))).toBeNull();
      const seen = value(await b.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(seen.leader).toBeNull();
      expect(seen.status).toEqual(status);
      expect(value(await b.readLease(context.within()))).toMatchObject({ session: lock.session, released: true });
      expect(value(await a.renewSession(context.within())).id).toBe(lock.session);
      value(await a.closeSession(context.within()));
      expect(value(await b.readLease(context.within()))?.released).toBe(true);
      value(await b.attemptToAcquireLeader(context.within()));
      expect(value(await a.readLease(context.within()))?.released).toBe(false);
      await leave(context, a, b);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "nobody releases a lock that is not his",
    async () => {
      const cluster = context.cluster();
      const [a, b] = [cluster.node("a"), cluster.node("b")];
      const lost: HeldLock = value(await a.attemptToAcquireLeader(context.within()));
      value(await a.deleteLeader({ ...context.within(), lock: lost }));
      const held = value(await b.attemptToAcquireLeader(context.within()));
      expectError(await a.deleteLeader({ ...context.within(), lock: lost }), "condition-failed");
      const seen = value(await a.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(seen.leader?.session).toBe(held.session);
      expect(value(await a.readLease(context.within()))).toMatchObject({ session: held.session, released: false });
      await leave(context, a, b);
    },
    CASE_TIMEOUT_MS,
  );
}

/** Ends the nodes' sessions, so that no case leaves a timer behind. */
export async function leave(context: ClusterSuiteContext, ...nodes: readonly ClusterStore[]): Promise<void> {
  for (const node of nodes) value(await node.closeSession(context.within()));
}
