// Owns running one stage: its own process group, its output passed on, its counts read, no secret of its servers seen, and nothing
// of it left when it returns. It must not decide what the stages are.

import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { setPriority } from "node:os";
import { join } from "node:path";
import { killRun, type RunMark } from "../../lib/cli/quickstart/processes.ts";
import { secretsInFiles } from "./secret-search.ts";
import type { Stage } from "./stages.ts";

export interface StageResult {
  readonly stage: Stage;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
  /** Last line of its output; the simulator's summary. */
  readonly lastLine: string;
  /** Why it failed, where its own output does not say so. */
  readonly remark: string | null;
  /** One line for each test that failed: its title, what was wrong, where. */
  readonly failures: readonly string[];
}

export interface StageRun {
  readonly product: string;
  /** Where the stage's temporary files go; removed by the caller. */
  readonly temporary: string;
  readonly mark: RunMark;
  readonly signal: AbortSignal;
  readonly withinMs: number;
  /** What the tests may take for their servers, FROM-TO; null = their own default. */
  readonly ports: string | null;
  /** Where a secret was seen on a command line of this stage. */
  readonly leaks: () => readonly string[];
  /** Takes the stage's output, as it comes. */
  readonly print: (data: Buffer, to: "stdout" | "stderr") => void;
}

/** More than the closing lines take. */
const wordsKept = 4_000;
/** A failure's line must not push the others out of sight. */
const failureLettersMax = 400;
/** How much less than the others what only computes gets of the processor; see nice(1). */
const NICENESS = 10;

/** Runs it to its end, its time limit, or the signal; always leaves no process behind. */
export async function runStage(stage: Stage, run: StageRun): Promise<StageResult> {
  const report = join(run.temporary, "report.xml");
  rmSync(report, { force: true });
  const begin = performance.now();
  const { status, lastLine, words, failures } = await runProgram(stage, run, report);
  const left = await killRun([], run.mark);
  const counts = existsSync(report) ? countsOf(readFileSync(report, "utf8")) : countsOfWords(words);
  const leaks = [...run.leaks(), ...(stage.kind === "tests" ? await secretsInFiles(run.temporary) : [])];
  const remark =
    status === "late"
      ? `not finished after ${Math.round(run.withinMs / 1000)} s`
      : left.length > 0
        ? `left processes that cannot be ended`
        : leaks.length > 0
          ? `a secret stands where it must not: ${leaks.join(", ")}`
          : null;
  const good = status === 0 && remark === null;
  const passed = stage.kind === "one" ? (good ? 1 : 0) : counts.passed;
  // A crash, or a file that cannot be loaded, is one failure even where no test failed.
  const failed = good ? counts.failed : Math.max(counts.failed, 1);
  return { stage, passed, failed, skipped: counts.skipped, seconds: (performance.now() - begin) / 1000, lastLine, remark, failures };
}

interface ProgramEnd {
  readonly status: number | "late";
  /** Last line on stdout. */
  readonly lastLine: string;
  /** The end of what it wrote to stderr, where `bun test` sums up. */
  readonly words: string;
  readonly failures: readonly string[];
}

async function runProgram(stage: Stage, run: StageRun, report: string): Promise<ProgramEnd> {
  const [name, ...args] = stage.command;
  const program = name === "bun" ? process.execPath : join(run.product, "node_modules/.bin", name);
  const reporting = stage.kind === "tests" ? ["--reporter=junit", `--reporter-outfile=${report}`] : [];
  const [markName = "", markValue = ""] = run.mark.environment.split("=");
  const child = spawn(program, stage.kind === "tests" ? [...args.slice(0, 1), ...reporting, ...args.slice(1)] : args, {
    cwd: run.product,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...process.env,
      ...stage.environment,
      TMPDIR: run.temporary,
      [markName]: markValue,
      ...(run.ports === null ? {} : { MATRIARCH_TEST_PORTS: run.ports }),
    },
  });
  // What it starts later inherits it.
  if (stage.lane === "computing" && child.pid !== undefined) setPriority(child.pid, NICENESS);
  let lastLine = "";
  child.stdout?.on("data", (data: Buffer) => {
    run.print(data, "stdout");
    lastLine = data.toString().trimEnd().split("\n").at(-1) ?? lastLine;
  });
  let words = "";
  const failures = new FailureLines();
  child.stderr?.on("data", (data: Buffer) => {
    run.print(data, "stderr");
    failures.take(data.toString());
    words = (words + data.toString()).slice(-wordsKept);
  });
  const late = AbortSignal.timeout(run.withinMs);
  const stop = AbortSignal.any([run.signal, late]);
  const end = () => {
    if (child.pid !== undefined) killGroup(child.pid);
  };
  stop.addEventListener("abort", end, { once: true });
  const status = await new Promise<number>((resolve) => {
    child.once("error", (error) => {
      console.error(`${program}: ${error.message}`);
      resolve(127);
    });
    child.once("exit", (code) => resolve(code ?? 128));
  });
  stop.removeEventListener("abort", end);
  return { status: late.aborted ? "late" : status, lastLine, words, failures: failures.lines };
}

/** Reads what `bun test` writes of failed tests, as it comes: the error, where it was thrown, and then the title. */
export class FailureLines {
  readonly lines: string[] = [];
  #rest = "";
  #error = "";
  #where = "";

  take(words: string): void {
    const whole = (this.#rest + words).split("\n");
    this.#rest = whole.pop() ?? "";
    for (const line of whole) this.#takeLine(line);
  }

  #takeLine(line: string): void {
    const [, title] = /^\(fail\) (.*?)(?: \[[\d.]+ms\])?$/.exec(line) ?? [];
    if (title !== undefined) {
      const what = [title, this.#error, this.#where].filter((part) => part !== "").join(": ");
      this.lines.push(what.slice(0, failureLettersMax));
    }
    if (/^\((pass|fail|skip|todo)\) /.test(line)) {
      this.#error = "";
      this.#where = "";
    } else if (line.startsWith("error: ")) {
      this.#error = line.slice("error: ".length);
      this.#where = "";
    } else if (/^(Expected|Received)\b.*: /.test(line)) {
      this.#error += `, ${line}`;
    } else {
      const [, place] = /^ +at .*?([^/(]+\.test\.ts:\d+):\d+\)?$/.exec(line) ?? [];
      if (place !== undefined && this.#where === "") this.#where = place;
    }
  }
}

/** The group is ours: its leader was started here as one. */
function killGroup(leader: number): void {
  try {
    process.kill(-leader, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Counts of a JUnit report as `bun test` writes it: the attributes of its outermost element. */
export function countsOf(report: string): { readonly passed: number; readonly failed: number; readonly skipped: number } {
  const head = /<testsuites\b[^>]*>/.exec(report)?.[0] ?? "";
  const count = (name: string) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const [all, failed, skipped] = [count("tests"), count("failures"), count("skipped")];
  return { passed: all - failed - skipped, failed, skipped };
}

/** The same from the closing lines of `bun test`, for a run that could not write its report. */
export function countsOfWords(words: string): { readonly passed: number; readonly failed: number; readonly skipped: number } {
  const count = (name: string) => Number(new RegExp(`^ *(\\d+) ${name}$`, "m").exec(words)?.[1] ?? 0);
  return { passed: count("pass"), failed: count("fail"), skipped: count("skip") };
}
