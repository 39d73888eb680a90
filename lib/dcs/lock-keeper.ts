// Owns the leader key and the lease mark (docs/adr/0002): taking, confirming and giving up the lock, each in one
// transaction. Retries nothing but the one second try of an acquisition whose session turned out to be gone.

import type { Cluster, ClusterStatus } from "../model/cluster.ts";
import type { StoreError } from "../model/errors.ts";
import { ok, type Result } from "../model/result.ts";
import { type Ms, type Revision, revision } from "../model/units.ts";
import { encodeJson, encodeLeaseMark, encodeStatus } from "./encode.ts";
import type { ClusterKeys } from "./keys.ts";
import type { MemberKeeper } from "./member-keeper.ts";
import type { OpenSession, SessionKeeper } from "./session-keeper.ts";
import type { Change, RequestOptions, Store } from "./store.ts";

/** The lock as held by this node after a successful acquire or update. */
export interface HeldLock {
  readonly session: string;
  /** Of the leader key; 0 where it is not known yet (a lock confirmed after an adoption, before the first snapshot). */
  readonly revision: Revision;
  /** Boot-time instant before the first request of this confirmation was sent: the lease counts from here. */
  readonly confirmedAt: Ms;
  readonly promisedMs: Ms;
}

/** What the holder writes along with the confirmation; absent or null leaves the key as it is. */
export interface LockCompanions {
  readonly status?: ClusterStatus | null;
  readonly failsafe?: Readonly<Record<string, string>> | null;
  /** This node's member record, as for touchMember. */
  readonly member?: Readonly<Record<string, unknown>> | null;
}

export interface LockKeeperOptions {
  readonly store: Store;
  readonly keys: ClusterKeys;
  readonly sessions: SessionKeeper;
  readonly member: MemberKeeper;
  /** This node's name: the leader key's value. */
  readonly name: string;
}

export class LockKeeper {
  readonly #store: Store;
  readonly #keys: ClusterKeys;
  readonly #sessions: SessionKeeper;
  readonly #member: MemberKeeper;
  readonly #name: string;
  #cycle = 0;
  /** This run has written the mark before. */
  #marked = false;
  /** Our leader key as last seen or written. */
  #seen: { readonly session: string; readonly revision: Revision } | null = null;

  constructor(options: LockKeeperOptions) {
    this.#store = options.store;
    this.#keys = options.keys;
    this.#sessions = options.sessions;
    this.#member = options.member;
    this.#name = options.name;
  }

  /** Takes note of the leader key in a snapshot. */
  observe(cluster: Cluster): void {
    const { leader } = cluster;
    if (leader?.session != null && leader.session === this.#sessions.current?.id) {
      this.#seen = { session: leader.session, revision: leader.revision };
    }
  }

  /** Errors: condition-failed where another session holds the lock; session-gone, unavailable, unknown-outcome, rejected. */
  async acquire(options: RequestOptions): Promise<Result<HeldLock, StoreError>> {
    const fresh = this.#sessions.current === null;
    const session = await this.#freshlyConfirmed(options);
    if (!session.ok) return session;
    const taken = await this.#take(session.value, options);
    if (taken.ok || taken.error.kind !== "session-gone") return taken;
    this.#sessions.forget(session.value.id);
    if (fresh) return taken;
    const another = await this.#sessions.ensure(options);
    return another.ok ? this.#take(another.value, options) : another;
  }

  /** Errors: condition-failed where the lock is not ours any more; session-gone, unavailable, unknown-outcome, rejected. Never opens a session. */
  async confirm(companions: LockCompanions, options: RequestOptions): Promise<Result<HeldLock, StoreError>> {
    const renewed = await this.#sessions.renew(options);
    if (!renewed.ok) return renewed;
    const session = renewed.value;
    const member = companions.member == null ? null : this.#member.plan(companions.member, session);
    const changes: Change[] = [
      { kind: "check-owner", key: this.#keys.leader, session: session.id },
      ...this.#markChanges(session, "held"),
      ...this.#companionChanges(companions),
      ...(member?.changes ?? []),
    ];
    const applied = await this.#store.transaction(changes, options);
    if (applied.ok) {
      this.#marked = true;
      member?.done(applied.value.at(-1) ?? revision(0));
      return ok(held(session, this.#seen?.session === session.id ? this.#seen.revision : revision(0)));
    }
    if (applied.error.kind === "session-gone") this.#sessions.forget(session.id);
    return applied;
  }

  /** Errors: condition-failed where that session does not hold the lock any more; unavailable, unknown-outcome, rejected. */
  async release(lock: HeldLock, companions: LockCompanions, options: RequestOptions): Promise<Result<null, StoreError>> {
    const applied = await this.#store.transaction(
      [
        { kind: "check-owner", key: this.#keys.leader, session: lock.session },
        ...this.#companionChanges(companions),
        { kind: "delete", key: this.#keys.leader },
        ...this.#markChanges({ id: lock.session, promisedMs: lock.promisedMs }, "released"),
      ],
      options,
    );
    return applied.ok ? ok(null) : applied;
  }

  /** The changes that hand leader key and mark from one session of ours to another. */
  moveChanges(leader: { readonly revision: Revision }, to: OpenSession): readonly Change[] {
    return [
      { kind: "delete", key: this.#keys.leader, condition: { kind: "revision", revision: leader.revision } },
      ...this.#takeChanges(to),
    ];
  }

  /** Those changes were applied. */
  moved(lock: HeldLock): void {
    this.#marked = true;
    this.#seen = { session: lock.session, revision: lock.revision };
  }

  /** A session that was confirmed within this call: the current one renewed, or a new one. */
  async #freshlyConfirmed(options: RequestOptions): Promise<Result<OpenSession, StoreError>> {
    if (this.#sessions.current === null) return this.#sessions.ensure(options);
    const renewed = await this.#sessions.renew(options);
    if (renewed.ok || renewed.error.kind !== "session-gone") return renewed;
    return this.#sessions.ensure(options);
  }

  async #take(session: OpenSession, options: RequestOptions): Promise<Result<HeldLock, StoreError>> {
    const applied = await this.#store.transaction(this.#takeChanges(session), options);
    if (!applied.ok) return applied;
    this.#marked = true;
    this.#seen = { session: session.id, revision: applied.value[0] ?? revision(0) };
    return ok(held(session, this.#seen.revision));
  }

  #takeChanges(session: OpenSession): readonly Change[] {
    return [{ kind: "put", key: this.#keys.leader, value: this.#name, session: session.id }, ...this.#markChanges(session, "held")];
  }

  #companionChanges({ status, failsafe }: LockCompanions): readonly Change[] {
    const changes: Change[] = [];
    if (status != null) changes.push({ kind: "put", key: this.#keys.status, value: encodeStatus(status) });
    if (failsafe != null) changes.push({ kind: "put", key: this.#keys.failsafe, value: encodeJson(failsafe) });
    return changes;
  }

  /**
   * Rewrites the mark so that its revision moves in every store, also where the same text twice is no change: a mark that stands
   * still says that the lease has ended. `cycle` differs at each writing of this run; the first one also replaces the key, as an
   * earlier run of this node may have written that very text under the session that we adopted.
   * Its ttl is what the store promises for the session: no lease counted with this confirmation lasts longer.
   */
  #markChanges(session: Pick<OpenSession, "id" | "promisedMs">, state: "held" | "released"): readonly Change[] {
    this.#cycle++;
    const mark = { session: session.id, ttl: session.promisedMs, released: state === "released" };
    const put: Change = { kind: "put", key: this.#keys.leaseMark, value: encodeLeaseMark(mark, this.#cycle) };
    return this.#marked ? [put] : [{ kind: "delete", key: this.#keys.leaseMark }, put];
  }
}

function held(session: OpenSession, leaderRevision: Revision): HeldLock {
  return { session: session.id, revision: leaderRevision, confirmedAt: session.confirmedAt, promisedMs: session.promisedMs };
}
