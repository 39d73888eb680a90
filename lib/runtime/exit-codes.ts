// Owns the exit statuses of every program here, as a shell sees them. A status is never invented elsewhere.

export const EXIT = {
  /** Done, or stopped on request. */
  ok: 0,
  /** Refused or failed: bad configuration, name taken, wrong system identifier, a condition that did not hold. */
  failed: 1,
  /** Wrong words on the command line. */
  usage: 2,
  /** The DCS could not be reached in time. */
  storeUnavailable: 3,
  /** Another process of this node holds the run lock. */
  alreadyRunning: 4,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];
