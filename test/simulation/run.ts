// Owns one simulation from its seed to its verdict: found the cluster, let faults happen, heal everything, see it converge.

import type { NodeConfig } from "../../lib/model/node-config.ts";
import { FAULTS, FaultTimer } from "./faults.ts";
import { withLightAbort } from "./light-abort.ts";
import { REQUESTS } from "./operators.ts";
import type { Plants } from "./plants.ts";
import { SITE_FAULTS } from "./remote-site.ts";
import { World } from "./world.ts";

export interface RunOptions {
  readonly seed: number;
  readonly template: NodeConfig;
  readonly plants: Plants;
  /** How long faults happen, in minutes of simulated time. */
  readonly minutes: number;
  readonly nodes?: number | null;
  readonly figure?: boolean;
  readonly onTrace?: ((line: string) => void) | null;
  /** Counts here how often each rule has decided, by its id. */
  readonly rules?: Map<string, number>;
}

export interface RunResult {
  readonly seed: number;
  readonly violations: readonly string[];
  readonly simulatedMs: number;
  /** How long it took from the end of all faults to a settled cluster. */
  readonly convergedMs: number;
  readonly steps: number;
  readonly faults: ReadonlyMap<string, number>;
  readonly promotions: number;
  readonly commits: number;
  readonly hash: number;
}

const LOOK_EVERY_MS = 1000;

export function runSimulation(options: RunOptions): RunResult {
  return withLightAbort(() => simulate(options));
}

function simulate(options: RunOptions): RunResult {
  const { rules } = options;
  const world = new World({
    seed: options.seed,
    template: options.template,
    plants: options.plants,
    nodes: options.nodes ?? null,
    figure: options.figure === true,
    onTrace: options.onTrace ?? null,
    onRule: rules === undefined ? null : (id) => void rules.set(id, (rules.get(id) ?? 0) + 1),
  });
  const timer = new FaultTimer(world);
  world.trace("seed", `${options.seed}: ${JSON.stringify(world.settings)}`);
  for (const node of world.nodes) node.startLater(world.random.between(0, 3000));
  // Three nodes at once, one DCS, one clone after the other is done in a minute.
  untilSettled(world, 180_000);
  world.everLed = true;
  const begin = world.queue.now;
  if (world.violations.length === 0) faultAfterFault(world, timer, begin + options.minutes * 60_000);
  world.runUntil(begin + options.minutes * 60_000);
  timer.healAll();
  world.trace("world", "everything is healed");
  const healedAt = world.queue.now;
  healNodes(world);
  // What began before the end of the faults (a stop, a lease that runs out) comes to its end first.
  world.runUntil(healedAt + world.dynamic().ttlMs + 10_000);
  const convergedMs = world.queue.now - healedAt + untilSettled(world, convergenceBound(world));
  if (world.violations.length === 0) checkAtRest(world);
  const leader = world.leader();
  if (world.violations.length === 0 && leader !== null) world.invariants.checkEnd(leader.server);
  world.cluster.close();
  return {
    seed: options.seed,
    violations: world.violations,
    simulatedMs: world.queue.now,
    convergedMs,
    steps: world.steps,
    faults: world.faults,
    promotions: world.invariants.promotions,
    commits: world.servers.commits,
    hash: world.hash >>> 0,
  };
}

function faultAfterFault(world: World, timer: FaultTimer, end: number): void {
  const { random, settings } = world;
  const next = (): void => {
    const at = world.queue.now - Math.log(1 - random.next()) * settings.faultEvery;
    if (at >= end) return;
    world.queue.at(at, () => {
      const name = random.pick(settings.faults);
      const what = (FAULTS[name] ?? REQUESTS[name] ?? SITE_FAULTS[name])?.(world, timer, random) ?? null;
      if (what !== null) {
        world.trace("FAULT", `${name} ${what}`);
        world.faults.set(name, (world.faults.get(name) ?? 0) + 1);
      }
      next();
    });
  };
  next();
}

function healNodes(world: World): void {
  for (const node of world.nodes) {
    node.keptDown = 0;
    node.server.startsToFail = 0;
    node.server.startDelay = 0;
    node.way.loseAnswers = 0;
    node.way.delayChance = 0;
    node.boot();
    node.start();
  }
}

/** The old lease, a few cycles, and what crash recovery, a rewind or a copy takes. */
function convergenceBound(world: World): number {
  const { ttlMs, loopWaitMs } = world.dynamic();
  return 2 * ttlMs + 10 * loopWaitMs + 90_000;
}

/** Value: how long it took. A violation where it did not within the bound. */
function untilSettled(world: World, bound: number): number {
  const begin = world.queue.now;
  let reason: string | null = "";
  while (world.violations.length === 0 && world.queue.now - begin < bound) {
    world.runUntil(world.queue.now + LOOK_EVERY_MS);
    reason = world.unsettled();
    if (reason === null) return world.queue.now - begin;
  }
  if (world.violations.length === 0) world.violation(`not settled within ${Math.round(bound / 1000)} s: ${reason}`);
  return world.queue.now - begin;
}

/** A settled cluster stays as it is, and clients can write. */
function checkAtRest(world: World): void {
  const leader = world.leader();
  const { commits } = world.servers;
  const { promotions } = world.invariants;
  world.runUntil(world.queue.now + 2 * world.dynamic().loopWaitMs + 5000);
  if (world.violations.length > 0) return;
  const reason = world.unsettled();
  if (reason !== null) world.violation(`settled, then not any more: ${reason}`);
  else if (world.leader() !== leader || world.invariants.promotions !== promotions)
    world.violation("a healthy cluster changed its primary");
  else if (world.servers.commits === commits) world.violation("no commit was acknowledged in a healthy cluster");
}
