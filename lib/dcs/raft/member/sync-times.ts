// Owns how long the disk takes: from handing over a batch of log writes until it is durable. For the status; nothing rests on it.

import type { Clock } from "../../../model/clock.ts";

/** The weight of the newest sync in the mean. */
const WEIGHT = 0.1;

export class SyncTimes {
  readonly #clock: Clock;
  #begun: { readonly sequence: number; readonly at: number }[] = [];
  #meanMs: number | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Moving mean in ms; null before the first. */
  get meanMs(): number | null {
    return this.#meanMs;
  }

  begun(sequence: number): void {
    this.#begun.push({ sequence, at: this.#clock.now() });
  }

  /** Every batch up to this sequence. */
  durable(sequence: number): void {
    const first = this.#begun[0];
    if (first === undefined || first.sequence > sequence) return;
    const tookMs = this.#clock.now() - first.at;
    this.#meanMs = this.#meanMs === null ? tookMs : this.#meanMs + (tookMs - this.#meanMs) * WEIGHT;
    this.#begun = this.#begun.filter((batch) => batch.sequence > sequence);
  }
}
