// Owns the quickstart as a whole: which command does what, the signals, and that nothing is left behind. The parts are in
// the files beside it.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { isAlive } from "../../postgres/processes.ts";
import { parseQuickstart, type QuickstartCommand, usage } from "./arguments.ts";
import { nodesForDemo, showTakeover } from "./demo.ts";
import { defaultFolder, pathsOf, type QuickstartPaths } from "./folder.ts";
import { connectionString, consulPaths, nodePaths } from "./node-file.ts";
import { bootId, membersOf } from "./processes.ts";
import { findPostgres } from "./programs.ts";
import { describeRun, type Invocation } from "./report.ts";
import { bringUp, claimRun, nodesByDefault, resumeRun, type Started, type Surroundings } from "./start.ts";
import { type QuickstartState, readState, writeState } from "./state.ts";
import { endLeftovers, livingForeground, markOfRun, recordedProcesses, stopQuickstart } from "./stop.ts";

/** 0 done, 1 failed or nothing there, 2 usage, 130 interrupted. */
export type QuickstartExit = number;

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Runs one command line of the quickstart. `product` is the folder that holds workers/ and lib/; null: inside the executable. */
export async function runQuickstart(options: {
  readonly words: readonly string[];
  readonly product: string | null;
  readonly program: string;
}): Promise<QuickstartExit> {
  let command: QuickstartCommand;
  try {
    command = parseQuickstart(options.words);
  } catch (error) {
    console.error(`quickstart: ${(error as Error).message}\n${usage(options.program)}`);
    return 2;
  }
  if (command.kind === "help") {
    console.log(usage(options.program));
    return 0;
  }
  const paths = pathsOf(command.folder ?? defaultFolder(process.env, process.getuid?.() ?? -1));
  const invocation = { program: options.program, folderOption: command.folder === null ? "" : ` --data ${command.folder}` };
  try {
    return await perform({ command, paths, invocation, product: options.product });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    console.error(`quickstart: ${error.message}`);
    return 1;
  }
}

interface Performance {
  readonly command: Exclude<QuickstartCommand, { kind: "help" }>;
  readonly paths: QuickstartPaths;
  readonly invocation: Invocation;
  readonly product: string | null;
}

function perform({ command, paths, invocation, product }: Performance): Promise<QuickstartExit> {
  switch (command.kind) {
    case "start":
      return start({ command, paths, invocation, product });
    case "stop":
      return stop(paths, command.data);
    case "status":
      return status(paths, invocation);
    case "logs":
      return logs(paths, command, invocation);
    case "psql":
      return psql(paths, command.rest, invocation);
  }
}

async function start(options: Performance & { readonly command: Extract<QuickstartCommand, { kind: "start" }> }): Promise<QuickstartExit> {
  const { command, paths, invocation, product } = options;
  const interrupted = new AbortController();
  const onSignal = (signal: NodeJS.Signals) => interrupted.abort(new Error(`interrupted by ${signal}`));
  for (const signal of signals) process.on(signal, onSignal);
  const say = stopwatch();
  const surroundings: Surroundings = { product, paths, signal: interrupted.signal, say };

  const found = readState(paths.folder);
  refuseHopelessDemo(command, found);
  if (found !== null && found.phase === "starting") {
    const other = livingForeground(found);
    if (other !== null)
      throw new Error(
        `a quickstart is just starting (process ${other.pid}); wait, or stop it: ${invocation.program}${invocation.folderOption} stop`,
      );
    say("cleaning up after a start that was cut off");
    await stopQuickstart({ paths, data: "removed", say });
  }
  const left = readState(paths.folder);
  if (left !== null && left.phase === "running" && recordedProcesses(left).some(isAlive))
    return attach({ surroundings, run: left, command, invocation });

  const other = left === null ? null : differenceTo(left, command);
  if (other !== null)
    throw new Error(
      `the data kept in ${paths.folder} is that of ${other}; remove it first: ${invocation.program}${invocation.folderOption} stop`,
    );

  let ours = false;
  try {
    if (left !== null) await endLeftovers(paths, left);
    const run = left === null ? await claimRun(surroundings, command) : await resumeRun(surroundings, left);
    ours = true;
    if (left !== null) say(`starting again on the data in ${paths.folder}`);
    const first = await bringUp(surroundings, run);
    say("complete");
    const started = command.demo === "none" ? first : await demonstrate(surroundings, first);
    console.log(`\n${await describeRun(paths, started.state, invocation)}`);
    if (command.stay === "detached") {
      writeState(paths.folder, { ...started.state, foreground: null });
      return 0;
    }
    const fate = started.state.keep ? "keeps the data, as it was kept before" : "removes the data";
    console.log(`\nRunning until Ctrl-C, which stops everything and ${fate}.`);
    await stayUntil(interrupted.signal, started, invocation, say);
    await stopQuickstart({ paths, data: "recorded", say });
    return 0;
  } catch (error) {
    if (!interrupted.signal.aborted) console.error(`quickstart: ${(error as Error).message}`);
    if (ours) await stopQuickstart({ paths, data: "recorded", say });
    return interrupted.signal.aborted ? 130 : 1;
  }
}

/** A second run: starts again what ended meanwhile, shows the rest, and leaves everything running. */
async function attach(options: {
  readonly surroundings: Surroundings;
  readonly run: QuickstartState;
  readonly command: Extract<QuickstartCommand, { kind: "start" }>;
  readonly invocation: Invocation;
}): Promise<QuickstartExit> {
  const { surroundings, run, command, invocation } = options;
  const other = differenceTo(run, command);
  if (other !== null)
    throw new Error(`a quickstart with ${other} is running; stop it first: ${invocation.program}${invocation.folderOption} stop`);
  console.log("A quickstart is running already.");
  const first = await bringUp(surroundings, run);
  const started = command.demo === "none" ? first : await demonstrate(surroundings, first);
  console.log(`\n${await describeRun(surroundings.paths, started.state, invocation)}`);
  return 0;
}

function refuseHopelessDemo(command: Extract<QuickstartCommand, { kind: "start" }>, found: QuickstartState | null): void {
  if (command.demo === "none") return;
  const count = found?.nodes.length ?? command.nodes ?? nodesByDefault;
  const consul = found === null ? command.store === "consul" : found.consul !== null;
  const least = nodesForDemo(consul ? "consul" : "raft");
  if (count < least) throw new Error(`--demo needs ${least} nodes, so that the others can take over; there are ${count}`);
}

/** Shows a takeover, and brings the killed node back. */
async function demonstrate(surroundings: Surroundings, started: Started): Promise<Started> {
  const { paths, signal, say } = surroundings;
  await showTakeover({ paths, state: started.state, signal, say });
  const again = await bringUp(surroundings, started.state);
  say("complete again: the killed node follows the new leader");
  const left = started.children.filter((child) => again.children.every(({ name }) => name !== child.name));
  return { state: again.state, children: [...left, ...again.children] };
}

/** What of the run is not as the command wants it, in words; null where all of it is. */
function differenceTo(run: QuickstartState, command: Extract<QuickstartCommand, { kind: "start" }>): string | null {
  if (command.nodes !== null && command.nodes !== run.nodes.length) return `${run.nodes.length} nodes`;
  return command.store === "consul" && run.consul === null ? "the built-in Raft" : null;
}

function stayUntil(signal: AbortSignal, started: Started, invocation: Invocation, say: (line: string) => void): Promise<void> {
  for (const { name, launched } of started.children) {
    void launched.ended.then((how) => {
      if (!signal.aborted) say(`${name} ended (${how}); start it again with a second ${invocation.program}${invocation.folderOption}`);
    });
  }
  // Nothing else keeps the event loop alive: the children were let go of.
  const hold = setInterval(() => {}, 2 ** 30);
  return new Promise((resolve) => {
    const done = () => {
      clearInterval(hold);
      resolve();
    };
    if (signal.aborted) done();
    else signal.addEventListener("abort", done, { once: true });
  });
}

async function stop(paths: QuickstartPaths, data: "removed" | "kept"): Promise<QuickstartExit> {
  if (readState(paths.folder) === null) {
    console.log(`No quickstart in ${paths.folder}.`);
    return 0;
  }
  // A second Ctrl-C must not leave half of it running.
  for (const signal of signals) process.on(signal, () => console.error("quickstart: stopping; this takes a few seconds"));
  await stopQuickstart({ paths, data, say: stopwatch() });
  return 0;
}

async function status(paths: QuickstartPaths, invocation: Invocation): Promise<QuickstartExit> {
  const state = readState(paths.folder);
  const alive = state === null || state.bootId !== bootId() ? [] : membersOf(recordedProcesses(state), markOfRun(paths, state));
  if (state === null || alive.length === 0) {
    console.log(state === null ? `No quickstart in ${paths.folder}.` : `Stopped; its data is kept in ${paths.folder}.`);
    return 1;
  }
  console.log(await describeRun(paths, state, invocation));
  return 0;
}

function logs(
  paths: QuickstartPaths,
  command: Extract<QuickstartCommand, { kind: "logs" }>,
  invocation: Invocation,
): Promise<QuickstartExit> {
  const state = stateOrThrow(paths, invocation);
  const known = state.nodes.map((node) => node.name);
  if (state.consul !== null) known.push("consul");
  if (!known.includes(command.node)) throw new Error(`there is no ${command.node}; there are ${known.join(", ")}`);
  const log = command.node === "consul" ? consulPaths(paths).log : nodePaths(paths, command.node).log;
  return runInForeground("tail", ["-n", "200", ...(command.follow ? ["-F"] : []), log], {});
}

function psql(paths: QuickstartPaths, rest: readonly string[], invocation: Invocation): Promise<QuickstartExit> {
  const state = stateOrThrow(paths, invocation);
  const beside = join(findPostgres(), "psql");
  const program = existsSync(beside) ? beside : "psql";
  return runInForeground(program, ["-d", connectionString(state), ...rest], { PGPASSFILE: paths.passwordFile });
}

function stateOrThrow(paths: QuickstartPaths, { program, folderOption }: Invocation): QuickstartState {
  const state = readState(paths.folder);
  if (state === null) throw new Error(`no quickstart in ${paths.folder}; start one: ${program}${folderOption}`);
  return state;
}

/** The program has the terminal; Ctrl-C is for it, not for us. */
function runInForeground(program: string, args: readonly string[], extra: Readonly<Record<string, string>>): Promise<QuickstartExit> {
  process.on("SIGINT", () => {});
  const child = spawn(program, args, { stdio: "inherit", env: { ...process.env, ...extra } });
  return new Promise((resolve, reject) => {
    child.once("error", (error) => reject(new Error(`${program} could not be started: ${error.message}`)));
    child.once("exit", (code, signal) => resolve(signal === null ? (code ?? 1) : 130));
  });
}

/** Lines with the seconds since the start. */
function stopwatch(): (line: string) => void {
  const begin = performance.now();
  return (line) => console.log(`[${((performance.now() - begin) / 1000).toFixed(1).padStart(5)} s] ${line}`);
}
