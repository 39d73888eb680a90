// Owns the pause after a stop that failed: the rules ask for the next one at once, and what failed at once (no file descriptor is left, for
// instance) would be tried in a tight loop. It decides nothing else about a stop.

import { stopInstant } from "../core/lease.ts";
import { type Ms, ms } from "../model/units.ts";
import { stopBudget } from "./lease-bounds.ts";
import type { NodeContext } from "./node-context.ts";
import type { TaskResult } from "./task-result.ts";

const PAUSE_MS = 500;
/** Where the lease ends, or the lock is gone: a file descriptor may be free again by then, and a signal that was not sent goes out. */
const PAUSE_AT_ONCE_MS = 50;

/** As `stop` ends; one that failed, no sooner than its next attempt may begin. */
export async function pausingWhereItFails(
  context: NodeContext,
  options: { readonly mode: "fast" | "immediate"; readonly signal: AbortSignal },
  stop: () => Promise<TaskResult>,
): Promise<TaskResult> {
  let failed = true;
  try {
    const result = await stop();
    failed = !result.ok;
    return result;
  } finally {
    if (failed) await context.clock.sleepUntil(nextAttempt(context, options.mode), options.signal);
  }
}

function nextAttempt(context: NodeContext, mode: "fast" | "immediate"): Ms {
  const { clock, state } = context;
  const soonest = clock.now() + PAUSE_AT_ONCE_MS;
  if (mode === "immediate") return ms(soonest);
  const later = clock.now() + PAUSE_MS;
  const held = state.heldFacts();
  if (held === null) return ms(later);
  const { leaseTtlMs: ttl } = state.settings.dynamic;
  const stopAt = stopInstant({ leaseEndsAt: held.leaseEndsAt, stopBudgetMs: stopBudget(context, held), ttl });
  return ms(Math.max(soonest, Math.min(later, stopAt)));
}
