// Owns the `failover` key: a switchover (names the leader) or a manual failover (names only a candidate).

import type { Revision } from "./units.ts";

export interface FailoverRequest {
  readonly revision: Revision;
  readonly leader: string | null;
  readonly candidate: string | null;
  /** Epoch milliseconds (wall clock: an operator's appointment); null = now. */
  readonly scheduledAt: number | null;
  /** The text of scheduled_at as written. */
  readonly scheduledAtText: string | null;
}
