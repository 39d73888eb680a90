// THE interface to a DCS: small, the same for memory, Consul and Raft. What a leader or a member is, is not known here
// (cluster-store.ts). No method retries; each takes an absolute deadline on the boot-time clock (lib/runtime/clock.ts).

import type { DynamicLimits } from "../model/dynamic-config.ts";
import type { StoreError } from "../model/errors.ts";
import type { Result } from "../model/result.ts";
import type { Ms, Revision } from "../model/units.ts";

export interface Entry {
  readonly key: string;
  readonly value: string;
  /** Revision of the last change of this key. */
  readonly revision: Revision;
  /** Session that owns the key; null for a plain key. */
  readonly session: string | null;
}

export interface Snapshot {
  /** Sorted by key. */
  readonly entries: readonly Entry[];
  /** A watch after this revision misses nothing. */
  readonly revision: Revision;
}

export interface Session {
  readonly id: string;
  /** How long, from a renewal, the store keeps the session at least: the lease counts with it (docs/adr/0001). */
  readonly promisedMs: Ms;
  /** Of the check that ends it (SessionCheck), where one is bound; `promisedMs` is no longer than this. Absent: none. */
  readonly checkTtl?: Ms;
  /** Where the store's own record of the session lives (Consul: the node's name); for people, never for decisions. */
  readonly place: string | null;
}

/**
 * A check of its own that ends the session soon after its owner fell silent: each renewal passes it. The session lives, from a renewal,
 * for the shorter of its own time and the check's. A store that has no such checks leaves it out, and the session says so.
 */
export interface SessionCheck {
  readonly ttl: Ms;
  /** Says whose it is, also to people: the member's key. */
  readonly owner: string;
  /** Under which the store shows it, before what the store asks of a name. */
  readonly service: string;
}

export type Condition =
  | { readonly kind: "none" }
  | { readonly kind: "absent" }
  | { readonly kind: "revision"; readonly revision: Revision };

/** Shared by every request. */
export interface RequestOptions {
  /** Absolute, boot-time clock. Past it the answer is `unavailable` (not sent) or `unknown-outcome`. */
  readonly deadline: Ms;
}

export interface OpenSessionOptions extends RequestOptions {
  readonly name: string;
  readonly ttl: Ms;
  readonly check?: SessionCheck | null;
  /** Where the store does not know the check in time: a session without it, whose time is its own (default), or none. */
  readonly unchecked?: "allowed" | "refused";
}

export interface RenewSessionOptions extends RequestOptions {
  /** For a session that another process opened: until when its check certainly holds (boot-time clock). Absent: that is not known. */
  readonly checkedUntil?: Ms | null;
}

export interface PutOptions extends RequestOptions {
  readonly condition?: Condition;
  /**
   * Owner: the key is locked by this session and vanishes with it. `condition-failed` where another session owns it;
   * where this session owns it already, the value is replaced.
   */
  readonly session?: string;
}

/** One change of a transaction: all of them are applied, or none. */
export type Change =
  | { readonly kind: "put"; readonly key: string; readonly value: string; readonly condition?: Condition; readonly session?: string }
  | { readonly kind: "delete"; readonly key: string; readonly condition?: Condition }
  /** Changes nothing; fails the transaction unless this session owns the key. */
  | { readonly kind: "check-owner"; readonly key: string; readonly session: string };

export interface Store {
  /** consul, raft or memory: for logs and the status document, never for decisions. */
  readonly kind: string;

  /** Every key that starts with the prefix, in one consistent read. Errors: unavailable, rejected. */
  snapshot(
    prefix: string,
    options: RequestOptions & { readonly consistency?: "consistent" | "default" | "stale" },
  ): Promise<Result<Snapshot, StoreError>>;

  /** Errors: unavailable, unknown-outcome, condition-failed, session-gone, rejected. Value: the key's new revision. */
  put(key: string, value: string, options: PutOptions): Promise<Result<Revision, StoreError>>;

  /** Deletes one key; absent counts as done unless a revision is demanded. Errors as put. */
  delete(
    key: string,
    options: RequestOptions & { readonly condition?: Condition; readonly recursive?: boolean },
  ): Promise<Result<null, StoreError>>;

  /** At most 32 changes, all or none. Value: the revision after each change, in order (0 for deletes and checks). Errors as put. */
  transaction(changes: readonly Change[], options: RequestOptions): Promise<Result<readonly Revision[], StoreError>>;

  /** Opens a session whose keys are deleted when it ends. `ttl` is the time wanted from last renewal to end. Errors: unavailable, unknown-outcome, rejected. */
  openSession(options: OpenSessionOptions): Promise<Result<Session, StoreError>>;

  /**
   * Starts the session's time anew. A session with a check that may have ended it by now is closed: `session-gone`.
   * Errors: session-gone, unavailable, unknown-outcome, rejected.
   */
  renewSession(id: string, options: RenewSessionOptions): Promise<Result<Session, StoreError>>;

  /** Looks whether a session lives, without renewing it. Errors: unavailable, rejected. Value: null when it does not. */
  sessionInfo(id: string, options: RequestOptions): Promise<Result<Session | null, StoreError>>;

  /** Ends a session at once, with its keys. A session that is gone already counts as done. Errors: unavailable, unknown-outcome, rejected. */
  closeSession(id: string, options: RequestOptions): Promise<Result<null, StoreError>>;

  /**
   * Waits until anything below the prefix has changed after the revision, and answers with the new snapshot; at the
   * deadline it answers with the snapshot as it is. A watch wakes, it never acts. `signal` ends it early (`unavailable`).
   * Errors: unavailable, compacted, rejected.
   */
  watch(
    prefix: string,
    after: Revision,
    options: RequestOptions & { readonly signal?: AbortSignal },
  ): Promise<Result<Snapshot, StoreError>>;

  /** The shortest times that this store can keep, for the dynamic configuration's floors. Errors: unavailable, rejected. */
  limits(options: RequestOptions): Promise<Result<DynamicLimits, StoreError>>;

  /** Releases connections and timers. Sessions are left to their TTL. */
  close(): Promise<void>;
}
