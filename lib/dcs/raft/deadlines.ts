// Owns the deadlines of requests that wait: one timer for all of them, so that a busy member does not start one for each.

import type { Clock } from "../../model/clock.ts";
import { type Ms, ms } from "../../model/units.ts";

/** The timer looks at most this often; a deadline is noticed late by as much. */
const LOOK_MS = 10;

interface Pending {
  readonly at: Ms;
  readonly expire: () => void;
}

export class Deadlines {
  readonly #clock: Clock;
  readonly #pending = new Set<Pending>();
  #timer: { readonly at: number; readonly stop: AbortController } | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls `expire` once, at the instant or a little later, unless taken back before. */
  add(at: Ms, expire: () => void): () => void {
    const pending = { at, expire };
    this.#pending.add(pending);
    this.#arm(at);
    return () => void this.#pending.delete(pending);
  }

  /** Nothing expires any more. */
  close(): void {
    this.#pending.clear();
    this.#timer?.stop.abort();
    this.#timer = null;
  }

  #arm(at: number): void {
    if (this.#timer !== null && this.#timer.at <= at) return;
    this.#timer?.stop.abort();
    const timer = { at, stop: new AbortController() };
    this.#timer = timer;
    void this.#clock.sleepUntil(ms(at), timer.stop.signal).then(() => {
      if (this.#timer === timer) this.#look();
    });
  }

  #look(): void {
    this.#timer = null;
    const now = this.#clock.now();
    let next = Number.POSITIVE_INFINITY;
    for (const pending of this.#pending) {
      if (pending.at > now) {
        next = Math.min(next, pending.at);
        continue;
      }
      this.#pending.delete(pending);
      pending.expire();
    }
    // What `expire` added has armed the timer itself.
    if (next !== Number.POSITIVE_INFINITY) this.#arm(Math.max(next, now + LOOK_MS));
  }
}
