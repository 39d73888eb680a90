// Owns the interface to the log. Implemented in lib/runtime/log.ts; a message never holds a secret. `event`: the NodeEvent that the
// line tells of, as JSON; a log in JSON carries it.

export interface Log {
  debug(message: string): void;
  info(message: string, event?: string | null): void;
  warning(message: string): void;
  error(message: string): void;
  critical(message: string, event?: string | null): void;
  /** False: debug lines are dropped, so that none need be made where many would be. A log without it takes them. */
  debugs?(): boolean;
}
