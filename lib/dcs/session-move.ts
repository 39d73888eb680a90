// Owns the replacement of our session by one with another TTL or another check: every key of the old one goes over in ONE transaction,
// so that nobody ever sees the lock free. Decides nothing about when.

import type { Clock } from "../model/clock.ts";
import type { StoreError } from "../model/errors.ts";
import { describeStoreError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import { ok, type Result } from "../model/result.ts";
import { type Ms, revision } from "../model/units.ts";
import type { ClusterKeys } from "./keys.ts";
import type { HeldLock, LockKeeper } from "./lock-keeper.ts";
import type { OpenSession, SessionKeeper } from "./session-keeper.ts";
import type { Change, RequestOptions, Store } from "./store.ts";

export interface SessionPlace {
  readonly store: Store;
  readonly clock: Clock;
  readonly sessions: SessionKeeper;
  readonly lock: LockKeeper;
  readonly keys: ClusterKeys;
  readonly log: Log;
}

export interface MovedSession {
  /** The old one where it is too early for the new. */
  readonly session: OpenSession;
  /** The lock as confirmed by the move; null where it was not ours. */
  readonly lock: HeldLock | null;
  /** The replacement was put off: call again in the next cycle. */
  readonly pending: boolean;
}

/** Errors: those of opening a session, a snapshot and a transaction; the old session is then still ours, with its keys. */
export async function moveSession(
  place: SessionPlace,
  old: OpenSession,
  options: RequestOptions,
): Promise<Result<MovedSession, StoreError>> {
  const { store, sessions } = place;
  if (tooEarly(place, place.clock.now(), sessions.longestLease)) return ok({ session: old, lock: null, pending: true });
  // One without its check would have to be moved again.
  const opened = await sessions.openBeside({ ...options, unchecked: "refused" });
  if (!opened.ok) return opened;
  const session = opened.value;
  if (tooEarly(place, session.confirmedAt, session.promisedMs)) {
    await closeQuietly(place, session.id, options);
    return ok({ session: old, lock: null, pending: true });
  }
  const plan = await planMove(place, old, session, options);
  const applied = plan.ok ? await store.transaction(plan.value.changes, options) : plan;
  if (!applied.ok) {
    // After an unknown outcome our keys may belong to the new session by now: closing it would delete them.
    if (applied.error.kind === "unknown-outcome") {
      sessions.suspect(session);
      place.lock.moved(old.id, null);
    } else await closeQuietly(place, session.id, options);
    return applied;
  }
  sessions.replace(session);
  await closeQuietly(place, old.id, options);
  const at = plan.ok ? plan.value.leaderIndex : null;
  if (at === null) return ok({ session, lock: null, pending: false });
  const lock = place.lock.held(session, applied.value[at] ?? revision(0));
  place.lock.moved(old.id, lock);
  return ok({ session, lock, pending: false });
}

/**
 * A session must outlast every lease that was given out before: the answer to the move may be lost, and then nobody renews the
 * new session for a while, but the old lease is still counted with. After the ttl was lowered that is so once the old lease has
 * run down to the new ttl.
 */
function tooEarly(place: SessionPlace, from: Ms, promisedMs: Ms): boolean {
  return from + promisedMs < place.lock.leaseLimit;
}

async function planMove(
  place: SessionPlace,
  old: OpenSession,
  to: OpenSession,
  options: RequestOptions,
): Promise<Result<{ readonly changes: readonly Change[]; readonly leaderIndex: number | null }, StoreError>> {
  const read = await place.store.snapshot(place.keys.prefix, { deadline: options.deadline, consistency: "consistent" });
  if (!read.ok) return read;
  const changes: Change[] = [];
  let leaderIndex: number | null = null;
  for (const entry of read.value.entries) {
    if (entry.session !== old.id) continue;
    if (entry.key === place.keys.leader) {
      const mark = await place.lock.markCondition(options);
      if (!mark.ok) return mark;
      leaderIndex = changes.length + 1;
      changes.push(...place.lock.moveChanges(entry, to, mark.value));
      continue;
    }
    changes.push({ kind: "delete", key: entry.key, condition: { kind: "revision", revision: entry.revision } });
    changes.push({ kind: "put", key: entry.key, value: entry.value, session: to.id });
  }
  return ok({ changes, leaderIndex });
}

/** A session that stays behind ends by its TTL and owns nothing of value. */
async function closeQuietly(place: SessionPlace, id: string, options: RequestOptions): Promise<void> {
  const closed = await place.store.closeSession(id, options);
  if (!closed.ok) place.log.info(`session ${id} is left to its TTL: ${describeStoreError(closed.error)}`);
}
