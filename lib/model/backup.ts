// Owns the shape of a backup in pgBackRest's repository, and which one a point in time is restored from. Pure.

/** One backup of `pgbackrest info`. Times are epoch seconds, sizes bytes. */
export interface Backup {
  /** E.g. 20260131-120000F, or 20260131-120000F_20260131-130000I. */
  readonly label: string;
  readonly type: "full" | "diff" | "incr";
  readonly startedAt: number;
  readonly stoppedAt: number;
  /** Of the whole database at that time. */
  readonly databaseBytes: number;
  /** What this backup added to the repository. */
  readonly repositoryBytes: number;
  /** Segments that it needs to become consistent; null where pgBackRest does not say. */
  readonly walStart: string | null;
  readonly walStop: string | null;
  /** The backup that it is relative to. */
  readonly prior: string | null;
  /** pgBackRest found pages with wrong checksums. */
  readonly damaged: boolean;
  /** Of the database that it was taken from. */
  readonly systemIdentifier: string | null;
}

/** What the repository holds for one stanza. */
export interface BackupListing {
  readonly stanza: string;
  /** 0: well. Else pgBackRest's own code and words, such as `missing stanza path` or `no valid backups`. */
  readonly status: { readonly code: number; readonly message: string };
  /** A backup of this stanza runs now on the machine that was asked. */
  readonly running: boolean;
  /** The oldest first. */
  readonly backups: readonly Backup[];
  /** First and last segment of the archive, for the present database; null where there is none. */
  readonly archive: { readonly first: string; readonly last: string } | null;
}

/**
 * The last backup from which `before` (epoch milliseconds) can be reached: it has to be complete by then. null = the last of all.
 * Value: null where there is none.
 */
export function backupBefore(backups: readonly Backup[], before: number | null): Backup | null {
  // pgBackRest counts whole seconds: one that ended within the second may have ended after the target.
  return backups.findLast(({ stoppedAt }) => before === null || (stoppedAt + 1) * 1000 <= before) ?? null;
}
