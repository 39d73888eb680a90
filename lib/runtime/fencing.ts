// Owns when PostgreSQL is fenced: armed before it can write as primary, let go once nothing of it is left.

import type { UnfencedPrimary } from "../model/cluster.ts";
import type { Result } from "../model/result.ts";
import { ms } from "../model/units.ts";
import type { WatchdogError } from "../postgres/watchdog/watchdog.ts";
import { apiUrl, connUrl } from "./member-record.ts";
import type { NodeContext } from "./node-context.ts";
import type { FencingSettings } from "./node-state.ts";
import { DONE, type TaskResult } from "./task-result.ts";

/** Arms the fencing for the lease in force; where it cannot be, mode `required` refuses and `automatic` goes on with a warning. */
export async function armWatchdog(context: NodeContext): Promise<TaskResult> {
  const { log, state } = context;
  if (goesUnfenced(context)) return DONE;
  const armed = await arm(context);
  if (armed.ok) return DONE;
  if (isRequired(context)) {
    state.fencingMissing = true;
    return { ok: false, message: `the watchdog is required: ${armed.error.message}` };
  }
  log.warning(`the watchdog cannot be armed, PostgreSQL is not fenced: ${armed.error.message}`);
  return DONE;
}

function isRequired({ state }: NodeContext): boolean {
  return state.settings.node.watchdog.mode === "required";
}

async function arm({ clock, state, watchdog }: NodeContext): Promise<Result<null, WatchdogError>> {
  const { dynamic } = state.settings;
  const process = state.local.process;
  const armed = await watchdog.arm({
    postmaster: process.kind === "running" ? { pid: process.pid, startTicks: process.startTicks } : null,
    leaseEnd: state.heldFacts()?.leaseEndsAt ?? ms(clock.now() + dynamic.leaseTtlMs),
    ttl: dynamic.leaseTtlMs,
    loopWait: dynamic.loopWaitMs,
  });
  if (armed.ok) {
    state.fencedFor = fencingSettings(state);
    state.fencingMissing = false;
  }
  state.fencingTriedAt = clock.now();
  return armed;
}

/** What an arming depends on. */
export function fencingSettings({ settings }: NodeContext["state"]): FencingSettings {
  const { leaseTtlMs, loopWaitMs } = settings.dynamic;
  return { leaseTtlMs, loopWaitMs, safetyMarginSeconds: settings.node.watchdog.safetyMarginSeconds };
}

/**
 * For the end of a cycle: the guard died, a pause is over, or ttl, loop_wait or safety_margin changed: the leader's PostgreSQL is fenced by what is in
 * force now. Where nothing is to fence it, it is let go; where it has to be fenced and cannot be, the rules stop it.
 */
export async function keepFenced(context: NodeContext): Promise<void> {
  const { clock, log, state, watchdog } = context;
  if (state.fencingMissing) await lookForFencing(context);
  if (goesUnfenced(context)) {
    await disarmUnfenced(context);
    return;
  }
  const leading = state.local.lastRole === "primary" && state.local.process.kind === "running";
  const held = state.heldFacts();
  if (!leading || state.task !== null || held === null || held.leaseEndsAt <= clock.now()) return;
  const fenced = watchdog.armed && watchdog.healthy();
  const wanted = fencingSettings(state);
  const asSet =
    state.fencedFor?.leaseTtlMs === wanted.leaseTtlMs &&
    state.fencedFor.loopWaitMs === wanted.loopWaitMs &&
    state.fencedFor.safetyMarginSeconds === wanted.safetyMarginSeconds;
  if (fenced && asSet) return;
  const armed = await arm(context);
  if (armed.ok) {
    if (!fenced) log.info("PostgreSQL is fenced again");
  } else if (fenced && watchdog.armed) {
    // What cannot be had with these settings is not asked for again in each cycle.
    state.fencedFor = wanted;
    log.warning(`the watchdog goes on with its former timeout: ${armed.error.message}`);
  } else {
    log.error(`PostgreSQL is not fenced: ${armed.error.message}`);
    const mustStop = isRequired(context) && !state.fencingMissing;
    if (mustStop) state.fencingMissing = true;
    // The mark has to say so at once; where fencing is required, PostgreSQL has to be stopped.
    if (fenced || mustStop) context.waker.wake();
  }
}

/** What could not be armed is looked at again, at most once in a loop_wait: a device that is back lets this node lead. */
async function lookForFencing({ clock, log, state, waker, watchdog }: NodeContext): Promise<void> {
  const { dynamic } = state.settings;
  if (state.local.lastRole === "primary" && state.local.process.kind === "running") {
    // A pause asks for none: its end tries to arm, and only where that fails PostgreSQL is stopped.
    if (dynamic.pause) state.fencingMissing = false;
    return;
  }
  const triedAt = state.fencingTriedAt;
  if (state.task !== null || (triedAt !== null && clock.now() - triedAt < dynamic.loopWaitMs)) return;
  state.fencingTriedAt = clock.now();
  const prepared = await watchdog.prepare({ ttl: dynamic.leaseTtlMs, loopWait: dynamic.loopWaitMs });
  if (!prepared.ok) return;
  state.fencingMissing = false;
  log.info("the watchdog is usable again: this node may lead");
  waker.wake();
}

/**
 * What the lease mark has to say of this node: null where it is no primary, or fenced. In pause it is said before the fencing goes,
 * and of a standby that takes the lock as well: its promotion will not be fenced.
 */
export function unfencedNow(context: NodeContext): UnfencedPrimary | null {
  const { state, watchdog } = context;
  const { local, requests, settings, task } = state;
  const { pause } = settings.dynamic;
  // About to be started, or between the two halves of a restart: what has nothing that fences it is told of before it runs.
  const isStarted = (task?.kind === "start" || task?.kind === "restart") && local.lastRole === "primary";
  const comesBack = local.process.kind === "none" && (isStarted || (pause && requests.restart));
  if (
    (local.process.kind !== "running" && !comesBack) ||
    (watchdog.armed && !goesUnfenced(context)) ||
    (local.lastRole === "replica" && !pause)
  )
    return null;
  return { name: settings.node.name, apiUrl: apiUrl(state), connUrl: connUrl(state) };
}

/**
 * To be called before a mark is written: for as long as it is under way, and after an unknown outcome, only what both the mark of
 * before and this one say is sure.
 */
export function beforeMark({ state }: NodeContext, unfenced: UnfencedPrimary | null): void {
  if (unfenced === null) state.unfencedMark = null;
}

/** The mark is written, under that session. */
export function afterMark({ state }: NodeContext, unfenced: UnfencedPrimary | null, session: string): void {
  state.unfencedMark = unfenced === null ? null : session;
}

/** The cluster is paused, and nothing fences this PostgreSQL any more: what is shown of a pause to operators. */
export function pauseInForce({ state, watchdog }: NodeContext): boolean {
  return state.settings.dynamic.pause && !watchdog.armed;
}

/** Nothing is to fence this PostgreSQL: the cluster is paused, or the configuration says so. */
export function goesUnfenced({ state }: NodeContext): boolean {
  return state.settings.dynamic.pause || state.settings.node.watchdog.mode === "off";
}

/** The fencing goes once the mark has told everybody that this PostgreSQL is not fenced; until then it is. */
export async function disarmUnfenced(context: NodeContext): Promise<void> {
  if (context.watchdog.armed && context.state.isMarkedUnfenced()) await disarm(context);
}

/** Also where nothing is armed here: a guard that a former process left behind would act on its old deadline. */
export async function disarm({ log, watchdog }: NodeContext): Promise<void> {
  const disarmed = await watchdog.disarm();
  if (!disarmed.ok) log.error(`the watchdog was not disarmed: ${disarmed.error.message}`);
}

/** The same protection for a postmaster that has just been started. */
export async function rearm(context: NodeContext): Promise<void> {
  context.state.local.process = (await context.postgres.inspect()).process;
  const armed = await armWatchdog(context);
  if (!armed.ok) context.log.error(armed.message);
}

/** Nothing of the server is left: it needs no fencing, and what was known of it is old. */
export async function settleStopped(context: NodeContext): Promise<void> {
  const { state } = context;
  state.local.status = null;
  state.local.control = null;
  state.local.promotedAt = null;
  // It comes back through recovery, or through a promotion of its own.
  state.local.checkpointAfterPromote = null;
  state.local.syncNamesSince = null;
  state.local.syncNamesSeen = null;
  state.failsafe.roundOver();
  await disarm(context);
}
