// Owns the shape of what is measured: families of samples as Prometheus knows them. How they are written is lib/api/exposition.ts.

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels: Labels;
  readonly value: number | bigint | string;
}

export interface Distribution {
  /** Upper bounds in ascending order, each with how many values were at most so big; the last one, infinity, is `count`. */
  readonly buckets: readonly (readonly [atMost: number, count: number])[];
  readonly sum: number;
  readonly count: number;
}

export interface HistogramSample extends Distribution {
  readonly labels: Labels;
}

/** `name` without the product's prefix; `help` is one line. */
export type MetricFamily =
  | { readonly kind: "gauge" | "counter"; readonly name: string; readonly help: string; readonly samples: readonly Sample[] }
  | { readonly kind: "histogram"; readonly name: string; readonly help: string; readonly samples: readonly HistogramSample[] };
