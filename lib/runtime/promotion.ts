// Owns the promotion of this node's standby: pre_promote, the guard before the first write, and the end of a promotion that is given up.

import { ms } from "../model/units.ts";
import { armWatchdog } from "./fencing.ts";
import type { NodeContext } from "./node-context.ts";
import { dropReinitialize, releaseLock } from "./perform-lock.ts";
import { stop } from "./stop.ts";
import { DONE, type TaskResult, taskResult } from "./task-result.ts";
import { tellRole } from "./tell-role.ts";

const PROMOTE_LIMIT_MS = 60_000;
/** A checkpoint takes as long as it takes. */
const CHECKPOINT_LIMIT_MS = 24 * 3600 * 1000;

/** A promotion that was asked for cannot be taken back: given up, it ends the server. Value: a function that says whether it did. */
function stopOnAbort(context: NodeContext, signal: AbortSignal): () => Promise<boolean> {
  let stopping: Promise<TaskResult> | null = null;
  const onAbort = (): void => {
    stopping = stop(context, "immediate", context.clock.now()).catch((reason: unknown) => ({
      ok: false,
      message: String(reason),
    }));
  };
  signal.addEventListener("abort", onAbort, { once: true });
  return async () => {
    signal.removeEventListener("abort", onAbort);
    const stopped = await stopping;
    if (stopped?.ok === false) context.log.error(`the given up promotion: ${stopped.message}`);
    return stopped !== null;
  };
}

/**
 * Looks from before show a standby; who stops the server for a promotion that is given up tells nobody of it. `waitedFor`: the names that
 * commits wait for from the first one on, as nobody could tell while the checkpoint after the promotion runs.
 */
function noteWritable(context: NodeContext, signal: AbortSignal, waitedFor: string | null): void {
  const { clock, state } = context;
  dropReinitialize(context);
  state.localChanged();
  state.local.lastRole = "primary";
  state.local.promotedAt = clock.now();
  if (waitedFor !== null) state.local.syncNamesSeen = { names: waitedFor, at: clock.now(), waits: "yes" };
  // Peers that rewind wait for its checkpoint: they are told with the role that it is still to come.
  state.local.checkpointAfterPromote = false;
  if (!signal.aborted) state.onPromoted();
}

/** Before anything else is given up for the promotion: a veto leaves the sync key as it was, and the lock to somebody else. */
export async function prePromote(context: NodeContext): Promise<TaskResult> {
  const { clock, log, postgres, state } = context;
  const hook = await postgres.hook("pre_promote", ms(clock.now() + state.settings.dynamic.ttlMs));
  if (hook.ok) {
    state.prePromotePassedAt = clock.now();
    return DONE;
  }
  log.warning("Releasing the leader key voluntarily because the pre-promote script failed");
  await releaseLock(context, null);
  return { ok: false, message: `pre_promote: ${hook.error.message}` };
}

/** The guard is armed before the first write is possible, and the lease is looked at once more right before. */
export async function promote(context: NodeContext, syncNames: string | null, signal: AbortSignal): Promise<TaskResult> {
  const { clock, log, postgres, state } = context;
  const armed = await armWatchdog(context);
  if (!armed.ok) return armed;
  if (signal.aborted || !state.leaseValid()) return { ok: false, message: "the lease ended before the promotion" };
  const undo = stopOnAbort(context, signal);
  const unsafe = state.logicalSlots.unsafe;
  if (unsafe.length > 0) log.warning(`Logical replication slots that might be unsafe to use after promote: ${unsafe.join(", ")}`);
  state.mpp.beforePromote();
  const sync = state.cluster?.sync;
  const promoted = await postgres.promote({
    deadline: ms(clock.now() + PROMOTE_LIMIT_MS),
    synchronousStandbyNames: syncNames,
    namesHold: sync?.leader === state.settings.node.name && sync.standbys.length > 0,
    onWritable: (commitsWait) => noteWritable(context, signal, commitsWait ? syncNames : null),
  });
  if (await undo()) return { ok: false, message: "the promotion was given up, PostgreSQL is stopped" };
  if (!promoted.ok) return taskResult(promoted);
  state.setSource(null, "standby");
  state.local.slotsFor = null;
  tellRole(context, "primary");
  const checkpoint = postgres.checkpoint(ms(clock.now() + CHECKPOINT_LIMIT_MS)).then((result) => {
    if (result.ok) state.local.checkpointAfterPromote = true;
    else log.warning(`the checkpoint after the promotion failed: ${result.error.message}`);
    context.waker.wake();
  });
  checkpoint.catch((reason: unknown) => log.error(`the checkpoint after the promotion failed: ${String(reason)}`));
  return DONE;
}
