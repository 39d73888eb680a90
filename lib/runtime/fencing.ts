// Owns when PostgreSQL is fenced: armed before it can write as primary, let go once nothing of it is left.

import { ms } from "../model/units.ts";
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
