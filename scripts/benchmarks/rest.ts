// Owns what a node costs at rest: the memory and the processor time of all its processes that are not PostgreSQL's, read from /proc.

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import type { ClusterNode } from "../../test/harness/cluster-node.ts";

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

export function memoryOf(node: ClusterNode): Memory {
  let pss = 0;
  let rss = 0;
  for (const pid of processesOf(node)) {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, "latin1");
    pss += kilobytes(text, "Pss");
    rss += kilobytes(text, "Rss");
  }
  return { pss: pss / 1024, rss: rss / 1024 };
}

/** Percent of one core over the time. */
export async function cpuOf(nodes: readonly ClusterNode[], forMs: number): Promise<readonly number[]> {
  const before = nodes.map(nanoseconds);
  const begin = performance.now();
  await Bun.sleep(forMs);
  const elapsed = performance.now() - begin;
  return nodes.map((node, index) => ((nanoseconds(node) - (before[index] ?? 0)) / 1e6 / elapsed) * 100);
}

/** On a processor so far, all threads. Source: proc(5), schedstat. */
function nanoseconds(node: ClusterNode): number {
  let sum = 0;
  for (const pid of processesOf(node)) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      sum += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "latin1").split(" ")[0]);
    }
  }
  return sum;
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
