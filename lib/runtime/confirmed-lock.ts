// Owns what a confirmation of the lock is followed by, whichever request brought it: its lease goes to the guard and to the disk.
// Sends nothing to the DCS.

import type { HeldLock } from "../dcs/cluster-store.ts";
import type { Ms } from "../model/units.ts";
import { armWatchdog, disarmUnfenced, goesUnfenced } from "./fencing.ts";
import type { NodeContext } from "./node-context.ts";

/** The lock is held already (`NodeState.hold`): a restarted supervisor finds the session that has it now. */
export async function settleLease(context: NodeContext, lock: HeldLock): Promise<void> {
  const deadline = context.state.heldFacts()?.leaseEndsAt ?? context.clock.now();
  await fenceLease(context, deadline);
  context.lease.save({ session: lock.session, revision: lock.revision, deadline });
}

async function fenceLease(context: NodeContext, leaseEndsAt: Ms): Promise<void> {
  const { state, watchdog } = context;
  if (watchdog.armed && goesUnfenced(context)) await disarmUnfenced(context);
  else if (watchdog.armed) {
    const extended = watchdog.extend(leaseEndsAt);
    if (!extended.ok) context.log.error(`the watchdog did not take the new deadline: ${extended.error.message}`);
  } else if (state.task === null && state.local.lastRole === "primary" && state.local.process.kind === "running") {
    // A lease that begins again, after a pause or an outage, is fenced from its first moment: the rest of the cycle may take long.
    await armWatchdog(context);
  }
}
