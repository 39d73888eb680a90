// Owns one simulation of cores from its seed to its verdict: elect, faults, heal, converge, serve.

import { FAULTS } from "./core-faults.ts";
import { CoreWorld } from "./core-world.ts";
import { asItIs, Violation } from "./trace.ts";

export interface RaftRunOptions {
  readonly seed: number;
  /** How long faults happen, in seconds of simulated time. */
  readonly seconds: number;
  readonly print: ((line: string) => void) | null;
}

export interface RaftRunResult {
  readonly seed: number;
  readonly violation: string | null;
  /** The last events before it. */
  readonly tail: readonly string[];
  readonly events: number;
  readonly simulatedMs: number;
  readonly faults: ReadonlyMap<string, number>;
  readonly committed: number;
  readonly acknowledged: number;
  readonly reads: number;
  /** Answers to watches, and how often somebody acted as the holder of the lock: of whole members alone. */
  readonly watched: number;
  readonly held: number;
  readonly hash: number;
}

const TAIL_LINES = 60;
/** After everything is healed: some elections, a snapshot for everybody, and what queued up. */
const CONVERGE_MS = 30_000;
const LOOK_EVERY_MS = 200;

export function runCores(options: RaftRunOptions): RaftRunResult {
  const world = new CoreWorld(options.seed, options.print);
  let violation: string | null = null;
  try {
    live(world, options.seconds * 1000);
  } catch (error) {
    // An exception out of the core is a violation as well: a member would have died of it.
    violation = error instanceof Violation ? error.message : `${(error as Error).stack}`;
  }
  return {
    seed: options.seed,
    violation,
    tail: violation === null ? [] : world.trace.tail(TAIL_LINES),
    events: world.trace.events,
    simulatedMs: world.queue.now,
    faults: world.trace.faults,
    committed: world.ledger.committed,
    acknowledged: world.clients.acknowledged,
    reads: world.clients.readsAnswered,
    watched: 0,
    held: 0,
    hash: world.trace.hash >>> 0,
  };
}

function live(world: CoreWorld, forMs: number): void {
  const { queue, random, settings } = world;
  world.trace.record(0, "settings", JSON.stringify({ ...settings, points: [...settings.points] }), asItIs);
  for (const seat of world.seats) seat.start();
  const end = 2000 + forMs;
  const operate = (): void => {
    if (queue.now > end + CONVERGE_MS) return;
    world.clients.operate();
    queue.after((1000 / settings.load) * 2 * random.next(), operate);
  };
  queue.after(500, operate);
  const harm = (): void => {
    if (queue.now >= end) return;
    const name = random.pick(settings.faults);
    const what = FAULTS[name](world);
    if (what !== null) world.trace.fault(queue.now, name, what);
    world.retire();
    queue.after(settings.faultEveryMs * 2 * random.next(), harm);
  };
  if (settings.faults.length > 0) queue.after(random.between(0, 2000), harm);
  runUntil(world, end);
  world.heal();
  world.trace.record(queue.now, "world", "everything is healed", asItIs);
  converge(world);
}

function runUntil(world: CoreWorld, end: number): void {
  const { queue } = world;
  while (queue.nextTime() <= end) {
    queue.runNext();
    if (world.trace.events > EVENTS_MAX) throw new Violation(`${EVENTS_MAX} events: the members keep each other busy without end`);
  }
  queue.now = end;
}

function converge(world: CoreWorld): void {
  const { queue } = world;
  const end = queue.now + CONVERGE_MS;
  let reason = "nobody looked";
  // What was committed before does not count: it must serve now.
  const before = { committed: world.ledger.committed, reads: world.clients.readsAnswered };
  while (queue.now < end) {
    runUntil(world, queue.now + LOOK_EVERY_MS);
    world.retire();
    const found = unsettled(world, before);
    if (found === null) return;
    reason = found;
  }
  throw new Violation(`not converged ${CONVERGE_MS / 1000} s after everything was healed: ${reason}`);
}

function unsettled(world: CoreWorld, before: { readonly committed: number; readonly reads: number }): string | null {
  const leader = world.leader();
  if (leader === null) return "nobody leads";
  if (world.ledger.committed < before.committed + SERVED) return `${world.ledger.committed - before.committed} commits since`;
  if (world.clients.readsAnswered < before.reads + 1) return "no read was answered";
  const { voters, outgoing, learners } = world.ledger.configuration;
  if (outgoing !== null) return "still joint";
  for (const { id } of [...voters, ...learners]) {
    const seat = world.seatOf(id);
    if (seat === null) return `${id} does not exist`;
    if (seat.role.leader !== leader.member.id && seat !== leader) return `${seat.name} does not follow ${leader.name}`;
    if (seat.applied < before.committed + SERVED) return `${seat.name} stands at ${seat.applied}`;
    if (seat.health === "damaged") return `${seat.name} is still damaged`;
  }
  return null;
}

/** Ten times what a busy life of a minute has. */
const EVENTS_MAX = 2_000_000;
/** So many commits must come after the healing. */
const SERVED = 5;
