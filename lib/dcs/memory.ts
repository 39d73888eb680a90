// Owns the shared data of a DCS in memory; its clients are in memory-store.ts. For tests and the simulator; reads no clock but the
// given one and no random source, so that a run replays exactly.

import type { DynamicLimits } from "../model/dynamic-config.ts";
import type { StoreError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, type Revision, revision, seconds } from "../model/units.ts";
import { MemoryKeys, type WatchedPrefix } from "./memory-keys.ts";
import { type MemorySessionOptions, MemorySessions } from "./memory-sessions.ts";
import type { Change, Condition, Entry, Session, Snapshot } from "./store.ts";

const CHANGES_MAX = 32;
const VALUE_MAX_BYTES = 512 * 1024;

export type MemoryClusterOptions = MemorySessionOptions;

/** All methods are synchronous; an expired session is ended before anything else is looked at. */
export class MemoryCluster {
  readonly #keys = new MemoryKeys();
  readonly #sessions: MemorySessions;
  #revision = revision(0);

  constructor(options: MemoryClusterOptions) {
    this.#sessions = new MemorySessions(options, (session) => this.#deleteAll(this.#keys.ownedBy(session)));
  }

  get revision(): Revision {
    return this.#revision;
  }

  get(key: string): Entry | null {
    this.expire();
    return this.#keys.get(key) ?? null;
  }

  snapshot(prefix: string): Result<Snapshot, never> {
    this.expire();
    return this.#keys.answer(this.#keys.prefix(prefix, this.#revision));
  }

  /** For a waiting watch: its `waiting` are called at each change below the prefix. */
  watched(prefix: string): WatchedPrefix {
    this.expire();
    return this.#keys.prefix(prefix, this.#revision);
  }

  apply(changes: readonly Change[]): Result<readonly Revision[], StoreError> {
    this.expire();
    if (changes.length > CHANGES_MAX) return err({ kind: "rejected", reason: `more than ${CHANGES_MAX} changes in one transaction` });
    const next = revision(this.#revision + 1);
    const staged: { readonly key: string; readonly entry: Entry | null }[] = [];
    const revisions: Revision[] = [];
    for (const change of changes) {
      let current = this.#keys.get(change.key) ?? null;
      for (const earlier of staged) if (earlier.key === change.key) current = earlier.entry;
      const outcome = this.#stage(change, current, next);
      if (!outcome.ok) return outcome;
      if (outcome.value !== current) staged.push({ key: change.key, entry: outcome.value });
      revisions.push(change.kind === "put" && outcome.value !== null ? outcome.value.revision : revision(0));
    }
    if (staged.length === 0) return ok(revisions);
    this.#revision = next;
    for (const { key, entry } of staged) {
      if (entry === null) this.#keys.delete(key, next);
      else this.#keys.set(entry);
    }
    this.#keys.wake();
    return ok(revisions);
  }

  deleteBelow(prefix: string): void {
    this.expire();
    this.#deleteAll(this.#keys.below(prefix));
  }

  openSession(name: string, ttl: Ms, checkTtl: Ms | null = null): Session {
    this.expire();
    return this.#sessions.open(name, ttl, checkTtl);
  }

  /** Null when there is no such session. */
  renewSession(id: string): Session | null {
    this.expire();
    return this.#sessions.renew(id);
  }

  sessionInfo(id: string): Session | null {
    this.expire();
    return this.#sessions.get(id);
  }

  closeSession(id: string): void {
    this.expire();
    this.#sessions.end(id);
  }

  limits(): DynamicLimits {
    return { ttlFloorMs: this.#sessions.minTtl, loopWaitFloorMs: seconds(1), retryTimeoutFloorMs: seconds(1) };
  }

  /** Ends the sessions whose time is over. Called before each operation; their timer does it too. */
  expire(): void {
    this.#sessions.expire();
  }

  /** Stops the timer; the data stays readable. */
  close(): void {
    this.#sessions.close();
  }

  /** The key's entry after the change; `current` itself where nothing changes. */
  #stage(change: Change, current: Entry | null, next: Revision): Result<Entry | null, StoreError> {
    if (change.kind === "check-owner") return current?.session === change.session ? ok(current) : CONDITION_FAILED;
    if (!holds(change.condition, current)) return CONDITION_FAILED;
    if (change.kind === "delete") return ok(null);
    if (change.value.length * 3 > VALUE_MAX_BYTES && Buffer.byteLength(change.value) > VALUE_MAX_BYTES) return TOO_BIG;
    if (change.session !== undefined) {
      if (!this.#sessions.has(change.session)) return err({ kind: "session-gone", session: change.session });
      if (current !== null && current.session !== null && current.session !== change.session) return CONDITION_FAILED;
    }
    const session = change.session ?? current?.session ?? null;
    if (current !== null && current.value === change.value && current.session === session) return ok(current);
    return ok({ key: change.key, value: change.value, revision: next, session });
  }

  #deleteAll(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    this.#revision = revision(this.#revision + 1);
    for (const entry of entries) this.#keys.delete(entry.key, this.#revision);
    this.#keys.wake();
  }
}

const CONDITION_FAILED = err<StoreError>({ kind: "condition-failed" });
const TOO_BIG = err<StoreError>({ kind: "rejected", reason: `a value is at most ${VALUE_MAX_BYTES} bytes` });

function holds(condition: Condition | undefined, current: Entry | null): boolean {
  if (condition === undefined || condition.kind === "none") return true;
  if (condition.kind === "absent") return current === null;
  return current?.revision === condition.revision;
}
