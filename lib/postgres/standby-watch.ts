// Owns waiting for a change among a primary's standbys: nothing in PostgreSQL tells of one, so one query a second looks for it.
// Decides nothing; who waits looks for himself at what has changed.

import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import type { PostgresStatus } from "../model/postgres.ts";
import type { Result } from "../model/result.ts";
import { type Ms, ms } from "../model/units.ts";

/** Between two looks. Commits that wait for a dead standby wait this much longer. */
export const STANDBY_LOOK_MS = 1000;
/** A query that takes longer says that PostgreSQL does not answer, which is a change too. */
export const STANDBY_ANSWER_MS = 2000;

/** What always counts as a change: who streams, in which state, for whom commits wait. Positions do not. */
export function standbysOf(status: PostgresStatus): string {
  const rows = status.replication.map(({ applicationName, state, syncState }) => `${applicationName}\t${state}\t${syncState}`);
  return `${status.inRecovery}\n${status.synchronousStandbyNames}\n${rows.sort().join("\n")}`;
}

export interface StandbyWatchOptions {
  readonly clock: Clock;
  readonly status: (deadline: Ms) => Promise<Result<PostgresStatus, PostgresError>>;
  readonly seen: PostgresStatus;
  readonly near: NearStandbys | null;
  readonly onChange: () => void;
}

/** Who lags little enough, where that counts too: a text of a status that changes with it. */
export type NearStandbys = (status: PostgresStatus) => string;

/** Calls `onChange` once, when the standbys are not as they were `seen` or PostgreSQL does not answer. Returns the way to end it. */
export function watchStandbys(options: StandbyWatchOptions): () => void {
  const stop = new AbortController();
  void lookAgainAndAgain(options, stop.signal);
  return () => stop.abort();
}

async function lookAgainAndAgain(options: StandbyWatchOptions, signal: AbortSignal): Promise<void> {
  const { clock, status, seen, near, onChange } = options;
  const before = standbysOf(seen);
  const nearBefore = near?.(seen);
  while (!signal.aborted) {
    await clock.sleepUntil(ms(clock.now() + STANDBY_LOOK_MS), signal);
    if (signal.aborted) return;
    const answer = await status(ms(clock.now() + STANDBY_ANSWER_MS));
    if (signal.aborted) return;
    if (answer.ok && standbysOf(answer.value) === before && near?.(answer.value) === nearBefore) continue;
    onChange();
    return;
  }
}
