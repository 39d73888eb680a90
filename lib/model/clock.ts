// Owns the interface to time, so that the simulator can supply its own. Elapsed time is CLOCK_BOOTTIME (it counts
// suspend); wall time is only for people and appointments. Implemented in lib/runtime/clock.ts.

import type { Ms } from "./units.ts";

export interface Clock {
  /** Boot-time clock in milliseconds (with fraction); never goes back. */
  now(): Ms;
  /** Epoch milliseconds; may jump. */
  wallNow(): number;
  /** Resolves at the instant, or at once when the signal aborts; never rejects. */
  sleepUntil(at: Ms, signal?: AbortSignal): Promise<void>;
}
