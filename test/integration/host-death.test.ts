// Goal: the primary's host dies at once; a replica takes over after the lease, nothing synchronous is lost, and the old node
// comes back by itself.
// Method: SIGKILL of supervisor, guard, postmaster and every backend in one sweep; a client that writes to whoever takes it is the witness.

import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { LockWatch } from "../harness/lock-watch.ts";
import { ownMs } from "../harness/stall.ts";
import { LAZY, PROMPT, TTL_MS } from "../harness/times.ts";
import { until } from "../harness/wait.ts";

afterAll(() => TestCluster.stopAll());

/** The lease, what the store adds to it, and a busy machine. */
const TAKEOVER_WITHIN_MS = TTL_MS + 20_000;

/** The leader's walsenders, so that a test can freeze them: what is written then reaches no replica. */
function walSenders(node: ClusterNode): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && node.processes().some(({ pid }) => pid === Number(name)))
    .filter((name) => readFileSync(`/proc/${name}/cmdline`, "utf8").includes("walsender"))
    .map(Number);
}

describe.concurrent("the death of the primary's host", () => {
  test("a replica is writable after the lease, and the old node, which had diverged, is rewound and follows", async () => {
    await TestCluster.with({ dynamic: LAZY }, async (cluster) => {
      const old = await cluster.untilHealthy();
      const writer = await cluster.writer();
      const lock = new LockWatch(cluster);
      for (const pid of walSenders(old)) process.kill(pid, "SIGSTOP");
      await cluster.sql(old, "create table only_here as select generate_series(1, 1000) as n");
      await cluster.sql(old, "checkpoint");
      await old.killHost();
      const killedAt = performance.now();
      const first = await writer.afterNow(TAKEOVER_WITHIN_MS);
      const freeAt = await until("the lock's end is seen", () => lock.endOf(old.name), { withinMs: TAKEOVER_WITHIN_MS });
      console.log(
        `host death: lease over ${Math.round(freeAt - killedAt)} ms, then first write after ${Math.round(first.ackedAt - freeAt)} ms`,
      );
      expect(first.node).not.toBe(old.name);
      expect(ownMs(freeAt, first.ackedAt)).toBeLessThan(2_000);
      const leader = await cluster.untilLeader({ among: cluster.others(old) });
      await cluster.untilHealthy({ nodes: cluster.others(old) });
      old.start();
      expect(await cluster.untilHealthy()).toBe(leader);
      expect(old.log).toContain("running pg_rewind");
      expect(await cluster.sql(old, "select to_regclass('only_here') as there")).toEqual([{ there: null }] as never);
      await lock.stop();
      expect(writer.overlaps()).toEqual([]);
      // Acknowledged by the old one alone, without synchronous mode: lost, and every other row is there.
      const lost = await writer.lost(leader);
      expect(lost.filter(({ node }) => node !== old.name)).toEqual([]);
    });
  }, 240_000);

  test.each(["on", "strict"] as const)(
    "synchronous mode %s: no acknowledged row is missing, and none is acknowledged without a standby where one streams",
    async (mode) => {
      await TestCluster.with(
        { dynamic: { ...PROMPT, synchronous_mode: true, synchronous_mode_strict: mode === "strict" } },
        async (cluster) => {
          const old = await cluster.untilHealthy();
          await until("a synchronous standby is in the key", async () => (await cluster.syncStandbys()).length > 0, {
            withinMs: 20_000,
          });
          const writer = await cluster.writer();
          await Bun.sleep(1_000);
          await old.killHost();
          const first = await writer.afterNow(TAKEOVER_WITHIN_MS);
          expect(first.node).not.toBe(old.name);
          await cluster.untilHealthy({ nodes: cluster.others(old) });
          await Bun.sleep(3_000);
          old.start();
          const leader = await cluster.untilHealthy();
          expect(leader.name).toBe(first.node);
          await writer.afterNow(5_000);
          expect(await writer.lost(leader)).toEqual([]);
          expect(writer.overlaps()).toEqual([]);
          const promoted = writer.acknowledged.filter(({ node }) => node === leader.name);
          expect(promoted.filter(({ streaming, synchronousStandbyNames }) => streaming > 0 && synchronousStandbyNames === "")).toEqual([]);
          if (mode === "strict") expect(promoted.filter(({ synchronousStandbyNames }) => synchronousStandbyNames === "")).toEqual([]);
        },
      );
    },
    240_000,
  );
});
