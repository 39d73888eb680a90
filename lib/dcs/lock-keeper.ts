// Owns the leader key and the lease mark (docs/adr/0002): taking, confirming and giving up the lock, each in one
// transaction. Retries nothing but the one second try of an acquisition whose session turned out to be gone.

import type { Clock } from "../model/clock.ts";
import type { Cluster, ClusterStatus, LeaseMark, UnfencedPrimary } from "../model/cluster.ts";
import type { StoreError } from "../model/errors.ts";
import type { HistoryLine } from "../model/history.ts";
import { ok, type Result } from "../model/result.ts";
import { type Ms, ms, type Revision, revision, type Timeline } from "../model/units.ts";
import { encodeHistory, encodeJson, encodeLeaseMark, encodeStatus } from "./encode.ts";
import type { ClusterKeys } from "./keys.ts";
import type { MemberKeeper } from "./member-keeper.ts";
import { readLeaseMark } from "./quick-read.ts";
import type { OpenSession, SessionKeeper } from "./session-keeper.ts";
import type { Change, Condition, Entry, RequestOptions, Snapshot, Store } from "./store.ts";

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
  /** How the timelines came about: published no later than the first position on the newest. */
  readonly history?: readonly HistoryLine[] | null;
  /** This primary's timeline, where its history is published before or along with this; else the mark keeps what it said. */
  readonly timeline?: Timeline | null;
  /** Whether the mark says that nothing fences this primary; absent: as the last mark of this session said. */
  readonly unfenced?: UnfencedPrimary | null;
  /** This node's member record, as for touchMember. */
  readonly member?: Readonly<Record<string, unknown>> | null;
}

export interface LockKeeperOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly keys: ClusterKeys;
  readonly sessions: SessionKeeper;
  readonly member: MemberKeeper;
  /** This node's name: the leader key's value. */
  readonly name: string;
}

type MarkWords = Pick<LeaseMark, "timeline" | "unfenced">;

export class LockKeeper {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #keys: ClusterKeys;
  readonly #sessions: SessionKeeper;
  readonly #member: MemberKeeper;
  readonly #name: string;
  #cycle = 0;
  /** This run has written the mark before. */
  #marked = false;
  /** Of the mark as we wrote it last; null where it is not certain. */
  #markRevision: Revision | null = null;
  /** What the last mark said that was read or written. */
  #said: MarkWords & { readonly session: string } = { session: "", timeline: null, unfenced: null };
  /** No lease that was given out, by this run or the one whose session it adopted, lasts longer. */
  #leaseLimit: Ms = ms(0);
  /** Our leader key as last seen or written. */
  #seen: { readonly session: string; readonly revision: Revision } | null = null;

  constructor(options: LockKeeperOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#keys = options.keys;
    this.#sessions = options.sessions;
    this.#member = options.member;
    this.#name = options.name;
  }

  get leaseLimit(): Ms {
    return this.#leaseLimit;
  }

  /** An earlier run of this node may have counted a lease with this session. */
  adopted(session: OpenSession): void {
    this.#leaseLimit = ms(Math.max(this.#leaseLimit, session.confirmedAt + session.promisedMs));
  }

  /** Takes note of the leader key in a snapshot. */
  observe(cluster: Cluster): void {
    const { leader } = cluster;
    if (leader?.session != null && leader.session === this.#sessions.current?.id) {
      this.#seen = { session: leader.session, revision: leader.revision };
    }
  }

  /**
   * The mark in a snapshot, and takes note of it: the next holder's first one says what the last one said, until it has published
   * a timeline of its own.
   */
  readMark(snapshot: Snapshot): LeaseMark | null {
    const entry = snapshot.entries.find(({ key }) => key === this.#keys.leaseMark);
    if (entry !== undefined && (this.#markRevision === null || entry.revision > this.#markRevision)) this.#markRevision = entry.revision;
    const mark = entry === undefined ? null : readLeaseMark(entry);
    if (mark !== null) this.#said = mark;
    return mark;
  }

  /** Errors: condition-failed where another session holds the lock; session-gone, unavailable, unknown-outcome, rejected. */
  async acquire(options: RequestOptions & Pick<LockCompanions, "unfenced">): Promise<Result<HeldLock, StoreError>> {
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
    // The mark of an adopted session is another run's: what it says goes on from here, so it is read before it is replaced.
    if (!this.#marked) this.#markRevision = null;
    const confirmed = await this.#onMark(session.id, options, (mark) => this.#confirm(session, companions, mark, options));
    if (!confirmed.ok && confirmed.error.kind === "session-gone") this.#sessions.forget(session.id);
    return confirmed;
  }

  /** Errors: condition-failed where that session does not hold the lock any more; unavailable, unknown-outcome, rejected. */
  async release(lock: HeldLock, companions: LockCompanions, options: RequestOptions): Promise<Result<null, StoreError>> {
    return await this.#onMark(lock.session, options, (mark) => this.#release(lock, companions, mark, options));
  }

  /** With the mark as we know it; where it was changed by somebody, or by a request of ours whose answer was lost, once more as it is. */
  async #onMark<T>(
    session: string,
    options: RequestOptions,
    write: (mark: Condition) => Promise<Result<T, StoreError>>,
  ): Promise<Result<T, StoreError>> {
    const known = this.#markRevision;
    const first = known === null ? null : await write({ kind: "revision", revision: known });
    if (first !== null && (first.ok || first.error.kind !== "condition-failed")) return first;
    this.#markRevision = null;
    const mark = await this.markCondition(options);
    if (!mark.ok) return mark;
    // Another holder's mark: the lock was lost, not the sight of our own mark.
    if (first !== null && mark.value.kind === "revision" && this.#said.session !== session) return first;
    return await write(mark.value);
  }

  /**
   * Holds only as long as the mark is the one that we know. A request that is applied late, after its caller gave up and went on
   * under the same session, would otherwise take a lock away that has been confirmed since, or say of the fencing and the timeline
   * what was so before. Errors: unavailable, rejected.
   */
  async markCondition(options: RequestOptions): Promise<Result<Condition, StoreError>> {
    if (this.#markRevision !== null) return ok({ kind: "revision", revision: this.#markRevision });
    const read = await this.#store.snapshot(this.#keys.leaseMark, { deadline: options.deadline, consistency: "consistent" });
    if (!read.ok) return read;
    this.readMark(read.value);
    const mark = read.value.entries.find(({ key }) => key === this.#keys.leaseMark);
    return ok(mark === undefined ? { kind: "absent" } : { kind: "revision", revision: mark.revision });
  }

  /** The changes that hand leader key and mark from one session of ours to another; the second one writes the leader key. */
  moveChanges(leader: Pick<Entry, "revision" | "session">, to: OpenSession, mark: Condition): readonly Change[] {
    return [
      { kind: "delete", key: this.#keys.leader, condition: { kind: "revision", revision: leader.revision } },
      { kind: "put", key: this.#keys.leader, value: this.#name, session: to.id },
      this.#markPut(to, "held", mark, this.#words(leader.session ?? "", {})),
    ];
  }

  /** What became of those changes: null where that is not known. */
  moved(from: string, lock: HeldLock | null): void {
    this.#markRevision = null;
    if (lock === null) return;
    this.#said = { session: lock.session, ...this.#words(from, {}) };
    this.#seen = { session: lock.session, revision: lock.revision };
  }

  /** Counts with the wanted ttl, or check, where the session promises more, so that a lowered ttl holds from the next confirmation on. */
  held(session: OpenSession, leaderRevision: Revision): HeldLock {
    const promisedMs = ms(Math.min(session.promisedMs, this.#sessions.longestLease));
    this.#leaseLimit = ms(Math.max(this.#leaseLimit, session.confirmedAt + promisedMs));
    return { session: session.id, revision: leaderRevision, confirmedAt: session.confirmedAt, promisedMs };
  }

  /**
   * The current session, renewed where a third of its time is over, or a new one. A race is won by milliseconds, and a lease that
   * counts from the last renewal is only shorter, never longer; the next confirmation renews.
   */
  async #freshlyConfirmed(options: RequestOptions): Promise<Result<OpenSession, StoreError>> {
    const current = this.#sessions.current;
    if (current === null) return this.#sessions.ensure(options);
    if (this.#clock.now() - current.confirmedAt < current.promisedMs / 3) return ok(current);
    const renewed = await this.#sessions.renew(options);
    if (renewed.ok || renewed.error.kind !== "session-gone") return renewed;
    return this.#sessions.ensure(options);
  }

  async #take(session: OpenSession, options: RequestOptions & Pick<LockCompanions, "unfenced">): Promise<Result<HeldLock, StoreError>> {
    const words = this.#words(session.id, { unfenced: options.unfenced ?? null });
    const changes = (mark: Condition): readonly Change[] => [
      { kind: "put", key: this.#keys.leader, value: this.#name, session: session.id },
      ...this.#markChanges(session, mark, words),
    ];
    // Who races has just read the mark. Where it has changed since, the leader key alone says who may take it: a race is not lost over that.
    const known = this.#markRevision;
    const first = known === null ? null : await this.#transact(changes({ kind: "revision", revision: known }), options);
    const again = first === null || (!first.ok && first.error.kind === "condition-failed");
    if (again) this.#markRevision = null;
    const applied = again ? await this.#transact(changes({ kind: "none" }), options) : first;
    if (!applied.ok) return applied;
    this.#seen = { session: session.id, revision: applied.value[0] ?? revision(0) };
    this.#said = { session: session.id, ...words };
    return ok(this.held(session, this.#seen.revision));
  }

  async #confirm(
    session: OpenSession,
    companions: LockCompanions,
    mark: Condition,
    options: RequestOptions,
  ): Promise<Result<HeldLock, StoreError>> {
    const words = this.#words(session.id, companions);
    const member = companions.member == null ? null : this.#member.plan(companions.member, session);
    const changes: Change[] = [
      { kind: "check-owner", key: this.#keys.leader, session: session.id },
      ...this.#markChanges(session, mark, words),
      ...this.#companionChanges(companions),
      ...(member?.changes ?? []),
    ];
    const applied = await this.#transact(changes, options);
    if (!applied.ok) return applied;
    member?.done(applied.value.at(-1) ?? revision(0));
    this.#said = { session: session.id, ...words };
    return ok(this.held(session, this.#seen?.session === session.id ? this.#seen.revision : revision(0)));
  }

  async #release(lock: HeldLock, companions: LockCompanions, mark: Condition, options: RequestOptions): Promise<Result<null, StoreError>> {
    const applied = await this.#transact(
      [
        { kind: "check-owner", key: this.#keys.leader, session: lock.session },
        this.#markPut({ id: lock.session, promisedMs: lock.promisedMs }, "released", mark, this.#words(lock.session, { unfenced: null })),
        ...this.#companionChanges(companions),
        { kind: "delete", key: this.#keys.leader },
      ],
      options,
    );
    return applied.ok ? ok(null) : applied;
  }

  /** What the next mark says: the timeline goes on from holder to holder, the fencing within a session. */
  #words(session: string, next: Pick<LockCompanions, "timeline" | "unfenced">): MarkWords {
    const said = this.#said;
    const before = said.session === session ? said.unfenced : null;
    return { timeline: next.timeline ?? said.timeline, unfenced: next.unfenced === undefined ? before : next.unfenced };
  }

  /** A transaction that writes the mark, and what is known of the mark afterwards. */
  async #transact(changes: readonly Change[], options: RequestOptions): Promise<Result<readonly Revision[], StoreError>> {
    const applied = await this.#store.transaction(changes, options);
    if (applied.ok) {
      this.#marked = true;
      const index = changes.findIndex((change) => change.kind === "put" && change.key === this.#keys.leaseMark);
      this.#markRevision = applied.value[index] ?? null;
    } else if (applied.error.kind === "unknown-outcome") this.#markRevision = null;
    return applied;
  }

  #companionChanges({ status, failsafe, history }: LockCompanions): readonly Change[] {
    const changes: Change[] = [];
    if (history != null) changes.push({ kind: "put", key: this.#keys.history, value: encodeHistory(history) });
    if (status != null) changes.push({ kind: "put", key: this.#keys.status, value: encodeStatus(status) });
    if (failsafe != null) changes.push({ kind: "put", key: this.#keys.failsafe, value: encodeJson(failsafe) });
    return changes;
  }

  /**
   * Rewrites the mark so that its revision moves in every store, also where the same text twice is no change: a mark that stands
   * still says that the lease has ended. `cycle` differs at each writing of this run; the first one also replaces the key, as an
   * earlier run of this node may have written that very text under the session that we adopted.
   */
  #markChanges(session: OpenSession, mark: Condition, words: MarkWords): readonly Change[] {
    if (this.#marked || mark.kind === "absent") return [this.#markPut(session, "held", mark, words)];
    return [{ kind: "delete", key: this.#keys.leaseMark, condition: mark }, this.#markPut(session, "held", { kind: "none" }, words)];
  }

  /**
   * Its ttl is the whole of what the store promises for the session, also where a part of it is over: a request that is applied
   * late, after the session was renewed, would otherwise tell candidates of a lease shorter than the one that is counted.
   */
  #markPut(session: Pick<OpenSession, "id" | "promisedMs">, state: "held" | "released", condition: Condition, words: MarkWords): Change {
    this.#cycle++;
    const mark = { session: session.id, ttl: session.promisedMs, released: state === "released", ...words };
    return { kind: "put", key: this.#keys.leaseMark, value: encodeLeaseMark(mark, this.#cycle), condition };
  }
}
