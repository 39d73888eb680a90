// Goal: in failsafe mode a primary that alone is cut off from the store goes on while everybody else sees the lock free, whoever is
// restarted meanwhile; a node that the key does not name never leads; a cluster of one needs nobody.
// Method: each node reaches the store by a way of its own, which is closed and opened; for a cluster of one the store itself goes away.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { OutsideConsul, startOutsideStore } from "../harness/outside-store.ts";
import { staysTrue, until } from "../harness/wait.ts";
import { withWays } from "../harness/ways.ts";

/** Members have seconds to answer in, on a busy machine too. */
const SHORT = { ttl: 8, loop_wait: 1, retry_timeout: 2, failsafe_mode: true };
const TTL_MS = 8_000;

afterAll(() => TestCluster.stopAll());

function isPrimary(node: ClusterNode): () => Promise<string | null> {
  return async () => ((await node.health("/primary")) === 200 ? null : "/primary is not 200");
}

async function untilKeyNames(cluster: TestCluster, names: readonly string[]): Promise<void> {
  await until(
    `the key names ${names.join(", ")}`,
    async () => Bun.deepEquals(Object.keys(JSON.parse((await cluster.key("failsafe"))?.value ?? "{}")).sort(), [...names].sort()),
    { withinMs: 20_000 },
  );
}

describe("a primary that alone is cut off from the store", () => {
  test("goes on while the lock is free, also where a member's supervisor is killed and started anew, and takes the lock again", async () => {
    await withWays({ nodes: 3, dynamic: SHORT }, async (cluster, ways) => {
      const leader = await cluster.untilHealthy();
      const writer = await cluster.writer();
      const index = cluster.nodes.indexOf(leader);
      const [member] = cluster.others(leader);
      if (member === undefined) throw new Error("there are three nodes");
      await untilKeyNames(
        cluster,
        cluster.nodes.map(({ name }) => name),
      );
      const begun = performance.now();
      await ways.close(index);
      await until("the lock is free", async () => (await cluster.key("leader")) === null, { withinMs: 4 * TTL_MS });
      const from = member.log.length;
      await member.untilLogs(`no action. I am (${member.name}), a secondary, and following a leader (${leader.name})`, {
        withinMs: TTL_MS,
        from,
      });
      await member.killSupervisor();
      member.start();
      await staysTrue("with the lock free", isPrimary(leader), { forMs: 2 * TTL_MS, everyMs: 100 });
      expect(await cluster.key("leader")).toBeNull();
      await ways.reopen(index);
      await until("the lock is held again", async () => (await cluster.key("leader"))?.value === leader.name, { withinMs: 3 * TTL_MS });
      expect(await cluster.untilHealthy()).toBe(leader);
      expect(writer.longestGap(begun).ms).toBeLessThan(2_000);
      expect(await writer.lost(leader)).toEqual([]);
      expect(writer.acknowledged.map(({ id }) => id)).toEqual(writer.acknowledged.map((_, at) => `${leader.name}-${at}`));
    });
  }, 180_000);

  test("steps down where its supervisor dies, and then a member takes over: never two", async () => {
    await withWays({ nodes: 2, dynamic: SHORT }, async (cluster, ways) => {
      const leader = await cluster.untilHealthy();
      const writer = await cluster.writer();
      const [member] = cluster.others(leader);
      await untilKeyNames(
        cluster,
        cluster.nodes.map(({ name }) => name),
      );
      await ways.close(cluster.nodes.indexOf(leader));
      await until("failsafe mode is active", async () => (await leader.status())["failsafe_mode_is_active"] === true, {
        withinMs: 3 * TTL_MS,
      });
      await until("the lock is free", async () => (await cluster.key("leader")) === null, { withinMs: 4 * TTL_MS });
      await leader.killSupervisor();
      await writer.afterNowBy(member?.name ?? "", 6 * TTL_MS);
      expect(writer.overlaps()).toEqual([]);
    });
  }, 120_000);
});

test("a node that the key does not name stays a replica where nobody leads, until it is named again", async () => {
  const store = await startOutsideStore();
  try {
    await TestCluster.with({ nodes: 2, outside: store, dynamic: SHORT }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      const [member] = cluster.others(leader);
      if (member === undefined) throw new Error("there are two nodes");
      await untilKeyNames(
        cluster,
        cluster.nodes.map(({ name }) => name),
      );
      await member.killSupervisor();
      await untilKeyNames(cluster, [leader.name]);
      await leader.killHost();
      member.start();
      const refusal = "following a different leader because i am not the healthiest node: the failsafe key does not name me";
      await member.untilLogs(refusal, { withinMs: 4 * TTL_MS });
      const isReplica = async () => ((await member.health("/replica")) === 200 ? null : "/replica is not 200");
      await staysTrue("not named", isReplica, { forMs: 2 * TTL_MS, everyMs: 100 });
      expect(await cluster.key("leader")).toBeNull();
      leader.start();
      await cluster.untilHealthy();
      await untilKeyNames(
        cluster,
        cluster.nodes.map(({ name }) => name),
      );
    });
  } finally {
    await store.stop();
  }
}, 120_000);

test("a cluster of one lives through an outage of its store for 3 × ttl without one failed write", async () => {
  const store = await startOutsideStore();
  try {
    await TestCluster.with({ nodes: 1, outside: store, dynamic: SHORT }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      const writer = await cluster.writer();
      await untilKeyNames(cluster, [leader.name]);
      const begun = performance.now();
      if (store instanceof OutsideConsul) store.consul.sigstop();
      else await store.kill();
      await staysTrue("without the store", isPrimary(leader), { forMs: 3 * TTL_MS, everyMs: 100 });
      if (store instanceof OutsideConsul) store.consul.sigcont();
      else await store.restart();
      await until("it counts on the store again", async () => (await leader.status())["failsafe_mode_is_active"] === undefined, {
        withinMs: 4 * TTL_MS,
      });
      await writer.afterNow(2_000);
      expect(writer.longestGap(begun).ms).toBeLessThan(2_000);
      expect(await writer.lost(leader)).toEqual([]);
      expect(writer.acknowledged.map(({ id }) => id)).toEqual(writer.acknowledged.map((_, at) => `${leader.name}-${at}`));
    });
  } finally {
    await store.stop();
  }
}, 120_000);

test("permanent slots of the members follow the primary's while the store is away, physical and logical ones", async () => {
  const store = await startOutsideStore();
  try {
    const slots = { keeper: { type: "physical" }, events: { type: "logical", database: "postgres", plugin: "test_decoding" } };
    const dynamic = { ...SHORT, slots, postgresql: { parameters: { wal_level: "logical" } } };
    await TestCluster.with({ nodes: 2, outside: store, dynamic }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      const [member] = cluster.others(leader);
      if (member === undefined) throw new Error("there are two nodes");
      await untilKeyNames(
        cluster,
        cluster.nodes.map(({ name }) => name),
      );
      const positionOn = async (node: ClusterNode, slot: string) => {
        const text = `select coalesce(confirmed_flush_lsn, restart_lsn) - '0/0' as at from pg_replication_slots where slot_name = '${slot}'`;
        const [row] = await cluster.sql<{ at: string | null }>(node, text);
        return Number(row?.at ?? 0);
      };
      for (const slot of Object.keys(slots)) {
        const both = async () => (await positionOn(leader, slot)) > 0 && (await positionOn(member, slot)) > 0;
        await until(`both have the slot ${slot}`, both, { withinMs: 20_000 });
      }
      if (store instanceof OutsideConsul) store.consul.sigstop();
      else await store.kill();
      await until("failsafe mode is active", async () => (await member.status())["failsafe_mode_is_active"] === true, {
        withinMs: 4 * TTL_MS,
      });
      await cluster.sql(leader, "create table made_meanwhile as select generate_series(1, 1000)");
      await cluster.sql(leader, "select pg_replication_slot_advance('keeper', pg_current_wal_flush_lsn())");
      await cluster.sql(leader, "select count(*) from pg_logical_slot_get_changes('events', null, null)");
      for (const slot of Object.keys(slots)) {
        const wanted = await positionOn(leader, slot);
        await until(`the member's slot ${slot} has followed`, async () => (await positionOn(member, slot)) >= wanted, {
          withinMs: 4 * TTL_MS,
        });
      }
      expect(await leader.health("/primary")).toBe(200);
    });
  } finally {
    await store.stop();
  }
}, 120_000);
