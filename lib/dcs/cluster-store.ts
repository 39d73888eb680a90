// Owns what a leader, a member, a sync state … is in the DCS: built once on store.ts, the same over every backend.
// Decides nothing about HA and retries nothing, except the one second try after a session turned out to be gone.

import type { Clock } from "../model/clock.ts";
import type { Cluster, ClusterStatus, LeaseMark } from "../model/cluster.ts";
import type { DynamicLimits } from "../model/dynamic-config.ts";
import type { StoreError } from "../model/errors.ts";
import type { HistoryLine } from "../model/history.ts";
import type { Log } from "../model/log.ts";
import type { RestoreRequest } from "../model/restore.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { SyncState } from "../model/sync-state.ts";
import { type Lsn, type Ms, type Revision, revision } from "../model/units.ts";
import type { UpgradeRequest } from "../model/upgrade.ts";
import { ClusterDecoder } from "./cluster-decoder.ts";
import { decodeStatus } from "./decode.ts";
import { encodeFailover, encodeHistory, encodeJson, encodeRestore, encodeStatus, encodeSync, type FailoverValue } from "./encode.ts";
import { type ClusterKeys, clusterKeys, memberKey } from "./keys.ts";
import { type HeldLock, type LockCompanions, LockKeeper } from "./lock-keeper.ts";
import { MemberKeeper } from "./member-keeper.ts";
import { type OpenSession, SessionKeeper } from "./session-keeper.ts";
import { moveSession } from "./session-move.ts";
import type { Change, Condition, RenewSessionOptions, RequestOptions, SessionCheck, Snapshot, Store } from "./store.ts";
import { encodeUpgrade } from "./upgrade-value.ts";

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

/** For writes that only the lock holder may make: with its lock given they fail (condition-failed) once the lock is not ours. */
export interface WriteOptions extends RequestOptions {
  readonly lock?: HeldLock;
}

export class ClusterStore {
  readonly keys: ClusterKeys;
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
  /** Of the `initialize` key that we created and have not yet completed. */
  #initializing: Revision | null = null;

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

  /**
   * `createNew`: takes the right to bootstrap, condition-failed where the key exists; its text "" belongs to our session, so that
   * a bootstrapper that dies leaves nothing behind. Otherwise sets the identifier for good, no session's any more: over our own ""
   * alone where we created it, else whatever is there; with `lock`, over whatever is there as long as the leader key is ours (the
   * claim moves with our session, so its revision may not be the one that we wrote). Errors as put.
   */
  async initialize(options: WriteOptions & { readonly systemIdentifier: string; readonly createNew: boolean }): Answer<Revision> {
    const { deadline, systemIdentifier, createNew, lock } = options;
    const key = this.keys.initialize;
    if (createNew && systemIdentifier === "") {
      const session = await this.#sessions.ensure({ deadline });
      if (!session.ok) return session;
      const claimed = await this.#store.put(key, "", { deadline, condition: { kind: "absent" }, session: session.value.id });
      if (claimed.ok) this.#initializing = claimed.value;
      return claimed;
    }
    const condition: Condition = createNew ? { kind: "absent" } : lock === undefined ? conditionOf(this.#initializing) : { kind: "none" };
    const changes: readonly Change[] = [
      ...(lock === undefined ? [] : [{ kind: "check-owner" as const, key: this.keys.leader, session: lock.session }]),
      ...(createNew ? [] : [{ kind: "delete" as const, key, condition }]),
      { kind: "put", key, value: systemIdentifier, condition: createNew ? condition : { kind: "none" } },
    ];
    const written = await this.#store.transaction(changes, { deadline });
    if (!written.ok) return written;
    this.#initializing = null;
    return ok(written.value.at(-1) ?? revision(0));
  }

  /** Deletes the `initialize` key if it is still the "" that we wrote. Errors: condition-failed where not; unavailable, unknown-outcome, rejected. */
  async cancelInitialization(options: RequestOptions): Answer<null> {
    if (this.#initializing === null) return err({ kind: "condition-failed" });
    const deleted = await this.#store.delete(this.keys.initialize, {
      deadline: options.deadline,
      condition: { kind: "revision", revision: this.#initializing },
    });
    if (deleted.ok || deleted.error.kind === "condition-failed") this.#initializing = null;
    return deleted;
  }

  /** `expected` null: whatever is there. Errors: condition-failed where the revision is another; unavailable, unknown-outcome, rejected. */
  setConfigValue(data: Readonly<Record<string, unknown>>, expected: Revision | null, options: WriteOptions): Answer<Revision> {
    return this.#write(this.keys.config, encodeJson(data), conditionOf(expected), options);
  }

  /** `value` null: no request (`{}`). `expected` as in setConfigValue. */
  setFailoverValue(value: FailoverValue | null, expected: Revision | null, options: WriteOptions): Answer<Revision> {
    return this.#write(this.keys.failover, encodeFailover(value), conditionOf(expected), options);
  }

  /** `expected` null: only if the key is absent. The answer is the revision that the next change has to name. */
  setSyncStateValue(
    state: Pick<SyncState, "leader" | "standbys" | "quorum">,
    expected: Revision | null,
    options: WriteOptions,
  ): Answer<Revision> {
    return this.#write(this.keys.sync, encodeSync(state), over(expected), options);
  }

  /** Errors: condition-failed where the revision is another; unavailable, unknown-outcome, rejected. */
  deleteSyncState(expected: Revision, options: RequestOptions): Answer<null> {
    return this.#store.delete(this.keys.sync, { deadline: options.deadline, condition: { kind: "revision", revision: expected } });
  }

  /** `expected` null: only if there is none. Errors: condition-failed where it is another; unavailable, unknown-outcome, rejected. */
  setRestoreValue(value: Omit<RestoreRequest, "revision">, expected: Revision | null, options: WriteOptions): Answer<Revision> {
    return this.#write(this.keys.restore, encodeRestore(value), over(expected), options);
  }

  /** `expected` null: only if there is none. Errors: condition-failed where it is another; unavailable, unknown-outcome, rejected. */
  setUpgradeValue(value: Omit<UpgradeRequest, "revision">, expected: Revision | null, options: WriteOptions): Answer<Revision> {
    return this.#write(this.keys.upgrade, encodeUpgrade(value), over(expected), options);
  }

  setHistoryValue(lines: readonly HistoryLine[], options: WriteOptions): Answer<Revision> {
    return this.#write(this.keys.history, encodeHistory(lines), { kind: "none" }, options);
  }

  writeStatus(status: ClusterStatus, options: WriteOptions): Answer<Revision> {
    return this.#write(this.keys.status, encodeStatus(status), { kind: "none" }, options);
  }

  /** Writes the position alone into `status`; slots stay as they are. Errors: condition-failed where it changed meanwhile; as put. */
  async writeLeaderOptime(optime: Lsn, options: WriteOptions): Answer<Revision> {
    const read = await this.#store.snapshot(this.keys.status, { deadline: options.deadline, consistency: "consistent" });
    if (!read.ok) return read;
    const entry = read.value.entries.find(({ key }) => key === this.keys.status);
    if (entry === undefined) {
      return this.#write(this.keys.status, encodeStatus({ optime, slots: {}, retainSlots: [] }), { kind: "absent" }, options);
    }
    const condition: Condition = { kind: "revision", revision: entry.revision };
    return this.#write(this.keys.status, encodeStatus({ ...decodeStatus(entry).value, optime }), condition, options);
  }

  writeFailsafe(members: Readonly<Record<string, string>>, options: WriteOptions): Answer<Revision> {
    return this.#write(this.keys.failsafe, encodeJson(members), { kind: "none" }, options);
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

  /** One put, in a transaction with the check of the lock where the caller holds it. */
  async #write(key: string, text: string, condition: Condition, options: WriteOptions): Answer<Revision> {
    if (options.lock === undefined) return this.#store.put(key, text, { deadline: options.deadline, condition });
    const changes: readonly Change[] = [
      { kind: "check-owner", key: this.keys.leader, session: options.lock.session },
      { kind: "put", key, value: text, condition },
    ];
    const applied = await this.#store.transaction(changes, { deadline: options.deadline });
    return applied.ok ? ok(applied.value[1] ?? revision(0)) : applied;
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

function conditionOf(expected: Revision | null): Condition {
  return expected === null ? { kind: "none" } : { kind: "revision", revision: expected };
}

/** Over what was seen, or where nothing was. */
function over(expected: Revision | null): Condition {
  return expected === null ? { kind: "absent" } : { kind: "revision", revision: expected };
}
