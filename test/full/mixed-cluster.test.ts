// Goal: Patroni's nodes and ours take over from each other when one dies, and never write at the same time.
// Method: one node of Patroni's and two of ours; the leader's host is killed, in turn.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { findPatroni, insteadOfOurs, type Patroni } from "../harness/patroni.ts";
import { until } from "../harness/wait.ts";

/** The old leader's lease, its patience of another ttl where it left no mark, and the rest. */
const TAKEN_OVER_WITHIN_MS = 50_000;

const found = findPatroni();
if (typeof found === "string") console.log(`skipped: Patroni: ${found}`);
const patroni = found as Patroni;

afterAll(() => TestCluster.stopAll());

describe.skipIf(typeof found === "string")("a cluster of Patroni's nodes and ours", () => {
  for (const [ours, theirs] of [
    [2, 1],
    [1, 2],
  ] as const) {
    test(
      `${ours} of ours and ${theirs} of Patroni's: whoever leads and dies, another takes over, and the dead one comes back`,
      async () => {
        const names = [
          ...Array.from({ length: ours }, (_, index) => `ours${index + 1}`),
          ...Array.from({ length: theirs }, (_, index) => `theirs${index + 1}`),
        ];
        const network = (index: number) => ({ host: "127.0.0.1", prefix: index >= ours ? insteadOfOurs(patroni) : [] });
        await TestCluster.with({ nodes: names, network }, async (cluster) => {
          await cluster.untilHealthy();
          const writer = await cluster.writer();
          const led = new Set<string>();
          for (let round = 0; round < 4 && new Set([...led].map((name) => name.replace(/\d/, ""))).size < 2; round++) {
            const leader = await cluster.untilHealthy();
            led.add(leader.name);
            const diedAt = performance.now();
            await leader.killHost();
            const taken = await writer.afterNowBy((name) => name !== leader.name, TAKEN_OVER_WITHIN_MS);
            console.log(`figure: ${leader.name} died, ${taken.node} wrote ${Math.round(taken.ackedAt - diedAt)} ms later`);
            leader.start();
            await streamsAgain(cluster, leader);
          }
          await cluster.untilHealthy();
          expect(writer.overlaps()).toEqual([]);
        });
      },
      6 * 60_000,
    );
  }
});

async function streamsAgain(cluster: TestCluster, node: ClusterNode): Promise<void> {
  const streams = async () => (await node.status())["replication_state"] === "streaming";
  await until(`${node.name} streams again`, streams, { withinMs: 90_000, everyMs: 100 });
  await cluster.untilHealthy();
}
