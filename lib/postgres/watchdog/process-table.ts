// Owns what the watchdog drivers read from /proc about other processes. Reads only.

import { readFileSync } from "node:fs";
import type { ProcessId } from "./watchdog.ts";

/** Identity of a running process; null where it is gone or a zombie. Source: proc(5), /proc/PID/stat. */
export function processId(pid: number): ProcessId | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    // The usual answer for a process that does not exist.
    return null;
  }
  // The name may hold blanks and parentheses: fields count from after its end.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const state = fields[0] ?? "X";
  if (state === "Z" || state === "X") return null;
  const startTicks = Number(fields[19]);
  return Number.isFinite(startTicks) ? { pid, startTicks } : null;
}

export function processAlive(id: ProcessId): boolean {
  return processId(id.pid)?.startTicks === id.startTicks;
}

/** Number of children that a process has now; 0 where the kernel does not tell. */
export function childCount(pid: number): number {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1")
      .trim()
      .split(" ")
      .filter((word) => word !== "").length;
  } catch {
    // Not every kernel is built with it.
    return 0;
  }
}

/** Uptime in ms as a shell reads it (cut to 10 ms); null where /proc is not there. */
export function uptimeMs(): number | null {
  try {
    return Math.round(Number(readFileSync("/proc/uptime", "latin1").split(" ")[0]) * 1000);
  } catch {
    return null;
  }
}
