// Owns when PostgreSQL is fenced: armed before it can write as primary, let go once nothing of it is left.

import type { UnfencedPrimary } from "../model/cluster.ts";
import { ms } from "../model/units.ts";
import { apiUrl, connUrl } from "./member-record.ts";
import type { NodeContext } from "./node-context.ts";
import { DONE, type TaskResult } from "./task-result.ts";

/** Arms the fencing for the lease in force; where it cannot be, mode `required` refuses and `automatic` goes on with a warning. */
export async function armWatchdog(context: NodeContext): Promise<TaskResult> {
  const { log, state, watchdog } = context;
  const { node, dynamic } = state.settings;
  if (node.watchdog.mode === "off" || dynamic.pause) return DONE;
  const process = state.local.process;
  const leaseEnd = state.heldFacts()?.leaseEndsAt ?? ms(context.clock.now() + dynamic.ttlMs);
  const armed = await watchdog.arm({
    postmaster: process.kind === "running" ? { pid: process.pid, startTicks: process.startTicks } : null,
    leaseEnd,
    ttl: dynamic.ttlMs,
    loopWait: dynamic.loopWaitMs,
  });
  if (armed.ok) return DONE;
  if (node.watchdog.mode === "required") {
    state.fencingMissing = true;
    return { ok: false, message: `the watchdog is required: ${armed.error.message}` };
  }
  log.warning(`the watchdog cannot be armed, PostgreSQL is not fenced: ${armed.error.message}`);
  return DONE;
}

/** What the lease mark has to say of this node: null where it is no primary, or fenced. In pause it is said before the fencing goes. */
export function unfencedNow({ state, watchdog }: NodeContext): UnfencedPrimary | null {
  const { local, settings } = state;
  if (local.lastRole !== "primary" || local.process.kind !== "running" || (watchdog.armed && !settings.dynamic.pause)) return null;
  return { name: settings.node.name, apiUrl: apiUrl(state), connUrl: connUrl(state) };
}

/** The cluster is paused, and nothing fences this PostgreSQL any more: what is shown of a pause to operators. */
export function pauseInForce({ state, watchdog }: NodeContext): boolean {
  return state.settings.dynamic.pause && !watchdog.armed;
}

/** A pause is in force once the mark has told everybody that this PostgreSQL is not fenced; until then it is. */
export async function disarmForPause({ log, state, watchdog }: NodeContext): Promise<void> {
  if (!watchdog.armed || !state.markedUnfenced) return;
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
  const { state, watchdog, log } = context;
  state.local.status = null;
  state.local.control = null;
  state.local.promotedAt = null;
  state.local.syncNamesSince = null;
  state.local.syncNamesSeen = null;
  // Also where nothing is armed here: a guard that a former process left behind would act on its old deadline.
  const disarmed = await watchdog.disarm();
  if (!disarmed.ok) log.error(`the watchdog was not disarmed: ${disarmed.error.message}`);
}
