// Owns how long the disk takes: each sync of the log, and from handing over a batch of log writes until it is durable, which may
// wait for the sync before. For the status; nothing rests on it.

import type { Clock } from "../../../model/clock.ts";
import type { Distribution } from "../../../model/metric.ts";
import { Histogram } from "../../../model/tally.ts";

/** The weight of the newest sync in the mean. */
const WEIGHT = 0.1;
/** Seconds: from a good disk's sync to one that costs the lead. */
const FSYNC_BOUNDS: readonly number[] = [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];
const NO_LABELS: readonly string[] = [];

export class SyncTimes {
  readonly #clock: Clock;
  #begun: { readonly sequence: number; readonly at: number }[] = [];
  #meanMs: number | null = null;
  readonly #fsyncs = new Histogram(FSYNC_BOUNDS);
  #fsyncBegunAt = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Moving mean in ms; null before the first. */
  get meanMs(): number | null {
    return this.#meanMs;
  }

  /** Of the syncs that ended, in seconds. */
  get fsyncs(): Distribution {
    return distributionOf(this.#fsyncs);
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

  /** There is one at a time. */
  fsync(phase: "begins" | "ended"): void {
    const now = this.#clock.now();
    if (phase === "begins") this.#fsyncBegunAt = now;
    else this.#fsyncs.note(NO_LABELS, (now - this.#fsyncBegunAt) / 1000);
  }
}

function distributionOf(histogram: Histogram): Distribution {
  histogram.know(NO_LABELS);
  const [series] = histogram.samples();
  if (series === undefined) throw new Error("a histogram without the series that it knows");
  const { buckets, sum, count } = series;
  return { buckets, sum, count };
}

/** Of a member that has synced nothing. */
export const NO_FSYNCS: Distribution = distributionOf(new Histogram(FSYNC_BOUNDS));
