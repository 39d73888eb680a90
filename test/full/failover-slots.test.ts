// Goal: slots that PostgreSQL 17 fails over itself are left alone: on the primary that has them, on the standby that PostgreSQL copies them
// to, and after a switchover, while other slots that nobody knows are dropped.
// Method: two real nodes with PostgreSQL 17 over the store of the tests; what each server shows.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { postgres17 } from "../harness/other-postgresql.ts";
import { SlotSight } from "../harness/slot-sight.ts";
import { until } from "../harness/wait.ts";

const LIMIT_MS = 400_000;
/** PostgreSQL looks for slots to copy every 30 s where little happens. */
const WITHIN_MS = 120_000;
let cluster: TestCluster;
let slots: SlotSight;

beforeAll(async () => {
  const bin_dir = postgres17();
  // PostgreSQL's own conditions for its slots on a standby: its feedback, and a slot on the primary.
  const parameters = { wal_level: "logical", hot_standby_feedback: "on", sync_replication_slots: "on" };
  const dynamic = { loop_wait: 1, postgresql: { parameters } };
  cluster = await TestCluster.shared({ nodes: ["n1", "n2"], dynamic, extra: () => ({ postgresql: { bin_dir } }) });
  slots = new SlotSight(cluster);
  await cluster.untilHealthy();
}, LIMIT_MS);
afterAll(() => TestCluster.stopAll(), LIMIT_MS);

function scenario(title: string, body: () => Promise<void>): void {
  test(title, () => cluster.during(body), LIMIT_MS);
}

const create = (name: string, failover: boolean) =>
  `SELECT pg_create_logical_replication_slot('${name}', 'test_decoding', false, false, ${failover})`;

async function changes(node: ClusterNode): Promise<number> {
  const rows = await cluster.sql<{ data: string }>(node, "SELECT data FROM pg_logical_slot_get_changes('carried', NULL, NULL)");
  return rows.filter(({ data }) => data.includes("INSERT")).length;
}

/** A change of the configuration of slots: what is not ours is dropped with it. */
async function passOver(node: ClusterNode, name: string): Promise<void> {
  await cluster.patchConfig({ slots: { [name]: 0 } });
  await until(`${name} on ${node.name}`, async () => (await slots.of(node))[name] !== undefined, { withinMs: WITHIN_MS });
}

describe("PostgreSQL 17's failover slots", () => {
  scenario("stay where slots that nobody knows are dropped, on the primary and on the standby", async () => {
    const leader = await cluster.untilHealthy();
    const [standby] = cluster.others(leader) as [ClusterNode];
    expect(Number((await leader.status())["server_version"])).toBeGreaterThanOrEqual(170_000);
    await cluster.sql(leader, "CREATE TABLE happened (n int)");
    await cluster.sql(leader, create("carried", true));
    await cluster.sql(leader, create("unknown", false));
    const synced = async () => {
      // PostgreSQL keeps its copy only once a consumer has read beyond what the standby itself still has.
      await cluster.sql(leader, "SELECT pg_log_standby_snapshot()");
      await changes(leader);
      const query = "SELECT 1 FROM pg_replication_slots WHERE slot_name = 'carried' AND synced AND NOT temporary";
      return (await cluster.sql(standby, query)).length === 1;
    };
    await until("PostgreSQL has brought the slot to the standby", synced, { withinMs: WITHIN_MS, everyMs: 200 });
    for (const node of [leader, standby]) await passOver(node, "mine");
    await slots.until(leader, [standby.name, "carried", "mine"]);
    await slots.until(standby, [leader.name, "carried", "mine"]);
    expect(leader.log).toContain("Dropped replication slot 'unknown'");
    expect((await slots.published()).slots).not.toHaveProperty("carried");
  });

  scenario("are read on at the new primary after a switchover, and stay on both through the next change", async () => {
    const leader = await cluster.untilHealthy();
    const [standby] = cluster.others(leader) as [ClusterNode];
    await cluster.sql(leader, "INSERT INTO happened VALUES (1), (2)");
    expect(await changes(leader)).toBe(2);
    await cluster.sql(leader, "INSERT INTO happened VALUES (3), (4), (5)");
    const body = { leader: leader.name, candidate: standby.name };
    expect((await leader.api("/switchover", { method: "POST", body, timeoutMs: 60_000 })).status).toBe(200);
    expect(await cluster.untilHealthy()).toBe(standby);
    // PostgreSQL copies the position now and then: what it had not copied comes again.
    expect(await changes(standby)).toBeGreaterThanOrEqual(3);
    for (const node of [leader, standby]) await passOver(node, "more");
    await slots.until(standby, [leader.name, "carried", "mine", "more"]);
    await slots.until(leader, [standby.name, "carried", "mine", "more"]);
    for (const node of [leader, standby]) expect(node.log).not.toMatch(/drop\w* \w*\s?replication slot '?carried/i);
  });
});
