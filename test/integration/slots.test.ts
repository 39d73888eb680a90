// Goal: replication slots survive changes of the leader: of members, and permanent ones.
// Method: one cluster of three real nodes over the store of the tests, driven through PATCH /config; what each server and the status
// key show.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { SlotSight } from "../harness/slot-sight.ts";

const WITHIN_MS = 20_000;
let cluster: TestCluster;
let slots: SlotSight;

beforeAll(async () => {
  cluster = await TestCluster.shared({
    nodes: ["n-1", "n-2", "n-3"],
    dynamic: { loop_wait: 1, postgresql: { parameters: { wal_level: "logical" } } },
  });
  slots = new SlotSight(cluster);
  await cluster.untilHealthy();
}, 90_000);
afterAll(() => TestCluster.stopAll(), 60_000);

const slotOf = (node: ClusterNode): string => node.name.replace("-", "_");
const others = (node: ClusterNode): readonly string[] => cluster.others(node).map(slotOf);

describe("member slots", () => {
  test("are on every node for every other one, in the status key with the leader's own, and follow on replicas", async () => {
    await cluster.during(async () => {
      const leader = await cluster.untilHealthy();
      for (const node of cluster.nodes) await slots.until(node, others(node));
      await cluster.sql(leader, "CREATE TABLE moved AS SELECT generate_series(1, 1000) AS n");
      const [first, second] = cluster.others(leader) as [ClusterNode, ClusterNode];
      const [row] = await cluster.sql<{ lsn: string }>(leader, "SELECT pg_current_wal_lsn()::text AS lsn");
      await slots.untilAt(first, slotOf(second), row?.lsn ?? "");
      await slots.untilAt(second, slotOf(leader), row?.lsn ?? "");
      const published = await slots.published();
      expect(Object.keys(published.slots ?? {}).sort()).toEqual(cluster.nodes.map(slotOf).sort());
      expect(published.retain_slots).toEqual(cluster.nodes.map(slotOf).sort());
    });
  }, 60_000);

  test("that nobody knows are dropped on leader and replicas, ignored ones stay", async () => {
    await cluster.during(async () => {
      const leader = await cluster.untilHealthy();
      const [replica] = cluster.others(leader) as [ClusterNode];
      await cluster.patchConfig({ ignore_slots: [{ name: "foreign", type: "physical" }] });
      for (const node of [leader, replica]) {
        await cluster.sql(node, "SELECT pg_create_physical_replication_slot('foreign', true)");
        await cluster.sql(node, "SELECT pg_create_physical_replication_slot('unknown', true)");
      }
      await cluster.patchConfig({ slots: { extra: 0 } });
      for (const node of [leader, replica]) {
        await slots.until(node, [...others(node), "foreign", "extra"]);
        // What was done is told when all of it is done.
        await node.untilLogs("INFO: Dropped replication slot 'unknown'", { withinMs: WITHIN_MS });
        expect(node.log).toContain("INFO: Trying to drop unknown replication slot 'unknown'");
      }
      await cluster.patchConfig({ ignore_slots: null, slots: null });
      for (const node of [leader, replica]) await slots.until(node, others(node));
    });
  }, 60_000);
});

describe("permanent slots", () => {
  test("physical ones are on all nodes and follow the leader's", async () => {
    await cluster.during(async () => {
      const leader = await cluster.untilHealthy();
      await cluster.patchConfig({ slots: { backup: 0, "n-9": { type: "physical" }, n_2: { type: "physical" } } });
      for (const node of cluster.nodes) await slots.until(node, [...others(node), "backup"]);
      await cluster.sql(leader, "CREATE TABLE followed AS SELECT generate_series(1, 1000) AS n");
      const [row] = await cluster.sql<{ lsn: string }>(
        leader,
        "SELECT (pg_replication_slot_advance('backup', pg_current_wal_lsn())).end_lsn::text AS lsn",
      );
      for (const node of cluster.others(leader)) await slots.untilAt(node, "backup", row?.lsn ?? "");
      const published = await slots.published();
      expect(published.retain_slots).not.toContain("n_2");
      expect(Object.keys(published.slots ?? {})).toContain("backup");
      expect(leader.log).toContain("Invalid permanent replication slot name 'n-9'");
      await cluster.patchConfig({ slots: null });
      for (const node of cluster.nodes) await slots.until(node, others(node));
    });
  }, 60_000);

  test("logical ones are copied to the replicas, follow there, and are read on after a switchover without a change lost", async () => {
    await cluster.during(async () => {
      const leader = await cluster.untilHealthy();
      const replicas = cluster.others(leader);
      const [next] = replicas as [ClusterNode];
      await cluster.sql(leader, "CREATE TABLE happened (n int)");
      await cluster.patchConfig({ slots: { events: { type: "logical", database: "postgres", plugin: "test_decoding" } } });
      for (const node of cluster.nodes) await slots.until(node, [...others(node), "events"]);
      for (const node of replicas) {
        await node.untilLogs("Logical slot events is safe to be used after a failover", { withinMs: WITHIN_MS });
        expect(node.log).toContain("INFO: Copying logical slots ['events'] from the primary");
        expect((await cluster.sql(node, "SHOW hot_standby_feedback"))[0]).toEqual({ hot_standby_feedback: "on" });
      }
      await cluster.sql(leader, "INSERT INTO happened SELECT generate_series(1, 10)");
      expect(await changes(leader)).toEqual(Array.from({ length: 10 }, (_, index) => index + 1));
      const read = (await slots.of(leader))["events"]?.confirmed_flush_lsn ?? "";
      for (const node of replicas) await slots.untilAt(node, "events", read);
      await cluster.sql(leader, "INSERT INTO happened SELECT generate_series(11, 20)");
      // Its consumer has not read on, so that the slot needs WAL from before a new copy of a replica.
      await cluster.sql(leader, "SELECT pg_switch_wal()");
      const from = next.log.length;
      expect((await next.api("/reinitialize", { method: "POST", body: {} })).status).toBe(200);
      await next.untilLogs("INFO: replica has been created using", { withinMs: 40_000, from });
      await next.untilLogs("Logical slot events is safe to be used after a failover", { withinMs: 40_000, from });
      expect(next.log.slice(from)).toMatch(/fetched [1-4] segments of WAL for the logical slot "events"/);
      await cluster.untilHealthy();
      const switched = await leader.api("/switchover", {
        method: "POST",
        body: { leader: leader.name, candidate: next.name },
        timeoutMs: 60_000,
      });
      expect(switched.status).toBe(200);
      expect(await changes(next)).toEqual(Array.from({ length: 10 }, (_, index) => index + 11));
      await cluster.untilHealthy();
      await cluster.patchConfig({ slots: null });
      for (const node of cluster.nodes) await slots.until(node, others(node));
      for (const node of cluster.nodes) expect(node.log).not.toContain("might be unsafe");
    });
  }, 90_000);
});

/** Rows that were inserted, as the slot tells them; they count as read. */
async function changes(node: ClusterNode): Promise<readonly number[]> {
  const rows = await cluster.sql<{ data: string }>(node, "SELECT data FROM pg_logical_slot_get_changes('events', NULL, NULL)");
  return rows.flatMap(({ data }) => {
    const found = /^table public\.happened: INSERT: n\[integer\]:(\d+)$/.exec(data)?.[1];
    return found === undefined ? [] : [Number(found)];
  });
}
