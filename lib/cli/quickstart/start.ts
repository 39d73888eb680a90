// Owns bringing a quickstart up: ports, files, Consul, the nodes, and waiting until all of them stream. Whatever it starts
// is in the state file first or at once, and carries the run's mark; undoing is stop.ts's. It prints through `say` only.

import { randomBytes } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isAlive } from "../../postgres/processes.ts";
import type { QuickstartCommand } from "./arguments.ts";
import { type ClusterView, isComplete, readCluster, readStatus } from "./cluster-view.ts";
import { createFolders, type QuickstartPaths, type ServerUser, serverUser } from "./folder.ts";
import { type Launched, launch } from "./launch.ts";
import { consulPaths, host, nodePaths, writeConsulFile, writeNodeFile, writePasswordFile } from "./node-file.ts";
import { choosePorts, type PortWish } from "./ports.ts";
import { bootId, identify } from "./processes.ts";
import { findPrograms, type Programs } from "./programs.ts";
import { claimState, type QuickstartNode, type QuickstartState, writeState } from "./state.ts";

export type Say = (line: string) => void;

/** What a start needs to know of its surroundings. */
export interface Surroundings {
  /** The checkout, or wherever lib/ and workers/ are. */
  readonly product: string;
  readonly paths: QuickstartPaths;
  readonly signal: AbortSignal;
  readonly say: Say;
}

/** A started run; `ended` names a process and how it ended, once for each. */
export interface Started {
  readonly state: QuickstartState;
  readonly watch: (ended: (what: string, how: string) => void) => void;
}

/** initdb, two base backups and a slow disk. */
const completeWithinMs = 120_000;
const consulWithinMs = 20_000;
/** From outside a node's progress can only be asked for; this is how often. */
const askEveryMs = 150;
const lastLinesShown = 12;

const usualPorts = { postgres: 5441, api: 8008, consulHttp: 8500, consulServer: 8300, consulSerf: 8301 } as const;
const nodesByDefault = 3;

/** A new run in the folder. Throws Error when another quickstart claimed the folder meanwhile. */
export async function claimRun(
  surroundings: Surroundings,
  command: Extract<QuickstartCommand, { kind: "start" }>,
): Promise<QuickstartState> {
  const count = command.nodes ?? nodesByDefault;
  const chosen = await portsFor(count, command.ports, surroundings.say);
  const state: QuickstartState = {
    version: 1,
    runId: randomBytes(12).toString("hex"),
    bootId: bootId(),
    phase: "starting",
    keep: false,
    foreground: identify(process.pid),
    passwords: { superuser: randomBytes(15).toString("base64url"), replication: randomBytes(15).toString("base64url") },
    consul: { httpPort: chosen.consulHttp, serverPort: chosen.consulServer, serfPort: chosen.consulSerf, process: null },
    nodes: chosen.nodes.map((ports, index) => ({ name: `node${index + 1}`, ...ports, process: null })),
  };
  createFolders(surroundings.paths, serverUser());
  if (!claimState(surroundings.paths.folder, state)) throw new Error("another quickstart is just starting in the same folder");
  return state;
}

/** The kept run again: same data and passwords, other ports where they are taken now. */
export async function resumeRun(surroundings: Surroundings, kept: QuickstartState): Promise<QuickstartState> {
  const wishes: PortWish[] = [
    { what: "Consul", port: kept.consul.httpPort },
    { what: "Consul's server", port: kept.consul.serverPort },
    { what: "Consul's gossip", port: kept.consul.serfPort },
    ...kept.nodes.flatMap((node) => [
      { what: `${node.name}'s PostgreSQL`, port: node.postgresPort },
      { what: `${node.name}'s API`, port: node.apiPort },
    ]),
  ];
  const [http, server, serf, ...rest] = await choosePorts(wishes);
  if (http === undefined || server === undefined || serf === undefined) throw new Error("no ports for Consul");
  const nodes = kept.nodes.map((node, index) => ({
    ...node,
    postgresPort: rest[2 * index]?.chosen ?? node.postgresPort,
    apiPort: rest[2 * index + 1]?.chosen ?? node.apiPort,
    process: null,
  }));
  const consul = { httpPort: http.chosen, serverPort: server.chosen, serfPort: serf.chosen, process: null };
  const state: QuickstartState = {
    ...kept,
    bootId: bootId(),
    phase: "running",
    keep: true,
    foreground: identify(process.pid),
    consul,
    nodes,
  };
  createFolders(surroundings.paths, serverUser());
  writeState(surroundings.paths.folder, state);
  return state;
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
  const programs = findPrograms({ product: surroundings.product, copyTo, user });
  const children: { readonly name: string; readonly log: string; readonly launched: Launched }[] = [];
  let state = run;
  const record = (next: QuickstartState) => {
    state = next;
    writeState(paths.folder, state);
  };

  if (state.consul.process === null || !isAlive(state.consul.process)) {
    const launched = await startConsul({ paths, state, user, programs });
    children.push({ name: "Consul", log: consulPaths(paths).log, launched });
    record({ ...state, consul: { ...state.consul, process: launched.id } });
    await waitForConsul(state, { signal, launched, log: consulPaths(paths).log });
    say(`Consul answers on ${host}:${state.consul.httpPort}`);
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
  const watch: Started["watch"] = (ended) => {
    for (const child of children) void child.launched.ended.then((how) => ended(child.name, how));
  };
  return { state, watch };
}

interface ServerOrder {
  readonly paths: QuickstartPaths;
  readonly state: QuickstartState;
  readonly user: ServerUser;
  readonly programs: Programs;
}

function startConsul({ paths, state, user, programs }: ServerOrder): Promise<Launched> {
  writeConsulFile(paths, state, user);
  const place = consulPaths(paths);
  return launch({
    command: [programs.consul, "agent", `-config-file=${place.configuration}`],
    folder: place.folder,
    logFile: place.log,
    runId: state.runId,
    user,
  });
}

function startNode({ paths, state, node, user, programs }: ServerOrder & { readonly node: QuickstartNode }): Promise<Launched> {
  writeNodeFile({ paths, state, node, user, postgresBin: programs.postgresBin });
  const place = nodePaths(paths, node.name);
  return launch({
    command: [programs.bun, "run", programs.supervisor, place.configuration],
    folder: place.folder,
    logFile: place.log,
    runId: state.runId,
    user,
  });
}

/** Consul is ready when it has elected itself: only then does it keep anything. */
async function waitForConsul(
  state: QuickstartState,
  options: { readonly signal: AbortSignal; readonly launched: Launched; readonly log: string },
): Promise<void> {
  const { signal, launched, log } = options;
  let ended: string | null = null;
  void launched.ended.then((how) => {
    ended = how;
  });
  const end = performance.now() + consulWithinMs;
  while (performance.now() < end) {
    signal.throwIfAborted();
    if (ended !== null) throw new Error(endedEarly("Consul", ended, log));
    const leader = await fetch(`http://${host}:${state.consul.httpPort}/v1/status/leader`, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(1_000)]),
    })
      .then((answer) => answer.text())
      .catch(() => "");
    // The key/value store answers only once the election's first entry is applied.
    if (leader.length > 4 && (await storeAnswers(state, signal))) return;
    await Bun.sleep(askEveryMs / 3);
  }
  throw new Error(`Consul was not ready within ${consulWithinMs / 1000} s. Its log ends:\n${lastLines(log)}`);
}

async function storeAnswers(state: QuickstartState, signal: AbortSignal): Promise<boolean> {
  const url = `http://${host}:${state.consul.httpPort}/v1/kv/?keys&consistent`;
  // It is only just starting: whatever keeps it from answering, it is asked again, and its log is shown in the end.
  const answer = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(1_000)]) }).catch(() => null);
  return answer !== null && (answer.status === 200 || answer.status === 404);
}

/** A failed start removes its data, and the log with it: so the end of the log is part of what is said. */
function endedEarly(name: string, how: string, log: string): string {
  return `${name} ended (${how}). Its log ends:\n${lastLines(log)}`;
}

function lastLines(log: string): string {
  const lines = readFileSync(log, "utf8").trimEnd().split("\n").slice(-lastLinesShown);
  return lines.map((line) => `  ${line}`).join("\n");
}

/** A function that throws once any of the processes has ended. */
function firstEnd(children: readonly { readonly name: string; readonly log: string; readonly launched: Launched }[]): () => void {
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

/** The usual ports, or a block from `first` on: PostgreSQLs, APIs, Consul. Says which of them were taken. */
async function portsFor(count: number, first: number | null, say: Say) {
  const base =
    first === null
      ? usualPorts
      : {
          postgres: first,
          api: first + count,
          consulHttp: first + 2 * count,
          consulServer: first + 2 * count + 1,
          consulSerf: first + 2 * count + 2,
        };
  const names = Array.from({ length: count }, (_, index) => index);
  const choices = await choosePorts([
    { what: "Consul", port: base.consulHttp },
    { what: "Consul's server", port: base.consulServer },
    { what: "Consul's gossip", port: base.consulSerf },
    ...names.map((index) => ({ what: `node${index + 1}'s PostgreSQL`, port: base.postgres + index })),
    ...names.map((index) => ({ what: `node${index + 1}'s API`, port: base.api + index })),
  ]);
  for (const choice of choices) {
    if (choice.chosen !== choice.port) say(`port ${choice.port} for ${choice.what} is taken; using ${choice.chosen}`);
  }
  const port = (index: number) => choices[index]?.chosen ?? 0;
  return {
    consulHttp: port(0),
    consulServer: port(1),
    consulSerf: port(2),
    nodes: names.map((index) => ({ postgresPort: port(3 + index), apiPort: port(3 + count + index) })),
  };
}
