// Goal: in synchronous mode the key never names a standby that the primary does not wait for, and only such a standby takes over.
// Method: real clusters, the `sync` key as the store has it, the setting as PostgreSQL has it, and a client that writes every 10 ms.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { SyncWatch, waitedFor } from "../harness/sync-watch.ts";
import { until } from "../harness/wait.ts";

afterAll(() => TestCluster.stopAll());

/** A client that never gives up on a commit: what hangs is seen. */
const PATIENCE_MS = 60_000;
/** A standby that died is missed within a second, and a busy machine. Far below wal_receiver_status_interval (10 s). */
const STANDBY_LOST_MAX_MS = 5_000;
/** With two of three nodes gone a Raft still has a majority. */
const BOTH_STANDBYS_MAY_DIE = { witnesses: 2 };
const PLACEHOLDER = "__patroni_strict_sync_replica_placeholder__";

async function untilStandbys(
  cluster: TestCluster,
  wanted: (names: readonly string[]) => boolean,
  what: string,
): Promise<readonly string[]> {
  return until(
    what,
    async () => {
      const names = await cluster.syncStandbys();
      if (!wanted(names)) throw new Error(`the key names ${names.join(",")}`);
      return names;
    },
    { withinMs: 20_000 },
  );
}

describe.concurrent("synchronous mode", () => {
  test("switched on while the cluster runs, one standby is waited for; when it dies another takes its place, and commits go on", async () => {
    await TestCluster.with({ ...BOTH_STANDBYS_MAY_DIE, dynamic: { loop_wait: 10 } }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      const writer = await cluster.writer({ answerMaxMs: PATIENCE_MS });
      const watch = new SyncWatch(cluster);
      expect((await waitedFor(cluster, leader)).setting).toBe("");
      await cluster.patchConfig({ synchronous_mode: true });
      const [first = ""] = await untilStandbys(cluster, (names) => names.length === 1, "one standby in the key");
      expect(await waitedFor(cluster, leader)).toEqual({ setting: first, sync: [first] });
      const listed = (await cluster.list([leader])).members.find(({ name }) => name === first);
      expect(listed?.role).toBe("sync_standby");
      // A view of the key that a watch brings.
      await until("the standby knows that it is", async () => (await cluster.node(first).health("/sync")) === 200, { withinMs: 20_000 });
      const other = cluster.others(leader, cluster.node(first))[0] as ClusterNode;
      expect(await other.health("/sync")).toBe(503);
      expect(await other.health("/async")).toBe(200);

      const diedAt = performance.now();
      await cluster.node(first).killHost();
      await untilStandbys(cluster, (names) => names.length === 1 && names[0] === other.name, `${other.name} in the key`);
      await writer.afterNow(20_000);
      console.log(`synchronous standby died: write gap ${Math.round(writer.longestGap(diedAt).ms)} ms`);
      expect(await waitedFor(cluster, leader)).toEqual({ setting: other.name, sync: [other.name] });

      // Nobody is left: not strict, so commits go on alone.
      await other.killHost();
      await untilStandbys(cluster, (names) => names.length === 0, "nobody in the key");
      await until("nobody is waited for", async () => (await waitedFor(cluster, leader)).setting === "", { withinMs: 20_000 });
      await writer.afterNow(20_000);
      console.log(`last synchronous standby died: write gap ${Math.round(writer.longestGap(diedAt).ms)} ms`);
      expect(writer.longestOwnGap(diedAt)).toBeLessThan(STANDBY_LOST_MAX_MS);

      other.start();
      await untilStandbys(cluster, (names) => names[0] === other.name, `${other.name} in the key again`);
      cluster.node(first).start();
      expect(await cluster.untilHealthy()).toBe(leader);
      await cluster.patchConfig({ synchronous_mode: false });
      await until("nobody is waited for", async () => (await waitedFor(cluster, leader)).setting === "", { withinMs: 20_000 });
      await until("the key names nobody", async () => (await cluster.syncStandbys()).length === 0, { withinMs: 20_000 });
      expect(await watch.stop()).toEqual([]);
      expect(await writer.lost(leader)).toEqual([]);
    });
  }, 180_000);

  test("with two synchronous standbys both are waited for; the switchover goes only to one of them", async () => {
    await TestCluster.with({ nodes: 4, dynamic: { loop_wait: 10, synchronous_mode: true, synchronous_node_count: 2 } }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      const writer = await cluster.writer({ answerMaxMs: PATIENCE_MS });
      const watch = new SyncWatch(cluster);
      const two = await untilStandbys(cluster, (names) => names.length === 2, "two standbys in the key");
      expect(two).toEqual([...two].sort());
      expect(await waitedFor(cluster, leader)).toEqual({ setting: `2 (${two.join(",")})`, sync: two });
      const third = cluster.others(leader).find(({ name }) => !two.includes(name)) as ClusterNode;
      const post = async (node: ClusterNode, path: string, body: unknown) => {
        const answer = await node.api(path, { method: "POST", body, timeoutMs: 40_000 });
        return [answer.status, answer.text] as const;
      };
      expect(await post(third, "/switchover", { leader: leader.name, candidate: third.name })).toEqual([
        412,
        "candidate name does not match with sync_standby",
      ]);
      expect(await cluster.untilLeader()).toBe(leader);
      const since = performance.now();
      const [status, text] = await post(third, "/switchover", { leader: leader.name });
      expect(status).toBe(200);
      const next = await cluster.untilHealthy();
      expect(text).toBe(`Successfully switched over to "${next.name}"`);
      expect(two).toContain(next.name);
      await untilStandbys(
        cluster,
        (names) => names.length === 2 && !names.includes(next.name),
        "two standbys of the new leader in the key",
      );
      await writer.afterNow(20_000);
      console.log(`switchover with two synchronous standbys: write gap ${Math.round(writer.longestGap(since).ms)} ms`);
      expect(writer.longestOwnGap(since)).toBeLessThan(STANDBY_LOST_MAX_MS);
      // An operator's failover may go beyond the key; it says so by its name.
      const named = cluster.others(next).find(({ name }) => name === third.name) ?? leader;
      expect(await post(next, "/failover", { candidate: named.name })).toEqual([200, `Successfully failed over to "${named.name}"`]);
      const last = await cluster.untilHealthy();
      expect(last.name).toBe(named.name);
      expect(await watch.stop()).toEqual([]);
      expect(writer.overlaps()).toEqual([]);
      const bare = writer.acknowledged.filter(
        ({ sentAt, streaming, synchronousStandbyNames }) => sentAt > since && streaming > 0 && synchronousStandbyNames === "",
      );
      expect(bare).toEqual([]);
      expect(await writer.lost(last)).toEqual([]);
    });
  }, 180_000);

  test("strict: without a standby no commit is acknowledged, and with the first that streams they go on", async () => {
    const strict = { loop_wait: 10, synchronous_mode: true, synchronous_mode_strict: true };
    await TestCluster.with({ ...BOTH_STANDBYS_MAY_DIE, dynamic: strict }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      const [sync = ""] = await untilStandbys(cluster, (names) => names.length === 1, "one standby in the key");
      const writer = await cluster.writer({ answerMaxMs: PATIENCE_MS });
      const other = cluster.others(leader, cluster.node(sync))[0] as ClusterNode;
      await other.killHost();
      await writer.afterNow(20_000);
      await cluster.node(sync).killHost();
      await until(
        "the placeholder is waited for, or the standby that died",
        async () => [PLACEHOLDER, sync].includes((await waitedFor(cluster, leader)).setting),
        {
          withinMs: 15_000,
        },
      );
      const walSenders = async () => (await cluster.sql<{ n: number }>(leader, "select count(*)::int as n from pg_stat_replication"))[0]?.n;
      await until("the primary has noticed", async () => (await walSenders()) === 0, { withinMs: 20_000 });
      await Bun.sleep(500);
      const before = writer.acknowledged.length;
      await Bun.sleep(4_000);
      expect(writer.acknowledged.length).toBe(before);
      expect(await leader.health("/primary")).toBe(200);
      other.start();
      await writer.afterNow(20_000);
      cluster.node(sync).start();
      expect(await cluster.untilHealthy()).toBe(leader);
      expect(await writer.lost(leader)).toEqual([]);
      expect(writer.acknowledged.filter(({ synchronousStandbyNames }) => synchronousStandbyNames === "")).toEqual([]);
    });
  }, 180_000);
});
