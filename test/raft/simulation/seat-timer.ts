// Owns a simulated member's one timer: from an instant of its own clock to the true time, never early.

import type { EventQueue, SimEvent } from "../../simulation/virtual-clock.ts";

/** The conversion between clocks rounds; the timer must not ring before the wanted instant. */
const ROUND_UP_MS = 0.0001;

export class SeatTimer {
  readonly #queue: EventQueue;
  readonly #clock: { readonly rate: number; readonly offset: number };
  readonly #ring: () => void;
  #event: SimEvent | null = null;
  #eventAt = Number.POSITIVE_INFINITY;
  #wantedAt = Number.POSITIVE_INFINITY;

  constructor(queue: EventQueue, clock: { readonly rate: number; readonly offset: number }, ring: () => void) {
    this.#queue = queue;
    this.#clock = clock;
    this.#ring = ring;
  }

  /** `at`: on the member's clock. */
  set(at: number): void {
    this.#wantedAt = at;
    const trueTime = this.#trueTime(at);
    // One that wakes too early looks at what is wanted by then; to move it each time would cost more.
    if (this.#eventAt <= trueTime) return;
    this.cancel();
    this.#wantedAt = at;
    this.#schedule(trueTime);
  }

  cancel(): void {
    if (this.#event !== null) this.#event.run = null;
    this.#event = null;
    this.#eventAt = Number.POSITIVE_INFINITY;
    this.#wantedAt = Number.POSITIVE_INFINITY;
  }

  #schedule(trueTime: number): void {
    if (trueTime === Number.POSITIVE_INFINITY) return;
    this.#eventAt = trueTime;
    this.#event = this.#queue.at(trueTime, () => this.#wake());
  }

  #wake(): void {
    this.#event = null;
    this.#eventAt = Number.POSITIVE_INFINITY;
    if (this.#clock.offset + this.#queue.now * this.#clock.rate < this.#wantedAt) this.#schedule(this.#trueTime(this.#wantedAt));
    else this.#ring();
  }

  #trueTime(at: number): number {
    return (at - this.#clock.offset) / this.#clock.rate + ROUND_UP_MS;
  }
}
