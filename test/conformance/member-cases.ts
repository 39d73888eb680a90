// Owns the cases on member keys and on this node's session as ClusterStore keeps it.

import { expect, test } from "bun:test";
import { ms } from "../../lib/model/units.ts";
import type { ClusterSuiteContext } from "./cluster-store-suite.ts";
import { leave } from "./lock-cases.ts";
import { CASE_TIMEOUT_MS, expectError, value } from "./suite-context.ts";

const RECORD = { conn_url: "postgres://h:1/postgres", api_url: "http://h:2/patroni", state: "running", role: "replica", version: "4.1.5" };

export function memberCases(context: ClusterSuiteContext): void {
  touchCases(context);
  sessionCases(context);
  reloadCases(context);
}

function touchCases(context: ClusterSuiteContext): void {
  test(
    "a member is published under its session, written again only when it changed, and vanishes with the session",
    async () => {
      const cluster = context.cluster();
      const [a, b] = [cluster.node("a"), cluster.node("b")];
      const first = value(await a.touchMember(RECORD, context.within()));
      expect(value(await a.touchMember({ ...RECORD }, context.within()))).toBe(first);
      const second = value(await a.touchMember({ ...RECORD, state: "stopping" }, context.within()));
      expect(second).toBeGreaterThan(first);
      value(await b.touchMember(RECORD, context.within()));
      const seen = value(await b.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(seen.members.map((member) => [member.name, member.session, member.state])).toEqual([
        ["a", a.session()?.id ?? "", "stopping"],
        ["b", b.session()?.id ?? "", "running"],
      ]);
      value(await a.closeSession(context.within()));
      const left = value(await b.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(left.members.map((member) => member.name)).toEqual(["b"]);
      value(await b.deleteMember(context.within()));
      expect(value(await a.getCluster({ ...context.within(), consistency: "consistent" })).members).toEqual([]);
      await leave(context, b);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a member key left under another session is replaced, and one deleted by hand is written again once that was seen",
    async () => {
      const cluster = context.cluster();
      const [old, restarted] = [cluster.node("a"), cluster.node("a")];
      value(await old.touchMember(RECORD, context.within()));
      value(await restarted.touchMember(RECORD, context.within()));
      const seen = value(await restarted.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(seen.members.map((member) => member.session)).toEqual([restarted.session()?.id ?? ""]);
      value(await context.client().delete(`${restarted.keys.prefix}members/a`, context.within()));
      value(await restarted.getCluster({ ...context.within(), consistency: "consistent" }));
      value(await restarted.touchMember(RECORD, context.within()));
      expect(value(await old.getCluster({ ...context.within(), consistency: "consistent" })).members).toHaveLength(1);
      await leave(context, old, restarted);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a touch under a session that is gone opens a new one and writes the key under it",
    async () => {
      const node = context.cluster().node("a");
      value(await node.touchMember(RECORD, context.within()));
      const old = node.session()?.id ?? "";
      value(await context.client().closeSession(old, context.within()));
      value(await node.touchMember({ ...RECORD, role: "primary" }, context.within()));
      expect(node.session()?.id).not.toBe(old);
      const seen = value(await node.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(seen.members[0]).toMatchObject({ role: "primary", session: node.session()?.id ?? "" });
      await leave(context, node);
    },
    CASE_TIMEOUT_MS,
  );
}

function sessionCases(context: ClusterSuiteContext): void {
  test(
    "a session is opened once for callers that come together, and renewed with a later confirmation",
    async () => {
      const node = context.cluster().node("a");
      expect(node.session()).toBeNull();
      const opened = await Promise.all([1, 2, 3].map(() => node.ensureSession(context.within())));
      expect(new Set(opened.map((result) => value(result).id)).size).toBe(1);
      expect(node.sessionsOpened).toBe(1);
      const before = context.clock.now();
      const renewed = value(await node.renewSession(context.within()));
      expect(renewed.confirmedAt).toBeGreaterThanOrEqual(before);
      expect(node.session()).toEqual(renewed);
      await leave(context, node);
      expect(node.session()).toBeNull();
      expectError(await node.renewSession(context.within()), "session-gone");
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a restarted node adopts its living session with the lock; a dead one is session-gone, and none is opened instead",
    async () => {
      const cluster = context.cluster();
      const before = cluster.node("a");
      const lock = value(await before.attemptToAcquireLeader(context.within()));
      const after = cluster.node("a");
      value(await after.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(value(await after.adoptSession(lock.session, context.within())).id).toBe(lock.session);
      const marked = value(await after.readLease(context.within()));
      expect(value(await after.updateLeader(context.within()))).toMatchObject({ session: lock.session, revision: lock.revision });
      expect(value(await after.readLease(context.within()))?.revision).toBeGreaterThan(marked?.revision ?? 0);
      expect(after.sessionsOpened).toBe(0);
      value(await after.closeSession(context.within()));
      const late = cluster.node("a");
      expectError(await late.adoptSession(lock.session, context.within()), "session-gone");
      expect(late.session()).toBeNull();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "an abandoned session is forgotten here and lives on in the store",
    async () => {
      const node = context.cluster().node("a");
      const session = value(await node.ensureSession(context.within()));
      node.abandonSession();
      expect(node.session()).toBeNull();
      expect(value(await context.client().sessionInfo(session.id, context.within()))?.id).toBe(session.id);
      value(await node.adoptSession(session.id, context.within()));
      await leave(context, node);
    },
    CASE_TIMEOUT_MS,
  );
}

function reloadCases(context: ClusterSuiteContext): void {
  test(
    "with another ttl the lock and the member go over to a new session, and nobody sees the lock free",
    async () => {
      const cluster = context.cluster();
      const [a, b] = [cluster.node("a"), cluster.node("b")];
      const ttl = ms(Math.max(context.backend.minTtl, 20_000));
      const lock = value(await a.attemptToAcquireLeader(context.within()));
      value(await a.touchMember(RECORD, context.within()));
      expect(value(await a.reloadConfig({ ...context.within(), ttl }))).toMatchObject({ session: { id: lock.session }, lock: null });
      const seen = value(await b.getCluster({ ...context.within(), consistency: "consistent" }));
      const watching = b.watchCluster(seen.revision, context.within());
      const moved = value(await a.reloadConfig({ ...context.within(), ttl: ms(ttl + 10_000) }));
      expect(moved.session?.id).not.toBe(lock.session);
      expect(moved.session?.promisedMs).toBeGreaterThan(lock.promisedMs);
      expect(moved.lock).toMatchObject({ session: moved.session?.id ?? "" });
      const woken = value(await watching);
      expect(woken.leader).toMatchObject({ name: "a", session: moved.session?.id ?? "", revision: moved.lock?.revision as never });
      expect(woken.members.map((member) => member.session)).toEqual([moved.session?.id ?? ""]);
      expect(value(await context.client().sessionInfo(lock.session, context.within()))).toBeNull();
      expect(value(await b.readLease(context.within()))).toMatchObject({
        session: moved.session?.id ?? "",
        ttl: moved.lock?.promisedMs as never,
      });
      expect(value(await a.updateLeader(context.within())).session).toBe(moved.session?.id ?? "");
      await leave(context, a, b);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "without a session a new ttl only counts for the next one",
    async () => {
      const node = context.cluster().node("a");
      const ttl = ms(Math.max(context.backend.minTtl, 20_000) + 4_000);
      expect(value(await node.reloadConfig({ ...context.within(), ttl }))).toEqual({ session: null, lock: null, pending: false });
      const session = value(await node.ensureSession(context.within()));
      expect(session.promisedMs).toBe(ttl);
      await leave(context, node);
    },
    CASE_TIMEOUT_MS,
  );
}
