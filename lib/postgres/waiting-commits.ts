// Owns the end of waiting for commits that were under way when another standby was named. Names nobody itself.

import type { Log } from "../model/log.ts";
import type { Ms } from "../model/units.ts";
import type { Connection } from "./connection.ts";

/**
 * A commit that waits already is released by the next answer of a standby that is named now; one that has everything
 * answers only after wal_receiver_status_interval (10 s). A WAL record makes it answer at once; the WAL writer flushes it.
 */
export async function releaseWaitingCommits(
  connection: Connection,
  { log, deadline }: { readonly log: Log; readonly deadline: Ms },
): Promise<void> {
  const text =
    "SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_create_restore_point('synchronous_standby_names') END";
  const done = await connection.query(text, [], deadline);
  if (!done.ok) log.debug(`commits that wait already may wait for another 10 s: ${done.error.message}`);
}
