// Owns one line of the `history` key: how a timeline ended.

import type { Lsn, Timeline } from "./units.ts";

export interface HistoryLine {
  readonly timeline: Timeline;
  /** Position at which the next timeline branched off. */
  readonly lsn: Lsn;
  readonly reason: string;
  /** ISO 8601, when known. */
  readonly time: string | null;
  readonly newLeader: string | null;
}

/** One line of PostgreSQL's own NNNNNNNN.history file. */
export interface TimelineSwitch {
  readonly timeline: Timeline;
  readonly switchpoint: Lsn;
  readonly reason: string;
}
