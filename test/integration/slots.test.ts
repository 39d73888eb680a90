// Goal: replication slots survive changes of the leader: of members, of members that are away for a while, and permanent ones.
// Method: one cluster of three real nodes over the store of the tests, driven through PATCH /config; what each server and the status
// key show.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { until } from "../harness/wait.ts";

const WITHIN_MS = 20_000;
let cluster: TestCluster;

beforeAll(async () => {
  cluster = await TestCluster.shared({
    nodes: ["n-1", "n-2", "n-3"],
    dynamic: { loop_wait: 1, postgresql: { parameters: { wal_level: "logical" } } },
  });
  await cluster.untilHealthy();
}, 90_000);
afterAll(() => TestCluster.stopAll(), 60_000);

interface SlotRow {
  readonly slot_name: string;
  readonly slot_type: string;
  readonly restart_lsn: string;
  readonly confirmed_flush_lsn: string | null;
}

async function slotsOf(node: ClusterNode): Promise<Readonly<Record<string, SlotRow>>> {
  const rows = await cluster.sql<SlotRow>(node, "SELECT slot_name, slot_type, restart_lsn, confirmed_flush_lsn FROM pg_replication_slots");
  return Object.fromEntries(rows.map((row) => [row.slot_name, row]));
}

/** Waits until the node has exactly these slots. */
async function untilSlots(node: ClusterNode, names: readonly string[]): Promise<void> {
  const wanted = [...names].sort();
  await until(
    `slots of ${node.name}: ${wanted.join(", ")}`,
    async () => {
      const found = Object.keys(await slotsOf(node)).sort();
      if (found.join() !== wanted.join()) throw new Error(`found ${found.join(", ")}`);
      return true;
    },
    { withinMs: WITHIN_MS, everyMs: 100 },
  );
}

async function untilPosition(node: ClusterNode, slot: string, position: string): Promise<void> {
  await until(
    `slot ${slot} of ${node.name} is at ${position}`,
    async () => {
      const row = (await slotsOf(node))[slot];
      const at = row?.slot_type === "logical" ? row.confirmed_flush_lsn : row?.restart_lsn;
      if (at !== position) throw new Error(`it is at ${at}`);
      return true;
    },
    { withinMs: WITHIN_MS, everyMs: 100 },
  );
}

async function statusKey(): Promise<{ readonly slots?: Readonly<Record<string, number>>; readonly retain_slots?: readonly string[] }> {
  return JSON.parse((await cluster.key("status"))?.value ?? "{}") as Awaited<ReturnType<typeof statusKey>>;
}

const slotOf = (node: ClusterNode): string => node.name.replace("-", "_");
const others = (node: ClusterNode): readonly string[] => cluster.others(node).map(slotOf);

describe("member slots", () => {
  test("are on every node for every other one, in the status key with the leader's own, and follow on replicas", async () => {
    await cluster.during(async () => {
      const leader = await cluster.untilHealthy();
      for (const node of cluster.nodes) await untilSlots(node, others(node));
      await cluster.sql(leader, "CREATE TABLE moved AS SELECT generate_series(1, 1000) AS n");
      const [first, second] = cluster.others(leader) as [ClusterNode, ClusterNode];
      const [row] = await cluster.sql<{ lsn: string }>(leader, "SELECT pg_current_wal_lsn()::text AS lsn");
      const after = row?.lsn ?? "";
      const reached = async (node: ClusterNode, slot: string) =>
        (
          await cluster.sql<{ there: boolean }>(
            node,
            `SELECT restart_lsn >= '${after}' AS there FROM pg_replication_slots WHERE slot_name = '${slot}'`,
          )
        )[0]?.there === true;
      for (const [node, slot] of [
        [first, slotOf(second)],
        [second, slotOf(leader)],
      ] as const) {
        await until(`slot ${slot} of ${node.name} follows`, () => reached(node, slot), { withinMs: WITHIN_MS, everyMs: 100 });
      }
      const published = await statusKey();
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
        await untilSlots(node, [...others(node), "foreign", "extra"]);
        // What was done is told when all of it is done.
        await node.untilLogs("INFO: Dropped replication slot 'unknown'", { withinMs: WITHIN_MS });
        expect(node.log).toContain("INFO: Trying to drop unknown replication slot 'unknown'");
      }
      await cluster.patchConfig({ ignore_slots: null, slots: null });
      for (const node of [leader, replica]) await untilSlots(node, others(node));
    });
  }, 60_000);

  test("of a member that is away stay for member_slots_ttl, also with another leader", async () => {
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
      expect(Object.keys(await slotsOf(next)).sort()).toEqual([slotOf(leader), slotOf(away)].sort());
      expect((await statusKey()).retain_slots).toContain(slotOf(away));
      await untilSlots(next, [slotOf(leader)]);
      await untilSlots(leader, [slotOf(next)]);
      expect(next.log).toContain(`Replication slot '${slotOf(away)}' for absent cluster member is expired after 6 sec.`);
      expect((await statusKey()).retain_slots).not.toContain(slotOf(away));
      away.start();
      await cluster.patchConfig({ member_slots_ttl: null });
      await cluster.untilHealthy();
      for (const node of cluster.nodes) await untilSlots(node, others(node));
    });
  }, 90_000);
});

describe("permanent slots", () => {
  test("physical ones are on all nodes and follow the leader's", async () => {
    await cluster.during(async () => {
      const leader = await cluster.untilHealthy();
      await cluster.patchConfig({ slots: { backup: 0, "n-9": { type: "physical" }, n_2: { type: "physical" } } });
      for (const node of cluster.nodes) await untilSlots(node, [...others(node), "backup"]);
      await cluster.sql(leader, "CREATE TABLE followed AS SELECT generate_series(1, 1000) AS n");
      const [row] = await cluster.sql<{ lsn: string }>(
        leader,
        "SELECT (pg_replication_slot_advance('backup', pg_current_wal_lsn())).end_lsn::text AS lsn",
      );
      for (const node of cluster.others(leader)) await untilPosition(node, "backup", row?.lsn ?? "");
      const published = await statusKey();
      expect(published.retain_slots).not.toContain("n_2");
      expect(Object.keys(published.slots ?? {})).toContain("backup");
      expect(leader.log).toContain("Invalid permanent replication slot name 'n-9'");
      await cluster.patchConfig({ slots: null });
      for (const node of cluster.nodes) await untilSlots(node, others(node));
    });
  }, 60_000);

  test("logical ones are copied to the replicas, follow there, and are read on after a switchover without a change lost", async () => {
    await cluster.during(async () => {
      const leader = await cluster.untilHealthy();
      const replicas = cluster.others(leader);
      const [next] = replicas as [ClusterNode];
      await cluster.sql(leader, "CREATE TABLE happened (n int)");
      await cluster.patchConfig({ slots: { events: { type: "logical", database: "postgres", plugin: "test_decoding" } } });
      for (const node of cluster.nodes) await untilSlots(node, [...others(node), "events"]);
      for (const node of replicas) {
        await node.untilLogs("Logical slot events is safe to be used after a failover", { withinMs: WITHIN_MS });
        expect(node.log).toContain("INFO: Copying logical slots ['events'] from the primary");
        expect((await cluster.sql(node, "SHOW hot_standby_feedback"))[0]).toEqual({ hot_standby_feedback: "on" });
      }
      await cluster.sql(leader, "INSERT INTO happened SELECT generate_series(1, 10)");
      expect(await changes(leader)).toEqual(Array.from({ length: 10 }, (_, index) => index + 1));
      const read = (await slotsOf(leader))["events"]?.confirmed_flush_lsn ?? "";
      for (const node of replicas) await untilPosition(node, "events", read);
      await cluster.sql(leader, "INSERT INTO happened SELECT generate_series(11, 20)");
      const switched = await leader.api("/switchover", {
        method: "POST",
        body: { leader: leader.name, candidate: next.name },
        timeoutMs: 60_000,
      });
      expect(switched.status).toBe(200);
      expect(await changes(next)).toEqual(Array.from({ length: 10 }, (_, index) => index + 11));
      await cluster.untilHealthy();
      await cluster.patchConfig({ slots: null });
      for (const node of cluster.nodes) await untilSlots(node, others(node));
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
