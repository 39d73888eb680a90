// Owns how much of a lease is left for what: stopping PostgreSQL before its end, and waiting for the DCS or the members until then.

import { stopBudgetLimit, stopInstant } from "../core/lease.ts";
import type { HeldFacts } from "../core/observation.ts";
import { type Ms, ms } from "../model/units.ts";
import type { NodeContext } from "./node-context.ts";

/** One attempt at the DCS takes at most this long, and never longer than retry_timeout. */
const DCS_ATTEMPT_MS = 5000;
/** And at least this long, so that a slow DCS is not given up because the lease is short. */
const DCS_ATTEMPT_MIN_MS = 500;

/** How long before the lease's end PostgreSQL must be on its way down. */
export function stopBudget({ state, watchdog }: NodeContext, held: HeldFacts | null): Ms {
  const actsAt = held === null ? null : watchdog.actsAt(held.leaseEndsAt);
  return held === null || actsAt === null ? stopBudgetLimit(state.settings.dynamic.leaseTtlMs) : ms(Math.max(0, held.leaseEndsAt - actsAt));
}

/**
 * A running primary waits for the DCS no longer than until it has to begin stopping; in failsafe mode only for half of that, so that
 * the members can still be asked. A lease in doubt counts as it was confirmed here: the guard ends PostgreSQL by that count, and on a
 * machine so busy that the event loop was late the DCS needs the more time to confirm the lock again, not the less.
 */
export function dcsDeadline(context: NodeContext): Ms {
  const { clock, state } = context;
  const { failsafeMode, retryTimeoutMs, leaseTtlMs, pause } = state.settings.dynamic;
  const now = clock.now();
  const deadline = now + Math.min(retryTimeoutMs, DCS_ATTEMPT_MS);
  const held = state.heldFacts();
  const leaseEndsAt = state.leaseCountsUntil();
  if (held === null || leaseEndsAt === null || pause) return ms(deadline);
  if (state.local.lastRole !== "primary" || state.local.process.kind === "none") return ms(deadline);
  const stopAt = stopInstant({ leaseEndsAt, stopBudgetMs: stopBudget(context, held), ttl: leaseTtlMs });
  if (failsafeMode && stopAt > now) return ms(Math.min(deadline, now + (stopAt - now) / 2));
  return ms(Math.max(now + DCS_ATTEMPT_MIN_MS, Math.min(deadline, stopAt)));
}
