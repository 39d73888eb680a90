// Owns how a node says why it does not start. Imports nothing.

/** Its exit status and one line. */
export interface NodeFailure {
  readonly code: number;
  readonly message: string;
}
