// Goal: whatever happens to the primary's supervisor, there is never a second primary; and a supervisor that comes back in
// time finds PostgreSQL untouched.
// Method: SIGSTOP, SIGKILL and SIGTERM of the supervisor alone. Judged by Consul's own word about the lock, by /proc, and by
// a client that tries to write to every node every 10 ms.

import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { LockWatch } from "../harness/lock-watch.ts";
import { ownMs } from "../harness/stall.ts";
import { LAZY, TTL_S } from "../harness/times.ts";
import { until } from "../harness/wait.ts";
import type { Writer } from "../harness/writer.ts";

afterAll(() => TestCluster.stopAll());

/** A supervisor that was killed comes back within this lease, on a busy machine too. */
const ROOMY_S = Math.max(16, TTL_S);
const ROOMY = { ttl: ROOMY_S, loop_wait: 2, retry_timeout: 4 };
/** For so long nobody starts it. */
const PAUSE_MS = 500 * (ROOMY_S - 14);
/** The lease, what the store adds to it, and a busy machine. */
const TAKEOVER_WITHIN_MS = 1000 * ROOMY_S + 20_000;

/** Everything that says whether PostgreSQL was touched. */
async function identity(cluster: TestCluster, node: ClusterNode) {
  const [row] = await cluster.sql<{ started: string; timeline: number }>(
    node,
    "select pg_postmaster_start_time()::text as started, (select timeline_id from pg_control_checkpoint()) as timeline",
  );
  const lock = await cluster.key("leader");
  return { postmaster: node.postmasterPid(), ...row, holder: lock?.value, session: lock?.session };
}

/** When the node's last server process was gone. */
async function untilPostgresGone(node: ClusterNode): Promise<number> {
  const servers = () =>
    node.processes().filter(({ pid }) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("postgres");
      } catch {
        return false; // It ended between two looks.
      }
    });
  await until(`PostgreSQL of ${node.name} is gone`, () => node.postmasterPid() === null && servers().length === 0, {
    withinMs: TAKEOVER_WITHIN_MS,
  });
  return performance.now();
}

/** What must hold after the supervisor was silenced: PostgreSQL ended, then the lock, then somebody else's first write. */
async function judgeSilence(options: {
  old: ClusterNode;
  writer: Writer;
  lock: LockWatch;
  silencedAt: number;
  goneAt: number;
  what: string;
}) {
  const { old, writer, lock, silencedAt, goneAt } = options;
  const next = await writer.afterNowBy((name) => name !== old.name, TAKEOVER_WITHIN_MS);
  const lockEnd = await until("the lock's end is seen", () => lock.endOf(old.name), { withinMs: TAKEOVER_WITHIN_MS });
  const last = writer.acknowledged.filter(({ node }) => node === old.name).at(-1)?.ackedAt ?? Number.NaN;
  const after = (at: number) => Math.round(at - silencedAt);
  console.log(
    `${options.what}: last write ${after(last)} ms, PostgreSQL gone ${after(goneAt)} ms, lock over ${after(lockEnd)} ms, next write ${after(next.ackedAt)} ms`,
  );
  expect(last).toBeLessThan(lockEnd);
  expect(goneAt).toBeLessThan(lockEnd);
  expect(ownMs(lockEnd, next.ackedAt)).toBeLessThan(2_000);
}

describe.concurrent("the primary's supervisor", () => {
  test("frozen for longer than the lease: PostgreSQL is stopped before it ends, and thawed it comes back as a replica", async () => {
    await TestCluster.with({ dynamic: LAZY }, async (cluster) => {
      const old = await cluster.untilHealthy();
      const writer = await cluster.writer();
      const lock = new LockWatch(cluster);
      old.sigstop();
      const silencedAt = performance.now();
      const goneAt = await untilPostgresGone(old);
      await judgeSilence({ old, writer, lock, silencedAt, goneAt, what: "supervisor frozen" });
      const leader = await cluster.untilLeader({ among: cluster.others(old) });
      old.sigcont();
      expect(await cluster.untilHealthy()).toBe(leader);
      await lock.stop();
      expect(writer.overlaps()).toEqual([]);
    });
  }, 240_000);

  test("killed and started within the lease: PostgreSQL was never touched; killed for good: it is stopped before the lease ends", async () => {
    await TestCluster.with({ dynamic: ROOMY }, async (cluster) => {
      const old = await cluster.untilHealthy();
      const writer = await cluster.writer();
      const lock = new LockWatch(cluster);
      const before = await identity(cluster, old);
      const from = performance.now();
      for (const pauseMs of [0, PAUSE_MS]) {
        await old.killSupervisor();
        await Bun.sleep(pauseMs);
        const startedAt = performance.now();
        old.start();
        await until("GET /primary is 200 again", async () => (await old.health("/primary")) === 200, {
          withinMs: TAKEOVER_WITHIN_MS,
          everyMs: 5,
        });
        console.log(`supervisor killed and started: /primary 200 after ${Math.round(performance.now() - startedAt)} ms`);
        await Bun.sleep(1_000);
        expect(await identity(cluster, old)).toEqual(before);
      }
      expect(await cluster.untilHealthy()).toBe(old);
      expect(writer.longestOwnGap(from)).toBeLessThan(2_000);
      // The guard has been taken over: without another start it ends PostgreSQL in time.
      await old.killSupervisor();
      const silencedAt = performance.now();
      const goneAt = await untilPostgresGone(old);
      await judgeSilence({ old, writer, lock, silencedAt, goneAt, what: "supervisor killed" });
      expect(lock.changes.filter(({ holder }) => holder === old.name)).toHaveLength(1);
      old.start();
      expect((await cluster.untilHealthy()).name).not.toBe(old.name);
      await lock.stop();
      expect(writer.overlaps()).toEqual([]);
    });
  }, 240_000);

  test("SIGTERM hands over; SIGTERM of a replica disturbs nobody", async () => {
    await TestCluster.with({ dynamic: { loop_wait: 10, synchronous_mode: true } }, async (cluster) => {
      let leader = await cluster.untilHealthy();
      const writer = await cluster.writer();
      const gaps: number[] = [];
      for (let round = 0; round < 3; round++) {
        const old = leader;
        await until("a synchronous standby", async () => (await cluster.syncStandbys()).length > 0, {
          withinMs: 20_000,
        });
        await writer.afterNow(TAKEOVER_WITHIN_MS);
        const from = performance.now();
        const ended = old.terminate();
        await writer.afterNowBy((name) => name !== old.name, TAKEOVER_WITHIN_MS);
        expect(await ended).toBe(0);
        expect(old.processes()).toEqual([]);
        await writer.afterNow(TAKEOVER_WITHIN_MS);
        gaps.push(Math.round(writer.longestGap(from).ms));
        expect(writer.longestOwnGap(from)).toBeLessThan(3_000);
        old.start();
        leader = await cluster.untilHealthy();
        expect(leader).not.toBe(old);
      }
      console.log(`SIGTERM of the primary's supervisor: write gaps ${gaps.join(", ")} ms`);
      const replica = cluster.others(leader)[0] as ClusterNode;
      const before = await identity(cluster, leader);
      expect(await replica.terminate()).toBe(0);
      expect(replica.processes()).toEqual([]);
      expect(await cluster.key(`members/${replica.name}`)).toBeNull();
      replica.start();
      expect(await cluster.untilHealthy()).toBe(leader);
      expect(await identity(cluster, leader)).toEqual(before);
      expect(writer.overlaps()).toEqual([]);
      expect(await writer.lost(leader)).toEqual([]);
    });
  }, 240_000);
});
