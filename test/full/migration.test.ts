// Goal: a cluster of Patroni's becomes one of ours node by node, and goes back, as docs/migrate-from-patroni.md says; a client that
// writes all the time never sees an acknowledged row vanish.
// Method: the node's file and data stay; only the program that is started changes. The leader's node comes last, after a switchover.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { findPatroni, insteadOfOurs, type Patroni } from "../harness/patroni.ts";

const found = findPatroni();
if (typeof found === "string") console.log(`skipped: Patroni: ${found}`);
const patroni = found as Patroni;

/** A switchover of Patroni's waits for its own cycles. */
const ANSWER_WITHIN_MS = 60_000;
/** Planned changes only: what a client may wait at most, cycles of Patroni's included. */
const WRITES_WITHIN_MS = 15_000;

afterAll(() => TestCluster.stopAll());

describe.skipIf(typeof found === "string")("a cluster moves node by node", () => {
  test(
    "from Patroni to ours and back, with synchronous replication, and no acknowledged row is lost",
    async () => {
      const theirs = insteadOfOurs(patroni);
      const network = () => ({ host: "127.0.0.1", prefix: theirs });
      await TestCluster.with({ nodes: 3, network, dynamic: { synchronous_mode: true } }, async (cluster) => {
        await cluster.untilHealthy();
        const writer = await cluster.writer();
        const identifier = (await cluster.key("initialize"))?.value;
        for (const [program, prefix] of [
          ["ours", []],
          ["Patroni's", theirs],
        ] as const) {
          const leader = await cluster.untilHealthy();
          for (const node of [...cluster.others(leader), leader]) {
            await moveAway(cluster, node);
            const begin = performance.now();
            expect(await node.terminate()).toBe(0);
            node.start({}, prefix);
            await cluster.untilHealthy();
            expect(await isOurs(node)).toBe(program === "ours");
            await writer.afterNow(WRITES_WITHIN_MS);
            console.log(`figure: ${node.name} is ${program} after ${Math.round(performance.now() - begin)} ms`);
          }
        }
        const last = await cluster.untilHealthy();
        console.log(`figure: longest time without a write ${Math.round(writer.longestGap().ms)} ms, ${writer.acknowledged.length} rows`);
        expect((await cluster.key("initialize"))?.value).toBe(identifier ?? "");
        expect(writer.overlaps()).toEqual([]);
        expect(await writer.lost(last)).toEqual([]);
      });
    },
    8 * 60_000,
  );
});

/** Hands the leadership to another node, where this one has it. */
async function moveAway(cluster: TestCluster, node: ClusterNode): Promise<void> {
  const leader = await cluster.untilHealthy();
  if (leader !== node) return;
  // In synchronous mode only a synchronous standby may take over without loss.
  const [candidate = ""] = await cluster.syncStandbys();
  const answer = await node.api("/switchover", {
    method: "POST",
    body: { leader: node.name, candidate },
    timeoutMs: ANSWER_WITHIN_MS,
  });
  expect(answer).toMatchObject({ status: 200, text: `Successfully switched over to "${candidate}"` });
  await cluster.untilHealthy();
}

async function isOurs(node: ClusterNode): Promise<boolean> {
  return "product" in (await node.status());
}
