// Owns the words of failsafe mode: what the primary says to the other members while the DCS is away, and what they answer (contract §4).

import type { Lsn, Ms } from "./units.ts";

/** Members and their api_url, as the `failsafe` key has them. */
export type FailsafeMembers = Readonly<Record<string, string>>;

/** POST /failsafe: the primary goes on without the DCS, if all agree. */
export interface FailsafeHeartbeat {
  readonly name: string;
  readonly connUrl: string;
  readonly apiUrl: string;
  /** Positions of the primary's slots, as the `status` key has them. */
  readonly slots: Readonly<Record<string, Lsn>>;
  /** The primary's own: its lease runs that long from before the heartbeat was sent. Null from a Patroni, which does not say. */
  readonly ttl: Ms | null;
}

export type FailsafeAnswer =
  /** No race for ttl. `lsn`: where the member is; null where it did not say. */
  | { readonly kind: "accepted"; readonly lsn: Lsn | null }
  | { readonly kind: "refused"; readonly status: number; readonly text: string }
  /** Nothing that could be understood came in time. */
  | { readonly kind: "silent"; readonly reason: string };

/** What a member has promised with its 200. */
export interface FailsafePromise {
  /** The primary that it was given to. */
  readonly leader: string;
  /** Boot-time clock: until then this node takes no part in a race and is not promoted. */
  readonly until: Ms;
}
