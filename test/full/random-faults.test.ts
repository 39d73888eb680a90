// Goal: whatever order faults come in and whenever, there is one primary at a time, nothing that a synchronous standby has
// confirmed is lost, and the cluster comes back by itself.
// Method: rounds of random faults on random nodes of real clusters; the order is drawn from a seed, which is printed and can be
// given again as FAULT_SEED (the moments themselves are the machine's). FAULT_ROUNDS says how many.

import { afterAll, describe, expect, test } from "bun:test";
import { sendSignal, serverDirectory, serverProcesses } from "../../lib/postgres/processes.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { wholeFromEnvironment } from "../harness/from-environment.ts";
import { until } from "../harness/wait.ts";

afterAll(() => TestCluster.stopAll());

const SEED = wholeFromEnvironment("FAULT_SEED", 1 + Math.floor(Math.random() * 1_000_000));
const ROUNDS = wholeFromEnvironment("FAULT_ROUNDS", 15);
/** A lease, what Consul adds to it, a crash recovery, a rewind, and a busy machine. */
const HEALED_WITHIN_MS = 90_000;
const ROUND_LIMIT_MS = 130_000;

/** Small and repeatable. Source: "mulberry32", public domain. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

type Fault = (cluster: TestCluster, node: ClusterNode, random: () => number) => Promise<void>;

const FAULTS: Readonly<Record<string, Fault>> = {
  "host dies": async (_, node, random) => {
    await node.killHost();
    await Bun.sleep(random() * 25_000);
    node.start();
  },
  "postmaster is killed": async (_, node) => {
    if (node.postmasterPid() !== null) node.killPostmaster();
  },
  "all of PostgreSQL hangs": async (_, node, random) => {
    const directory = serverDirectory(node.dataDir);
    const pids = directory === null ? [] : serverProcesses(directory);
    for (const each of pids) sendSignal(each, "SIGSTOP");
    await Bun.sleep(random() * 25_000);
    // Those that are left: it may have been stopped meanwhile.
    for (const each of pids) sendSignal(each, "SIGCONT");
  },
  "postmaster is stopped, and killed after a while": async (_, node, random) => {
    if (node.postmasterPid() !== null) node.killPostmaster("SIGSTOP");
    await Bun.sleep(random() * 10_000);
    if (node.postmasterPid() !== null) node.killPostmaster();
  },
  "supervisor is killed and started": async (_, node, random) => {
    await node.killSupervisor();
    await Bun.sleep(random() * 5_000);
    node.start();
  },
  "supervisor is killed and started after the lease": async (_, node, random) => {
    await node.killSupervisor();
    await Bun.sleep(15_000 + random() * 15_000);
    node.start();
  },
  "supervisor is frozen": async (_, node, random) => {
    node.sigstop();
    await Bun.sleep(random() * 30_000);
    node.sigcont();
  },
  "supervisor is ended and started": async (_, node, random) => {
    await node.terminate();
    await Bun.sleep(random() * 3_000);
    node.start();
  },
  "switchover is asked for": async (cluster, node) => {
    const leader = await cluster.leader();
    if (leader !== null) await node.api("/switchover", { method: "POST", body: { leader: leader.name }, timeoutMs: 60_000 });
  },
  "postgres is restarted over REST": async (_, node) => {
    await node.api("/restart", { method: "POST", body: {}, timeoutMs: 60_000 });
  },
};

describe.concurrent(`random faults, FAULT_SEED=${SEED}`, () => {
  test.each(["off", "on", "strict", "quorum"] as const)(
    "synchronous mode %s: one primary at a time, nothing confirmed is lost, and the cluster heals after each round",
    async (mode) => {
      const random = randomFrom(SEED + mode.length);
      const dynamic = {
        loop_wait: 2,
        synchronous_mode: mode === "quorum" ? mode : mode !== "off",
        synchronous_mode_strict: mode === "strict",
      };
      await TestCluster.with({ dynamic }, async (cluster) => {
        await cluster.untilHealthy();
        const writer = await cluster.writer();
        for (let round = 1; round <= ROUNDS; round++) {
          if (mode !== "off")
            await until("a synchronous standby", async () => (await cluster.syncStandbys()).length > 0, { withinMs: 30_000 });
          const names = Object.keys(FAULTS);
          const name = names[Math.floor(random() * names.length)] as string;
          const leader = await cluster.untilLeader();
          // The leader is where it hurts: two times in three.
          const node = random() < 0.66 ? leader : (cluster.nodes[Math.floor(random() * cluster.nodes.length)] as ClusterNode);
          console.log(`${mode}, round ${round}: ${name}: ${node.name}${node === leader ? ", the leader" : ""}`);
          await Bun.sleep(random() * 2_000);
          const since = performance.now();
          // A REST request may be refused or cut off by what it asks for: the witness judges, not the answer.
          await (FAULTS[name] as Fault)(cluster, node, random).catch((error: unknown) =>
            console.log(`${mode}, round ${round}: ${String(error)}`),
          );
          await cluster.untilHealthy({ withinMs: HEALED_WITHIN_MS });
          await writer.afterNow(10_000);
          console.log(`${mode}, round ${round}: write gap ${Math.round(writer.longestGap(since).ms)} ms`);
          expect(writer.overlaps()).toEqual([]);
        }
        const leader = await cluster.untilHealthy();
        const lost = await writer.lost(leader);
        if (mode !== "off") expect(lost).toEqual([]);
      });
    },
    ROUNDS * ROUND_LIMIT_MS,
  );
});
