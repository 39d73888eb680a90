// Owns the order of a test run, its time limit, its last line and its clean-up. What the stages are is in suite/stages.ts.

import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { killRun, type RunMark } from "../lib/cli/quickstart/processes.ts";
import { writeEvidence } from "./suite/evidence.ts";
import { readableTree } from "./suite/readable-tree.ts";
import { runStage, type StageResult } from "./suite/run-stage.ts";
import { CommandLineWatch } from "./suite/secret-search.ts";
import { type Lane, type Stage, stagesOf, type Tier } from "./suite/stages.ts";

const usage = `usage: scripts/test [--full] [--only PATTERN]

  (nothing)       the default tier: format, lint, types, and all tests but the long ones
  --full          the long tier as well; writes its summary to docs/evidence/
  --only PATTERN  only the test files whose path contains PATTERN, e.g. --only unit/model

The last line is "N passed, N failed"; exit status 0 when nothing failed, 1 otherwise, 2 for a wrong call.`;

/** A tier that takes longer is broken: it is ended, and the stage that ran counts as failed. */
const tierWithinMs: Readonly<Record<Tier, number>> = { default: 15 * 60_000, full: 4 * 3_600_000 };

interface Options {
  readonly tier: Tier;
  readonly only: string | null;
}

function parse(words: readonly string[]): Options | null {
  try {
    const { values } = parseArgs({
      args: [...words],
      options: { full: { type: "boolean" }, only: { type: "string" }, help: { type: "boolean", short: "h" } },
    });
    if (values.help) {
      console.log(usage);
      process.exit(0);
    }
    return { tier: values.full || (values.only?.includes("full") ?? false) ? "full" : "default", only: values.only ?? null };
  } catch (error) {
    console.error(`scripts/test: ${(error as Error).message}\n${usage}`);
    return null;
  }
}

async function main(options: Options): Promise<number> {
  const product = resolve(import.meta.dir, "..");
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => interrupted.abort());
  const temporary = realpathSync(mkdtempSync(join(tmpdir(), "matriarch-test.")));
  // Like /tmp itself: what runs as the server user makes its temporary files here too.
  chmodSync(temporary, 0o1777);
  // Every stage inherits it, so that at the end all of them are found.
  const runId = randomBytes(8).toString("hex");
  process.env["TEST_RUN_ID"] = runId;
  const mark: RunMark = { environment: `TEST_RUN_ID=${runId}`, folder: temporary };
  const begunAt = new Date();
  const begin = performance.now();
  const results: StageResult[] = [];
  const commandLines = new CommandLineWatch(STAGE_MARK);
  try {
    const tree = readableTree(product, temporary);
    const stages = stagesOf(product, options);
    const run = { tree, product, temporary, commandLines, signal: interrupted.signal, end: begin + tierWithinMs[options.tier] };
    const of = (lane: Lane) => stages.filter((stage) => stage.lane === lane);
    const inTurn = async (waiting: Stage[], ports: string | null) => {
      for (let stage = waiting.shift(); stage !== undefined; stage = waiting.shift())
        results.push(...(await runOne(stage, { ...run, ports })));
    };
    await inTurn(of("alone"), null);
    const servers = of("servers");
    await Promise.all([inTurn(of("computing"), null), ...SERVER_PORTS[options.tier].map((ports) => inTurn(servers, ports))]);
  } finally {
    commandLines.end();
    await killRun([], mark);
    rmSync(temporary, { recursive: true, force: true });
  }
  if (interrupted.signal.aborted) {
    console.error("interrupted");
    return 130;
  }
  const seconds = (performance.now() - begin) / 1000;
  summarize(results, seconds);
  if (options.tier === "full" && options.only === null)
    console.log(`summary written to ${writeEvidence(product, { results, seconds, begunAt })}`);
  const sum = (pick: (result: StageResult) => number) => results.reduce((total, result) => total + pick(result), 0);
  const failed = sum((result) => result.failed);
  const passed = sum((result) => result.passed);
  if (passed + failed === 0) console.error(`no test matches ${options.only}`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 || passed === 0 ? 1 : 0;
}

/**
 * Lanes of what starts servers, for it mostly waits for leases to end; each has ports of its own. The long tests wait longer, so
 * that a third lane still leaves time to all.
 */
const SERVER_PORTS: Readonly<Record<Tier, readonly string[]>> = {
  default: ["16000-17999", "18000-19999"],
  full: ["16000-17299", "17300-18599", "18600-19899"],
};
let stagesBegun = 0;
/** Each stage has a value of its own, which all its processes inherit. */
const STAGE_MARK = "TEST_STAGE_ID";

/** Runs one stage in a folder and under a mark of its own; nothing where the run was interrupted. */
async function runOne(
  stage: Stage,
  run: {
    readonly tree: string;
    readonly product: string;
    readonly temporary: string;
    readonly commandLines: CommandLineWatch;
    readonly signal: AbortSignal;
    /** When the tier's time is up, as performance.now() tells it. */
    readonly end: number;
    /** What it may take for its servers, where it starts any. */
    readonly ports: string | null;
  },
): Promise<readonly StageResult[]> {
  if (run.signal.aborted) return [];
  const withinMs = run.end - performance.now();
  if (withinMs <= 0) {
    return [
      { stage, passed: 0, failed: 1, skipped: 0, seconds: 0, lastLine: "", remark: "not begun: the tier's time is up", failures: [] },
    ];
  }
  stagesBegun += 1;
  const temporary = join(run.temporary, String(stagesBegun));
  mkdirSync(temporary);
  chmodSync(temporary, 0o1777);
  const mark: RunMark = { environment: `${STAGE_MARK}=${randomBytes(8).toString("hex")}`, folder: temporary };
  // Where others run beside it, its output is passed on when it has ended.
  const together = stage.lane !== "alone";
  const kept: (readonly [Buffer, "stdout" | "stderr"])[] = [];
  const print = (data: Buffer, to: "stdout" | "stderr"): void => {
    if (together) kept.push([data, to]);
    else process[to].write(data);
  };
  if (!together) console.log(`\n── ${stage.name}`);
  const where = stage.kind === "tests" ? run.tree : run.product;
  const leaks = () => run.commandLines.take(mark.environment);
  const result = await runStage(stage, { product: where, temporary, mark, signal: run.signal, withinMs, ports: run.ports, leaks, print });
  if (together) console.log(`\n── ${stage.name}`);
  for (const [data, to] of kept) process[to].write(data);
  return [result];
}

function summarize(results: readonly StageResult[], seconds: number): void {
  console.log(`\n── summary (${Math.round(seconds)} s)`);
  for (const { stage, passed, failed, skipped, seconds: took, remark } of results) {
    const parts = [
      `${passed} passed`,
      `${failed} failed`,
      ...(skipped > 0 ? [`${skipped} skipped`] : []),
      ...(remark === null ? [] : [remark]),
    ];
    console.log(`${failed > 0 ? "FAIL" : "ok  "} ${stage.name.padEnd(46)} ${took.toFixed(1).padStart(6)} s  ${parts.join(", ")}`);
  }
  // Last, where whoever sees no more than the end of the output finds it.
  for (const { stage, failures } of results) for (const failure of failures) console.log(`FAIL ${stage.name}: ${failure}`);
}

const options = parse(process.argv.slice(2));
process.exit(options === null ? 2 : await main(options));
