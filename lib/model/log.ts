// Owns the interface to the log. Implemented in lib/runtime/log.ts; a message never holds a secret.

export interface Log {
  debug(message: string): void;
  info(message: string): void;
  warning(message: string): void;
  error(message: string): void;
  critical(message: string): void;
}
