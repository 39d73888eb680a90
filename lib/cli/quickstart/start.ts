// Owns bringing a quickstart up: files, the store, the nodes, and waiting until all of them stream. Whatever it starts
// is in the state file first or at once, and carries the run's mark; undoing is stop.ts's. It prints through `say` only.

import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { isAlive } from "../../postgres/processes.ts";
import type { QuickstartCommand } from "./arguments.ts";
import { type ClusterView, isComplete, readCluster, readStatus } from "./cluster-view.ts";
import { startConsul, waitForConsul } from "./consul.ts";
import { createFolders, type QuickstartPaths, type ServerUser, serverUser } from "./folder.ts";
import { type Launched, launch } from "./launch.ts";
import { endedEarly, lastLines } from "./log-end.ts";
import { consulPaths, host, nodePaths, writeNodeFile, writePasswordFile } from "./node-file.ts";
import { keptPorts, newPorts } from "./port-plan.ts";
import { bootId, identify } from "./processes.ts";
import { findPrograms, type Programs } from "./programs.ts";
import { claimState, type QuickstartNode, type QuickstartState, writeState } from "./state.ts";

export type Say = (line: string) => void;

/** What a start needs to know of its surroundings. */
export interface Surroundings {
  /** The checkout, or wherever lib/ and workers/ are; null inside the executable. */
  readonly product: string | null;
  readonly paths: QuickstartPaths;
  readonly signal: AbortSignal;
  readonly say: Say;
}

/** A process that was started by this program. */
export interface Child {
  readonly name: string;
  readonly log: string;
  readonly launched: Launched;
}

export interface Started {
  readonly state: QuickstartState;
  /** What was started for it now. */
  readonly children: readonly Child[];
}

/** initdb, two base backups and a slow disk. */
const completeWithinMs = 120_000;
/** From outside a node's progress can only be asked for; this is how often. */
const askEveryMs = 150;

export const nodesByDefault = 3;

/** A new run in the folder. Throws Error when another quickstart claimed the folder meanwhile. */
export async function claimRun(
  surroundings: Surroundings,
  command: Extract<QuickstartCommand, { kind: "start" }>,
): Promise<QuickstartState> {
  const count = command.nodes ?? nodesByDefault;
  const chosen = await newPorts({ count, first: command.ports, store: command.store ?? "raft", say: surroundings.say });
  const state: QuickstartState = {
    version: 1,
    runId: randomBytes(12).toString("hex"),
    bootId: bootId(),
    phase: "starting",
    keep: false,
    foreground: identify(process.pid),
    passwords: { superuser: newPassword(), replication: newPassword(), raft: newPassword() },
    consul: chosen.consul === null ? null : { ...chosen.consul, process: null },
    nodes: chosen.nodes.map((ports, index) => ({ name: `node${index + 1}`, ...ports, process: null })),
  };
  createFolders(surroundings.paths, serverUser());
  if (!claimState(surroundings.paths.folder, state)) throw new Error("another quickstart is just starting in the same folder");
  return state;
}

/** The kept run again: same data and passwords, other ports where they are taken now. Throws Error where no other will do. */
export async function resumeRun(surroundings: Surroundings, kept: QuickstartState): Promise<QuickstartState> {
  const { nodes, consul } = await keptPorts(kept);
  const state: QuickstartState = {
    ...kept,
    bootId: bootId(),
    phase: "running",
    keep: true,
    foreground: identify(process.pid),
    consul: consul === null ? null : { ...consul, process: null },
    nodes: kept.nodes.map((node, index) => ({ ...node, ...nodes[index], process: null })),
  };
  createFolders(surroundings.paths, serverUser());
  writeState(surroundings.paths.folder, state);
  return state;
}

function newPassword(): string {
  return randomBytes(15).toString("base64url");
}

/**
 * Starts whatever of the run does not live, and waits until one leads and the others stream. Throws Error when something
 * ends early or takes too long; the signal's reason when interrupted.
 */
export async function bringUp(surroundings: Surroundings, run: QuickstartState): Promise<Started> {
  const { paths, signal, say } = surroundings;
  const user = serverUser();
  const copyTo = join(paths.run, "program");
  const living = run.nodes.some((node) => node.process !== null && isAlive(node.process));
  if (!living) rmSync(copyTo, { recursive: true, force: true });
  const programs = findPrograms({ product: surroundings.product, copyTo, user, store: run.consul === null ? "raft" : "consul" });
  const children: Child[] = [];
  let state = run;
  const record = (next: QuickstartState) => {
    state = next;
    writeState(paths.folder, state);
  };

  const { consul } = state;
  if (consul !== null && programs.consul !== null && (consul.process === null || !isAlive(consul.process))) {
    const { log } = consulPaths(paths);
    const launched = await startConsul(programs.consul, { paths, consul, user, runId: state.runId });
    children.push({ name: "Consul", log, launched });
    record({ ...state, consul: { ...consul, process: launched.id } });
    await waitForConsul({ httpPort: consul.httpPort, signal, launched, log });
    say(`Consul answers on ${host}:${consul.httpPort}`);
  }
  writePasswordFile(paths, state);
  for (const node of state.nodes.filter((each) => each.process === null || !isAlive(each.process))) {
    signal.throwIfAborted();
    const launched = await startNode({ paths, state, node, user, programs });
    children.push({ name: node.name, log: nodePaths(paths, node.name).log, launched });
    record({ ...state, nodes: state.nodes.map((each) => (each.name === node.name ? { ...each, process: launched.id } : each)) });
    say(`${node.name} started: PostgreSQL on port ${node.postgresPort}, API on port ${node.apiPort}`);
  }
  await waitUntilComplete(state, { ...surroundings, failed: firstEnd(children) });
  record({ ...state, phase: "running" });
  return { state, children };
}

interface ServerOrder {
  readonly paths: QuickstartPaths;
  readonly state: QuickstartState;
  readonly user: ServerUser;
  readonly programs: Programs;
}

function startNode({ paths, state, node, user, programs }: ServerOrder & { readonly node: QuickstartNode }): Promise<Launched> {
  writeNodeFile({ paths, state, node, user, postgresBin: programs.postgresBin });
  const place = nodePaths(paths, node.name);
  return launch({
    command: [...programs.supervisor, place.configuration],
    folder: place.folder,
    logFile: place.log,
    runId: state.runId,
    node: node.name,
    user,
  });
}

/** A function that throws once any of the processes has ended. */
function firstEnd(children: readonly Child[]): () => void {
  let fault: string | null = null;
  for (const { name, log, launched } of children) {
    void launched.ended.then((how) => {
      fault ??= endedEarly(name, how, log);
    });
  }
  return () => {
    if (fault !== null) throw new Error(fault);
  };
}

/** Says each change of a node's state until all stream. */
async function waitUntilComplete(state: QuickstartState, options: Surroundings & { readonly failed: () => void }): Promise<void> {
  const { signal, say, failed } = options;
  const said = new Map<string, string>();
  const end = performance.now() + completeWithinMs;
  while (performance.now() < end) {
    signal.throwIfAborted();
    failed();
    const [view, ...statuses] = await Promise.all([readCluster(state, signal), ...state.nodes.map((node) => readStatus(node, signal))]);
    state.nodes.forEach((node, index) => {
      const words = describe(
        view?.members.find((member) => member.name === node.name),
        statuses[index]?.state,
      );
      if (words !== null && said.get(node.name) !== words) say(`${node.name}: ${words}`);
      if (words !== null) said.set(node.name, words);
    });
    if (isComplete(view, state)) return;
    await Bun.sleep(askEveryMs);
  }
  const unready = [...said].map(([name, words]) => `${name} is ${words}`).join(", ");
  const logs = state.nodes.map((node) => `${node.name}'s log ends:\n${lastLines(nodePaths(options.paths, node.name).log)}`);
  throw new Error(
    [`the cluster was not complete within ${completeWithinMs / 1000} s (${unready || "no node answered"})`, ...logs].join("\n"),
  );
}

function describe(member: ClusterView["members"][number] | undefined, ownState: string | undefined): string | null {
  if (member?.role === "leader" && member.state === "running") return "running, the leader";
  return member?.state ?? ownState ?? null;
}
