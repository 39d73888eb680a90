// Goal: while Consul is away nobody writes past a lease, and everything goes on by itself when it is back; a lock that is taken
// from a living primary is taken again by it, and nobody else.
// Method: a real Consul, frozen, killed and restarted with its data; sessions and keys removed by hand; client agents left.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { Consul } from "../harness/consul.ts";
import { ownMs } from "../harness/stall.ts";
import { PROMPT, TTL_MS } from "../harness/times.ts";
import { staysTrue, until } from "../harness/wait.ts";
import type { Writer } from "../harness/writer.ts";

/** From the moment Consul answers again to the first write: whoever were not woken by it would take a cycle. */
const RECOVERY_MAX_MS = 1000 * PROMPT.loop_wait - 500;
/** A gap says more about the machine than about the product while no write fails; a step-down would take longer than this. */
const UNDISTURBED_GAP_MAX_MS = 2_000;

afterAll(() => TestCluster.stopAll());

describe("Consul away", () => {
  const outages: readonly (readonly [string, (consul: Consul, stepsDown: () => Promise<void>) => Promise<number>])[] = [
    ["frozen and woken", frozen],
    ["killed and restarted with its data", killed],
  ];
  for (const [what, outage] of outages) {
    test.concurrent(`${what}: the primary steps down before its lease ends, and the cluster recovers by itself`, async () => {
      await TestCluster.with({ nodes: 2, dynamic: PROMPT }, async (cluster) => {
        const leader = await cluster.untilHealthy();
        const writer = await cluster.writer();
        const begun = performance.now();
        let lastWrite = 0;
        const back = await outage(cluster.consul, async () => {
          await stopsServing(leader);
          lastWrite = lastWriteOf(writer);
        });
        report(`Consul ${what}: last write after the outage began`, lastWrite - begun);
        expect(lastWrite - begun).toBeLessThan(TTL_MS - 400);
        const recovered = await writer.afterNow(20_000);
        report(`Consul ${what}: from its return to the first write`, recovered.ackedAt - back);
        expect(ownMs(back, recovered.ackedAt)).toBeLessThan(RECOVERY_MAX_MS);
        await cluster.untilHealthy();
        expect(writer.overlaps()).toEqual([]);
        expect(await writer.lost(await cluster.untilLeader())).toEqual([]);
      });
    }, 120_000);
  }

  test.concurrent("for 3 × ttl while paused: /primary stays 200 and no write fails", async () => {
    await TestCluster.with({ nodes: 2, dynamic: PROMPT }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      await cluster.patchConfig({ pause: true });
      for (const node of cluster.nodes) await until("paused", async () => (await node.status())["pause"] === true, { withinMs: 10_000 });
      const writer = await cluster.writer();
      const begun = performance.now();
      cluster.consul.sigstop();
      const isPrimary = async () => ((await leader.health("/primary")) === 200 ? null : "/primary is not 200");
      await staysTrue("paused", isPrimary, { forMs: 3 * TTL_MS, everyMs: 100 });
      cluster.consul.sigcont();
      await staysTrue("back", isPrimary, { forMs: 2_000, everyMs: 50 });
      await cluster.patchConfig({ pause: null });
      await staysTrue("resumed", isPrimary, { forMs: 3_000, everyMs: 50 });
      await writer.afterNow(20_000);
      const gap = writer.longestGap(begun);
      report("paused, Consul away for 3 × ttl: longest time between two writes", gap.ms);
      expect(writer.longestOwnGap(begun)).toBeLessThan(UNDISTURBED_GAP_MAX_MS);
      expect(new Set(writer.acknowledged.map(({ node }) => node))).toEqual(new Set([leader.name]));
      expect(await writer.lost(leader)).toEqual([]);
    });
  }, 120_000);
});

describe("a lock that is taken away from a living primary", () => {
  test.concurrent("is taken again by it at once: session destroyed, leader key deleted, agent left and started again", async () => {
    const server = await Consul.start();
    const agents = await Promise.all([1, 2].map(() => Consul.start({ joins: server })));
    try {
      const consulUrl = (index: number) => (agents[index] as Consul).url;
      await TestCluster.with({ nodes: 2, consul: server, consulUrl }, async (cluster) => {
        const leader = await cluster.untilHealthy();
        // A commit that takes long on a busy machine is no failed one.
        const writer = await cluster.writer({ answerMaxMs: 60_000 });
        const agent = agents[cluster.nodes.indexOf(leader)] as Consul;
        const begun = performance.now();
        for (const [what, take] of Object.entries(takingAway(cluster, agent))) {
          const before = await cluster.key("leader");
          const from = performance.now();
          await take();
          await until(`${leader.name} has its lock again`, () => hasNewLock(cluster, leader, before), { withinMs: 10_000, everyMs: 5 });
          report(`${what}: until the lock is held again`, performance.now() - from);
          await Bun.sleep(1_000);
          expect((await cluster.key("leader"))?.value).toBe(leader.name);
        }
        await cluster.untilHealthy();
        const gap = writer.longestGap(begun);
        report("lock taken away three times: longest time between two writes", gap.ms);
        expect(writer.longestOwnGap(begun)).toBeLessThan(UNDISTURBED_GAP_MAX_MS);
        await allAcknowledged(writer, leader);
      });
    } finally {
      await Promise.all([...agents, server].map((agent) => agent.stop()));
    }
  }, 120_000);
});

function takingAway(cluster: TestCluster, agent: Consul): Readonly<Record<string, () => Promise<void>>> {
  const url = cluster.consul.url;
  return {
    "session destroyed": async () => {
      const session = (await cluster.key("leader"))?.session;
      await fetch(`${url}/v1/session/destroy/${session}`, { method: "PUT" });
    },
    "leader key deleted": async () => {
      await fetch(`${url}/v1/kv/service/${cluster.scope}/leader`, { method: "DELETE" });
    },
    "agent left and started again": async () => {
      await agent.terminate();
      await agent.restart();
    },
  };
}

type Lock = Awaited<ReturnType<TestCluster["key"]>>;

async function hasNewLock(cluster: TestCluster, leader: ClusterNode, before: Lock): Promise<boolean> {
  const lock = await cluster.key("leader");
  if (lock !== null && lock.value !== leader.name) throw new Error(`${lock.value} has the lock`);
  return lock !== null && (lock.session !== before?.session || lock.modifyIndex > (before?.modifyIndex ?? 0));
}

/** Frozen until the primary has stepped down; resolves to the moment at which it was woken. */
async function frozen(consul: Consul, stepsDown: () => Promise<void>): Promise<number> {
  consul.sigstop();
  await stepsDown();
  const woken = performance.now();
  consul.sigcont();
  return woken;
}

/** Resolves to the moment at which it takes sessions again: its election is its own. */
async function killed(consul: Consul, stepsDown: () => Promise<void>): Promise<number> {
  await consul.kill();
  await stepsDown();
  await consul.restart();
  return performance.now();
}

async function stopsServing(leader: ClusterNode): Promise<void> {
  await until(`${leader.name} is no primary any more`, async () => (await leader.health("/primary")) !== 200, {
    withinMs: TTL_MS + 30_000,
  });
  await leader.untilLogs("demoting self because DCS is not accessible and I was a leader", { withinMs: 30_000 });
  await until("a standby serves reads", async () => (await leader.status())["role"] === "replica", { withinMs: 30_000 });
}

/** Stops the writer: each of its attempts was acknowledged by this node, and each row is there. */
async function allAcknowledged(writer: Writer, leader: ClusterNode): Promise<void> {
  expect(await writer.lost(leader)).toEqual([]);
  // Attempts are numbered from 0: a failed one leaves a hole.
  expect(writer.acknowledged.map(({ id }) => id)).toEqual(writer.acknowledged.map((_, index) => `${leader.name}-${index}`));
}

function lastWriteOf(writer: Writer): number {
  return Math.max(...writer.acknowledged.map(({ ackedAt }) => ackedAt));
}

function report(what: string, milliseconds: number): void {
  console.log(`figure: ${what}: ${Math.round(milliseconds)} ms`);
}
