// Owns the restart of PostgreSQL that somebody asked for, or that a standby's copied slots take: down with a checkpoint, and up again as
// what it was. The lock is kept meanwhile, by the loop.

import type { PostgresError } from "../model/errors.ts";
import { ok, type Result } from "../model/result.ts";
import { ms } from "../model/units.ts";
import { rearm, settleStopped } from "./fencing.ts";
import type { NodeContext } from "./node-context.ts";
import { goDown, PlannedStop, stopOnAbort } from "./planned-stop.ts";
import { type TaskResult, taskResult } from "./task-result.ts";

/** Recovery of a big server may take long; the loop goes on meanwhile. */
export const START_LIMIT_MS = 24 * 3600 * 1000;
/** Of the stop in a restart; what is not down by then is ended. */
const STOP_LIMIT_MS = 60_000;

/** What is done to the files while nobody serves them. */
type WhileStopped = () => Promise<Result<null, PostgresError>>;

/**
 * `syncNames`: for a primary whose own were never seen. `whileStopped`: null where a restart is all that is wanted; callbacks are told of
 * one that serves another purpose as of a stop and a start, as Patroni tells them.
 */
export async function restart(
  context: NodeContext,
  syncNames: string | null,
  signal: AbortSignal,
  whileStopped: WhileStopped | null = null,
): Promise<TaskResult> {
  const planned = new PlannedStop(context);
  try {
    return await stopAndStart(context, syncNames, signal, planned, whileStopped);
  } finally {
    await planned.end();
  }
}

async function stopAndStart(
  context: NodeContext,
  syncNames: string | null,
  signal: AbortSignal,
  planned: PlannedStop,
  whileStopped: WhileStopped | null,
): Promise<TaskResult> {
  const { clock, postgres, state } = context;
  state.requests = { ...state.requests, restart: false };
  const primary = state.local.lastRole === "primary";
  const names = state.local.syncNamesSeen?.names ?? syncNames;
  const target = state.local.source;
  const role = primary ? "primary" : state.local.standbyRole;
  const deadline = ms(clock.now() + STOP_LIMIT_MS);
  const beforeShutdown = async (): Promise<"go" | "stay"> => {
    // Clients of a pool wait through it as through a switchover: pools lead to the primary alone.
    const waited = AbortSignal.any([signal, state.shutdownAsked.signal]);
    const verdict = primary ? await planned.ask({ deadline, signal: waited, mayAbandon: () => true }) : "go";
    // Whoever shuts the node down meanwhile wants a stop of another kind, and no start behind it; it asks the poolers itself.
    if (verdict === "stay" || (state.requests.shutdown && !signal.aborted)) return "stay";
    await goDown(context, deadline, signal);
    if (primary) await state.mpp.beforeDemote(deadline, signal);
    return "go";
  };
  // A standby accepts no writes: its stop takes the time that it takes.
  const atOnce = primary ? stopOnAbort(context, signal) : null;
  const inTime = await postgres.stop({ mode: "fast", deadline, checkpoint: true, beforeShutdown });
  atOnce?.over();
  const stopped = atOnce !== null && signal.aborted ? await atOnce.stopped : inTime;
  if (!stopped.ok && stopped.error.kind === "cancelled")
    return { ok: false, message: `it is given up: ${state.requests.shutdown ? "the node is shut down" : planned.why}` };
  if (!stopped.ok) return taskResult(stopped);
  state.local.control = null;
  // The stop may have taken longer than the lease, and somebody else may lead by now.
  if (primary && (signal.aborted || (!state.settings.dynamic.pause && !state.leaseValid()))) {
    await settleStopped(context);
    return { ok: false, message: "the lease ended while PostgreSQL was stopped: it is not started as primary" };
  }
  const shown = role === "standby" ? "replica" : role;
  if (whileStopped !== null) postgres.callback("on_stop", shown);
  const done = whileStopped === null ? ok(null) : await whileStopped();
  // Whoever started it meanwhile may have left slots behind.
  state.local.slotsFor = null;
  const started = await postgres.start({
    role,
    follow: primary ? null : target,
    synchronousStandbyNames: primary ? names : null,
    deadline: ms(clock.now() + START_LIMIT_MS),
    signal,
  });
  if (primary && started.ok) await rearm(context);
  if (started.ok) postgres.callback(whileStopped === null ? "on_restart" : "on_start", shown);
  return taskResult(started.ok ? done : started);
}
