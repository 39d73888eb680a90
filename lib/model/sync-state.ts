// Owns the `sync` key: which standbys may take over without losing an acknowledged commit.

import type { Revision } from "./units.ts";

export interface SyncState {
  /** null when the key is absent: needed for "create only if absent". */
  readonly revision: Revision | null;
  readonly leader: string | null;
  /** Sorted names. */
  readonly standbys: readonly string[];
  readonly quorum: number;
}

export const NO_SYNC: SyncState = { revision: null, leader: null, standbys: [], quorum: 0 };

/** Names match as Patroni matches them: without regard to case. */
export function isSyncStandby(sync: SyncState, name: string): boolean {
  return sync.standbys.some((standby) => standby.toLowerCase() === name.toLowerCase());
}
