// Owns waiting for "something changed": any number of waiters, each with a deadline. Carries no news itself.

import type { Clock } from "../model/clock.ts";
import type { Ms } from "../model/units.ts";

export class Notice {
  readonly #clock: Clock;
  readonly #waiters = new Set<Waiter>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  notify(): void {
    for (const waiter of this.#waiters) {
      if (!waiter.condition()) continue;
      this.#waiters.delete(waiter);
      waiter.woken.abort();
    }
  }

  /** Resolves at the next notify, or at the deadline. */
  next(deadline: Ms): Promise<void> {
    return this.#wait(ANYTHING, deadline);
  }

  /** Waits until the condition holds, which is looked at with each notify; false where the deadline comes first. */
  async until(condition: () => boolean, deadline: Ms): Promise<boolean> {
    while (!condition()) {
      if (this.#clock.now() >= deadline) return false;
      await this.#wait(condition, deadline);
    }
    return true;
  }

  async #wait(condition: () => boolean, deadline: Ms): Promise<void> {
    const waiter = { condition, woken: new AbortController() };
    this.#waiters.add(waiter);
    await this.#clock.sleepUntil(deadline, waiter.woken.signal);
    this.#waiters.delete(waiter);
  }
}

interface Waiter {
  readonly condition: () => boolean;
  readonly woken: AbortController;
}

const ANYTHING = (): boolean => true;
