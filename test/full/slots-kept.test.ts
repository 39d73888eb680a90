// Goal: slots of members are kept for who is away and for who streams from another replica, and all of them go with use_slots.
// Method: three real nodes over the store of the tests, the third behind the second where it is there; what each server shows.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { SlotSight } from "../harness/slot-sight.ts";
import { until } from "../harness/wait.ts";

const WITHIN_MS = 20_000;
let cluster: TestCluster;
let slots: SlotSight;

beforeAll(async () => {
  cluster = await TestCluster.shared({
    nodes: ["n-1", "n-2", "n-3"],
    dynamic: { loop_wait: 1 },
    extra: (index) => (index === 2 ? { tags: { replicatefrom: "n-2" } } : {}),
  });
  slots = new SlotSight(cluster);
  const first = await cluster.untilHealthy();
  if (first.name !== "n-1") {
    const body = { leader: first.name, candidate: "n-1" };
    expect((await first.api("/switchover", { method: "POST", body, timeoutMs: 60_000 })).status).toBe(200);
    await cluster.untilHealthy();
  }
}, 120_000);
afterAll(() => TestCluster.stopAll(), 60_000);

const slotOf = (node: ClusterNode): string => node.name.replace("-", "_");
const others = (node: ClusterNode): readonly string[] => cluster.others(node).map(slotOf);

describe("the slots of members", () => {
  test("behind another replica are in use there, and follow on the leader", async () => {
    await cluster.during(async () => {
      for (const node of cluster.nodes) await slots.until(node, others(node));
      const [leader, source] = cluster.nodes as [ClusterNode, ClusterNode];
      await until("n-3 streams from n-2", async () => (await slots.of(source))["n_3"]?.active === true, { withinMs: WITHIN_MS });
      await until("n-3 has left n-1", async () => (await slots.of(leader))["n_3"]?.active === false, { withinMs: WITHIN_MS });
      await cluster.sql(leader, "CREATE TABLE moved AS SELECT generate_series(1, 1000) AS n");
      const [row] = await cluster.sql<{ lsn: string }>(leader, "SELECT pg_current_wal_lsn()::text AS lsn");
      await slots.untilAt(leader, "n_3", row?.lsn ?? "");
      await slots.untilAt(source, "n_1", row?.lsn ?? "");
    });
  }, 60_000);

  test("that is away stay for member_slots_ttl, also with another leader", async () => {
    await cluster.during(async () => {
      const leader = await cluster.untilHealthy();
      const [next, away] = cluster.others(leader) as [ClusterNode, ClusterNode];
      await cluster.patchConfig({ member_slots_ttl: 6 });
      await away.terminate();
      const switched = await leader.api("/switchover", {
        method: "POST",
        body: { leader: leader.name, candidate: next.name },
        timeoutMs: 60_000,
      });
      expect(switched.status).toBe(200);
      await cluster.untilHealthy({ nodes: [leader, next] });
      expect(Object.keys(await slots.of(next)).sort()).toEqual([slotOf(leader), slotOf(away)].sort());
      expect((await slots.published()).retain_slots).toContain(slotOf(away));
      await slots.until(next, [slotOf(leader)]);
      await slots.until(leader, [slotOf(next)]);
      expect(next.log).toContain(`Replication slot '${slotOf(away)}' for absent cluster member is expired after 6 sec.`);
      expect((await slots.published()).retain_slots).not.toContain(slotOf(away));
      away.start();
      await cluster.patchConfig({ member_slots_ttl: null });
      await cluster.untilHealthy();
      for (const node of cluster.nodes) await slots.until(node, others(node));
    });
  }, 90_000);

  test("go with use_slots, and come back with it", async () => {
    await cluster.during(async () => {
      await cluster.untilHealthy();
      await cluster.patchConfig({ postgresql: { use_slots: false } });
      for (const node of cluster.nodes) await slots.until(node, []);
      await cluster.untilHealthy();
      await cluster.patchConfig({ postgresql: { use_slots: null } });
      for (const node of cluster.nodes) await slots.until(node, others(node));
      await cluster.untilHealthy();
    });
  }, 90_000);
});
