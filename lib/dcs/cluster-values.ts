// Owns the keys of a cluster that say what was agreed upon or asked for: initialize, config, failover, sync, restore, upgrade, history,
// status, failsafe. Each is one write under a condition, with the check of the lock where the caller holds it. Who is there (lock,
// session, members) is in cluster-store.ts. Retries nothing.

import type { ClusterStatus } from "../model/cluster.ts";
import type { StoreError } from "../model/errors.ts";
import type { HistoryLine } from "../model/history.ts";
import type { RestoreRequest } from "../model/restore.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { SyncState } from "../model/sync-state.ts";
import { type Lsn, type Revision, revision } from "../model/units.ts";
import type { UpgradeRequest } from "../model/upgrade.ts";
import { decodeStatus } from "./decode.ts";
import { encodeFailover, encodeHistory, encodeJson, encodeRestore, encodeStatus, encodeSync, type FailoverValue } from "./encode.ts";
import type { ClusterKeys } from "./keys.ts";
import type { HeldLock } from "./lock-keeper.ts";
import type { SessionKeeper } from "./session-keeper.ts";
import type { Change, Condition, RequestOptions, Store } from "./store.ts";
import { encodeUpgrade, upgradeFault } from "./upgrade-value.ts";

type Answer<T> = Promise<Result<T, StoreError>>;

/** For writes that only the lock holder may make: with its lock given they fail (condition-failed) once the lock is not ours. */
export interface WriteOptions extends RequestOptions {
  readonly lock?: HeldLock;
}

export interface ClusterValuesOptions {
  readonly store: Store;
  readonly keys: ClusterKeys;
  /** The right to bootstrap belongs to this node's session. */
  readonly sessions: SessionKeeper;
}

export class ClusterValues {
  readonly #store: Store;
  readonly #keys: ClusterKeys;
  readonly #sessions: SessionKeeper;
  /** Of the `initialize` key that we created and have not yet completed. */
  #initializing: Revision | null = null;

  constructor({ store, keys, sessions }: ClusterValuesOptions) {
    this.#store = store;
    this.#keys = keys;
    this.#sessions = sessions;
  }

  /**
   * `createNew`: takes the right to bootstrap, condition-failed where the key exists; its text "" belongs to our session, so that
   * a bootstrapper that dies leaves nothing behind. Otherwise sets the identifier for good, no session's any more: over our own ""
   * alone where we created it, else whatever is there; with `lock`, over whatever is there as long as the leader key is ours (the
   * claim moves with our session, so its revision may not be the one that we wrote). Errors as put.
   */
  async initialize(options: WriteOptions & { readonly systemIdentifier: string; readonly createNew: boolean }): Answer<Revision> {
    const { deadline, systemIdentifier, createNew, lock } = options;
    const key = this.#keys.initialize;
    if (createNew && systemIdentifier === "") {
      const session = await this.#sessions.ensure({ deadline });
      if (!session.ok) return session;
      const claimed = await this.#store.put(key, "", { deadline, condition: { kind: "absent" }, session: session.value.id });
      if (claimed.ok) this.#initializing = claimed.value;
      return claimed;
    }
    const condition: Condition = createNew ? { kind: "absent" } : lock === undefined ? conditionOf(this.#initializing) : { kind: "none" };
    const changes: readonly Change[] = [
      ...(lock === undefined ? [] : [{ kind: "check-owner" as const, key: this.#keys.leader, session: lock.session }]),
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
    const deleted = await this.#store.delete(this.#keys.initialize, {
      deadline: options.deadline,
      condition: { kind: "revision", revision: this.#initializing },
    });
    if (deleted.ok || deleted.error.kind === "condition-failed") this.#initializing = null;
    return deleted;
  }

  /** `expected` null: whatever is there. Errors: condition-failed where the revision is another; unavailable, unknown-outcome, rejected. */
  setConfigValue(data: Readonly<Record<string, unknown>>, expected: Revision | null, options: WriteOptions): Answer<Revision> {
    return this.#write(this.#keys.config, encodeJson(data), conditionOf(expected), options);
  }

  /** `value` null: no request (`{}`). `expected` as in setConfigValue. */
  setFailoverValue(value: FailoverValue | null, expected: Revision | null, options: WriteOptions): Answer<Revision> {
    return this.#write(this.#keys.failover, encodeFailover(value), conditionOf(expected), options);
  }

  /**
   * `expected` null: only if the key is absent. The answer is the revision that the next change has to name. `anew`: that has to be another one
   * although the state is the same, and Consul gives none to the text that is there; readers, Patroni too, pass over what tells them apart.
   */
  setSyncStateValue(
    state: Pick<SyncState, "leader" | "standbys" | "quorum">,
    expected: Revision | null,
    options: WriteOptions & { readonly anew?: true },
  ): Answer<Revision> {
    return this.#write(this.#keys.sync, encodeSync(state, options.anew === true ? (expected ?? 0) : undefined), over(expected), options);
  }

  /** Errors: condition-failed where the revision is another; unavailable, unknown-outcome, rejected. */
  deleteSyncState(expected: Revision, options: RequestOptions): Answer<null> {
    return this.#store.delete(this.#keys.sync, { deadline: options.deadline, condition: { kind: "revision", revision: expected } });
  }

  /** `expected` null: only if there is none. Errors: condition-failed where it is another; unavailable, unknown-outcome, rejected. */
  setRestoreValue(value: Omit<RestoreRequest, "revision">, expected: Revision | null, options: WriteOptions): Answer<Revision> {
    return this.#write(this.#keys.restore, encodeRestore(value), over(expected), options);
  }

  /** As setRestoreValue; rejected also where nobody could read it again: nothing is written then. */
  async setUpgradeValue(value: Omit<UpgradeRequest, "revision">, expected: Revision | null, options: WriteOptions): Answer<Revision> {
    const fault = upgradeFault(value);
    if (fault !== null) return err({ kind: "rejected", reason: fault });
    return await this.#write(this.#keys.upgrade, encodeUpgrade(value), over(expected), options);
  }

  setHistoryValue(lines: readonly HistoryLine[], options: WriteOptions): Answer<Revision> {
    return this.#write(this.#keys.history, encodeHistory(lines), { kind: "none" }, options);
  }

  writeStatus(status: ClusterStatus, options: WriteOptions): Answer<Revision> {
    return this.#write(this.#keys.status, encodeStatus(status), { kind: "none" }, options);
  }

  /** Writes the position alone into `status`; slots stay as they are. Errors: condition-failed where it changed meanwhile; as put. */
  async writeLeaderOptime(optime: Lsn, options: WriteOptions): Answer<Revision> {
    const read = await this.#store.snapshot(this.#keys.status, { deadline: options.deadline, consistency: "consistent" });
    if (!read.ok) return read;
    const entry = read.value.entries.find(({ key }) => key === this.#keys.status);
    if (entry === undefined) {
      return this.#write(this.#keys.status, encodeStatus({ optime, slots: {}, retainSlots: [] }), { kind: "absent" }, options);
    }
    const condition: Condition = { kind: "revision", revision: entry.revision };
    return this.#write(this.#keys.status, encodeStatus({ ...decodeStatus(entry).value, optime }), condition, options);
  }

  writeFailsafe(members: Readonly<Record<string, string>>, options: WriteOptions): Answer<Revision> {
    return this.#write(this.#keys.failsafe, encodeJson(members), { kind: "none" }, options);
  }

  /** One put, in a transaction with the check of the lock where the caller holds it. */
  async #write(key: string, text: string, condition: Condition, options: WriteOptions): Answer<Revision> {
    if (options.lock === undefined) return this.#store.put(key, text, { deadline: options.deadline, condition });
    const changes: readonly Change[] = [
      { kind: "check-owner", key: this.#keys.leader, session: options.lock.session },
      { kind: "put", key, value: text, condition },
    ];
    const applied = await this.#store.transaction(changes, { deadline: options.deadline });
    return applied.ok ? ok(applied.value[1] ?? revision(0)) : applied;
  }
}

function conditionOf(expected: Revision | null): Condition {
  return expected === null ? { kind: "none" } : { kind: "revision", revision: expected };
}

/** Over what was seen, or where nothing was. */
function over(expected: Revision | null): Condition {
  return expected === null ? { kind: "absent" } : { kind: "revision", revision: expected };
}
