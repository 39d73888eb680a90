// Owns the measurement of how soon clients are led to a new primary: by Consul's DNS, and through a PgBouncer. Three nodes that register
// themselves, checks that would look again in ten minutes, the worker of the pool as a process. Prints each sample and a summary.

import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { TestCluster } from "../../test/harness/cluster.ts";
import type { ClusterNode } from "../../test/harness/cluster-node.ts";
import { type ConsulDns, startConsulWithDns } from "../../test/harness/consul-dns.ts";
import { findPgbouncer, PoolClients, TestPool } from "../../test/harness/pgbouncer.ts";
import { LAZY } from "../../test/harness/times.ts";
import { until } from "../../test/harness/wait.ts";

const USAGE = `usage: bun run scripts/benchmarks/redirect.ts [--n N]
  --n    switchovers, and deaths of the primary's host, each so often (default 5)
From the moment the new primary accepts writes: until Consul's DNS names it and nobody else; until PgBouncer's lines lead there; until a
client of the pool has written there. And the longest time that no client of the pool was answered, with the errors that they saw.`;
const SAMPLES = 5;
const WITHIN = { withinMs: 60_000, everyMs: 2 };
const NAME = "primary.demo.service.consul";

const TITLES = {
  dnsMs: "promotion → Consul's DNS names the new primary alone",
  linesMs: "promotion → PgBouncer's lines lead there",
  clientMs: "promotion → a client of the pool has written there",
  pauseMs: "longest time that no client of the pool was answered",
  errors: "errors that clients of the pool saw",
} as const;

interface Sample {
  readonly dnsMs: number;
  readonly linesMs: number;
  readonly clientMs: number;
  readonly pauseMs: number;
  readonly errors: number;
}

const { values } = parseArgs({ options: { n: { type: "string", default: String(SAMPLES) }, help: { type: "boolean", short: "h" } } });
const count = Number(values.n);
if (values.help === true || !(count > 0)) {
  console.log(USAGE);
  process.exit(values.help === true ? 0 : 2);
}
const program = findPgbouncer();
if (typeof program === "string") {
  console.error(program);
  process.exit(1);
}

const { consul, dns } = await startConsulWithDns();
try {
  const registered = { url: consul.url, register_service: true, service_check_interval: "10m" };
  await TestCluster.with({ consul, dynamic: LAZY, extra: () => ({ consul: registered }) }, async (cluster) => {
    await cluster.untilHealthy();
    const pool = await TestPool.start({ program });
    try {
      await measureAll({ dns, cluster, pool });
    } finally {
      await pool.stop();
    }
  });
} finally {
  await consul.stop();
}

interface Measured {
  readonly dns: ConsulDns;
  readonly cluster: TestCluster;
  readonly pool: TestPool;
}

async function measureAll(measured: Measured): Promise<void> {
  const { cluster, pool } = measured;
  await pool.startWorker({ scope: cluster.scope, store: cluster.storeClient.section });
  await until("the pooler is registered", () => cluster.key("poolers/pool1"), WITHIN);
  const clients = await PoolClients.start(pool);
  try {
    for (const event of ["switchover", "host death"] as const) {
      const samples: Sample[] = [];
      for (let index = 0; index < count; index++) {
        const sample = await measure(event, { ...measured, clients });
        samples.push(sample);
        const { dnsMs, linesMs, clientMs, pauseMs, errors } = sample;
        const load = loadavg()[0]?.toFixed(1);
        console.error(
          `${event}: DNS ${dnsMs}, lines ${linesMs}, client ${clientMs}, longest pause ${pauseMs} ms, ${errors} errors (load ${load})`,
        );
      }
      for (const key of ["dnsMs", "linesMs", "clientMs", "pauseMs"] as const)
        console.log(`${event}, ${TITLES[key]}: ${summary(samples.map((each) => each[key]))}`);
      console.log(`${event}, ${TITLES.errors}: ${samples.map(({ errors }) => errors).join(", ")}`);
    }
  } finally {
    await clients.stop();
  }
}

async function measure(
  event: "switchover" | "host death",
  { dns, cluster, pool, clients }: Measured & { readonly clients: PoolClients },
): Promise<Sample> {
  const old = await cluster.untilHealthy();
  await until("DNS names the primary", async () => (await dns.ports(NAME)).join() === String(old.place.postgresPort), WITHIN);
  const from = new Map(cluster.nodes.map((node) => [node.name, node.log.length]));
  const since = performance.now();
  const errorsBefore = clients.errors.length;
  const others = cluster.others(old);
  const wanted = others.map(({ place }) => String(place.postgresPort));
  const acted =
    event === "switchover" ? old.api("/switchover", { method: "POST", body: { leader: old.name }, timeoutMs: 60_000 }) : old.killHost();
  const [named, led, served] = await Promise.all([
    at("DNS names another alone", async () => {
      const found = await dns.ports(NAME);
      return found.length === 1 && wanted.includes(String(found[0]));
    }),
    at("the lines lead to another", () => wanted.some((port) => pool.databases.includes(`port=${port}`))),
    clients.untilServedBy(old.place.postgresPort, since, WITHIN.withinMs),
  ]);
  await acted;
  const promotedAt = await promotion(others, from);
  if (event === "host death") old.start();
  await cluster.untilHealthy();
  const after = (moment: number): number => Math.round(performance.timeOrigin + moment - promotedAt);
  return {
    dnsMs: after(named),
    linesMs: after(led),
    clientMs: after(served),
    pauseMs: Math.round(clients.longestGap(since).ms),
    errors: clients.errors.length - errorsBefore,
  };
}

/** `performance.now()` when it came true. */
async function at(what: string, isTrue: () => boolean | Promise<boolean>): Promise<number> {
  await until(what, isTrue, WITHIN);
  return performance.now();
}

/** When the new primary said that it accepts writes, in ms of the wall clock: the time at the head of that line. */
async function promotion(nodes: readonly ClusterNode[], from: ReadonlyMap<string, number>): Promise<number> {
  const line = await until(
    "the new primary says that it is promoted",
    () =>
      nodes
        .map((node) => /^(\S+ \S+) INFO: promoted: /m.exec(node.log.slice(from.get(node.name) ?? 0))?.[1] ?? null)
        .find((found) => found !== null),
    WITHIN,
  );
  return Date.parse(line.replace(",", "."));
}

function summary(samples: readonly number[]): string {
  const sorted = samples.toSorted((a, b) => a - b);
  return `median ${sorted[sorted.length >> 1]} ms, ${sorted[0]} to ${sorted.at(-1)} (n = ${sorted.length})`;
}
