// Owns the cases on the keys beside lock and members: initialize, config, failover, sync, history, status, failsafe, groups.

import { expect, test } from "bun:test";
import { EMPTY_STATUS } from "../../lib/model/cluster.ts";
import { NO_SYNC } from "../../lib/model/sync-state.ts";
import { lsn, timeline } from "../../lib/model/units.ts";
import type { ClusterSuiteContext } from "./cluster-store-suite.ts";
import { leave } from "./lock-cases.ts";
import { CASE_TIMEOUT_MS, expectError, value } from "./suite-context.ts";

export function keyOperationCases(context: ClusterSuiteContext): void {
  initializeCases(context);
  casCases(context);
  plainCases(context);
  treeCases(context);
}

function initializeCases(context: ClusterSuiteContext): void {
  test(
    "of two nodes that want to bootstrap one may; it sets the identifier afterwards",
    async () => {
      const cluster = context.cluster();
      const nodes = [cluster.node("a"), cluster.node("b")] as const;
      const results = await Promise.all(
        nodes.map((node) => node.values.initialize({ ...context.within(), systemIdentifier: "", createNew: true })),
      );
      expect(results.filter((result) => result.ok)).toHaveLength(1);
      const [winner, loser] = results[0]?.ok === true ? nodes : [nodes[1], nodes[0]];
      expect(value(await loser.getCluster({ ...context.within(), consistency: "consistent" })).initialize).toBe("");
      expectError(await loser.values.cancelInitialization(context.within()), "condition-failed");
      value(await winner.values.initialize({ ...context.within(), systemIdentifier: "7710744159307945845", createNew: false }));
      expectError(await winner.values.cancelInitialization(context.within()), "condition-failed");
      expect(value(await loser.getCluster({ ...context.within(), consistency: "consistent" })).initialize).toBe("7710744159307945845");
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a cancelled bootstrap frees the key, unless somebody else has changed it",
    async () => {
      const node = context.cluster().node("a");
      value(await node.values.initialize({ ...context.within(), systemIdentifier: "", createNew: true }));
      expect(value(await node.values.cancelInitialization(context.within()))).toBeNull();
      expect(value(await node.getCluster({ ...context.within(), consistency: "consistent" })).initialize).toBeNull();
      value(await node.values.initialize({ ...context.within(), systemIdentifier: "", createNew: true }));
      value(await context.client().put(node.keys.initialize, "123", context.within()));
      expectError(await node.values.initialize({ ...context.within(), systemIdentifier: "456", createNew: false }), "condition-failed");
      expectError(await node.values.cancelInitialization(context.within()), "condition-failed");
      expect(value(await node.getCluster({ ...context.within(), consistency: "consistent" })).initialize).toBe("123");
    },
    CASE_TIMEOUT_MS,
  );
}

function casCases(context: ClusterSuiteContext): void {
  test(
    "config is written over the revision that was read, or over whatever is there",
    async () => {
      const node = context.cluster().node("a");
      const first = value(
        await node.values.setConfigValue({ ttl: 30, postgresql: { parameters: { max_connections: 60 } } }, null, context.within()),
      );
      const read = value(await node.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(read.config).toEqual({ revision: first, data: { ttl: 30, postgresql: { parameters: { max_connections: 60 } } } });
      const second = value(await node.values.setConfigValue({ ttl: 20 }, first, context.within()));
      expectError(await node.values.setConfigValue({ ttl: 10 }, first, context.within()), "condition-failed");
      value(await node.values.setConfigValue({ ttl: 40 }, null, context.within()));
      expectError(await node.values.setConfigValue({ ttl: 10 }, second, context.within()), "condition-failed");
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a failover request is set, read back and cleared",
    async () => {
      const node = context.cluster().node("a");
      const request = { leader: "a", member: "b", scheduled_at: "2026-11-22T01:02:03.456789+02:00" };
      const revision = value(await node.values.setFailoverValue(request, null, context.within()));
      const read = value(await node.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(read.failover).toEqual({
        revision,
        leader: "a",
        candidate: "b",
        scheduledAt: Date.UTC(2026, 10, 21, 23, 2, 3, 456),
        scheduledAtText: request.scheduled_at,
      });
      const cleared = value(await node.values.setFailoverValue(null, revision, context.within()));
      expect(cleared).toBeGreaterThan(revision);
      expect(value(await node.getCluster({ ...context.within(), consistency: "consistent" })).failover).toBeNull();
      expectError(await node.values.setFailoverValue({ member: "c" }, revision, context.within()), "condition-failed");
      const raw = await context.read(context.client(), node.keys.failover);
      expect(raw?.value).toBe("{}");
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "the sync state is created once, changed by its revision, and deleted by it",
    async () => {
      const node = context.cluster().node("a");
      const empty = value(await node.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(empty.sync).toEqual(NO_SYNC);
      const first = value(await node.values.setSyncStateValue({ leader: "a", standbys: ["c", "b"], quorum: 1 }, null, context.within()));
      expectError(
        await node.values.setSyncStateValue({ leader: "b", standbys: [], quorum: 0 }, null, context.within()),
        "condition-failed",
      );
      const read = value(await node.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(read.sync).toEqual({ revision: first, leader: "a", standbys: ["b", "c"], quorum: 1 });
      const second = value(await node.values.setSyncStateValue({ leader: "a", standbys: [], quorum: 0 }, first, context.within()));
      expect((await context.read(context.client(), node.keys.sync))?.value).toBe('{"leader":"a","sync_standby":null,"quorum":0}');
      expectError(await node.values.deleteSyncState(first, context.within()), "condition-failed");
      expect(value(await node.values.deleteSyncState(second, context.within()))).toBeNull();
    },
    CASE_TIMEOUT_MS,
  );
}

function plainCases(context: ClusterSuiteContext): void {
  test(
    "history, status and failsafe come back as they were written",
    async () => {
      const node = context.cluster().node("a");
      const lines = [
        {
          timeline: timeline(1),
          lsn: lsn(2n ** 63n),
          reason: "no recovery target specified",
          time: "2026-11-21T21:45:55.960896+00:00",
          newLeader: "b",
        },
        { timeline: timeline(2), lsn: lsn(67109256), reason: "by hand", time: null, newLeader: null },
      ];
      const status = { optime: lsn(2n ** 62n + 3n), slots: { b: lsn(7), c: lsn(2n ** 61n + 1n) }, retainSlots: ["b"] };
      value(await node.values.setHistoryValue(lines, context.within()));
      value(await node.values.writeStatus(status, context.within()));
      value(await node.values.writeFailsafe({ a: "http://a/patroni", b: "http://b/patroni" }, context.within()));
      const read = value(await node.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(read.history).toEqual(lines);
      expect(read.status).toEqual(status);
      expect(read.failsafe).toEqual({ a: "http://a/patroni", b: "http://b/patroni" });
      value(await node.values.writeLeaderOptime(lsn(8), context.within()));
      const later = value(await node.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(later.status).toEqual({ ...status, optime: lsn(8) });
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "values that are not what they should be count as absent, and each is logged once",
    async () => {
      const cluster = context.cluster();
      const node = cluster.node("a");
      const store = context.client();
      const bad = ["config", "failover", "sync", "history", "status", "failsafe", "members/x"];
      for (const name of bad) value(await store.put(node.keys.prefix + name, "{not json", context.within()));
      value(await store.put(`${node.keys.prefix}optime/leader`, "1234", context.within()));
      value(await store.put(`${node.keys.prefix}members/y`, '{"role":7,"future":{"a":1}}', context.within()));
      const read = value(await node.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(read).toMatchObject({ config: null, failover: null, history: [], failsafe: null });
      expect(read.sync).toMatchObject({ leader: null, standbys: [] });
      expect(read.sync.revision).not.toBeNull();
      expect(read.status).toEqual({ ...EMPTY_STATUS, optime: lsn(1234) });
      expect(read.members).toHaveLength(1);
      expect(read.members[0]).toMatchObject({ name: "y", role: "uninitialized", extra: { future: { a: 1 } } });
      expect(read.faults).toHaveLength(bad.length);
      value(await node.values.writeFailsafe({}, context.within()));
      value(await node.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(cluster.warnings).toHaveLength(bad.length);
    },
    CASE_TIMEOUT_MS,
  );
}

function treeCases(context: ClusterSuiteContext): void {
  test(
    "groups of one scope are clusters of their own, and a tool without a group sees them all",
    async () => {
      const cluster = context.cluster();
      const [coordinator, worker, tool] = [cluster.node("c1", { group: 0 }), cluster.node("w1", { group: 1 }), cluster.node("ctl")];
      value(await coordinator.attemptToAcquireLeader(context.within()));
      value(await worker.attemptToAcquireLeader(context.within()));
      value(await worker.touchMember({ state: "running", role: "primary" }, context.within()));
      const seen = value(await tool.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(seen.leader).toBeNull();
      expect(Object.keys(seen.groups)).toEqual(["0", "1"]);
      expect(seen.groups["0"]?.leader?.name).toBe("c1");
      expect(seen.groups["1"]?.members.map((member) => member.name)).toEqual(["w1"]);
      const own = value(await worker.getCluster({ ...context.within(), consistency: "consistent" }));
      expect(own.leader?.name).toBe("w1");
      expect(own.groups).toEqual({});
      expect(value(await worker.readLease(context.within()))?.session).toBe(worker.session()?.id ?? "");
      await leave(context, coordinator, worker);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "deleting a cluster removes all its keys and leaves a neighbour whose name begins alike",
    async () => {
      const cluster = context.cluster();
      const node = cluster.node("a");
      value(await node.attemptToAcquireLeader(context.within()));
      value(await node.touchMember({ state: "running" }, context.within()));
      value(await node.values.setConfigValue({}, null, context.within()));
      const store = context.client();
      const root = `${cluster.namespace}/${cluster.scope}`;
      value(await store.put(`${root}-other/leader`, "z", context.within()));
      value(await node.deleteCluster(context.within()));
      expect((await context.snapshot(store, root)).entries.map((entry) => entry.value)).toEqual(["z"]);
      expectError(await node.updateLeader(context.within()), "condition-failed");
      await leave(context, node);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a watch of the cluster returns what has changed since the revision that was read",
    async () => {
      const cluster = context.cluster();
      const [a, b] = [cluster.node("a"), cluster.node("b")];
      value(await a.values.setConfigValue({ ttl: 30 }, null, context.within()));
      const seen = value(await b.getCluster({ ...context.within(), consistency: "consistent" }));
      const watching = b.watchCluster(seen.revision, context.within());
      const lock = value(await a.attemptToAcquireLeader(context.within()));
      let woken = value(await watching);
      if (woken.leader === null) woken = value(await b.watchCluster(woken.revision, context.within()));
      expect(woken.leader?.session).toBe(lock.session);
      // What did not change was not read again.
      expect(woken.config).toBe(seen.config);
      const stop = new AbortController();
      const ended = b.watchCluster(woken.revision, { ...context.within(), signal: stop.signal });
      stop.abort();
      expectError(await ended, "unavailable");
      await leave(context, a);
    },
    CASE_TIMEOUT_MS,
  );
}
