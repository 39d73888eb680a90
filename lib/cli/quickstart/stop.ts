// Owns ending a quickstart: first as an operator would (replicas, the leader, Consul), then by force, until nothing of it
// is left; then its data. It works from the state file alone, so it also ends what a killed quickstart left behind.

import { existsSync, realpathSync } from "node:fs";
import { isAlive, sendSignal } from "../../postgres/processes.ts";
import { readCluster } from "./cluster-view.ts";
import { type QuickstartPaths, removeFolders } from "./folder.ts";
import { markOf } from "./launch.ts";
import { askToStop, bootId, killRun, membersOf, type ProcessId, type RunMark, waitUntilGone } from "./processes.ts";
import { type QuickstartState, readState, writeState } from "./state.ts";

/** How long each part may take to stop by itself; a half-made node (`starting`) has nothing to finish. */
const patience = { running: { replicaMs: 10_000, leaderMs: 15_000 }, starting: { replicaMs: 2_000, leaderMs: 2_000 } } as const;
const consulWithinMs = 3_000;
/** A foreground quickstart that was asked to stop does all of the above itself. */
const foregroundWithinMs = 40_000;

export function markOfRun(paths: QuickstartPaths, state: QuickstartState): RunMark {
  // The kernel names working directories without links.
  return { environment: markOf(state.runId), folder: existsSync(paths.run) ? realpathSync(paths.run) : paths.run };
}

/** The run's processes as written down; none when the machine was restarted since. */
export function recordedProcesses(state: QuickstartState): readonly ProcessId[] {
  if (state.bootId !== bootId()) return [];
  return [...state.nodes.map((node) => node.process), state.consul?.process].flatMap((entry) => entry ?? []);
}

/** The foreground quickstart, if it lives and is not this process. */
export function livingForeground(state: QuickstartState): ProcessId | null {
  const { foreground } = state;
  return foreground !== null && foreground.pid !== process.pid && state.bootId === bootId() && isAlive(foreground) ? foreground : null;
}

/**
 * Ends the run and removes or keeps its data, saying what it does. Throws Error when a process cannot be ended: then the
 * state stays, so that it can be tried again.
 */
export async function stopQuickstart(options: {
  readonly paths: QuickstartPaths;
  /** `recorded`: as the state file says by then; another process may have written its wish there. */
  readonly data: "removed" | "kept" | "recorded";
  readonly say: (line: string) => void;
}): Promise<void> {
  const { paths, say } = options;
  const found = readState(paths.folder);
  if (found === null) return;
  const state: QuickstartState = { ...found, keep: options.data === "recorded" ? found.keep : options.data === "kept" };
  const watcher = livingForeground(state);
  if (watcher !== null) {
    writeState(paths.folder, state);
    say(`asking the quickstart in the foreground (process ${watcher.pid}) to stop`);
    sendSignal(watcher, "SIGTERM");
    await waitUntilGone([watcher], foregroundWithinMs);
    const after = readState(paths.folder);
    if (after === null || (state.keep && after.phase === "stopped")) return;
    await killRun([watcher], null);
  }
  await stopServers(paths, state, say);
  const left = await killRun(recordedProcesses(state), markOfRun(paths, state));
  if (left.length > 0) throw cannotEnd(left);
  if (state.keep && state.phase !== "starting") {
    const nodes = state.nodes.map((node) => ({ ...node, process: null }));
    const consul = state.consul === null ? null : { ...state.consul, process: null };
    writeState(paths.folder, { ...state, nodes, consul, foreground: null, phase: "stopped" });
    say(`stopped; the data is kept in ${paths.folder}`);
  } else {
    // Gigabytes of WAL may take a disk longer than the servers took to stop.
    say("stopped; removing the data");
    removeFolders(paths);
    say("the data is removed");
  }
}

/** Ends what a run left behind whose supervisors are all gone, so that it can start again on its data. Throws Error when it cannot. */
export async function endLeftovers(paths: QuickstartPaths, state: QuickstartState): Promise<void> {
  await killServers(paths, state, null);
  const left = await killRun(recordedProcesses(state), markOfRun(paths, state));
  if (left.length > 0) throw cannotEnd(left);
}

/** Replicas first and the leader last, so that stopping everything is not a row of failovers; then the store. */
async function stopServers(paths: QuickstartPaths, state: QuickstartState, say: (line: string) => void): Promise<void> {
  const recorded = recordedProcesses(state).filter(isAlive);
  if (recorded.length === 0) return;
  const limits = state.phase === "running" ? patience.running : patience.starting;
  const view = state.phase === "running" ? await readCluster(state, AbortSignal.timeout(2_000)) : null;
  const leader = view?.members.find((member) => member.role === "leader")?.name ?? null;
  const alive = state.nodes.filter((node) => node.process !== null && state.bootId === bootId() && isAlive(node.process));
  const groups = [
    { nodes: alive.filter((node) => node.name !== leader), withinMs: limits.replicaMs },
    { nodes: alive.filter((node) => node.name === leader), withinMs: limits.leaderMs },
  ];
  for (const group of groups) {
    if (group.nodes.length === 0) continue;
    say(`stopping ${group.nodes.map((node) => node.name).join(", ")}`);
    const left = await askToStop(
      group.nodes.flatMap((node) => node.process ?? []),
      group.withinMs,
    );
    if (left.length > 0 && state.phase === "running") say(`not stopped after ${group.withinMs / 1000} s: killing`);
    // A supervisor's own servers must be gone before the store is.
    await killRun(left, null);
  }
  const consul = state.consul?.process ?? null;
  await killServers(paths, state, consul);
  if (consul !== null && isAlive(consul)) {
    say("stopping Consul");
    await askToStop([consul], consulWithinMs);
  }
}

/** What is left of the nodes after their supervisors ended (a PostgreSQL whose supervisor was killed): SIGINT, PostgreSQL's fast shutdown. */
async function killServers(paths: QuickstartPaths, state: QuickstartState, consul: ProcessId | null): Promise<void> {
  const left = membersOf([], markOfRun(paths, state)).filter((entry) => entry.pid !== consul?.pid);
  for (const entry of left) sendSignal(entry, "SIGINT");
  await waitUntilGone(left, 5_000);
}

function cannotEnd(left: readonly ProcessId[]): Error {
  return new Error(`these processes could not be ended: ${left.map((entry) => entry.pid).join(", ")}`);
}
