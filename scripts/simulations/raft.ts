// Owns the command `bun run scripts/simulate.ts --raft`: runs simulated Raft clusters by seed and reports what it saw.

import { parseArgs } from "node:util";
import { type RaftRunResult, runCores } from "../../test/raft/simulation/core-run.ts";
import { runWhole } from "../../test/raft/simulation/whole-run.ts";

const USAGE = `usage: bun run scripts/simulate.ts --raft [--whole] [--seeds N] [--from SEED] [--seconds S] [--hours H] [--events N] [--first] [--trace] [--hashes]
  --whole       whole members (driver, storage, transport, key-value machine, clients) instead of cores alone
  --seeds N     how many clusters (default 500), one seed each, from --from (default 1) on
  --seconds S   how long faults happen in each cluster (default 8)
  --hours H     the long form: seeds from --from on until that much time has passed, with a line each minute
  --events N    no further seed once there were so many events in all: a bound that no other program's load moves
  --first       stop at the first violation
  --trace       tell everything that happens (one seed)
  --hashes      print each seed's trace hash: equal seeds have equal hashes
Exit status: 0 no violation, 1 a violation, 2 usage.`;

/** After so many the reader has enough to look at. */
const MAX_REPORTED = 10;
const HOUR_MS = 3_600_000;
const PROGRESS_EVERY_MS = 60_000;

interface Options {
  readonly level: "core" | "whole";
  readonly seeds: number;
  readonly from: number;
  readonly seconds: number;
  /** Null: so many seeds. */
  readonly hours: number | null;
  readonly eventsMax: number;
  readonly first: boolean;
  readonly trace: boolean;
  readonly hashes: boolean;
}

/** `words`: the command line without `--raft`. Value: the exit status. */
export function simulateRaft(words: readonly string[]): number {
  const options = readOptions(words);
  if (options === null) {
    console.error(USAGE);
    return 2;
  }
  const run = options.level === "core" ? runCores : runWhole;
  const totals = new Totals(options);
  const end = options.hours === null ? Number.POSITIVE_INFINITY : Date.now() + options.hours * HOUR_MS;
  let tellAt = Date.now() + PROGRESS_EVERY_MS;
  for (let seed = options.from; options.hours !== null || seed < options.from + options.seeds; seed += 1) {
    const result = run({ seed, seconds: options.seconds, print: options.trace ? (line) => console.log(line) : null });
    totals.add(result);
    if (options.hashes) console.log(`seed ${seed}: ${result.hash.toString(16).padStart(8, "0")}`);
    if (result.violation !== null) report(result, options);
    if (totals.violations >= (options.first ? 1 : MAX_REPORTED) || totals.events >= options.eventsMax || Date.now() >= end) break;
    if (options.hours === null || Date.now() < tellAt) continue;
    tellAt += PROGRESS_EVERY_MS;
    totals.print();
  }
  totals.printFaults();
  totals.print();
  return totals.violations === 0 ? 0 : 1;
}

class Totals {
  readonly #options: Options;
  readonly #faults = new Map<string, number>();
  readonly #begin = process.cpuUsage();
  #seeds = 0;
  events = 0;
  #simulatedMs = 0;
  #committed = 0;
  #reads = 0;
  #watched = 0;
  #held = 0;
  violations = 0;

  constructor(options: Options) {
    this.#options = options;
  }

  add(result: RaftRunResult): void {
    this.#seeds += 1;
    this.events += result.events;
    this.#simulatedMs += result.simulatedMs;
    this.#committed += result.committed;
    this.#reads += result.reads;
    this.#watched += result.watched;
    this.#held += result.held;
    if (result.violation !== null) this.violations += 1;
    for (const [name, count] of result.faults) this.#faults.set(name, (this.#faults.get(name) ?? 0) + count);
  }

  printFaults(): void {
    const counts = [...this.#faults].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, count]) => `${name} ${count}`);
    console.log(`faults: ${counts.join(", ")}`);
  }

  print(): void {
    // Processor time: what else the machine does is no figure of ours.
    const used = process.cpuUsage(this.#begin);
    const seconds = (used.user + used.system) / 1e6;
    const faults = [...this.#faults.values()].reduce((sum, count) => sum + count, 0);
    const whole = this.#options.level === "core" ? "" : `, ${this.#watched} watches answered, ${this.#held} acts of lock holders`;
    console.log(
      `${this.#seeds} seeds from ${this.#options.from}: ${this.events} events, ${faults} faults, ${this.#committed} entries committed, ${this.#reads} linearizable reads${whole}, ${Math.round(this.#simulatedMs / 60_000)} cluster-minutes in ${seconds.toFixed(1)} s of processor time (${Math.round(this.events / seconds)} events a second), ${this.violations} violations`,
    );
  }
}

function report(result: RaftRunResult, options: Options): void {
  console.log(`seed ${result.seed}: VIOLATION ${result.violation}`);
  for (const line of result.tail) console.log(`  ${line}`);
  const level = options.level === "core" ? "" : " --whole";
  console.log(`  replay: bun run scripts/simulate.ts --raft${level} --seeds 1 --from ${result.seed} --seconds ${options.seconds} --trace`);
}

function readOptions(words: readonly string[]): Options | null {
  try {
    const { values } = parseArgs({
      args: [...words],
      options: {
        whole: { type: "boolean", default: false },
        seeds: { type: "string", default: "500" },
        from: { type: "string", default: "1" },
        seconds: { type: "string", default: "8" },
        hours: { type: "string" },
        events: { type: "string" },
        first: { type: "boolean", default: false },
        trace: { type: "boolean", default: false },
        hashes: { type: "boolean", default: false },
      },
    });
    const [seeds, from, seconds] = [Number(values.seeds), Number(values.from), Number(values.seconds)];
    const hours = values.hours === undefined ? null : Number(values.hours);
    const eventsMax = values.events === undefined ? Number.POSITIVE_INFINITY : Number(values.events);
    const whole = [seeds, from].every((value) => Number.isInteger(value) && value >= 0);
    if (!whole || seeds < 1 || !(seconds > 0) || (hours !== null && !(hours > 0)) || !(eventsMax > 0)) return null;
    const { first, trace, hashes } = values;
    return { level: values.whole ? "whole" : "core", seeds, from, seconds, hours, eventsMax, first, trace, hashes };
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}
