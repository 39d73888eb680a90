// Owns what the cluster remembers of its scheduled backups (the keys `backup` and `backup_run`), and the schedule of a node's file.
// Plain data. Times are epoch milliseconds of the wall clock.

import type { Ms, Revision } from "./units.ts";

/** The one that holds more first: it stands for those behind it. */
export const BACKUP_TYPES = ["full", "diff", "incr"] as const;
export type BackupType = (typeof BACKUP_TYPES)[number];
export type PerType<T> = Readonly<Partial<Record<BackupType, T>>>;

export interface BackupSchedule {
  /** Cron expressions. */
  readonly times: PerType<string>;
  readonly timezone: string;
  /** Whether the leader takes one where no replica runs. */
  readonly onLeader: "without-replica" | "never";
  /** From a failure to the next attempt. */
  readonly retryAfterMs: Ms;
}

export interface BackupRun {
  readonly id: string;
  readonly type: BackupType;
  readonly node: string;
  readonly beganAt: number;
  /** From 1 on. */
  readonly attempt: number;
}

export interface BackupFailure {
  readonly node: string;
  readonly at: number;
  readonly attempt: number;
  readonly message: string;
}

export interface BackupSuccess {
  readonly node: string;
  readonly at: number;
  readonly seconds: number;
  /** In the repository; null where that could not be read afterwards. */
  readonly label: string | null;
}

/** What is known of one type. */
export interface BackupState {
  /** What was due until then is taken, or not to be taken any more. */
  readonly covered: number;
  readonly done: BackupSuccess | null;
  /** Null again once one of this type, or of one that stands for it, is done. */
  readonly failed: BackupFailure | null;
}

export interface BackupRecord {
  readonly revision: Revision;
  readonly types: PerType<BackupState>;
  /** Under way as long as its claim is there; without it, it has died. */
  readonly run: BackupRun | null;
}

/** Stands under the session of the node that takes the backup, and goes with it. */
export interface BackupClaim {
  readonly id: string;
  readonly node: string;
}

/** What stands for a claim that cannot be read. */
export const UNREADABLE_CLAIM: BackupClaim = { id: "unreadable", node: "" };

/** No node has this one: whose it was cannot be read, and its own node has ended its run for that. */
export function isNobodys({ node }: BackupClaim): boolean {
  return node === UNREADABLE_CLAIM.node;
}

/** Its types, in the order of BACKUP_TYPES. */
export function scheduledTypes({ times }: BackupSchedule): readonly BackupType[] {
  return BACKUP_TYPES.filter((type) => times[type] !== undefined);
}
