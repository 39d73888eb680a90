// Goal: a crash of PostgreSQL alone costs a moment, by a restart in place or by a replica, as primary_start_timeout says.
// Method: SIGKILL of the postmaster under a supervisor that lives, with a client that writes every 10 ms.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import { until } from "../harness/wait.ts";

afterAll(() => TestCluster.stopAll());

const ROUNDS = 3;

describe.concurrent("SIGKILL of the postmaster alone", () => {
  test("the primary is back in place on its timeline, and the lock stays where it is", async () => {
    await TestCluster.with({ dynamic: { loop_wait: 10 } }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      const writer = await cluster.writer();
      const lock = await cluster.key("leader");
      const gaps: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const killedAt = performance.now();
        const before = leader.postmasterPid();
        leader.killPostmaster();
        await until("another postmaster", () => ![null, before].includes(leader.postmasterPid()), { withinMs: 15_000 });
        await writer.afterNow(15_000);
        gaps.push(Math.round(writer.longestGap(killedAt).ms));
        expect(writer.longestOwnGap(killedAt)).toBeLessThan(5_000);
        expect(await cluster.untilHealthy()).toBe(leader);
      }
      console.log(`postmaster killed, back in place: write gaps ${gaps.join(", ")} ms`);
      expect((await cluster.key("leader"))?.session).toBe(lock?.session as string);
      expect(await writer.lost(leader)).toEqual([]);
      expect(new Set(writer.acknowledged.map(({ timeline }) => timeline)).size).toBe(1);
    });
  }, 90_000);

  test("with primary_start_timeout 0 a replica takes over at once, and the crashed node follows it", async () => {
    await TestCluster.with({ dynamic: { loop_wait: 10, primary_start_timeout: 0 } }, async (cluster) => {
      let leader = await cluster.untilHealthy();
      const writer = await cluster.writer();
      const gaps: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const old = leader;
        const killedAt = performance.now();
        old.killPostmaster();
        const first = await writer.afterNowBy((name) => name !== old.name, 15_000);
        await writer.afterNow(5_000);
        gaps.push(Math.round(writer.longestGap(killedAt).ms));
        expect(writer.longestOwnGap(killedAt)).toBeLessThan(5_000);
        leader = await cluster.untilHealthy();
        expect(leader.name).toBe(first.node);
      }
      console.log(`postmaster killed, primary_start_timeout 0: write gaps ${gaps.join(", ")} ms`);
      expect(writer.overlaps()).toEqual([]);
    });
  }, 90_000);
});
