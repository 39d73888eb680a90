// Owns the secrets of the servers that tests start. Each is a word that stands nowhere else, so that the run finds it wherever it must
// not be (scripts/suite/secret-search.ts): when a cluster ends, and on command lines as long as the run lasts.

import { SECRET_MARK } from "../../scripts/suite/secret-search.ts";

export const PASSWORDS = {
  superuser: `${SECRET_MARK}superuser-4c1f09a7`,
  replication: `${SECRET_MARK}replication-91be3d52`,
  rewind: `${SECRET_MARK}rewind-d0a67e38`,
  /** Of PgBouncer's console. */
  console: `${SECRET_MARK}console-5be9d230`,
  /** Of every Raft of a test. */
  raft: `${SECRET_MARK}raft-7f25c8e1`,
} as const;
