// Goal: a host that has become silent is replaced as soon as its lease is over, and never before; nobody who is slow to answer
// delays that; a primary that is cut off stops by itself in time.
// Method: network namespaces as hosts, packets dropped on the wire. A writer tries every node all the time over a wire that is
// never cut, so it sees both sides of a split.

import { afterAll, describe, expect, test } from "bun:test";
import type { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { type HostCluster, watchLock, withHostCluster } from "../harness/host-cluster.ts";
import { HostNetwork, whyNoNamespaces } from "../harness/namespaces.ts";
import { ownMs, stalledMs } from "../harness/stall.ts";
import { storeOfTests } from "../harness/store-sight.ts";
import { cases, inTier, PROMPT, TTL_MS } from "../harness/times.ts";
import { until } from "../harness/wait.ts";

/** The holder renews once a loop_wait: its last confirmation is at most this old when it is cut off. */
const RENEWED_WITHIN_MS = 2_300;
/**
 * From the lock's end to the first write. Half a second of patience for peers that do not answer is in it; the rest is work, for which
 * the default tier's machine may be five times as slow. Whoever waited for such a peer to the end would take retry_timeout.
 */
const SILENT_HOST_MAX_MS = inTier({ full: 700, byDefault: 1_500 });
/** Nothing is judged by this one. */
const TAKEOVER_WITHIN_MS = 20_000;
/** A peer is frozen so long before the lease ends. */
const FROZEN_MS = 5_000;

const overRaft = storeOfTests() === "raft";

const reason = whyNoNamespaces();
if (reason !== null) console.log(`skipped: hosts of their own: ${reason}`);

afterAll(() => HostNetwork.closeAll());

describe.skipIf(reason !== null)("silent hosts", () => {
  test.concurrent("are replaced at once at the lock's end, whoever else is slow to answer; a cut-off primary stops in time and rejoins", async () => {
    await withHostCluster({ nodes: 3, dynamic: PROMPT }, async (hosts) => {
      const { cluster } = hosts;
      const first = await cluster.untilHealthy();
      const writer = await cluster.writer();

      // The host dies: no packet leaves it any more, and one of the others answers nobody.
      const [, slow] = cluster.others(first) as [ClusterNode, ClusterNode];
      const unsilence = hosts.silenceApi(slow);
      const firstLock = watchLock(cluster, first);
      hosts.cut(first);
      await first.killHost();
      const died = await firstLock;
      const afterDeath = await writer.afterNowBy((name) => name !== first.name, TAKEOVER_WITHIN_MS);
      report("silent dead host, a peer whose API port drops packets", afterDeath.ackedAt - died);
      expect(ownMs(died, afterDeath.ackedAt)).toBeLessThan(SILENT_HOST_MAX_MS);
      unsilence();
      hosts.heal(first);
      first.start();
      await streamsAgain(cluster, first);

      // The new primary is cut off while it lives, and one of the others hangs when it is asked.
      const second = await cluster.untilHealthy();
      const [, frozen] = cluster.others(second) as [ClusterNode, ClusterNode];
      const secondLock = watchLock(cluster, second);
      hosts.cut(second);
      await Bun.sleep(TTL_MS - FROZEN_MS);
      // A frozen supervisor is a frozen member of the Raft as well, and then there is no majority: its API alone is silent.
      const thaw = overRaft ? hosts.silenceApi(frozen) : freeze(frozen);
      const gone = await secondLock;
      const taken = await writer.afterNowBy((name) => name !== second.name, TAKEOVER_WITHIN_MS);
      const lastOfOld = Math.max(...writer.acknowledged.filter(({ node }) => node === second.name).map(({ ackedAt }) => ackedAt));
      report("isolated primary, a frozen peer", taken.ackedAt - gone);
      report("from its last write to the lock's end", gone - lastOfOld);
      expect(ownMs(gone, taken.ackedAt)).toBeLessThan(SILENT_HOST_MAX_MS);
      expect(lastOfOld).toBeLessThan(gone);
      thaw();
      hosts.heal(second);
      await streamsAgain(cluster, second);
      expect(second.log).toContain("running pg_rewind");
      expect(writer.overlaps()).toEqual([]);
    });
  }, 120_000);

  const endings: readonly (readonly [string, (hosts: HostCluster, leader: ClusterNode) => Promise<void>])[] = [
    ["its session destroyed", destroySession],
    ["its leader key deleted", deleteLeaderKey],
    // Nothing else than Consul knows nodes of its own. Its sessions end, as above.
    ...cases([], overRaft ? [] : [["its node deregistered", deregisterNode] as const]),
  ];
  for (const [what, end] of endings) {
    test.concurrent(`a primary that is cut off and ${what}: nobody races before its lease is over`, async () => {
      await withHostCluster({ nodes: overRaft ? 3 : 2, agents: true, dynamic: PROMPT }, async (hosts) => {
        const { cluster } = hosts;
        const leader = await cluster.untilHealthy();
        const writer = await cluster.writer();
        const lock = watchLock(cluster, leader);
        const cutAt = performance.now();
        hosts.cut(leader);
        await end(hosts, leader);
        const gone = await lock;
        // Before the lease can have ended by itself: it was our deed.
        expect(gone - cutAt).toBeLessThan(TTL_MS - RENEWED_WITHIN_MS);
        const taken = await writer.afterNowBy((name) => name !== leader.name, TTL_MS + TAKEOVER_WITHIN_MS);
        report(`cut off and ${what}: from the cut to the first write elsewhere`, taken.ackedAt - cutAt);
        // A holder that the machine kept waiting may have renewed longer ago.
        expect(taken.sentAt - cutAt + stalledMs(cutAt - TTL_MS, cutAt)).toBeGreaterThan(TTL_MS - RENEWED_WITHIN_MS);
        expect(ownMs(cutAt, taken.ackedAt)).toBeLessThan(TTL_MS + 2_500);
        hosts.heal(leader);
        await streamsAgain(cluster, leader);
        expect(writer.overlaps()).toEqual([]);
      });
    }, 120_000);
  }

  // A member of the Raft is no agent of one node alone.
  test.concurrent.skipIf(overRaft)(
    "a primary whose agent is restarted while its API answers nobody takes its lock again, and nobody races before",
    async () => {
      await withHostCluster({ nodes: 2, agents: true }, async (hosts) => {
        const { cluster } = hosts;
        const leader = await cluster.untilHealthy();
        const writer = await cluster.writer();
        const lock = watchLock(cluster, leader);
        const unsilence = hosts.silenceApi(leader);
        const agent = hosts.agent(leader);
        await agent.terminate();
        await lock;
        await Bun.sleep(2_000);
        expect(await cluster.key("leader")).toBeNull();
        await agent.restart();
        const from = performance.now();
        await until("the lock is held again", async () => (await cluster.key("leader"))?.value, { withinMs: 10_000, everyMs: 5 });
        report("agent back, until the lock is held again", performance.now() - from);
        unsilence();
        expect(await cluster.untilHealthy()).toBe(leader);
        expect(new Set(writer.acknowledged.map(({ node }) => node))).toEqual(new Set([leader.name]));
        expect(await writer.lost(leader)).toEqual([]);
      });
    },
    120_000,
  );
});

/** The node answers for itself that it streams: its member key may still be from before. */
async function streamsAgain(cluster: TestCluster, node: ClusterNode): Promise<void> {
  const streams = async () => (await node.status())["replication_state"] === "streaming";
  await until(`${node.name} streams again`, streams, { withinMs: 40_000, everyMs: 50 });
  await cluster.untilHealthy();
}

function freeze(node: ClusterNode): () => void {
  node.sigstop();
  return () => node.sigcont();
}

async function destroySession({ cluster }: HostCluster): Promise<void> {
  const session = (await cluster.key("leader"))?.session;
  await cluster.endSession(session ?? "");
}

async function deleteLeaderKey({ cluster }: HostCluster): Promise<void> {
  await cluster.deleteKey("leader");
}

/** As when its agent has left: all its sessions end. */
async function deregisterNode({ cluster: { consul }, agent }: HostCluster, leader: ClusterNode): Promise<void> {
  const { Config } = (await (await fetch(`${agent(leader).url}/v1/agent/self`)).json()) as { Config: { NodeName: string } };
  await put(`${consul.url}/v1/catalog/deregister`, { Node: Config.NodeName });
}

async function put(url: string, body?: unknown): Promise<void> {
  const answer = await fetch(url, { method: "PUT", ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  if (!answer.ok) throw new Error(`PUT ${url}: ${answer.status} ${await answer.text()}`);
}

function report(what: string, milliseconds: number): void {
  console.log(`figure: ${what}: ${Math.round(milliseconds)} ms`);
}
