// Owns a clock and a schedule that move only when a test says so, for transports over the fake network.

import type { Clock } from "../../../../../lib/model/clock.ts";
import { type Ms, ms } from "../../../../../lib/model/units.ts";
import type { Schedule } from "../../../../raft/fake-network.ts";

export class VirtualTime implements Clock, Schedule {
  #now = 0;
  #order = 0;
  readonly #planned: { readonly instant: number; readonly order: number; readonly run: () => void }[] = [];

  now(): Ms {
    return ms(this.#now);
  }

  wallNow(): number {
    return this.#now;
  }

  at(instant: number, run: () => void): void {
    this.#planned.push({ instant, order: this.#order++, run });
  }

  sleepUntil(instant: Ms, signal?: AbortSignal): Promise<void> {
    if (instant <= this.#now || signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      signal?.addEventListener("abort", () => resolve(), { once: true });
      this.at(instant, resolve);
    });
  }

  /** Everything that happens in the next `durationMs`, each with all that follows from it at its instant. */
  async advance(durationMs: number): Promise<void> {
    const end = this.#now + durationMs;
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      this.#planned.sort((a, b) => a.instant - b.instant || a.order - b.order);
      if (this.#planned[0] === undefined || this.#planned[0].instant > end) break;
      const next = this.#planned.shift();
      this.#now = Math.max(this.#now, next?.instant ?? 0);
      next?.run();
    }
    this.#now = end;
  }
}
