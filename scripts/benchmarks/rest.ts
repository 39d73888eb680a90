// Owns what processes cost at rest: memory and processor time, read from /proc; and which of a node's count: all that are not PostgreSQL's.

import { dlopen, FFIType, ptr } from "bun:ffi";
import { readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import type { ClusterNode } from "../../test/harness/cluster-node.ts";

const CPUCLOCK_SCHED = 2;
const CLOCK_THREAD_CPUTIME_ID = 3;
const libc = dlopen("libc.so.6", { clock_gettime: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 } });

export interface Memory {
  /** MiB: shared pages divided among the processes that share them, on the whole machine. */
  readonly pss: number;
  /** MiB: as if nobody shared anything. */
  readonly rss: number;
}

/** Supervisor, guard and whatever else runs for the node. */
export function processesOf(node: ClusterNode): readonly number[] {
  return node
    .processes()
    .map(({ pid }) => pid)
    .filter((pid) => basename(readExecutable(pid)) !== "postgres");
}

export function memoryOf(pids: readonly number[]): Memory {
  let pss = 0;
  let rss = 0;
  for (const pid of pids) {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, "latin1");
    pss += kilobytes(text, "Pss");
    rss += kilobytes(text, "Rss");
  }
  return { pss: pss / 1024, rss: rss / 1024 };
}

/**
 * Percent of one core over the time, for each group of processes as it then is. A process that ends meanwhile counts for nothing;
 * one that begins, from its beginning.
 */
export async function cpuOf(groups: readonly (() => readonly number[])[], forMs: number): Promise<readonly number[]> {
  const before = groups.map((processes) => nanosecondsOf(processes()));
  const begin = performance.now();
  await Bun.sleep(forMs);
  const elapsed = performance.now() - begin;
  return groups.map((processes, index) => {
    let spent = 0;
    for (const [pid, nanoseconds] of nanosecondsOf(processes())) spent += nanoseconds - (before[index]?.get(pid) ?? 0);
    return (spent / 1e6 / elapsed) * 100;
  });
}

/** What each process has used so far: its threads, those that have ended too, and its children that have ended. */
function nanosecondsOf(pids: readonly number[]): ReadonlyMap<number, number> {
  const spent = new Map<number, number>();
  for (const pid of pids) {
    const own = processClock(pid);
    if (own !== null) spent.set(pid, own + endedChildren(pid));
  }
  return spent;
}

/** Source: clock_getcpuclockid(3); the number is how Linux writes "all threads of this process". Null where it has ended. */
function processClock(pid: number): number | null {
  const answer = new BigInt64Array(2);
  if (libc.symbols.clock_gettime((~pid << 3) | CPUCLOCK_SCHED, ptr(answer)) !== 0) return null;
  return Number(answer[0]) * 1e9 + Number(answer[1]);
}

/**
 * Of the calling thread alone, in ms: stands still while the thread waits, or others have its processor. Source: clock_gettime(2). Makes
 * no garbage: it is asked twice for each commit that is measured, and who collects it would be measured as well.
 */
export function threadTime(): number {
  if (libc.symbols.clock_gettime(CLOCK_THREAD_CPUTIME_ID, ptr(THREAD_CLOCK)) !== 0) throw new Error("no clock of this thread");
  return ((THREAD_CLOCK[0] as number) + (THREAD_CLOCK[1] as number) * 2 ** 32) * 1e3 + (THREAD_CLOCK[2] as number) / 1e6;
}

/** Two numbers of 64 bits, the lower half of each first, as on every machine that Bun runs on. */
const THREAD_CLOCK = new Uint32Array(4);

/** Source: proc(5), fields cutime and cstime of stat, in ticks of 10 ms. */
function endedChildren(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[13]) + Number(fields[14])) * 1e7;
}

function kilobytes(text: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0);
}

function readExecutable(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    // It ended meanwhile.
    return "postgres";
  }
}
