// Goal: quorum commit is switched on while clients write, keeps key and setting in step, and no acknowledged commit is lost; a voter that
// stops costs no write, and who takes over was elected. Method: one cluster of three real nodes, a client that writes every 10 ms, and a
// watch over key and setting all the while.

import { afterAll, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { ownMs } from "../harness/stall.ts";
import { SyncWatch, untilSync } from "../harness/sync-watch.ts";
import { until } from "../harness/wait.ts";

afterAll(() => TestCluster.stopAll());

/** A client that never gives up on a commit: what hangs is seen. */
const PATIENCE_MS = 60_000;
const LOOP_WAIT_S = 10;
/** The promise is a second; this machine may be slow. Without it, it were wal_sender_timeout: a minute. */
const CLEAN_STOP_MAX_MS = 5_000;
const FAILOVER_MAX_MS = 5_000;

test("quorum commit is switched on under load; a voter stops and a primary dies, and nothing acknowledged is lost", async () => {
  await TestCluster.with({ dynamic: { ttl: 30, loop_wait: LOOP_WAIT_S, primary_start_timeout: 0 } }, async (cluster) => {
    const leader = await cluster.untilHealthy();
    const [first, second] = cluster.others(leader) as [ClusterNode, ClusterNode];
    const writer = await cluster.writer({ answerMaxMs: PATIENCE_MS });
    const watch = new SyncWatch(cluster);
    const voters = [first.name, second.name].sort();

    const enabledAt = performance.now();
    await cluster.patchConfig({ synchronous_mode: "quorum" });
    await untilSync(cluster, leader, { standbys: voters, quorum: 1 }, `ANY 1 (${voters.join(",")})`);
    const sure = await writer.afterNow(20_000);
    console.log(`quorum commit enabled, first protected commit after ${Math.round(sure.ackedAt - enabledAt)} ms`);
    expect(ownMs(enabledAt, sure.ackedAt)).toBeLessThan(2 * LOOP_WAIT_S * 1000);
    expect(sure.synchronousStandbyNames).toBe(`ANY 1 (${voters.join(",")})`);

    const listed = (await cluster.list([leader])).members.map(({ name, role }) => [name, role]).sort();
    expect(listed).toEqual([[leader.name, "leader"], ...voters.map((name) => [name, "quorum_standby"])].sort());
    const health = async (node: ClusterNode) =>
      Promise.all(["/quorum", "/read-only-quorum", "/sync", "/async"].map((path) => node.health(path)));
    // A view of the key that a watch brings.
    await until(
      "the voters know that they are",
      async () => (await Promise.all([first, second].map((node) => node.health("/quorum")))).every((code) => code === 200),
      {
        withinMs: 20_000,
      },
    );
    expect(await health(first)).toEqual([200, 200, 503, 503]);
    expect(await health(leader)).toEqual([503, 200, 503, 503]);
    expect((await first.status())["quorum_standby"]).toBe(true);
    expect((await first.api("/metrics")).text).toMatch(/^patroni_quorum_standby\{[^}]*\} 1$/m);

    const stoppedAt = performance.now();
    expect(await first.terminate()).toBe(0);
    await untilSync(cluster, leader, { standbys: [second.name], quorum: 0 }, `ANY 1 (${second.name})`);
    await writer.afterNow(20_000);
    const stall = writer.longestGap(stoppedAt).ms;
    console.log(`a voter stopped: longest time without a commit ${Math.round(stall)} ms`);
    expect(writer.longestOwnGap(stoppedAt)).toBeLessThan(CLEAN_STOP_MAX_MS);
    expect(first.log).toContain("Waiting for primary to release us from synchronous standby");
    first.start();
    await untilSync(cluster, leader, { standbys: voters, quorum: 1 }, `ANY 1 (${voters.join(",")})`);

    const diedAt = performance.now();
    leader.killPostmaster();
    const next = cluster.node((await writer.afterNowBy((name) => name !== leader.name, 20_000)).node);
    await writer.afterNow(20_000);
    console.log(`the primary died: write gap ${Math.round(writer.longestGap(diedAt).ms)} ms`);
    expect(writer.longestOwnGap(diedAt)).toBeLessThan(FAILOVER_MAX_MS);
    expect(next.log).toMatch(/Got quorum vote from node\d; I am the healthiest node/);
    expect(await cluster.untilHealthy()).toBe(next);
    const others = cluster
      .others(next)
      .map(({ name }) => name)
      .sort();
    await untilSync(cluster, next, { standbys: others, quorum: 1 }, `ANY 1 (${others.join(",")})`);
    expect(await watch.stop()).toEqual([]);
    expect(writer.overlaps()).toEqual([]);
    expect(await writer.lost(next)).toEqual([]);
  });
}, 240_000);
