// Owns looking at processes through /proc and ending them. A process is named by its pid AND its start time, so that a
// pid that the kernel gave to somebody else is never touched. It must not end anything that is not named so or that does
// not carry the mark of a run.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import { errorCode, isAlive, type ProcessFacts, readProcess, sendSignal } from "../../postgres/processes.ts";

/** A process of this boot: its pid, and when it started in clock ticks since boot. */
export interface ProcessId {
  readonly pid: number;
  readonly startTicks: number;
}

/** How a run's processes are found again when nobody wrote them down: by environment, or as servers and guards that work in its folder. */
export interface RunMark {
  /** `NAME=value`, as it stands in the environment of everything that was started. */
  readonly environment: string;
  /** Absolute folder of the run, without links: programs of PostgreSQL and guards that work below it belong to it. */
  readonly folder: string;
}

/** How long an ended process may take to disappear before the next, harder signal. */
const goneWithinMs = { term: 10_000, kill: 5_000 } as const;
/** Processes that are not our children cannot be awaited; this is how often they are looked at. */
const lookEveryMs = 20;

/** PostgreSQL's server, initdb, pg_basebackup, pg_rewind …, but not psql. */
const serverProgram = /^(postgres|initdb|pg_\w+)( \(deleted\))?$/;
/** How a node's guard is called (lib/postgres/watchdog): it outlives its supervisor on purpose. */
const guardScript = "./guard.sh";

/** Identifies this boot: what was written down under another one is long gone. */
export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

/** The process behind a pid; null when there is none or only its remains (a zombie). */
export function identify(pid: number): ProcessId | null {
  const facts = readProcess(pid);
  return facts === null ? null : { pid, startTicks: facts.startTicks };
}

/** The given processes that live, all their descendants, and every process that carries the mark; never this process or its ancestors. */
export function membersOf(roots: readonly ProcessId[], mark: RunMark | null): readonly ProcessId[] {
  const rows = allProcesses();
  const spared = ancestorsOf(process.pid, rows);
  const chosen = new Map<number, ProcessId>();
  for (const row of rows) {
    const named = roots.some((root) => root.pid === row.pid && root.startTicks === row.startTicks);
    if (named || (mark !== null && carries(row.pid, mark))) chosen.set(row.pid, row);
  }
  for (let before = -1; before !== chosen.size; ) {
    before = chosen.size;
    for (const row of rows) if (chosen.has(row.parentPid)) chosen.set(row.pid, row);
  }
  return [...chosen.values()].filter((row) => !spared.has(row.pid)).map(({ pid, startTicks }) => ({ pid, startTicks }));
}

/** Waits until none of them lives; resolves to those that still do at the end of `withinMs`. */
export async function waitUntilGone(targets: readonly ProcessId[], withinMs: number): Promise<readonly ProcessId[]> {
  const end = performance.now() + withinMs;
  for (;;) {
    const alive = targets.filter(isAlive);
    if (alive.length === 0 || performance.now() >= end) return alive;
    await Bun.sleep(lookEveryMs);
  }
}

/** Asks to stop (SIGTERM), waits at most `withinMs`; resolves to what still lives. A frozen one is woken so that it can obey. */
export async function askToStop(targets: readonly ProcessId[], withinMs: number = goneWithinMs.term): Promise<readonly ProcessId[]> {
  for (const target of targets) if (sendSignal(target, "SIGTERM")) sendSignal(target, "SIGCONT");
  return waitUntilGone(targets, withinMs);
}

/** Kills a run until a look finds nothing of it any more; resolves to what could not be ended (normally nothing). */
export async function killRun(roots: readonly ProcessId[], mark: RunMark | null): Promise<readonly ProcessId[]> {
  const end = performance.now() + goneWithinMs.kill;
  let known = membersOf(roots, mark);
  while (known.length > 0) {
    for (const target of known) sendSignal(target, "SIGKILL");
    await waitUntilGone(known, end - performance.now());
    known = membersOf([...roots, ...known], mark);
    if (performance.now() >= end) return known;
  }
  return known;
}

/** A shell or an editor that somebody left in the folder is not ours: only what a node starts with a clean environment. */
function carries(pid: number, mark: RunMark): boolean {
  if (readText(`/proc/${pid}/environ`).split("\0").includes(mark.environment)) return true;
  if (!`${readLink(`/proc/${pid}/cwd`)}/`.startsWith(`${mark.folder}/`)) return false;
  return serverProgram.test(basename(readLink(`/proc/${pid}/exe`))) || readText(`/proc/${pid}/cmdline`).split("\0")[1] === guardScript;
}

function ancestorsOf(pid: number, rows: readonly ProcessFacts[]): ReadonlySet<number> {
  const line = new Set<number>();
  for (let current: number | undefined = pid; current !== undefined && current > 0 && !line.has(current); ) {
    line.add(current);
    const here: number = current;
    current = rows.find((row) => row.pid === here)?.parentPid;
  }
  return line;
}

function allProcesses(): ProcessFacts[] {
  return readdirSync("/proc").flatMap((name) => (/^\d+$/.test(name) ? (readProcess(Number(name)) ?? []) : []));
}

/** Empty when the process has gone meanwhile, or belongs to somebody else. */
function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return withoutProcess(error);
  }
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    return withoutProcess(error);
  }
}

function withoutProcess(error: unknown): string {
  if (["ENOENT", "ESRCH", "EACCES", "EPERM"].includes(errorCode(error) ?? "")) return "";
  throw error;
}
