// Owns the expected failures that cross module borders.

/**
 * What a store (DCS) operation can answer besides success.
 * - `unavailable`: the request was certainly not applied (not sent, refused, no quorum).
 * - `unknown-outcome`: it may or may not have been applied; never to be read as "no".
 * - `condition-failed`: the condition (absent, revision, owner) did not hold; nothing was changed.
 * - `session-gone`: the named session does not exist any more; nothing was changed.
 * - `compacted`: a watch asked for a revision older than the kept history; take a snapshot.
 * - `rejected`: the store refuses the request itself (ACL, size, malformed); retrying will not help.
 */
export type StoreError =
  | { readonly kind: "unavailable"; readonly reason: string }
  | { readonly kind: "unknown-outcome"; readonly reason: string }
  | { readonly kind: "condition-failed" }
  | { readonly kind: "session-gone"; readonly session: string }
  | { readonly kind: "compacted" }
  | { readonly kind: "rejected"; readonly reason: string };

/** One fault in the configuration: where it is, what is wrong, and what to write instead. */
export interface ConfigFault {
  /** Dotted path such as `postgresql.listen`. */
  readonly path: string;
  readonly message: string;
}

/** A PostgreSQL operation that did not succeed; `message` never holds a secret. */
export interface PostgresError {
  readonly kind: "unreachable" | "timeout" | "failed" | "refused" | "cancelled";
  readonly message: string;
  /** Of `unreachable`: the server is there and has said so itself (starting up, no slot left, login refused). */
  readonly answered?: true;
  /** Of `answered`: it takes no connection now (SQLSTATE 57P03), because it starts up, recovers or shuts down; that passes by itself. */
  readonly passing?: true;
}

export function describeStoreError(error: StoreError): string {
  switch (error.kind) {
    case "unavailable":
      return `the DCS is not available: ${error.reason}`;
    case "unknown-outcome":
      return `the DCS did not confirm the request: ${error.reason}`;
    case "condition-failed":
      return "the condition did not hold";
    case "session-gone":
      return `session ${error.session} does not exist`;
    case "compacted":
      return "the watched revision is no longer kept";
    case "rejected":
      return `the DCS rejected the request: ${error.reason}`;
  }
}
