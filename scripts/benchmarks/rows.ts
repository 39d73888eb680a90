// Owns the list of what is measured, in the order of the table. A row gives one number for each sample.

import type { BenchCluster } from "./bench-cluster.ts";
import { NODE_ROWS } from "./rows-node.ts";
import { OUTAGE_ROWS } from "./rows-outage.ts";
import { SIMULATION_ROWS } from "./rows-simulation.ts";

interface RowText {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  /** What the project wants to reach; "" where nothing is set. */
  readonly reach: string;
}

/** Measured on a cluster, for each system. */
export interface Row extends RowText {
  readonly measure: (bench: BenchCluster) => Promise<number>;
}

/** Measured without a cluster, for ours alone. */
export interface OwnRow extends RowText {
  readonly measureOwn: () => Promise<number>;
}

export const ROWS: readonly (Row | OwnRow)[] = [...OUTAGE_ROWS, ...NODE_ROWS, ...SIMULATION_ROWS];
