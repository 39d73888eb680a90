// Owns waking the HA loop: many events, one loop; an event that comes while the loop is busy is not lost.

import type { Clock } from "../model/clock.ts";
import type { Ms } from "../model/units.ts";

export class Waker {
  readonly #clock: Clock;
  #pending = false;
  #sleeper: AbortController | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  wake(): void {
    this.#pending = true;
    this.#sleeper?.abort();
  }

  /** Resolves at the instant, or as soon as somebody woke us since the last call returned. */
  sleepUntil(at: Ms): Promise<void> {
    if (this.#pending) {
      this.#pending = false;
      return Promise.resolve();
    }
    this.#sleeper = new AbortController();
    return this.#clock.sleepUntil(at, this.#sleeper.signal).then(() => {
      this.#sleeper = null;
      this.#pending = false;
    });
  }
}
