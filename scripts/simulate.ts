// Owns the command `bun run scripts/simulate.ts`: runs simulated clusters (test/simulation) by seed and reports what it saw. With
// --raft it is the simulation of the built-in Raft instead (simulations/raft.ts).

import { parseArgs } from "node:util";
import { RULES } from "../lib/core/decide.ts";
import { loadTemplate } from "../test/simulation/node-config.ts";
import { PLANTS, plant } from "../test/simulation/plants.ts";
import { type RunResult, runSimulation } from "../test/simulation/run.ts";

const USAGE = `usage: bun run scripts/simulate.ts [--seeds N] [--from SEED] [--nodes N] [--minutes M] [--trace] [--hashes] [--figure] [--rules] [--plant NAME]
  --seeds N     how many clusters (default 50), one seed each, from --from (default 1) on
  --nodes N     nodes in each cluster; without it the seed chooses 2 to 5
  --minutes M   how long faults happen in each cluster (default 20)
  --trace       tell everything that happens (one seed)
  --hashes      print each seed's trace hash: equal seeds have equal hashes
  --figure      the performance figure: 3 nodes, loop_wait 10, a fault a minute
  --rules       tell how often each rule has decided, and which ones never did
  --plant NAME  plant a known bug, which has to be found: ${Object.keys(PLANTS).join(", ")}
  --raft        simulate the built-in Raft instead; its options: --raft --help
Exit status: 0 no violation (with --plant: found), 1 a violation (with --plant: not found), 2 usage.`;

async function main(): Promise<number> {
  const options = readOptions();
  if (options === null) {
    console.error(USAGE);
    return 2;
  }
  const plants = plant(options.plant);
  if (plants === null) {
    console.error(`no such plant: ${options.plant}\n${USAGE}`);
    return 2;
  }
  const template = await loadTemplate();
  const totals = { simulatedMs: 0, steps: 0, promotions: 0, commits: 0, slowest: 0 };
  const faults = new Map<string, number>();
  const rules = new Map<string, number>();
  const failed: RunResult[] = [];
  const begin = process.cpuUsage();
  let done = 0;
  for (let seed = options.from; seed < options.from + options.seeds; seed += 1) {
    const result = runSimulation({
      seed,
      template,
      plants,
      minutes: options.minutes,
      nodes: options.nodes,
      figure: options.figure,
      onTrace: options.trace ? (line) => console.log(line) : null,
      ...(options.rules ? { rules } : {}),
    });
    done += 1;
    totals.simulatedMs += result.simulatedMs;
    totals.steps += result.steps;
    totals.promotions += result.promotions;
    totals.commits += result.commits;
    totals.slowest = Math.max(totals.slowest, result.convergedMs);
    for (const [name, count] of result.faults) faults.set(name, (faults.get(name) ?? 0) + count);
    if (options.hashes) console.log(`seed ${seed}: ${result.hash.toString(16).padStart(8, "0")}`);
    if (result.violations.length === 0) continue;
    failed.push(result);
    report(result, options);
    if (options.plant !== null) break;
    // After so many the reader has enough to look at.
    if (failed.length >= MAX_REPORTED) break;
  }
  // Processor time: what else the machine does is no figure of ours.
  const used = process.cpuUsage(begin);
  const seconds = (used.user + used.system) / 1e6;
  const minutes = totals.simulatedMs / 60_000;
  const counts = [...faults].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, count]) => `${name} ${count}`);
  console.log(`faults: ${counts.join(", ")}`);
  if (options.rules) tellRules(rules);
  console.log(
    `${done} seeds from ${options.from}: ${minutes.toFixed(0)} cluster-minutes simulated in ${seconds.toFixed(1)} s of processor time (${(minutes / seconds).toFixed(0)} a second), ${totals.steps} steps, ${totals.commits} commits, ${totals.promotions} promotions, slowest convergence ${(totals.slowest / 1000).toFixed(0)} s, ${failed.length} violations`,
  );
  if (options.plant === null) return failed.length === 0 ? 0 : 1;
  console.log(
    failed.length === 0
      ? `the planted bug ${options.plant} was NOT found`
      : `the planted bug ${options.plant} was found after ${done} seeds`,
  );
  return failed.length === 0 ? 1 : 0;
}

const MAX_REPORTED = 20;

/** In the table's order. */
function tellRules(counts: ReadonlyMap<string, number>): void {
  const never = RULES.filter(({ id }) => !counts.has(id)).map(({ id }) => id);
  for (const { id } of RULES) if (counts.has(id)) console.log(`rule ${id} ${counts.get(id)}`);
  console.log(`${RULES.length - never.length} of ${RULES.length} rules decided; never: ${never.join(", ") || "none"}`);
}

/** Loaded only where it is wanted: its module prepares a shelf of snapshots, which costs about 0.06 s. */
async function raft(words: readonly string[]): Promise<number> {
  const { simulateRaft } = await import("./simulations/raft.ts");
  return simulateRaft(words);
}

interface Options {
  readonly seeds: number;
  readonly from: number;
  readonly nodes: number | null;
  readonly minutes: number;
  readonly trace: boolean;
  readonly hashes: boolean;
  readonly figure: boolean;
  readonly rules: boolean;
  readonly plant: string | null;
}

function report(result: RunResult, options: Options): void {
  for (const violation of result.violations) console.log(`seed ${result.seed}: VIOLATION at ${violation}`);
  const nodes = options.nodes === null ? "" : ` --nodes ${options.nodes}`;
  const plantWords = options.plant === null ? "" : ` --plant ${options.plant}`;
  const figure = options.figure ? " --figure" : "";
  console.log(
    `  replay: bun run scripts/simulate.ts --seeds 1 --from ${result.seed} --minutes ${options.minutes}${nodes}${figure}${plantWords} --trace`,
  );
}

function readOptions(): Options | null {
  try {
    const { values } = parseArgs({
      options: {
        seeds: { type: "string", default: "50" },
        from: { type: "string", default: "1" },
        nodes: { type: "string" },
        minutes: { type: "string", default: "20" },
        trace: { type: "boolean", default: false },
        hashes: { type: "boolean", default: false },
        figure: { type: "boolean", default: false },
        rules: { type: "boolean", default: false },
        plant: { type: "string" },
      },
    });
    const nodes = values.nodes === undefined ? null : Number(values.nodes);
    const [seeds, from, minutes] = [Number(values.seeds), Number(values.from), Number(values.minutes)];
    const whole = [seeds, from, ...(nodes === null ? [] : [nodes])].every((value) => Number.isInteger(value) && value >= 0);
    if (!whole || seeds < 1 || !(minutes > 0) || (nodes !== null && (nodes < 1 || nodes > 9))) return null;
    const { trace, hashes, figure, rules } = values;
    return { seeds, from, nodes, minutes, trace, hashes, figure, rules, plant: values.plant ?? null };
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}

/**
 * How much may be allocated before garbage is collected, in bytes, as the engine knows it; it reads that once, at its start. A simulation
 * makes much garbage and keeps little: with the usual 32 MiB about an eighth of its time goes into collecting it, and more than this gains
 * nothing.
 */
const HEAP = ["BUN_JSC_largeHeapSize", String(128 * 1024 * 1024)] as const;
/**
 * How hot code has to be for the engine's last compiler, six times as hot as usual. The HA loop is spread over so many functions that
 * at the usual point a quarter of the processor time goes into compiling those that hardly gain by it.
 */
const LAST_TIER = ["BUN_JSC_thresholdForFTLOptimizeAfterWarmUp", "600000"] as const;

/** This process goes on as the same command with these settings of the engine; returns where it has them, or others of somebody's choice. */
function setEngine(settings: readonly (readonly [string, string])[]): void {
  const missing = settings.filter(([name]) => process.env[name] === undefined);
  if (missing.length === 0) return;
  const environment = { ...process.env, ...Object.fromEntries(missing) };
  process.execve?.(process.execPath, [process.execPath, ...process.execArgv, ...process.argv.slice(1)], environment);
}

const words = process.argv.slice(2);
const isRaft = words.includes("--raft");
setEngine(isRaft ? [HEAP] : [HEAP, LAST_TIER]);
process.exitCode = isRaft ? await raft(words.filter((word) => word !== "--raft")) : await main();
