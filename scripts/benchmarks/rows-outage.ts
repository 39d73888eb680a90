// Owns the rows that count a write outage: what is done to the cluster, and from when to when it is counted.

import type { ClusterNode, Tree } from "../../test/harness/cluster-node.ts";
import { until } from "../../test/harness/wait.ts";
import { type BenchCluster, DEFAULT, someMoment, TIGHT } from "./bench-cluster.ts";
import type { Row } from "./rows.ts";

const WRITABLE_WITHIN_MS = 120_000;
/** How long a supervisor stays away after somebody else leads: what its PostgreSQL acknowledges meanwhile is counted. */
const LEFT_ALONE_MS = 10_000;
const TIGHT_SLOW: Tree = { ...TIGHT, loop_wait: 10, retry_timeout: 5 };

export const OUTAGE_ROWS: readonly Row[] = [
  {
    id: "switchover",
    title: "switchover",
    unit: "s",
    reach: "≤ 0.3",
    measure: async (bench) => {
      const leader = await bench.ready(DEFAULT);
      await someMoment(DEFAULT);
      return bench.outage(
        () => leader.api("/switchover", { method: "POST", body: { leader: leader.name }, timeoutMs: 60_000 }),
        (writer) => writer.afterNowBy((name) => name !== leader.name, WRITABLE_WITHIN_MS),
      );
    },
  },
  {
    id: "sigterm",
    title: "SIGTERM of the primary's supervisor",
    unit: "s",
    reach: "≤ 0.4",
    measure: async (bench) => {
      const leader = await bench.ready(DEFAULT);
      await someMoment(DEFAULT);
      const seconds = await bench.outage(
        () => leader.terminate(),
        (writer) => writer.afterNowBy((name) => name !== leader.name, WRITABLE_WITHIN_MS),
      );
      leader.start();
      return seconds;
    },
  },
  {
    id: "postmaster",
    title: "postmaster killed, restarted in place, default settings",
    unit: "s",
    reach: "≤ 0.6",
    measure: (bench) => postmasterKilled(bench, { ...DEFAULT, primary_start_timeout: 300 }),
  },
  {
    id: "postmaster-failover",
    title: "postmaster killed, primary_start_timeout 0",
    unit: "s",
    reach: "≤ 0.4",
    measure: (bench) => postmasterKilled(bench, { ...DEFAULT, primary_start_timeout: 0 }),
  },
  {
    id: "host-death",
    title: "host death at loop_wait 1: lock gone → first write",
    unit: "s",
    reach: "≤ 0.2",
    measure: (bench) => hostEnds(bench, TIGHT, (leader) => leader.killHost()),
  },
  {
    id: "host-death-10",
    title: "host death at loop_wait 10: lock gone → first write",
    unit: "s",
    reach: "≤ 0.2",
    measure: (bench) => hostEnds(bench, TIGHT_SLOW, (leader) => leader.killHost()),
  },
  {
    id: "silent-host",
    title: "silent host (everything on it frozen): lock gone → first write",
    unit: "s",
    reach: "≤ 0.7",
    measure: (bench) => hostEnds(bench, TIGHT, async (leader) => freeze(leader)),
  },
  {
    id: "store-back",
    title: "store back after an outage → writable",
    unit: "s",
    reach: "≤ 0.3",
    measure: storeBack,
  },
  {
    id: "supervisor-killed",
    title: "supervisor killed, PostgreSQL left: rows of the old primary after the new one's first",
    unit: "rows",
    reach: "0",
    measure: supervisorKilled,
  },
];

async function postmasterKilled(bench: BenchCluster, settings: Tree): Promise<number> {
  const leader = await bench.ready(settings);
  await someMoment(settings);
  const pid = leader.postmasterPid();
  return bench.outage(
    async () => leader.killPostmaster(),
    async (writer) => {
      await until("the postmaster is gone", () => leader.postmasterPid() !== pid, { withinMs: 5_000, everyMs: 5 });
      await writer.afterNow(WRITABLE_WITHIN_MS);
    },
  );
}

async function hostEnds(bench: BenchCluster, settings: Tree, end: (leader: ClusterNode) => Promise<void>): Promise<number> {
  const leader = await bench.ready(settings);
  const writer = await bench.writer();
  await someMoment(settings);
  const from = performance.now();
  await end(leader);
  const first = await writer.afterNowBy((name) => name !== leader.name, WRITABLE_WITHIN_MS);
  const gone = bench.clock.goneAfter(from, leader.name);
  if (gone === null) throw new Error("somebody wrote although the lock was never seen to go");
  await leader.killHost();
  leader.start();
  return (first.ackedAt - gone) / 1000;
}

function freeze(node: ClusterNode): void {
  for (const { pid } of node.processes()) process.kill(pid, "SIGSTOP");
}

async function storeBack(bench: BenchCluster): Promise<number> {
  await bench.ready(TIGHT);
  const writer = await bench.writer();
  const { consul } = bench.cluster;
  consul.sigstop();
  const silentFor = (): number => performance.now() - (writer.acknowledged.at(-1)?.ackedAt ?? 0);
  await until("the primary has stepped down", () => silentFor() > 3000, { withinMs: WRITABLE_WITHIN_MS });
  const from = performance.now();
  consul.sigcont();
  const first = await writer.afterNow(WRITABLE_WITHIN_MS);
  return (first.ackedAt - from) / 1000;
}

async function supervisorKilled(bench: BenchCluster): Promise<number> {
  const leader = await bench.ready(TIGHT);
  const writer = await bench.writer();
  await someMoment(TIGHT);
  await leader.killSupervisor();
  const first = await writer.afterNowBy((name) => name !== leader.name, WRITABLE_WITHIN_MS);
  await Bun.sleep(LEFT_ALONE_MS);
  const late = writer.acknowledged.filter((row) => row.node === leader.name && row.sentAt > first.ackedAt).length;
  leader.start();
  return late;
}
