// Owns what guards leave in the node's state folder: their reports, and which of them run. Must not arm or extend any.

import { readdirSync, readFileSync, readlinkSync, realpathSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { processAlive, processId } from "./process-table.ts";
import type { ProcessId } from "./watchdog.ts";

/** A guard's folder is this and its pid. */
export const FOLDER_PREFIX = "guard-";

/** A line of the guard's report: it ended the lease of a supervisor that did not. Instants of the boot-time clock in ms. */
export interface GuardReport {
  readonly event: "fired";
  readonly deadline: number;
  readonly began: number;
  readonly ended: number;
  readonly postmaster: number;
  /** 0: no postmaster was left to stop. */
  readonly found: number;
  /** 0: SIGQUIT was enough; otherwise how many rounds of SIGKILL it took. */
  readonly killed: number;
}

/** What guards of this node did while nobody listened; removes the folders of dead ones. Call once, at start. */
export function collectReports(stateDir: string): readonly GuardReport[] {
  const reports: GuardReport[] = [];
  for (const name of listFolder(stateDir)) {
    if (!name.startsWith(FOLDER_PREFIX)) continue;
    const folder = join(stateDir, name);
    for (const line of readReport(folder)) reports.push(line);
    // The folder of a living guard stays: it takes orders there.
    if (guardOf(folder) === null) rmSync(folder, { recursive: true, force: true });
    else rmSync(join(folder, "report"), { force: true });
  }
  return reports;
}

/** Guards of this node that run now, ours included. */
export function livingGuards(stateDir: string): readonly ProcessId[] {
  return listFolder(stateDir)
    .filter((name) => name.startsWith(FOLDER_PREFIX))
    .map((name) => guardOf(join(stateDir, name)))
    .filter((id) => id !== null);
}

/** Kills one of this node's guards and removes its folder. */
export function endGuard(stateDir: string, id: ProcessId): void {
  if (processAlive(id)) process.kill(id.pid, "SIGKILL");
  rmSync(join(stateDir, `${FOLDER_PREFIX}${id.pid}`), { recursive: true, force: true });
}

/** The process of a guard's folder; null where it has ended, or its pid belongs to somebody else by now (another node's guard, too). */
function guardOf(folder: string): ProcessId | null {
  const pid = Number(basename(folder).slice(FOLDER_PREFIX.length));
  const id = Number.isInteger(pid) ? processId(pid) : null;
  if (id === null) return null;
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(folder) ? id : null;
  } catch {
    // It ended between the two looks, or is not ours to look at.
    return null;
  }
}

function listFolder(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    // No state folder yet: no guard ever ran here.
    return [];
  }
}

function readReport(folder: string): readonly GuardReport[] {
  let text: string;
  try {
    text = readFileSync(join(folder, "report"), "utf8");
  } catch {
    // A guard that never acted has written none.
    return [];
  }
  return text
    .split("\n")
    .map(parseReport)
    .filter((report) => report !== null);
}

export function parseReport(line: string): GuardReport | null {
  if (!line.startsWith("{")) return null;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    // Cut off by a full disk: nothing can be learnt from it.
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const field = (name: string): number => {
    const found: unknown = (value as Record<string, unknown>)[name];
    return typeof found === "number" ? found : 0;
  };
  return {
    event: "fired",
    deadline: field("deadline"),
    began: field("began"),
    ended: field("ended"),
    postmaster: field("postmaster"),
    found: field("found"),
    killed: field("killed"),
  };
}

export function describeReport(report: GuardReport): string {
  const took = `${report.ended - report.began} ms`;
  if (report.found === 0) return `the guard's deadline passed and no postmaster was running (looked for ${took})`;
  const how = report.killed === 0 ? "SIGQUIT" : "SIGQUIT and SIGKILL";
  return `the guard stopped PostgreSQL (postmaster ${report.postmaster}) by ${how} at the end of the lease, in ${took}`;
}
