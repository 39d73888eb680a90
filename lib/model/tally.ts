// Owns counting: counters and histograms with labels, each with a bound on how many label values it keeps. Knows no clock and no
// names of metrics.

import type { HistogramSample, Labels, Sample } from "./metric.ts";

/** Label values of one family. Ours are names from closed lists (rules, requests, effects); what is beyond counts as `other`. */
const LABEL_VALUES_MAX = 256;
const OTHER = "other";

/** Counts by the values of its labels. */
export class Counter {
  readonly #names: readonly string[];
  readonly #counts = new Map<string, { readonly labels: Labels; value: number }>();

  constructor(...names: readonly string[]) {
    this.#names = names;
  }

  /** `values` in the order of the labels' names. */
  add(values: readonly string[], by = 1): void {
    entryOf(this.#counts, this.#names, values, (labels) => ({ labels, value: 0 })).value += by;
  }

  samples(): readonly Sample[] {
    return [...this.#counts.values()].map(({ labels, value }) => ({ labels, value }));
  }
}

interface Counted {
  readonly labels: Labels;
  /** One for each bound, and one for what is beyond the last; not cumulative. */
  readonly counts: number[];
  sum: number;
  count: number;
}

/** Distribution of values, by the values of its labels. */
export class Histogram {
  readonly #names: readonly string[];
  readonly #bounds: readonly number[];
  readonly #series = new Map<string, Counted>();

  /** `bounds` ascending. */
  constructor(bounds: readonly number[], ...names: readonly string[]) {
    this.#bounds = bounds;
    this.#names = names;
  }

  /** Shows a series before its first value: what never happened can be told from what is not measured. */
  know(values: readonly string[]): void {
    this.#seriesOf(values);
  }

  note(values: readonly string[], value: number): void {
    const series = this.#seriesOf(values);
    const at = this.#bounds.findIndex((bound) => value <= bound);
    const slot = at === -1 ? this.#bounds.length : at;
    series.counts[slot] = (series.counts[slot] ?? 0) + 1;
    series.sum += value;
    series.count += 1;
  }

  #seriesOf(values: readonly string[]): Counted {
    return entryOf(this.#series, this.#names, values, (labels) => ({
      labels,
      counts: Array.from<number>({ length: this.#bounds.length + 1 }).fill(0),
      sum: 0,
      count: 0,
    }));
  }

  samples(): readonly HistogramSample[] {
    return [...this.#series.values()].map(({ labels, counts, sum, count }) => {
      let below = 0;
      const buckets = this.#bounds.map((bound, index) => {
        below += counts[index] ?? 0;
        return [bound, below] as const;
      });
      return { labels, buckets, sum, count };
    });
  }
}

function entryOf<T>(entries: Map<string, T>, names: readonly string[], values: readonly string[], made: (labels: Labels) => T): T {
  const key = values.join("\0");
  const known = entries.get(key);
  if (known !== undefined) return known;
  const kept = entries.size < LABEL_VALUES_MAX - 1 ? values : values.map(() => OTHER);
  const keptKey = kept.join("\0");
  const entry = entries.get(keptKey) ?? made(Object.fromEntries(names.map((name, index) => [name, kept[index] ?? ""])));
  entries.set(keptKey, entry);
  return entry;
}
