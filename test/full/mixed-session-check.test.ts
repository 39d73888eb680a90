// Goal: consul.session_check_ttl of our nodes beside a Patroni, in failsafe mode: a supervisor that dies gives its lock to Patroni's node
// long before ttl and writes no more by then; a Consul that is away for longer than the check, and ends the session for it, costs no
// write and no change of the leader.
// Method: two nodes of ours with a check of 6 s and one of Patroni's over a real Consul, ttl 30 s; SIGSTOP of Consul, SIGKILL of supervisors.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { LockWatch } from "../harness/lock-watch.ts";
import { findPatroni, insteadOfOurs, type Patroni } from "../harness/patroni.ts";
import { staysTrue, until } from "../harness/wait.ts";

const found = findPatroni();
if (typeof found === "string") console.log(`skipped: Patroni: ${found}`);
const patroni = found as Patroni;

const TTL_S = 30;
const CHECK_S = 6;
/** The check's clock is the agent's own, and stands still with it: it is over as soon as the agent goes on. */
const AWAY_MS = 3 * CHECK_S * 1000;
const WITHIN_MS = 90_000;
const DYNAMIC = { ttl: TTL_S, loop_wait: 1, retry_timeout: 3, failsafe_mode: true };

afterAll(() => TestCluster.stopAll());

async function lead(cluster: TestCluster, wanted: ClusterNode): Promise<void> {
  const leader = await cluster.untilHealthy();
  if (leader === wanted) return;
  const body = { leader: leader.name, candidate: wanted.name };
  expect((await leader.api("/switchover", { method: "POST", body, timeoutMs: WITHIN_MS })).status).toBe(200);
  await cluster.untilHealthy();
}

async function isActive(node: ClusterNode): Promise<boolean> {
  return (await node.status())["failsafe_mode_is_active"] === true;
}

describe.skipIf(typeof found === "string")("a session with a check, beside a Patroni in failsafe mode", () => {
  test(
    "frees the lock of a supervisor that is killed, and goes on through an outage of Consul that ends it",
    async () => {
      const names = ["ours1", "ours2", "theirs"];
      const network = (index: number) => ({ host: "127.0.0.1", prefix: index === 2 ? insteadOfOurs(patroni) : [] });
      const extra = (index: number) => (index === 2 ? {} : { consul: { session_check_ttl: CHECK_S } });
      await TestCluster.with({ nodes: names, network, dynamic: DYNAMIC, extra, store: "consul" }, async (cluster) => {
        const leader = cluster.node("ours1");
        await lead(cluster, leader);
        const named = async () => Object.keys(JSON.parse((await cluster.key("failsafe"))?.value ?? "{}")).length === names.length;
        await until("the failsafe key names everybody", named, { withinMs: WITHIN_MS });
        const writer = await cluster.writer();
        await writer.afterNow(WITHIN_MS);
        const lock = new LockWatch(cluster);
        const killedAt = performance.now();
        await leader.killSupervisor();
        const next = await writer.afterNowBy((name) => name !== leader.name, (TTL_S - 5) * 1000);
        const lockEnd = await until("the lock's end is seen", () => lock.endOf(leader.name), { withinMs: 10_000 });
        const last = writer.acknowledged.filter(({ node }) => node === leader.name).at(-1)?.ackedAt ?? Number.NaN;
        const after = (at: number) => Math.round(at - killedAt);
        console.log(
          `supervisor killed: last write ${after(last)} ms, lock over ${after(lockEnd)} ms, next write by ${next.node} ${after(next.ackedAt)} ms`,
        );
        expect(last).toBeLessThan(lockEnd);
        await lock.stop();
        leader.start();
        await lead(cluster, leader);
        await writer.afterNowBy(leader.name, WITHIN_MS);

        await until("the failsafe key names everybody again", named, { withinMs: WITHIN_MS });
        const before = await cluster.key("leader");
        cluster.consul.sigstop();
        const stoppedAt = performance.now();
        await until("all members have agreed", async () => (await Promise.all(cluster.nodes.map(isActive))).every((is) => is), {
          withinMs: WITHIN_MS,
        });
        const serves = async () => ((await leader.health("/primary")) === 200 ? null : "/primary is not 200");
        await staysTrue("without the store", serves, { forMs: AWAY_MS, everyMs: 200 });
        cluster.consul.sigcont();
        await until(
          "the lock is held by another session",
          async () => {
            const now = await cluster.key("leader");
            return now?.value === leader.name && now.session !== before?.session;
          },
          { withinMs: WITHIN_MS },
        );
        expect(await cluster.untilHealthy()).toBe(leader);
        await writer.afterNowBy(leader.name, WITHIN_MS);
        const rows = writer.acknowledged.filter(({ sentAt }) => sentAt >= stoppedAt);
        expect(new Set(rows.map(({ node, timeline }) => `${node} on ${timeline}`)).size).toBe(1);
        console.log(
          `Consul away for ${AWAY_MS} ms and more: longest time between two writes ${Math.round(writer.longestGap(stoppedAt).ms)} ms`,
        );
        expect(writer.overlaps()).toEqual([]);
      });
    },
    10 * 60_000,
  );
});
