// Owns the cluster as read from the DCS in one snapshot: a plain, immutable value.

import type { BackupClaim, BackupRecord } from "./backup-run.ts";
import type { FailoverRequest } from "./failover-request.ts";
import type { HistoryLine } from "./history.ts";
import type { Member } from "./member.ts";
import type { RestoreRequest } from "./restore.ts";
import type { SyncState } from "./sync-state.ts";
import type { Lsn, Ms, Revision, Timeline } from "./units.ts";
import type { UpgradeRequest } from "./upgrade.ts";

/** The leader key: judged by session and revision, never by name alone (safety.md). */
export interface LeaderLock {
  readonly name: string;
  readonly session: string | null;
  readonly revision: Revision;
}

/** The `status` key, or its fallback `optime/leader`. */
export interface ClusterStatus {
  readonly optime: Lsn | null;
  readonly slots: Readonly<Record<string, Lsn>>;
  readonly retainSlots: readonly string[];
}

/**
 * The holder's lease mark (docs/adr/0002): a key outside the watched prefix that the lock holder rewrites in
 * the same transaction that confirms its lock. Whoever sees its revision stand still for ttl knows the lease is over.
 */
export interface LeaseMark {
  /** The session whose lock it confirms. */
  readonly session: string;
  /** The ttl that the holder counts its lease with. */
  readonly ttl: Ms;
  /** The holder let the lock go on purpose and writes no more. */
  readonly released: boolean;
  /** The newest timeline of the cluster whose history is published; null where the holder does not say. */
  readonly timeline: Timeline | null;
  /** Set while nothing would stop its holder's PostgreSQL but the holder itself (docs/adr/0004); null where it is fenced. */
  readonly unfenced: UnfencedPrimary | null;
  readonly revision: Revision;
}

/** Whom to ask whether it still runs: its member key may have gone with its session. */
export interface UnfencedPrimary {
  readonly name: string;
  readonly apiUrl: string | null;
  readonly connUrl: string | null;
}

/** Dynamic configuration as found: parsed JSON object, not validated. */
export interface ConfigKey {
  readonly revision: Revision;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface Cluster {
  /** The `initialize` key: system identifier, "" while a bootstrap runs, null when absent. */
  readonly initialize: string | null;
  readonly leader: LeaderLock | null;
  /** Sorted by name. */
  readonly members: readonly Member[];
  readonly config: ConfigKey | null;
  readonly failover: FailoverRequest | null;
  readonly sync: SyncState;
  readonly history: readonly HistoryLine[];
  readonly status: ClusterStatus;
  /** Of the whole cluster from a backup; null where none was ever asked for. */
  readonly restore: RestoreRequest | null;
  /** Of the scheduled backups; null where there never were any. */
  readonly backup: BackupRecord | null;
  /** Who takes one now. */
  readonly backupClaim: BackupClaim | null;
  /** Of PostgreSQL to a new major version; null where none was ever asked for. */
  readonly upgrade: UpgradeRequest | null;
  /** name → api_url; null when the key is absent or unreadable. */
  readonly failsafe: Readonly<Record<string, string>> | null;
  /** Revision of the snapshot that this was read from. */
  readonly revision: Revision;
  /** MPP groups found below the scope (Citus); empty where there are none. */
  readonly groups: Readonly<Record<string, Cluster>>;
  /** Keys whose value could not be read, reported once in the log: `key: reason`. */
  readonly faults: readonly string[];
}

export const EMPTY_STATUS: ClusterStatus = { optime: null, slots: {}, retainSlots: [] };

export function findMember(cluster: Cluster, name: string): Member | null {
  // Asked many times in each decision: a loop makes no closure.
  for (const member of cluster.members) if (member.name === name) return member;
  return null;
}

/** The member record of the lock holder; null when unlocked or when its member key is gone. */
export function leaderMember(cluster: Cluster): Member | null {
  return cluster.leader === null ? null : findMember(cluster, cluster.leader.name);
}
