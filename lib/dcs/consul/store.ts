// Owns the store over Consul: each method is one HTTP request (exceptions are named), each failure one StoreError.
// Retries nothing and knows no cluster. Source: Consul's HTTP API documentation, checked against Consul 1.8.7.

import type { Clock } from "../../model/clock.ts";
import type { DynamicLimits } from "../../model/dynamic-config.ts";
import type { StoreError } from "../../model/errors.ts";
import type { Log } from "../../model/log.ts";
import type { ConsulConfig } from "../../model/node-config.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Ms, ms, type Revision } from "../../model/units.ts";
import type {
  Change,
  Condition,
  OpenSessionOptions,
  PutOptions,
  RenewSessionOptions,
  RequestOptions,
  Session,
  Snapshot,
  Store,
} from "../store.ts";
import { noAnswerError, parseJson, readBoolean, saysSessionGone, statusError, TxnAnswer, unreadable } from "./answers.ts";
import { ConsulHttp } from "./http.ts";
import { keyPath, prefixQuery, readSnapshot } from "./paths.ts";
import { ConsulSessions } from "./session.ts";
import { checkSize, onlyLockDelay, readErrors, readRevisions, TXN_BODY_MAX_BYTES, transactionBody } from "./transaction.ts";
import { ConsulWatch } from "./watch.ts";

/** Our sessions have a lock-delay of 1 ms; one of another program (15 s by default) is not waited for. */
const LOCK_DELAY_PAUSE_MS = 2;
const LOCK_DELAY_ATTEMPTS = 5;

export interface ConsulStoreOptions {
  readonly config: ConsulConfig;
  readonly clock: Clock;
  readonly log: Log;
}

export class ConsulStore implements Store {
  readonly kind = "consul";
  readonly #clock: Clock;
  readonly #http: ConsulHttp;
  readonly #sessions: ConsulSessions;
  readonly #watch: ConsulWatch;

  /** Throws Error where a certificate file of the section cannot be read. */
  constructor(options: ConsulStoreOptions) {
    this.#clock = options.clock;
    this.#http = new ConsulHttp(options.config, options.clock);
    this.#sessions = new ConsulSessions(this.#http, options.clock, options.log);
    this.#watch = new ConsulWatch(this.#http, options.clock);
  }

  /** Takes over a changed `consul` section; sessions stay as they are. Throws as the constructor does, and then keeps the old one. */
  reconfigure(config: ConsulConfig): void {
    this.#http.reconfigure(config);
  }

  async snapshot(
    prefix: string,
    options: RequestOptions & { readonly consistency?: "consistent" | "default" | "stale" },
  ): Promise<Result<Snapshot, StoreError>> {
    const query = { ...prefixQuery(this.#http.config, options.consistency), recurse: "" };
    const answer = await this.#http.request({ method: "GET", path: keyPath(prefix), query, deadline: options.deadline });
    if (!answer.ok) return err(noAnswerError(answer.error, "read"));
    const snapshot = readSnapshot(answer.value);
    if (snapshot.ok) this.#watch.note(prefix, snapshot.value);
    return snapshot;
  }

  /** A value so large that no transaction holds it costs a second request, which reads the revision. */
  async put(key: string, value: string, options: PutOptions): Promise<Result<Revision, StoreError>> {
    const change: Change = {
      kind: "put",
      key,
      value,
      ...(options.condition === undefined ? {} : { condition: options.condition }),
      ...(options.session === undefined ? {} : { session: options.session }),
    };
    const body = transactionBody([change]);
    if (body.length > TXN_BODY_MAX_BYTES) return this.#putLarge(key, value, options);
    const done = await this.#commit([change], body, options.deadline);
    return done.ok ? ok(done.value[0] as Revision) : done;
  }

  async delete(
    key: string,
    options: RequestOptions & { readonly condition?: Condition; readonly recursive?: boolean },
  ): Promise<Result<null, StoreError>> {
    const { condition, deadline } = options;
    if (options.recursive === true) {
      if (condition !== undefined && condition.kind !== "none") {
        return err({ kind: "rejected", reason: "a recursive delete takes no condition" });
      }
      return this.#deleteTree(key, deadline);
    }
    const done = await this.transaction([{ kind: "delete", key, ...(condition === undefined ? {} : { condition }) }], { deadline });
    return done.ok ? ok(null) : done;
  }

  async transaction(changes: readonly Change[], options: RequestOptions): Promise<Result<readonly Revision[], StoreError>> {
    const size = checkSize(changes);
    if (!size.ok) return size;
    if (changes.length === 0) return ok([]);
    return this.#commit(changes, transactionBody(changes), options.deadline);
  }

  openSession(options: OpenSessionOptions): Promise<Result<Session, StoreError>> {
    return this.#sessions.open(options);
  }

  renewSession(id: string, options: RenewSessionOptions): Promise<Result<Session, StoreError>> {
    return this.#sessions.renew(id, options);
  }

  sessionInfo(id: string, options: RequestOptions): Promise<Result<Session | null, StoreError>> {
    return this.#sessions.info(id, options);
  }

  closeSession(id: string, options: RequestOptions): Promise<Result<null, StoreError>> {
    return this.#sessions.close(id, options);
  }

  /** May answer up to a sixteenth of the waiting time before the deadline: Consul spreads the ends of blocking queries by that much. */
  watch(
    prefix: string,
    after: Revision,
    options: RequestOptions & { readonly signal?: AbortSignal },
  ): Promise<Result<Snapshot, StoreError>> {
    return this.#watch.wait(prefix, after, options);
  }

  limits(options: RequestOptions): Promise<Result<DynamicLimits, StoreError>> {
    return this.#sessions.limits(options);
  }

  async close(): Promise<void> {
    await this.#http.close();
  }

  /**
   * Sends the transaction; again, within milliseconds, where nothing but Consul's lock-delay was in its way: a race for a
   * lock that has just been freed would be lost without a winner otherwise, and no change would wake anybody again.
   */
  async #commit(changes: readonly Change[], body: string, deadline: Ms): Promise<Result<readonly Revision[], StoreError>> {
    for (let attempt = 1; ; attempt++) {
      const result = await this.#send(changes, body, deadline);
      if (result !== "lock-delay") return result;
      const again = ms(this.#clock.now() + LOCK_DELAY_PAUSE_MS);
      if (attempt === LOCK_DELAY_ATTEMPTS || again >= deadline) return err({ kind: "condition-failed" });
      await this.#clock.sleepUntil(again);
    }
  }

  async #send(changes: readonly Change[], body: string, deadline: Ms): Promise<Result<readonly Revision[], StoreError> | "lock-delay"> {
    // A transaction of checks alone is a read for Consul: it has to be a consistent one, and a lost answer lost nothing.
    const purpose = changes.every((change) => change.kind === "check-owner") ? "read" : "write";
    const query = { dc: this.#http.config.dc ?? undefined, consistent: purpose === "read" ? "" : undefined };
    const answer = await this.#http.request({ method: "PUT", path: "/v1/txn", query, body, deadline });
    if (!answer.ok) return err(noAnswerError(answer.error, purpose));
    const { status, text } = answer.value;
    if (status !== 200 && status !== 409) return err(statusError(answer.value, purpose));
    const parsed = parseJson(TxnAnswer, text);
    if (status === 200) {
      const revisions = parsed === null ? null : readRevisions(changes, parsed.Results);
      return revisions === null ? err(unreadable("the transaction was answered", purpose)) : ok(revisions);
    }
    if (parsed === null) return err(statusError(answer.value, purpose));
    return onlyLockDelay(parsed.Errors ?? []) ? "lock-delay" : err(readErrors(changes, parsed.Errors ?? []));
  }

  async #putLarge(key: string, value: string, options: PutOptions): Promise<Result<Revision, StoreError>> {
    const condition = options.condition ?? { kind: "none" };
    if (options.session !== undefined && condition.kind !== "none") {
      return err({ kind: "rejected", reason: "a value of this size takes a session or a condition, not both" });
    }
    // `cas=0` means "absent"; no key has revision 0.
    if (condition.kind === "revision" && condition.revision === 0) return err({ kind: "condition-failed" });
    const cas = condition.kind === "none" ? undefined : condition.kind === "absent" ? "0" : String(condition.revision);
    const query = { dc: this.#http.config.dc ?? undefined, acquire: options.session, cas };
    const answer = await this.#http.request({ method: "PUT", path: keyPath(key), query, body: value, deadline: options.deadline });
    if (!answer.ok) return err(noAnswerError(answer.error, "write"));
    if (options.session !== undefined && saysSessionGone(answer.value.text)) return err({ kind: "session-gone", session: options.session });
    if (answer.value.status !== 200) return err(statusError(answer.value, "write"));
    const applied = readBoolean(answer.value.text);
    if (!applied.ok) return err(unreadable("the put was answered", "write"));
    if (!applied.value) return err({ kind: "condition-failed" });
    const read = await this.snapshot(key, { deadline: options.deadline, consistency: "consistent" });
    const entry = read.ok ? read.value.entries.find((found) => found.key === key) : undefined;
    if (entry?.value === value) return ok(entry.revision);
    return err({ kind: "unknown-outcome", reason: "written, but its revision could not be read" });
  }

  async #deleteTree(prefix: string, deadline: Ms): Promise<Result<null, StoreError>> {
    const query = { dc: this.#http.config.dc ?? undefined, recurse: "" };
    const answer = await this.#http.request({ method: "DELETE", path: keyPath(prefix), query, deadline });
    if (!answer.ok) return err(noAnswerError(answer.error, "write"));
    if (answer.value.status !== 200) return err(statusError(answer.value, "write"));
    const done = readBoolean(answer.value.text);
    return done.ok && done.value ? ok(null) : err(unreadable("the delete was answered", "write"));
  }
}
