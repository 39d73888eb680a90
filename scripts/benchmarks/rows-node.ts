// Owns the rows about a node rather than an outage: bootstrap, restarts, the API under load, memory, processor time, requests to
// the store.

import { spawn } from "node:child_process";
import { TestCluster } from "../../test/harness/cluster.ts";
import type { ClusterNode, Tree } from "../../test/harness/cluster-node.ts";
import { CountingProxy } from "../../test/harness/counting-proxy.ts";
import { BenchCluster, DEFAULT, TIGHT } from "./bench-cluster.ts";
import { cpuOf, memoryOf, processesOf } from "./rest.ts";
import type { Row } from "./rows.ts";

const CPU_FOR_MS = 60_000;
/** A node that just came up has caches to fill and garbage to collect. */
const SETTLE_MS = 20_000;
const WRK_SECONDS = 8;
/** Short enough for many loops in a sample. */
const COUNTED: Tree = { ttl: 20, loop_wait: 2, retry_timeout: 3 };
const COUNTED_LOOPS = 15;

export const NODE_ROWS: readonly Row[] = [
  { id: "bootstrap", title: "three empty nodes to all streaming, default settings", unit: "s", reach: "≤ 5", measure: bootstrap },
  {
    id: "restart-leader",
    title: "restart of the leader's supervisor to its first API answer",
    unit: "s",
    reach: "≤ 0.3",
    measure: async (bench) => restart(bench, await bench.ready(DEFAULT)),
  },
  {
    id: "restart-replica",
    title: "restart of a replica's supervisor to its first API answer",
    unit: "s",
    reach: "≤ 0.3",
    measure: async (bench) => {
      const leader = await bench.ready(DEFAULT);
      const [replica] = bench.cluster.others(leader);
      if (replica === undefined) throw new Error("there is no replica");
      return restart(bench, replica);
    },
  },
  ...apiRows("api", "/primary", "≥ 10 × Patroni"),
  ...apiRows("health", "/health", "≥ 10 × Patroni"),
  ...apiRows("metrics", "/metrics", "≥ 5 × Patroni"),
  {
    id: "pss",
    title: "at rest: PSS of a node's processes, the largest of three",
    unit: "MiB",
    reach: "≤ 70",
    measure: (bench) => memory(bench, "pss"),
  },
  { id: "rss", title: "at rest: RSS of the same", unit: "MiB", reach: "", measure: (bench) => memory(bench, "rss") },
  { id: "cpu-10", title: "at rest: CPU of the leader at loop_wait 10", unit: "%", reach: "≤ 0.1", measure: (bench) => cpu(bench, DEFAULT) },
  { id: "cpu-1", title: "at rest: CPU of the leader at loop_wait 1", unit: "%", reach: "≤ 0.5", measure: (bench) => cpu(bench, TIGHT) },
  {
    id: "requests-idle",
    title: "Consul requests a loop, leader idle",
    unit: "",
    reach: "≤ 2.3",
    measure: (bench) => requests(bench, "idle"),
  },
  {
    id: "requests-writing",
    title: "Consul requests a loop, leader writing",
    unit: "",
    reach: "≤ 4",
    measure: (bench) => requests(bench, "writing"),
  },
];

function apiRows(name: string, path: string, reach: string): readonly Row[] {
  const title = `GET ${path} on the leader, wrk -t1 -c16`;
  const asked = async (bench: BenchCluster) => wrk(await bench.ready(DEFAULT), path);
  return [
    { id: `${name}-rate`, title: `${title}: requests`, unit: "/s", reach, measure: async (bench) => (await asked(bench)).rate },
    {
      id: `${name}-p99`,
      title: `${title}: p99`,
      unit: "ms",
      reach: "≤ 1/4 of Patroni",
      measure: async (bench) => (await asked(bench)).p99,
    },
  ];
}

async function bootstrap(bench: BenchCluster): Promise<number> {
  const begin = performance.now();
  const fresh = await BenchCluster.start(bench.system, {
    store: bench.store,
    scope: `fresh-${crypto.randomUUID()}`,
  });
  try {
    await fresh.cluster.untilHealthy({ withinMs: 180_000 });
    return (performance.now() - begin) / 1000;
  } finally {
    await fresh.stop();
  }
}

async function restart(bench: BenchCluster, node: ClusterNode): Promise<number> {
  await node.killSupervisor();
  const begin = performance.now();
  node.start();
  while ((await node.health("/patroni")) === null) await Bun.sleep(2);
  const seconds = (performance.now() - begin) / 1000;
  await bench.cluster.untilHealthy();
  return seconds;
}

/** Throws Error where wrk is not installed. */
async function wrk(node: ClusterNode, path: string): Promise<{ readonly rate: number; readonly p99: number }> {
  const child = spawn("wrk", ["-t1", "-c16", `-d${WRK_SECONDS}s`, "--latency", `${node.apiUrl}${path}`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.on("data", (part: Buffer) => {
    text += part.toString();
  });
  await new Promise<void>((resolve, reject) => {
    child.once("close", () => resolve());
    child.once("error", (error) => reject(new Error(`wrk: ${error.message}`)));
  });
  const [, p99 = "", unit = ""] = /99%\s+([\d.]+)(us|ms|s)/.exec(text) ?? [];
  const rate = Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]);
  if (!(rate > 0)) throw new Error(`wrk said: ${text}`);
  return { rate, p99: Number(p99) * (unit === "us" ? 0.001 : unit === "s" ? 1000 : 1) };
}

async function memory(bench: BenchCluster, kind: "pss" | "rss"): Promise<number> {
  await bench.ready(DEFAULT);
  await Bun.sleep(SETTLE_MS);
  return Math.max(...bench.cluster.nodes.map((node) => memoryOf(processesOf(node))[kind]));
}

async function cpu(bench: BenchCluster, settings: Tree): Promise<number> {
  const leader = await bench.ready(settings);
  // Nobody writes: the witness of the other rows would be measured as well.
  await bench.stopWriting();
  await Bun.sleep(SETTLE_MS);
  return (await cpuOf([() => processesOf(leader)], CPU_FOR_MS))[0] ?? Number.NaN;
}

/** A cluster of its own, whose nodes find Consul behind a proxy each. */
async function requests(bench: BenchCluster, load: "idle" | "writing"): Promise<number> {
  const { consul } = bench.cluster;
  const proxies = await Promise.all([0, 1, 2].map(() => CountingProxy.start(consul.httpPort)));
  const cluster = await TestCluster.start({
    consul,
    scope: `counted-${crypto.randomUUID()}`,
    dynamic: COUNTED,
    consulUrl: (index) => proxies[index]?.url ?? "",
    ...(bench.system.prefix.length === 0 ? {} : { network: () => ({ host: "127.0.0.1", prefix: bench.system.prefix }) }),
  });
  try {
    const leader = await cluster.untilHealthy({ withinMs: 180_000 });
    if (load === "writing") await cluster.writer();
    await Bun.sleep(SETTLE_MS);
    const proxy = proxies[cluster.nodes.indexOf(leader)];
    const before = proxy?.requests.length ?? 0;
    await Bun.sleep(COUNTED_LOOPS * Number(COUNTED["loop_wait"]) * 1000);
    return ((proxy?.requests.length ?? 0) - before) / COUNTED_LOOPS;
  } finally {
    await cluster.stop();
    await Promise.all(proxies.map((proxy) => proxy.close()));
  }
}
