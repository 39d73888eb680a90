// Goal: in failsafe mode Patroni's nodes and ours agree with each other: whoever leads goes on while the store is away for longer than
// ttl, and whoever does not agree ends it.
// Method: two nodes of ours and one of Patroni's; their Consul is frozen and goes on, under a leader of each kind; then with a
// member down.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { findPatroni, insteadOfOurs, type Patroni } from "../harness/patroni.ts";
import { staysTrue, until } from "../harness/wait.ts";
import type { Writer } from "../harness/writer.ts";

const found = findPatroni();
if (typeof found === "string") console.log(`skipped: Patroni: ${found}`);
const patroni = found as Patroni;

/** Patroni's least. */
const TTL_MS = 20_000;
/** The lease, and what Patroni takes to see that its store is away. */
const OUTAGE_MS = 1.5 * TTL_MS;
const SWITCHED_WITHIN_MS = 60_000;
const NAMES = ["ours1", "ours2", "theirs"];

afterAll(() => TestCluster.stopAll());

async function isActive(node: ClusterNode): Promise<boolean> {
  return (await node.status())["failsafe_mode_is_active"] === true;
}

function addresses(cluster: TestCluster): Readonly<Record<string, string>> {
  return Object.fromEntries(cluster.nodes.map((node) => [node.name, `${node.apiUrl}/patroni`]));
}

/** Attempts of a node are numbered from 0 on: a failed one leaves a hole. */
function failedBy(writer: Writer, node: ClusterNode, from: number): readonly number[] {
  const numbers = writer.acknowledged
    .filter((row) => row.node === node.name && row.sentAt >= from)
    .map(({ id }) => Number(id.split("-").at(-1)));
  return numbers.flatMap((number, index) => (index === 0 || number === (numbers[index - 1] ?? 0) + 1 ? [] : [number]));
}

describe.skipIf(typeof found === "string")("a cluster in failsafe mode of Patroni's node and ours", () => {
  test(
    "whoever leads writes on while the store is away for longer than ttl, and all say so",
    async () => {
      const network = (index: number) => ({ host: "127.0.0.1", prefix: index === 2 ? insteadOfOurs(patroni) : [] });
      await TestCluster.with({ nodes: NAMES, network, dynamic: { failsafe_mode: true } }, async (cluster) => {
        const writer = await cluster.untilHealthy().then(() => cluster.writer());
        for (const name of ["ours1", "theirs"]) {
          const leader = cluster.node(name);
          await lead(cluster, leader);
          await until(
            "the key names everybody, and every node shows it",
            async () => {
              expect(JSON.parse((await cluster.key("failsafe"))?.value ?? "{}")).toEqual(addresses(cluster));
              for (const node of cluster.nodes) expect((await node.api("/failsafe")).json).toEqual(addresses(cluster));
              return true;
            },
            { withinMs: SWITCHED_WITHIN_MS },
          );
          await refusesStrangers(leader);
          const from = (await writer.afterNow(SWITCHED_WITHIN_MS)).sentAt;
          cluster.consul.sigstop();
          await until("all members have agreed", async () => (await Promise.all(cluster.nodes.map(isActive))).every((is) => is), {
            withinMs: OUTAGE_MS,
          });
          const leads = async () => ((await leader.health("/primary")) === 200 ? null : "/primary is not 200");
          await staysTrue("without the store", leads, { forMs: OUTAGE_MS, everyMs: 200 });
          expect(await Promise.all(cluster.nodes.map(isActive))).toEqual([true, true, true]);
          cluster.consul.sigcont();
          await until("the store counts again", async () => (await Promise.all(cluster.nodes.map(isActive))).every((is) => !is), {
            withinMs: 2 * TTL_MS,
          });
          expect(await cluster.untilHealthy()).toBe(leader);
          await writer.afterNowBy(name, SWITCHED_WITHIN_MS);
          expect(failedBy(writer, leader, from)).toEqual([]);
        }
        expect(writer.overlaps()).toEqual([]);
      });
    },
    6 * 60_000,
  );

  for (const [leading, missing] of [
    ["ours1", "theirs"],
    ["theirs", "ours1"],
  ] as const) {
    test(
      `${leading} steps down where ${missing} is gone, and leads again once the store is back`,
      async () => {
        const network = (index: number) => ({ host: "127.0.0.1", prefix: index === 1 ? insteadOfOurs(patroni) : [] });
        await TestCluster.with({ nodes: ["ours1", "theirs"], network, dynamic: { failsafe_mode: true } }, async (cluster) => {
          await cluster.untilHealthy();
          const leader = cluster.node(leading);
          await lead(cluster, leader);
          const writer = await cluster.writer();
          const named = async () => Bun.deepEquals(JSON.parse((await cluster.key("failsafe"))?.value ?? "{}"), addresses(cluster));
          await until("the key names both", named, { withinMs: SWITCHED_WITHIN_MS });
          cluster.consul.sigstop();
          await until("it goes on by their word", () => isActive(leader), { withinMs: OUTAGE_MS });
          await cluster.node(missing).killHost();
          await until("it serves nobody", async () => (await leader.health("/primary")) !== 200, { withinMs: 2 * TTL_MS });
          await leader.untilLogs("demoting self because DCS is not accessible and I was a leader", { withinMs: TTL_MS });
          cluster.consul.sigcont();
          await writer.afterNowBy(leading, 3 * TTL_MS);
          cluster.node(missing).start();
          await cluster.untilHealthy();
          expect(writer.overlaps()).toEqual([]);
          expect(await writer.lost(leader)).toEqual([]);
        });
      },
      5 * 60_000,
    );
  }
});

async function lead(cluster: TestCluster, wanted: ClusterNode): Promise<void> {
  const leader = await cluster.untilHealthy();
  if (leader === wanted) return;
  const body = { leader: leader.name, candidate: wanted.name };
  const answer = await leader.api("/switchover", { method: "POST", body, timeoutMs: SWITCHED_WITHIN_MS });
  expect(answer).toMatchObject({ status: 200, text: `Successfully switched over to "${wanted.name}"` });
  await cluster.untilHealthy();
}

/** A leader agrees to nobody, whosever it is. */
async function refusesStrangers(leader: ClusterNode): Promise<void> {
  const beat = { name: "stranger", conn_url: "postgres://h/postgres", api_url: "http://h/patroni" };
  const answer = await leader.api("/failsafe", { method: "POST", body: beat });
  expect([answer.status, answer.text]).toEqual([500, "Running as a leader"]);
}
