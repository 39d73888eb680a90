// Owns the promotion of the running standby: walreceiver ended beforehand, synchronous standbys in force before the first
// write, writable at the end. Whether to promote is decided elsewhere.

import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, ms } from "../model/units.ts";
import type { Connection, Row } from "./connection.ts";
import { pollUntil } from "./poll.ts";
import type { PromoteOptions } from "./postgresql.ts";
import { CHECKPOINTER_TAKES_MAX_MS, type CommitWaiting } from "./waiting-commits.ts";

/** How often the server is asked: nothing announces the end of recovery to a client. */
const POLL_MS = 4;
/** How long the walreceiver may take to go; a promotion works with it too, only slower. */
const RECEIVER_GONE_MAX_MS = 250;

export interface PromoteDependencies {
  readonly connection: Connection;
  readonly clock: Clock;
  readonly log: Log;
  /** Writes the standby's files without a source and with this synchronous_standby_names; true where something changed. */
  readonly detach: (synchronousStandbyNames: string | null) => Promise<Result<boolean, PostgresError>>;
  /** Writes the primary's files and reloads. */
  readonly configurePrimary: (synchronousStandbyNames: string | null) => Promise<Result<null, PostgresError>>;
  /** SIGHUP to the postmaster. */
  readonly reload: () => Promise<Result<null, PostgresError>>;
  /** Of names that a session shows. */
  readonly commitsWait: (deadline: Ms) => Promise<Result<CommitWaiting, PostgresError>>;
}

/**
 * Resolves when the server accepts writes, with a primary's settings. Errors: unreachable, timeout (it may still become primary), failed (nothing
 * was promoted).
 */
export async function promoteServer(on: PromoteDependencies, options: PromoteOptions): Promise<Result<null, PostgresError>> {
  const { deadline } = options;
  const state = await ask(on, "SELECT pg_is_in_recovery() AS in_recovery", deadline);
  if (!state.ok) return state;
  let waits = false;
  if (state.value["in_recovery"] === true) {
    const began = on.clock.now();
    const detached = await detachFromSource(on, options);
    if (!detached.ok) return detached;
    const taken = await namesTaken(on, options);
    if (!taken.ok) return taken;
    waits = taken.value;
    const detachedAt = on.clock.now();
    const asked = await ask(on, "SELECT pg_promote(wait => false) AS promoted", deadline);
    if (!asked.ok) return asked;
    if (asked.value["promoted"] !== true) return err({ kind: "failed", message: "the promotion could not be requested" });
    const writable = await untilWritable(on, deadline);
    if (!writable.ok) return writable;
    const [detaching, promoting] = [detachedAt - began, on.clock.now() - detachedAt].map(Math.round);
    on.log.info(`promoted: ${detaching} ms to leave the source, ${promoting} ms until writable`);
  }
  options.onWritable(waits);
  const configured = await on.configurePrimary(options.synchronousStandbyNames);
  // It is primary already: what is missing is the primary's own settings, and the next `configure` writes them again.
  if (!configured.ok) on.log.error(`promoted, but its configuration cannot be written: ${configured.error.message}`);
  return ok(null);
}

/**
 * A promotion that finds the walreceiver being restarted waits out wal_retrieve_retry_interval (5 s by default), so the
 * source is taken away first. The same reload brings synchronous_standby_names, before the first write can be answered.
 */
async function detachFromSource(
  on: PromoteDependencies,
  options: { readonly deadline: Ms; readonly synchronousStandbyNames: string | null },
): Promise<Result<null, PostgresError>> {
  const changed = await on.detach(options.synchronousStandbyNames);
  if (!changed.ok) return changed;
  const wanted = options.synchronousStandbyNames;
  if (!changed.value) {
    // Written by an attempt before this one, which is no proof that PostgreSQL has taken it.
    const row = await ask(on, DETACHED_QUERY, options.deadline);
    if (!row.ok) return row;
    if (isInForce(row.value, wanted)) return ok(null);
  }
  const reloaded = await on.reload();
  if (!reloaded.ok) return reloaded;
  const until = ms(Math.min(options.deadline, on.clock.now() + RECEIVER_GONE_MAX_MS));
  let failure: PostgresError | null = null;
  let synchronous = false;
  await pollUntil({ clock: on.clock, deadline: until, intervalMs: POLL_MS }, async () => {
    const row = await ask(on, DETACHED_QUERY, options.deadline);
    if (!row.ok) {
      failure = row.error;
      return true;
    }
    synchronous = isInForce(row.value, wanted);
    return row.value["conninfo"] === "" && row.value["receivers"] === 0 && synchronous ? true : null;
  });
  if (failure !== null) return err(failure);
  // Without the receiver gone the promotion is slower, no more; without the names in force it would not be safe.
  if (!synchronous) return err({ kind: "failed", message: "synchronous_standby_names did not take effect: not promoted" });
  return ok(null);
}

/**
 * That a session shows the names does not make commits wait for them (waiting-commits.ts), and the promotion does not wait for the checkpointer,
 * which may be syncing a restartpoint. Value: whether they wait. Errors: those of the question, failed.
 */
async function namesTaken(on: PromoteDependencies, options: PromoteOptions): Promise<Result<boolean, PostgresError>> {
  const names = options.synchronousStandbyNames;
  if (names === null || names === "") return ok(false);
  const deadline = ms(Math.min(options.deadline, on.clock.now() + CHECKPOINTER_TAKES_MAX_MS));
  const answer = await pollUntil({ clock: on.clock, deadline, intervalMs: POLL_MS }, async () => {
    const waiting = await on.commitsWait(options.deadline);
    return waiting.ok && waiting.value === "not-yet" ? null : waiting;
  });
  if (answer?.ok === false) return answer;
  if (answer !== null) return ok(answer.value === "yes");
  const why = `the checkpointer has not taken synchronous_standby_names within ${CHECKPOINTER_TAKES_MAX_MS} ms`;
  if (options.namesHold) return err({ kind: "failed", message: `${why}: not promoted, as the sync key names standbys` });
  on.log.warning(`${why}: until it does, commits may be acknowledged without a standby, and none enters the sync key`);
  return ok(false);
}

/** null: whatever the operator's own parameters say. */
function isInForce(row: Row, wanted: string | null): boolean {
  return wanted === null || row["synchronous"] === wanted;
}

const DETACHED_QUERY = `SELECT current_setting('primary_conninfo') AS conninfo, current_setting('synchronous_standby_names') AS synchronous,
  (SELECT count(*)::int4 FROM pg_stat_get_wal_receiver() w WHERE w.pid IS NOT NULL) AS receivers`;

async function untilWritable(on: PromoteDependencies, deadline: Ms): Promise<Result<null, PostgresError>> {
  const outcome = await pollUntil<Result<null, PostgresError>>({ clock: on.clock, deadline, intervalMs: POLL_MS }, async () => {
    const state = await ask(on, "SELECT pg_is_in_recovery() AS in_recovery", deadline);
    if (!state.ok) return state;
    return state.value["in_recovery"] === false ? ok(null) : null;
  });
  return outcome ?? err({ kind: "timeout", message: "the promotion has not ended yet" });
}

async function ask(on: PromoteDependencies, text: string, deadline: Ms): Promise<Result<Row, PostgresError>> {
  const rows = await on.connection.query(text, [], deadline);
  if (!rows.ok) return rows;
  return ok(rows.value[0] ?? {});
}
