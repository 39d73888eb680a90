// Goal: a primary whose supervisor died in a pause is fenced by nothing, so nobody is promoted beside it once the pause is over; when
// it is gone, or its supervisor is back, the cluster goes on by itself (docs/adr/0004). Method: SIGKILL of the supervisor alone in a
// pause, then the end of the pause; the client that writes to whoever takes it is the witness.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { until } from "../harness/wait.ts";

afterAll(() => TestCluster.stopAll());

const OPTIONS = { nodes: 2, witnesses: 1, dynamic: { ttl: 4, loop_wait: 1, retry_timeout: 1 } } as const;
/** Beyond ttl, a race and a promotion. */
const LONG_MS = 12_000;
const STILL_RUNS = "still runs and nothing fences it";

/** Paused, and told to everybody; then the leader's supervisor alone is gone, and its session with it. */
async function killInPause(cluster: TestCluster, leader: ClusterNode): Promise<void> {
  await cluster.patchConfig({ pause: true });
  await until(
    "every member shows the pause",
    async () => {
      const shown = await Promise.all(cluster.nodes.map((node) => cluster.key(`members/${node.name}`)));
      return shown.every((member) => member !== null && (JSON.parse(member.value) as { pause?: boolean }).pause === true);
    },
    { withinMs: 10_000 },
  );
  await leader.killSupervisor();
  await until("the lock is free", async () => (await cluster.key("leader")) === null, { withinMs: 15_000 });
}

/** In force at once. */
async function alter(cluster: TestCluster, node: ClusterNode, what: string): Promise<void> {
  await cluster.sql(node, `alter system ${what}`);
  await cluster.sql(node, "select pg_reload_conf()");
}

describe.concurrent("a primary that lost its supervisor in a pause", () => {
  test("keeps everybody from being promoted for as long as it runs; once it is stopped, a replica takes over", async () => {
    await TestCluster.with(OPTIONS, async (cluster) => {
      const old = await cluster.untilHealthy();
      const [replica] = cluster.others(old) as [ClusterNode];
      const writer = await cluster.writer();
      await killInPause(cluster, old);
      expect(old.postmasterPid()).not.toBeNull();
      await cluster.patchConfig({ pause: null });
      await replica.untilLogs(STILL_RUNS, { withinMs: LONG_MS });
      await Bun.sleep(LONG_MS);
      expect(await cluster.leader()).toBeNull();
      expect((await writer.afterNow(5_000)).node).toBe(old.name);
      old.killPostmaster("SIGQUIT");
      const first = await writer.afterNowBy((name) => name === replica.name, LONG_MS);
      expect(first.node).toBe(replica.name);
      old.start();
      expect(await cluster.untilHealthy()).toBe(replica);
      expect(writer.overlaps()).toEqual([]);
    });
  }, 120_000);

  test("leads on where its supervisor comes back", async () => {
    await TestCluster.with(OPTIONS, async (cluster) => {
      const old = await cluster.untilHealthy();
      const [replica] = cluster.others(old) as [ClusterNode];
      const before = old.postmasterPid();
      await killInPause(cluster, old);
      await cluster.patchConfig({ pause: null });
      await replica.untilLogs(STILL_RUNS, { withinMs: LONG_MS });
      old.start();
      expect(await cluster.untilHealthy()).toBe(old);
      expect(old.postmasterPid()).toBe(before);
    });
  }, 120_000);

  test("is not waited for in synchronous mode: the standby that its commits wait for is promoted, and it acknowledges none any more", async () => {
    await TestCluster.with({ ...OPTIONS, dynamic: { ...OPTIONS.dynamic, synchronous_mode: true } }, async (cluster) => {
      const old = await cluster.untilHealthy();
      const [replica] = cluster.others(old) as [ClusterNode];
      await until("it is synchronous", async () => (await cluster.syncStandbys()).includes(replica.name), { withinMs: 30_000 });
      const writer = await cluster.writer();
      await writer.afterNow(5_000);
      await killInPause(cluster, old);
      const pid = old.postmasterPid();
      expect(pid).not.toBeNull();
      // What the key says is not enough: an operator may have taken the setting away, to go on without the standby.
      await alter(cluster, old, "set synchronous_standby_names to ''");
      await cluster.patchConfig({ pause: null });
      await replica.untilLogs(STILL_RUNS, { withinMs: LONG_MS });
      await alter(cluster, old, "reset synchronous_standby_names");
      await writer.afterNowBy((name) => name === replica.name, 30_000);
      expect(old.postmasterPid()).toBe(pid);
      expect(writer.overlaps()).toEqual([]);
      old.start();
      expect(await cluster.untilHealthy()).toBe(replica);
      expect(await writer.lost(replica)).toEqual([]);
    });
  }, 120_000);

  test("is not waited for where its host died: the end of the pause brings a new primary", async () => {
    await TestCluster.with(OPTIONS, async (cluster) => {
      const old = await cluster.untilHealthy();
      const [replica] = cluster.others(old) as [ClusterNode];
      await killInPause(cluster, old);
      await old.killHost();
      await cluster.patchConfig({ pause: null });
      expect(await cluster.untilLeader({ withinMs: LONG_MS })).toBe(replica);
    });
  }, 120_000);
});
