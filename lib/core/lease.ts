// Owns the arithmetic of the lease (safety.md, "The lease"). Pure.

import { type Ms, ms } from "../model/units.ts";

/** What is taken off each lease for pauses and clock-rate error: 200 ms or 2 % of ttl, whichever is more. */
export function leaseMargin(ttl: Ms): Ms {
  return ms(Math.max(200, ttl * 0.02));
}

/**
 * Until when the holder may let PostgreSQL write.
 * `confirmedAt`: before the first request of the confirmation was sent; `promised`: what the store keeps the session for.
 */
export function leaseEnd(options: { readonly confirmedAt: Ms; readonly ttl: Ms; readonly promised: Ms }): Ms {
  return ms(options.confirmedAt + Math.min(options.ttl, options.promised) - leaseMargin(options.ttl));
}

/**
 * From when on a lock is confirmed again: once a loop_wait, and not later than in the middle of its lease, which may be far shorter
 * than the ttl in force while the session of a raised ttl is not there yet.
 */
export function renewalDue(lease: { readonly confirmedAt: Ms; readonly leaseEndsAt: Ms }, loopWait: Ms): Ms {
  return ms(Math.min(lease.confirmedAt + loopWait * 0.9, leaseMiddle(lease)));
}

export function leaseMiddle({ confirmedAt, leaseEndsAt }: { readonly confirmedAt: Ms; readonly leaseEndsAt: Ms }): Ms {
  return ms(confirmedAt + (leaseEndsAt - confirmedAt) / 2);
}

/** Upper bound for the time between the guard's first signal and the last write: at most 2 s and a quarter of ttl. */
export function stopBudgetLimit(ttl: Ms): Ms {
  return ms(Math.min(2000, ttl / 4));
}

/** A fast stop gets this long before the guard would act; below it the stop is immediate. */
const FAST_STOP_MS = 3_000;

/** When a holder that cannot confirm its lock has to begin stopping: a fast stop's time and the guard's budget before the lease ends. */
export function stopInstant(options: { readonly leaseEndsAt: Ms; readonly stopBudgetMs: Ms; readonly ttl: Ms }): Ms {
  return ms(options.leaseEndsAt - options.stopBudgetMs - Math.min(FAST_STOP_MS, options.ttl / 6));
}
