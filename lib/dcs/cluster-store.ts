// Owns what a leader, a member, a sync state … is in the DCS: built once on store.ts, the same over every backend.
// Decides nothing about HA and retries nothing, except the one second try after a session turned out to be gone.

import type { StoreError } from "../model/errors.ts";
import type { Clock } from "../model/clock.ts";
import type { Cluster, ClusterStatus, LeaseMark } from "../model/cluster.ts";
import type { HistoryLine } from "../model/history.ts";
import type { Log } from "../model/log.ts";
import type { Result } from "../model/result.ts";
import type { SyncState } from "../model/sync-state.ts";
import type { Ms, Revision } from "../model/units.ts";
import type { RequestOptions, Store } from "./store.ts";

/** Our session as last confirmed. */
export interface OpenSession {
  readonly id: string;
  /** Boot-time instant BEFORE the opening or last successful renewal was sent. */
  readonly confirmedAt: Ms;
  /** What the store keeps it for, at least, from a renewal. */
  readonly promisedMs: Ms;
}

/** The lock as held by this node after a successful acquire or update. */
export interface HeldLock {
  readonly session: string;
  readonly revision: Revision;
  /** Boot-time instant before the first request of this confirmation was sent: the lease counts from here. */
  readonly confirmedAt: Ms;
  readonly promisedMs: Ms;
}

export interface ClusterStoreOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  /** Without slashes at the ends, e.g. `service`. */
  readonly namespace: string;
  readonly scope: string;
  /** MPP group; null outside MPP. */
  readonly group: number | null;
  /** This node's name. */
  readonly name: string;
  readonly ttl: Ms;
}
export type { Cluster, ClusterStatus, HistoryLine, LeaseMark, RequestOptions, Result, StoreError, SyncState };
