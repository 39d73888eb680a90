// Owns the interface to the log. Implemented in lib/runtime/log.ts; a message never holds a secret.

export interface Log {
  debug(message: string): void;
  info(message: string): void;
  warning(message: string): void;
  error(message: string): void;
  critical(message: string): void;
  /** False: debug lines are dropped, so that none need be made where many would be. A log without it takes them. */
  debugs?(): boolean;
}
