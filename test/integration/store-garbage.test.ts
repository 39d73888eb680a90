// Goal: what somebody writes into the store by hand cannot take a node down: each wrong value is reported once, ignored one by
// one, and the cluster goes on.
// Method: a real cluster under a writer; keys are overwritten in the store beside it.

import { afterAll, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { until } from "../harness/wait.ts";

/** Nothing is judged by it. */
const PATIENT = { withinMs: 60_000 };
/** So many cycles: everybody has seen it, and has had the time to say it twice. */
const CYCLES = 3;

/**
 * Rounds of keys, their values, and the word that the complaint must hold; null: none is needed (the leader writes the key
 * anew, or has said the same before).
 */
const ROUNDS: readonly (readonly (readonly [string, string, string | null])[])[] = [
  [
    ["config", "{not json", "/config:"],
    ["failover", "garbage", "/failover:"],
    ["sync", "garbage", "/sync:"],
    ["status", "garbage", null],
    ["history", "[[1,2],7]", "/history:"],
    ["failsafe", "7", "/failsafe:"],
    ["members/stranger", "garbage", "/members/stranger:"],
    ["optime/leader", "far", null],
    ["no/such/key", "\u0000\u0001", null],
  ],
  [
    ["config", '{"loop_wait":1,"retry_timeout":3,"ttl":"abc"}', "ttl:"],
    ["failover", '{"leader":5,"member":["x"],"scheduled_at":"tomorrow"}', null],
    ["sync", '{"leader":7,"sync_standby":{},"quorum":"most"}', null],
    ["status", '{"optime":"far","slots":[1]}', null],
    ["members/stranger", '{"conn_url":5,"api_url":"::","state":9,"role":{},"tags":[],"xlog_location":"far"}', null],
  ],
  [
    [
      "config",
      '{"loop_wait":1,"retry_timeout":[3],"ttl":20,"maximum_lag_on_failover":"much","synchronous_mode":42,"postgresql":"x","pause":"perhaps"}',
      "retry_timeout:",
    ],
    ["failover", '{"leader":"node1","member":"node2","scheduled_at":"tomorrow"}', "scheduled_at"],
  ],
  [["config", "[1,2]", null]],
];

afterAll(() => TestCluster.stopAll());

test("garbage in the store is reported once and ignored; nothing dies, no write fails, and the configuration that was in force stays", async () => {
  await TestCluster.with({ nodes: ["node1", "node2"], dynamic: { loop_wait: 1 } }, async (cluster) => {
    const leader = await cluster.untilHealthy();
    // A commit that takes long on a busy machine is no failed one.
    const writer = await cluster.writer({ answerMaxMs: PATIENT.withinMs });
    const pids = cluster.nodes.map(({ pid }) => pid);
    for (const round of ROUNDS) {
      const from = cluster.nodes.map(({ log }) => log.length);
      for (const [key, value] of round) await cluster.putKey(key, value);
      for (const [index, node] of cluster.nodes.entries()) {
        for (const [, , word] of round) if (word !== null) await node.untilLogs(word, { ...PATIENT, from: from[index] ?? 0 });
      }
      await untilCyclesMore(cluster);
      for (const [index, node] of cluster.nodes.entries()) {
        const said = complaints(node, from[index] ?? 0);
        const twice = said.filter((line, at) => said.indexOf(line) !== at);
        expect(twice, `said by ${node.name}`).toEqual([]);
        for (const [key, value, word] of round)
          if (word !== null) expect(said.join("\n"), `${key} = ${value}, said by ${node.name}`).toContain(word);
      }
      expect(await cluster.leader()).toBe(leader);
      expect(cluster.nodes.map(({ pid }) => pid)).toEqual(pids);
    }
    await cluster.putKey("config", '{"loop_wait":1,"retry_timeout":3,"ttl":20,"maximum_lag_on_failover":7}');
    await untilCyclesMore(cluster);
    await cluster.putKey("config", "garbage again");
    const restored = async () => (await cluster.key("config"))?.value.includes('"maximum_lag_on_failover":7') === true;
    await until("the configuration that was in force is there again", restored, PATIENT);
    await cluster.deleteKey("members/stranger");
    await cluster.untilHealthy();
    await until("the listing is whole again", async () => (await cluster.list()).members.length === 2, PATIENT);
    expect(await writer.lost(leader)).toEqual([]);
    // Attempts are numbered from 0: a failed one leaves a hole.
    expect(writer.acknowledged.map(({ id }) => id)).toEqual(writer.acknowledged.map((_, index) => `${leader.name}-${index}`));
  });
}, 120_000);

/** Waits until each node has gone through its loop so often again, from its beginning. */
async function untilCyclesMore(cluster: TestCluster): Promise<void> {
  const cycles = async (node: ClusterNode) =>
    Number(/^matriarch_ha_cycle_seconds_count(?:\{[^}]*\})? (\d+)$/m.exec((await node.api("/metrics")).text)?.[1] ?? Number.NaN);
  for (const node of cluster.nodes) {
    const before = await cycles(node);
    await until(`${CYCLES} more cycles of ${node.name}`, async () => (await cycles(node)) >= before + CYCLES, PATIENT);
  }
}

function complaints(node: ClusterNode, from: number): readonly string[] {
  const lines = node.log.slice(from).split("\n");
  return lines.filter((line) => / (WARNING|ERROR|CRITICAL): /.test(line)).map((line) => line.slice(24));
}
