// Owns the one way to wait for something that nothing announces: look, wait a little, look again, under a deadline.

import type { Clock } from "../model/clock.ts";
import { type Ms, ms } from "../model/units.ts";

export interface PollOptions {
  readonly clock: Clock;
  readonly deadline: Ms;
  readonly intervalMs: number;
  /** Ends the wait early; the answer is then null. */
  readonly signal?: AbortSignal;
}

/** The first value of `probe` that is not null; null at the deadline (after one last look) or when the signal aborts. */
export async function pollUntil<T>(options: PollOptions, probe: () => Promise<T | null> | T | null): Promise<T | null> {
  const { clock, deadline, intervalMs, signal } = options;
  for (;;) {
    if (signal?.aborted) return null;
    const last = clock.now() >= deadline;
    const value = await probe();
    if (value !== null || last) return value;
    await clock.sleepUntil(ms(Math.min(clock.now() + intervalMs, deadline)), signal);
  }
}
