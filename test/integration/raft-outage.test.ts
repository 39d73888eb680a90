// Goal: without a majority of the Raft nobody writes past a lease, and everything goes on by itself when it is back; a pause
// makes such an outage harmless; a lock that is taken from a living primary is taken again by it, and nobody else.
// Method: the supervisors of two of three nodes killed or frozen, so that their PostgreSQLs live and the Raft does not; session
// and leader key removed by a client of the Raft.

import { afterAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { postgresBinDir } from "../harness/local-server.ts";
import { ownMs } from "../harness/stall.ts";
import { staysTrue, until } from "../harness/wait.ts";

const SHORT = { ttl: 5, loop_wait: 1, retry_timeout: 2 };
/** Nothing that a busy machine takes from everybody for a while ends this lease. */
const PATIENT = { ttl: 20, loop_wait: 1, retry_timeout: 5 };
const DEFAULTS = { ttl: 30, loop_wait: 10, retry_timeout: 10 };
/** A shutdown of PostgreSQL on a busy machine. One attempt at a store that does not answer takes as long, the guard's deadline 25 s. */
const LAST_STOP_MAX_MS = 5_000;
const TTL_MS = 5_000;
/** From the moment both supervisors are started or woken to the first write: their start, an election, and the leader race. */
const RECOVERY_MAX_MS = 10_000;
const UNDISTURBED_GAP_MAX_MS = 2_000;

afterAll(() => TestCluster.stopAll());

describe.concurrent("the Raft without a majority", () => {
  test.each([
    ["killed and started again", (node: ClusterNode) => node.killSupervisor(), (node: ClusterNode) => node.start()],
    ["frozen and woken", (node: ClusterNode) => node.sigstop(), (node: ClusterNode) => node.sigcont()],
  ] as const)(
    "two supervisors %s: the primary steps down before its lease ends, and the cluster recovers by itself",
    async (what, take, giveBack) => {
      await TestCluster.with({ store: "raft", dynamic: SHORT }, async (cluster) => {
        const leader = await cluster.untilHealthy();
        const writer = await cluster.writer();
        for (const node of cluster.others(leader)) await take(node);
        // Until here there was a majority that could confirm a renewal.
        const begun = performance.now();
        await until("the primary serves nobody", async () => (await leader.health("/primary")) !== 200, { withinMs: 2 * TTL_MS });
        await Bun.sleep(TTL_MS);
        // When its answer was seen says more about this process than about the server.
        const lastWrite = writer.acknowledged.at(-1)?.sentAt ?? Number.NaN;
        console.log(`figure: majority ${what}: last write after ${Math.round(lastWrite - begun)} ms`);
        expect(lastWrite - begun).toBeLessThan(TTL_MS - 100);
        const back = performance.now();
        for (const node of cluster.others(leader)) giveBack(node);
        const recovered = await writer.afterNow(20_000);
        console.log(`figure: majority back: first write after ${Math.round(recovered.ackedAt - back)} ms`);
        expect(ownMs(back, recovered.ackedAt)).toBeLessThan(RECOVERY_MAX_MS);
        await cluster.untilHealthy();
        expect(writer.overlaps()).toEqual([]);
        expect(await writer.lost(await cluster.untilLeader())).toEqual([]);
      });
    },
    120_000,
  );

  test("because all of the cluster is stopped: the last node waits for nobody, its PostgreSQL is shut down, and all come back", async () => {
    await TestCluster.with({ store: "raft", dynamic: DEFAULTS }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      const writer = await cluster.writer();
      await writer.afterNow(5_000);
      await writer.stop();
      // Nobody waits for a standby here: what none has got yet may be missing where another one leads first (docs/raft.md).
      const count = async (node: ClusterNode) => (await cluster.sql<{ n: number }>(node, "select count(*)::int as n from witness"))[0]?.n;
      const written = await count(leader);
      for (const node of cluster.others(leader)) {
        await until(`${node.name} has ${written} rows`, async () => (await count(node)) === written, { withinMs: 10_000 });
      }
      await Promise.all(cluster.others(leader).map((node) => node.terminate()));
      const from = performance.now();
      expect(await leader.terminate()).toBe(0);
      const took = performance.now() - from;
      console.log(`figure: the last node of a cluster stopped: ${Math.round(took)} ms`);
      expect(ownMs(from, from + took)).toBeLessThan(LAST_STOP_MAX_MS);
      await until("nothing of it is left, its guard neither", () => leader.processes().length === 0, { withinMs: 30_000 });
      const control = spawnSync(join(postgresBinDir(), "pg_controldata"), ["-D", leader.dataDir], {
        encoding: "utf8",
        env: { ...process.env, LC_ALL: "C" },
      });
      expect(control.stdout).toMatch(/Database cluster state: +shut down\n/);
      expect(leader.log).toContain("the lock is left to its lease");
      for (const node of cluster.nodes) node.start();
      expect(await writer.lost(await cluster.untilHealthy())).toEqual([]);
    });
  }, 90_000);

  test("for 3 × ttl while paused: /primary stays 200 and no write fails", async () => {
    await TestCluster.with({ store: "raft", dynamic: SHORT }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      await cluster.patchConfig({ pause: true });
      for (const node of cluster.nodes) await until("paused", async () => (await node.status())["pause"] === true, { withinMs: 30_000 });
      const writer = await cluster.writer();
      const begun = performance.now();
      const isPrimary = async () => ((await leader.health("/primary")) === 200 ? null : "/primary is not 200");
      for (const node of cluster.others(leader)) node.sigstop();
      await staysTrue("paused", isPrimary, { forMs: 3 * TTL_MS, everyMs: 100 });
      for (const node of cluster.others(leader)) node.sigcont();
      await staysTrue("back", isPrimary, { forMs: 2_000, everyMs: 50 });
      await cluster.patchConfig({ pause: null });
      await staysTrue("resumed", isPrimary, { forMs: 3_000, everyMs: 50 });
      await writer.afterNow(20_000);
      const gap = writer.longestGap(begun);
      console.log(
        `figure: paused, no majority for 3 × ttl: longest time between two writes ${Math.round(gap.ms)} ms, ${Math.round(gap.from - begun)} ms after it began`,
      );
      expect(writer.longestOwnGap(begun)).toBeLessThan(UNDISTURBED_GAP_MAX_MS);
      expect(new Set(writer.acknowledged.map(({ node }) => node))).toEqual(new Set([leader.name]));
      expect(await writer.lost(leader)).toEqual([]);
    });
  }, 120_000);

  test("a lock that is taken away from a living primary is taken again by it at once: session closed, leader key deleted", async () => {
    await TestCluster.with({ store: "raft", dynamic: PATIENT }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      const writer = await cluster.writer();
      for (const what of ["session", "key"] as const) {
        const before = await cluster.key("leader");
        if (what === "session") await cluster.endSession(before?.session ?? "");
        else await cluster.deleteKey("leader");
        await until(
          "the lock is held again",
          async () => {
            const now = await cluster.key("leader");
            return now?.value === leader.name && now.session !== null && now.modifyIndex !== before?.modifyIndex;
          },
          { withinMs: 20_000 },
        );
        await writer.afterNow(20_000);
      }
      expect(await cluster.untilHealthy()).toBe(leader);
      expect(writer.longestOwnGap()).toBeLessThan(UNDISTURBED_GAP_MAX_MS);
      expect(new Set(writer.acknowledged.map(({ node }) => node))).toEqual(new Set([leader.name]));
      expect(await writer.lost(leader)).toEqual([]);
    });
  }, 90_000);
});
