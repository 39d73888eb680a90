// Owns a clock that stands still until a test moves it, for tests of lib/dcs that need exact instants.

import type { Clock } from "../../../lib/model/clock.ts";
import { type Ms, ms } from "../../../lib/model/units.ts";

export class ManualClock implements Clock {
  #now = 0;
  readonly #sleepers = new Set<{ readonly at: number; readonly wake: () => void }>();

  now(): Ms {
    return ms(this.#now);
  }

  wallNow(): number {
    return this.#now;
  }

  sleepUntil(at: Ms, signal?: AbortSignal): Promise<void> {
    if (at <= this.#now || signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#sleepers.delete(sleeper);
        resolve();
      };
      const sleeper = { at, wake };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", wake);
    });
  }

  /** Moves on, waking each sleeper at its instant, and lets everything that follows from it happen. */
  async advance(durationMs: number): Promise<void> {
    const end = this.#now + durationMs;
    for (;;) {
      await settle();
      const next = [...this.#sleepers].sort((a, b) => a.at - b.at)[0];
      if (next === undefined || next.at > end) break;
      this.#now = next.at;
      next.wake();
    }
    this.#now = end;
    await settle();
  }
}

/** Until all promises that can settle have done so. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
