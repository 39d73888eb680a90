// Owns the end of a worker that holds the lock alone: PostgreSQL is stopped first, then the lock is released, whatever ended the
// worker. Decides nothing: there is no other way out.

import { ms } from "../../model/units.ts";
import type { NodeContext } from "../node-context.ts";
import { leave } from "../perform-dcs.ts";
import { releaseLock } from "../perform-lock.ts";

/** A fast stop of a busy server; where a lease runs, its end comes first. */
const STOP_LIMIT_MS = 60_000;
/** Kept of the lease for the steps after the stop. */
const RELEASE_MS = 1000;

/** Stops whatever runs in the data directory, then gives up lock, member key and session. Failures are logged: nobody is left to act on them. */
export async function stopAndRelease(context: NodeContext): Promise<void> {
  const { clock, log, postgres, state, watchdog } = context;
  state.task?.controller.abort();
  await state.task?.settled;
  const { process } = await postgres.inspect();
  if (process.kind === "running") {
    const leaseEndsAt = state.heldFacts()?.leaseEndsAt ?? ms(clock.now() + STOP_LIMIT_MS);
    const deadline = ms(Math.min(clock.now() + STOP_LIMIT_MS, leaseEndsAt - RELEASE_MS));
    log.info("the worker ends: PostgreSQL is stopped");
    const stopped = await postgres.stop({ mode: "fast", deadline, checkpoint: true });
    if (!stopped.ok) {
      log.error(`PostgreSQL was not stopped, the lock is left to its lease: ${stopped.error.message}`);
      return;
    }
  }
  if (watchdog.armed) {
    const disarmed = await watchdog.disarm();
    if (!disarmed.ok) log.error(`the watchdog was not disarmed: ${disarmed.error.message}`);
  }
  if (state.held !== null) {
    const control = await postgres.controlData();
    const clean = control.ok && control.value.state === "shut down";
    const released = await releaseLock(context, clean ? control.value.checkpointLsn : null);
    if (!released.ok) log.error(`the lock was not released: ${released.message}`);
  }
  const left = await leave(context);
  if (!left.ok) log.error(`the member key is left to its session: ${left.message}`);
}
