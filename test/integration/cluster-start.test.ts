// Goal: empty directories become a cluster by themselves.
// Method: real supervisors, PostgreSQL and Consul; the roles are read from the API, from PostgreSQL and from the client's side.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";

afterAll(() => TestCluster.stopAll());

describe.concurrent("a start on empty directories", () => {
  test.each([[["node1", "node2", "node3"]], [["node-1.x", "Node_2", "3rd node"]]])(
    "%p become one primary and two streaming replicas",
    async (names) => {
      await TestCluster.with({ nodes: names }, async (cluster) => {
        const leader = await cluster.untilHealthy();
        const writer = await cluster.writer();
        await writer.afterNow(5_000);
        const senders = await cluster.sql<{ name: string; state: string; slot: string | null }>(
          leader,
          "select application_name as name, state, slot_name as slot from pg_stat_replication left join pg_replication_slots on active_pid = pid order by 1",
        );
        expect(senders.map(({ name }) => name).sort()).toEqual(names.filter((name) => name !== leader.name).sort());
        expect(senders.every(({ state, slot }) => state === "streaming" && slot !== null)).toBe(true);
        expect(await writer.lost(leader)).toEqual([]);
        for (const node of cluster.nodes) {
          expect(await node.health("/primary")).toBe(node === leader ? 200 : 503);
          expect(await node.health("/replica")).toBe(node === leader ? 503 : 200);
        }
      });
    },
    60_000,
  );
});
