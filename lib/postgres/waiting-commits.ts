// Owns the waiting of commits for standbys that were named a moment ago: the proof that they wait, and the end of the waiting of those that
// were under way. Names nobody itself.
//
// A backend takes a new synchronous_standby_names when it is told to; whether a commit waits at all is a mark in shared memory, which the
// checkpointer alone sets, at its next turn after the same signal (syncrep.c, SyncRepUpdateSyncStandbysDefined). In the middle of syncing a
// checkpoint, or late with one, that turn is minutes away, and until then every commit is acknowledged by nobody but the primary. No query
// shows the mark, and a commit of our own that comes back tells nothing: the standby may have been fast. What can be seen is the turn:
// 1. our session shows the names, so the postmaster has begun to signal its children; it does not sleep before it has signalled the last,
//    so once it is seen asleep the checkpointer has its signal;
// 2. a checkpointer that then sleeps where it waits for signals (its wait event, and one and the same sleep before and after asking for it)
//    has none left to take.

import type { PostgresError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import { ok, type Result } from "../model/result.ts";
import type { Ms } from "../model/units.ts";
import type { Connection } from "./connection.ts";
import { readSleep } from "./processes.ts";

/** `unknown`: PostgreSQL (before 15, during a checkpoint) or the kernel does not tell. */
export type CommitWaiting = "yes" | "not-yet" | "unknown";

/** How long a promotion waits for the checkpointer. In a quiet moment it takes milliseconds; syncing to disk takes what the disk takes. */
export const CHECKPOINTER_TAKES_MAX_MS = 2_000;

/** Where the checkpointer looks after its signals before it sleeps, and wakes up for them. */
const WAITS_FOR_SIGNALS: ReadonlySet<unknown> = new Set(["CheckpointerMain", "CheckpointWriteDelay"]);
const QUERY =
  "SELECT pid, wait_event, pg_catalog.current_setting('server_version_num')::int4 AS version " +
  "FROM pg_catalog.pg_stat_activity WHERE backend_type = 'checkpointer'";
/** From here on each sleep of the checkpointer that looks after its signals has a wait event. */
const EVERY_WAIT_HAS_ITS_EVENT = 150_000;

/** For names that a session of ours has shown before; `postmaster`: its pid. Errors: unreachable, timeout, failed. */
export async function commitsWait(connection: Connection, postmaster: number, deadline: Ms): Promise<Result<CommitWaiting, PostgresError>> {
  const sender = readSleep(postmaster);
  const first = await connection.query(QUERY, [], deadline);
  if (!first.ok) return first;
  const pid = Number(first.value[0]?.["pid"]);
  const before = readSleep(pid);
  if (sender === null || before === null) return ok("unknown");
  if (!sender.asleep) return ok("not-yet");
  const second = await connection.query(QUERY, [], deadline);
  if (!second.ok) return second;
  const waitEvent = second.value[0]?.["wait_event"] ?? null;
  const after = readSleep(pid);
  if (after === null || Number(second.value[0]?.["pid"]) !== pid) return ok("not-yet");
  if (!before.asleep || !after.asleep || before.turns !== after.turns) return ok("not-yet");
  if (waitEvent === null && Number(second.value[0]?.["version"]) < EVERY_WAIT_HAS_ITS_EVENT) return ok("unknown");
  return ok(WAITS_FOR_SIGNALS.has(waitEvent) ? "yes" : "not-yet");
}

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
