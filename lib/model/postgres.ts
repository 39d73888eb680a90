// Owns what can be seen of a local PostgreSQL: facts only, no way to change it.

import type { TimelineSwitch } from "./history.ts";
import type { Lsn, Ms, Timeline } from "./units.ts";

/** What the data directory looks like without asking a server. */
export type DataDirectory =
  | { readonly kind: "absent" }
  | { readonly kind: "empty" }
  /** A complete PostgreSQL data directory (PG_VERSION and global/pg_control are there). */
  | { readonly kind: "valid"; readonly majorVersion: number }
  /** Our own initdb or clone was interrupted here: a marker file of ours says so; only such a directory may be cleared unasked. */
  | { readonly kind: "half-made"; readonly by: string }
  /** Not empty, and not PostgreSQL's: never touched. `unread`: it could not be looked at, so that nothing is known of it. */
  | { readonly kind: "foreign"; readonly sample: string; readonly unread?: true };

export type PostmasterProcess =
  | { readonly kind: "none" }
  /** `stopped`: SIGSTOP (state T); it does not serve new connections, its backends go on. */
  | { readonly kind: "running"; readonly pid: number; readonly startTicks: number; readonly stopped: boolean };

/** pg_controldata, parsed. */
export interface ControlData {
  readonly systemIdentifier: string;
  /** e.g. "in production", "shut down", "shut down in recovery", "in archive recovery". */
  readonly state: string;
  readonly checkpointLsn: Lsn;
  readonly checkpointRedoLsn: Lsn;
  readonly timeline: Timeline;
  readonly minRecoveryEnd: Lsn | null;
  readonly minRecoveryTimeline: Timeline | null;
  readonly walLogHints: boolean;
  readonly dataChecksums: boolean;
  readonly maxConnections: number;
  readonly maxWorkerProcesses: number;
  readonly maxWalSenders: number;
  readonly maxPreparedTransactions: number;
  readonly maxLocksPerTransaction: number;
}

export interface ReplicationConnection {
  readonly pid: number;
  readonly usename: string;
  readonly applicationName: string;
  readonly clientAddr: string | null;
  /** startup, catchup, streaming, backup, stopping */
  readonly state: string;
  readonly syncState: string;
  readonly syncPriority: number;
  readonly writeLsn: Lsn | null;
  readonly flushLsn: Lsn | null;
  readonly replayLsn: Lsn | null;
}

export interface SlotStatus {
  readonly name: string;
  readonly type: "physical" | "logical";
  readonly active: boolean;
  readonly plugin: string | null;
  readonly database: string | null;
  readonly restartLsn: Lsn | null;
  readonly confirmedFlushLsn: Lsn | null;
  readonly temporary: boolean;
  /** Oldest transaction that it holds; null where none. */
  readonly xmin: number | null;
  /** Oldest transaction whose changes to the catalogs it holds; null where none. */
  readonly catalogXmin: number | null;
  /** `wal_status` is `lost`, or it was invalidated: it can never be used again. */
  readonly lost: boolean;
  /** PostgreSQL itself keeps it on the standbys (PostgreSQL 17: `failover` or `synced`). */
  readonly failover: boolean;
}

/** Everything the loop and the API need, from ONE query over one connection. */
export interface PostgresStatus {
  /** Boot-time instant just before the query was sent: the age of all that follows. */
  readonly askedAt: Ms;
  readonly backendPid: number;
  /** As PostgreSQL writes it: `2026-11-21 21:45:28.610349+00:00`. */
  readonly postmasterStartTime: string;
  readonly postmasterStartEpochSeconds: number;
  /** e.g. 150018 */
  readonly serverVersion: number;
  readonly systemIdentifier: string;
  readonly inRecovery: boolean;
  /** Primary: pg_current_wal_flush_lsn; null in recovery. */
  readonly walLsn: Lsn | null;
  readonly receivedLsn: Lsn | null;
  readonly replayedLsn: Lsn | null;
  readonly replayTimestamp: string | null;
  readonly replayPaused: boolean;
  /** Primary: from the WAL file name in use. Replica: the timeline received, else that of the last restart point. */
  readonly timeline: Timeline | null;
  /** Of the walreceiver: `streaming`; `in archive recovery` where restore_command serves; null where neither. */
  readonly replicationState: string | null;
  readonly walReceiver: { readonly senderHost: string; readonly senderPort: number; readonly slotName: string | null } | null;
  readonly replication: readonly ReplicationConnection[];
  readonly slots: readonly SlotStatus[];
  readonly synchronousStandbyNames: string;
  readonly primaryConninfo: string;
  readonly primarySlotName: string;
  readonly restoreCommand: string;
}

/** How far a copy has come. */
export interface CopyProgress {
  readonly doneBytes: number;
  /** As estimated at its beginning: the copy may become larger. */
  readonly totalBytes: number;
  /** Whole, at most 100. */
  readonly percent: number;
}

/** Where a standby gets its WAL from. */
export interface FollowTarget {
  /** Member name of the source; null for a remote primary of a standby cluster. */
  readonly name: string | null;
  /** Of a remote primary perhaps several, separated by commas. */
  readonly host: string;
  /** The same: one for all hosts, or as many as there are. */
  readonly port: number | string;
  /** Slot on the source to use; null = none. */
  readonly slotName: string | null;
}

/** What an upstream says of its own timelines, needed to decide between following, rewinding and cloning. */
export interface UpstreamHistory {
  readonly systemIdentifier: string;
  readonly timeline: Timeline;
  readonly walLsn: Lsn;
  /** It is a standby itself. */
  readonly inRecovery: boolean;
  /** Oldest first; empty on timeline 1. */
  readonly switches: readonly TimelineSwitch[];
}
