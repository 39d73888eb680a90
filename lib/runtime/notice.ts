// Owns waiting for "something changed": any number of waiters, each with a deadline. Carries no news itself.

import type { Clock } from "../model/clock.ts";
import type { Ms } from "../model/units.ts";

export class Notice {
  readonly #clock: Clock;
  readonly #waiters = new Set<AbortController>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  notify(): void {
    for (const waiter of this.#waiters) waiter.abort();
    this.#waiters.clear();
  }

  /** Resolves at the next notify, or at the deadline. */
  async next(deadline: Ms): Promise<void> {
    const waiter = new AbortController();
    this.#waiters.add(waiter);
    await this.#clock.sleepUntil(deadline, waiter.signal);
    this.#waiters.delete(waiter);
  }

  /** Waits until the condition holds; false where the deadline comes first. */
  async until(condition: () => boolean, deadline: Ms): Promise<boolean> {
    while (!condition()) {
      if (this.#clock.now() >= deadline) return false;
      await this.next(deadline);
    }
    return true;
  }
}
