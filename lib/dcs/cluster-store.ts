// Owns who is there in the DCS, and what a reading of the whole cluster is: lock, session, members, built once on store.ts, the same over
// every backend. What was agreed upon and asked for (config, failover, sync …) is `values` (cluster-values.ts).
// Decides nothing about HA and retries nothing, except the one second try after a session turned out to be gone.

import type { Clock } from "../model/clock.ts";
import type { Cluster, ClusterStatus, LeaseMark } from "../model/cluster.ts";
import type { DynamicLimits } from "../model/dynamic-config.ts";
import type { StoreError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import { ok, type Result } from "../model/result.ts";
import type { Ms, Revision } from "../model/units.ts";
import { ClusterDecoder } from "./cluster-decoder.ts";
import { ClusterValues } from "./cluster-values.ts";
import { type ClusterKeys, clusterKeys, memberKey } from "./keys.ts";
import { type HeldLock, type LockCompanions, LockKeeper } from "./lock-keeper.ts";
import { MemberKeeper } from "./member-keeper.ts";
import { type OpenSession, SessionKeeper } from "./session-keeper.ts";
import { moveSession } from "./session-move.ts";
import type { RenewSessionOptions, RequestOptions, SessionCheck, Snapshot, Store } from "./store.ts";

export type { HeldLock, LockCompanions } from "./lock-keeper.ts";
export type { OpenSession } from "./session-keeper.ts";

export interface ClusterStoreOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  /** Without slashes at the ends, e.g. `service`. */
  readonly namespace: string;
  readonly scope: string;
  /** MPP group; null outside MPP. */
  readonly group: number | null;
  /** This node's name. */
  readonly name: string;
  readonly ttl: Ms;
  /** Of a check that ends our session soon after this node fell silent (SessionCheck); default: none. */
  readonly sessionCheckTtl?: Ms | null;
  /** Shared by several clients of one cluster in one process, so that each value is read once; default: an own one. */
  readonly decoder?: ClusterDecoder;
}

/** Under which a check of a node's session is shown, before what the store asks of a name. */
export function supervisorService(scope: string): string {
  return `${scope}-supervisor`;
}

type Answer<T> = Promise<Result<T, StoreError>>;
type Consistency = "consistent" | "default" | "stale";

export class ClusterStore {
  readonly keys: ClusterKeys;
  /** The cluster's keys beside lock and members. */
  readonly values: ClusterValues;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #name: string;
  readonly #log: Log;
  readonly #check: (ttl: Ms | null) => SessionCheck | null;
  readonly #sessions: SessionKeeper;
  readonly #lock: LockKeeper;
  readonly #member: MemberKeeper;
  readonly #decoder: ClusterDecoder;
  #lastRead: Cluster | null = null;
  #reported: ReadonlySet<string> = new Set();

  constructor(options: ClusterStoreOptions) {
    const { store, clock, name } = options;
    this.keys = clusterKeys(options);
    this.#store = store;
    this.#clock = clock;
    this.#name = name;
    this.#log = options.log;
    const own = memberKey(this.keys, name);
    this.#check = (ttl) => (ttl === null ? null : { ttl, owner: own, service: supervisorService(options.scope) });
    const check = this.#check(options.sessionCheckTtl ?? null);
    this.#sessions = new SessionKeeper({ store, clock, name: `${options.scope}-${name}`, ttl: options.ttl, check });
    this.values = new ClusterValues({ store, keys: this.keys, sessions: this.#sessions });
    this.#member = new MemberKeeper({ store, sessions: this.#sessions, key: own, name });
    this.#lock = new LockKeeper({ store, clock, keys: this.keys, sessions: this.#sessions, member: this.#member, name });
    this.#decoder = options.decoder ?? new ClusterDecoder(this.keys);
  }

  /** Errors: unavailable, rejected. */
  async getCluster(options: RequestOptions & { readonly consistency?: Consistency }): Answer<Cluster> {
    const { deadline, consistency } = options;
    const read = await this.#store.snapshot(this.keys.prefix, consistency === undefined ? { deadline } : { deadline, consistency });
    return read.ok ? ok(this.#read(read.value)) : read;
  }

  /** Waits for a change after the revision; at the deadline the cluster as it is. Errors: unavailable (also when the signal ends it), compacted, rejected. */
  watchCluster(after: Revision, options: RequestOptions & { readonly signal?: AbortSignal }): Answer<Cluster> {
    return this.#store.watch(this.keys.prefix, after, options).then((woken) => (woken.ok ? ok(this.#read(woken.value)) : woken));
  }

  /** As watchCluster, for the holder's lease mark. `mark` is null where there is none. */
  watchLease(
    after: Revision,
    options: RequestOptions & { readonly signal?: AbortSignal },
  ): Answer<{ readonly mark: LeaseMark | null; readonly revision: Revision }> {
    return this.#store
      .watch(this.keys.leaseMark, after, options)
      .then((woken) => (woken.ok ? ok({ mark: this.#lock.readMark(woken.value), revision: woken.value.revision }) : woken));
  }

  /** The lease mark in a consistent read; null where there is none. Errors: unavailable, rejected. */
  async readLease(options: RequestOptions): Answer<LeaseMark | null> {
    const read = await this.#store.snapshot(this.keys.leaseMark, { deadline: options.deadline, consistency: "consistent" });
    return read.ok ? ok(this.#lock.readMark(read.value)) : read;
  }

  /** The shortest times that the store can keep. Errors: unavailable, rejected. */
  limits(options: RequestOptions): Answer<DynamicLimits> {
    return this.#store.limits(options);
  }

  session(): OpenSession | null {
    return this.#sessions.current;
  }

  /** The session is not as it was asked for last: reloadConfig replaces it. */
  get sessionOutdated(): boolean {
    return this.#sessions.outdated;
  }

  /** How many sessions were opened since the start; a change says that the member key has to be written again. */
  get sessionsOpened(): number {
    return this.#sessions.opened;
  }

  /** The current session, not confirmed anew; opened where there is none. Errors: unavailable, unknown-outcome, rejected. */
  ensureSession(options: RequestOptions): Answer<OpenSession> {
    return this.#sessions.ensure(options);
  }

  /** Errors: session-gone (also where there is none; it is then forgotten), unavailable, unknown-outcome, rejected. */
  renewSession(options: RequestOptions): Answer<OpenSession> {
    return this.#sessions.renew(options);
  }

  /** Renews exactly that session and makes it ours; never opens another. Errors as renewSession. */
  async adoptSession(id: string, options: RenewSessionOptions): Answer<OpenSession> {
    const adopted = await this.#sessions.adopt(id, options);
    if (adopted.ok) this.#lock.adopted(adopted.value);
    if (adopted.ok && this.#lastRead !== null) this.#lock.observe(this.#lastRead);
    return adopted;
  }

  /** Forgets the session here; in the store it is left to its TTL. */
  abandonSession(): void {
    this.#sessions.forget();
  }

  /** Ends the session with all its keys. Errors: unavailable, unknown-outcome, rejected. */
  closeSession(options: RequestOptions): Answer<null> {
    this.#member.forget();
    return this.#sessions.close(options);
  }

  /**
   * Renews our session (or opens one) and takes the lock with its lease mark. Taking again what is ours succeeds.
   * Errors: condition-failed where another session holds it; session-gone, unavailable, unknown-outcome, rejected.
   */
  attemptToAcquireLeader(options: RequestOptions & Pick<LockCompanions, "unfenced">): Answer<HeldLock> {
    return this.#lock.acquire(options);
  }

  /** The lock after a bootstrap, where nobody else can want it. As attemptToAcquireLeader. */
  takeLeader(options: RequestOptions): Answer<HeldLock> {
    return this.#lock.acquire(options);
  }

  /**
   * Renews our session, then in one transaction: checks that the leader key is ours, writes the lease mark and the companions.
   * Errors: condition-failed where the lock is not ours any more; session-gone; unavailable, unknown-outcome, rejected. Never opens a session.
   */
  updateLeader(options: RequestOptions & LockCompanions): Answer<HeldLock> {
    return this.#lock.confirm(options, { deadline: options.deadline });
  }

  /** Gives the lock up, with the last status in the same transaction. Errors: condition-failed where it is not ours; unavailable, unknown-outcome, rejected. */
  deleteLeader(options: RequestOptions & { readonly lock: HeldLock; readonly status?: ClusterStatus | null }): Answer<null> {
    return this.#lock.release(options.lock, { status: options.status ?? null }, { deadline: options.deadline });
  }

  /**
   * Publishes this member under our session (opened where there is none, or where it is gone); asks nothing when the same
   * text is there already. It does not renew the session. Errors: unavailable, unknown-outcome, rejected, condition-failed.
   */
  touchMember(fields: Readonly<Record<string, unknown>>, options: RequestOptions & { readonly force?: boolean }): Answer<Revision> {
    return this.#member.touch(fields, options.force === true, { deadline: options.deadline });
  }

  /** Errors: unavailable, unknown-outcome, rejected. */
  deleteMember(options: RequestOptions): Answer<null> {
    return this.#member.delete({ deadline: options.deadline });
  }

  /** Removes every key of the cluster. Errors: unavailable, unknown-outcome (some may be left), rejected. */
  async deleteCluster(options: RequestOptions): Answer<null> {
    const { deadline } = options;
    const deleted = await this.#store.delete(this.keys.prefix, { deadline, recursive: true });
    if (!deleted.ok) return deleted;
    this.#member.forget();
    for (const beside of [this.keys.leaseMark, this.keys.configHistory, this.keys.moved]) {
      const gone = await this.#store.delete(beside, { deadline });
      if (!gone.ok) return gone;
    }
    return this.#store.delete(this.keys.rollingRestart, { deadline });
  }

  /**
   * From now on sessions are opened and leases counted with this TTL, and with this check (left out: none); to be called in each cycle, as it asks nothing where nothing
   * is to be done. A session with another TTL or check is replaced: all its keys, the lock included, go over to the new one in one
   * transaction; where the TTL was lowered, not before the leases given out have run down to it (`pending` is then true and `session` the old one).
   * `lock` is the lock as confirmed by the move, else null. Errors: those of a session and a transaction; the old session then
   * stays, and the next call tries again; after an unknown outcome the next snapshot tells which session is ours.
   * Not at the same time as updateLeader or attemptToAcquireLeader.
   */
  async reloadConfig(
    options: RequestOptions & { readonly ttl: Ms; readonly sessionCheckTtl?: Ms | null },
  ): Answer<{ readonly session: OpenSession | null; readonly lock: HeldLock | null; readonly pending: boolean }> {
    this.#sessions.ttl = options.ttl;
    this.#sessions.check = this.#check(options.sessionCheckTtl ?? null);
    const old = this.#sessions.current;
    if (old === null || !this.#sessions.outdated) return ok({ session: old, lock: null, pending: false });
    const place = { store: this.#store, clock: this.#clock, sessions: this.#sessions, lock: this.#lock, log: this.#log, keys: this.keys };
    const moved = await moveSession(place, old, { deadline: options.deadline });
    this.#member.forget();
    return moved;
  }

  #read(snapshot: Snapshot): Cluster {
    const cluster = this.#decoder.cluster(snapshot);
    this.#sessions.observe(cluster, this.#name);
    if (cluster === this.#lastRead) return cluster;
    this.#lastRead = cluster;
    this.#lock.observe(cluster);
    this.#member.observe(cluster);
    if (cluster.faults.length > 0 || this.#reported.size > 0) this.#report(cluster.faults);
    return cluster;
  }

  /** Each fault once, for as long as it lasts. */
  #report(faults: readonly string[]): void {
    for (const fault of faults)
      if (!this.#reported.has(fault)) this.#log.warning(`a value in the DCS cannot be read and counts as absent: ${fault}`);
    this.#reported = new Set(faults);
  }
}
