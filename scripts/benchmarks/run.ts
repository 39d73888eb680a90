// Owns the course of a benchmark run: which systems, which rows, how often, and that nothing is left running at the end.

import { writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { PRODUCT_VERSION } from "../../lib/model/product.ts";
import { TestCluster } from "../../test/harness/cluster.ts";
import { Consul } from "../../test/harness/consul.ts";
import { OutsideConsul, type OutsideStore } from "../../test/harness/outside-store.ts";
import { type BenchArguments, readBenchArguments, USAGE } from "./arguments.ts";
import { BenchCluster, type BenchStore } from "./bench-cluster.ts";
import { reapOrphans } from "./reaper.ts";
import { type OwnRow, ROWS, type Row } from "./rows.ts";
import { ourSystem, patroniSystem, type System } from "./system.ts";
import { short, table } from "./table.ts";

type Samples = Map<string, Map<string, number[] | string>>;

/** Exit status: 0 everything was measured, 1 a row failed or there is no Patroni to measure, 2 usage. */
export async function runBenchmarks(argv: readonly string[]): Promise<number> {
  const options = readBenchArguments(argv);
  if (options === "help" || options === "list") {
    console.log(options === "help" ? USAGE : ROWS.map(({ id, title }) => `${id.padEnd(20)} ${title}`).join("\n"));
    return 0;
  }
  if (options === null) {
    console.error(USAGE);
    return 2;
  }
  const systems = systemsOf(options);
  if (systems === null) return 1;
  const rows = ROWS.filter(({ id }) => options.rows.includes(id));
  const results: Samples = new Map();
  const stopReaping = reapOrphans();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => void interrupted());
  try {
    await measureOwnRows(rows, options, results);
    for (const system of systems) await measureSystem(system, rows, options, results);
  } finally {
    stopReaping();
  }
  console.log(table(rows, systems, results));
  if (options.json !== null) writeFileSync(options.json, JSON.stringify(asObject(results, systems), null, 2));
  return [...results.values()].some((found) => [...found.values()].some((samples) => typeof samples === "string")) ? 1 : 0;
}

/** The store that the present system's clusters share. */
let storeInUse: OutsideStore | null = null;

/** Nothing that was started stays. */
async function interrupted(): Promise<never> {
  console.error("interrupted: everything is stopped");
  await TestCluster.stopAll();
  await storeInUse?.stop();
  process.exit(130);
}

function systemsOf(options: BenchArguments): readonly System[] | null {
  const patroni = options.systems === "ours" || options.store === "raft" ? null : patroniSystem(options.patroni);
  if (patroni === null && (options.systems === "patroni" || options.patroni !== null)) {
    console.error("patroni: not found; name its command with --patroni");
    return null;
  }
  const ours = options.systems === "patroni" ? [] : [ourSystem(PRODUCT_VERSION)];
  return patroni === null ? ours : [...ours, patroni];
}

async function measureOwnRows(rows: readonly (Row | OwnRow)[], options: BenchArguments, results: Samples): Promise<void> {
  if (options.systems === "patroni") return;
  for (const row of rows) if ("measureOwn" in row) await measureRow(row, "ours", options, results, () => row.measureOwn());
}

async function measureSystem(system: System, rows: readonly (Row | OwnRow)[], options: BenchArguments, results: Samples): Promise<void> {
  const own = rows.filter((row): row is Row => "measure" in row);
  if (own.length === 0) return;
  // Consul's own least TTL, as in production.
  const shared = options.store === "raft" ? null : new OutsideConsul(await Consul.start({ sessionTtlMin: "10s" }));
  const store: BenchStore = shared === null ? { store: "raft" } : { outside: shared };
  storeInUse = shared;
  let bench: BenchCluster | null = null;
  try {
    for (const row of own) {
      bench ??= await BenchCluster.start(system, { store, scope: `bench-${crypto.randomUUID()}` });
      const cluster = bench;
      const measured = await measureRow(row, system.name, options, results, () => row.measure(cluster));
      if (measured) continue;
      // What a failed row left may spoil the next one.
      await bench.stop();
      bench = null;
    }
  } finally {
    await bench?.stop();
    await shared?.stop();
    storeInUse = null;
  }
}

/** Value: whether every sample was taken. */
async function measureRow(
  row: Row | OwnRow,
  system: string,
  options: BenchArguments,
  results: Samples,
  measure: () => Promise<number>,
): Promise<boolean> {
  const samples: number[] = [];
  const found = results.get(row.id) ?? new Map<string, number[] | string>();
  results.set(row.id, found);
  const count = options.samples.get(row.id) ?? options.samples.get("default") ?? 1;
  try {
    for (let index = 0; index < count; index++) {
      const sample = await measure();
      samples.push(sample);
      console.error(`${system}  ${row.id}  ${short(sample)} ${row.unit}  (load ${loadavg()[0]?.toFixed(1)})`);
    }
    found.set(system, samples);
    return true;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    console.error(`${system}  ${row.id}  failed: ${reason}`);
    found.set(system, samples.length > 0 ? samples : reason);
    return false;
  }
}

function asObject(results: Samples, systems: readonly System[]): unknown {
  const rows = Object.fromEntries([...results].map(([row, found]) => [row, Object.fromEntries(found)]));
  return { at: new Date().toISOString(), systems: systems.map(({ name, version }) => ({ name, version })), rows };
}
