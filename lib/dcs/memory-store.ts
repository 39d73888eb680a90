// Owns one client's connection to a MemoryCluster, with a gate for faults on each request. For tests and the simulator; reads no
// clock but its own client's.

import type { Clock } from "../model/clock.ts";
import type { DynamicLimits } from "../model/dynamic-config.ts";
import type { StoreError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, ms, type Revision } from "../model/units.ts";
import type { MemoryCluster } from "./memory.ts";
import { MemoryWatches, NO_ANSWER, WATCH_ENDED, type Watcher, type WatchOptions } from "./memory-watches.ts";
import type { Change, Condition, OpenSessionOptions, PutOptions, RequestOptions, Session, Snapshot, Store } from "./store.ts";

export type StoreOperation = Exclude<keyof Store, "kind" | "close">;

/**
 * What becomes of one request.
 * - `pass`: at once.
 * - `refuse`: not applied; `unavailable` at once.
 * - `silence`: not applied; the client learns nothing before its deadline.
 * - `lose-answer`: applied at once; the client learns nothing before its deadline.
 * - `delay`: applied after `requestMs`, even when the client has given up by then; answered `answerMs` later.
 */
export type GateVerdict =
  | { readonly kind: "pass" | "refuse" | "silence" | "lose-answer" }
  | { readonly kind: "delay"; readonly requestMs: number; readonly answerMs: number };

export type Gate = (operation: StoreOperation, key: string) => GateVerdict;

export interface MemoryStoreOptions {
  readonly cluster: MemoryCluster;
  /** This client's own clock, for deadlines and delays. */
  readonly clock: Clock;
  readonly gate?: Gate;
}

const PASS: GateVerdict = { kind: "pass" };

export class MemoryStore implements Store {
  readonly kind = "memory";
  readonly #cluster: MemoryCluster;
  readonly #clock: Clock;
  /** The gate decides on each request; null lets everything pass. May be changed at any time. */
  gate: Gate | null;
  readonly #watches: MemoryWatches;
  #closed = false;

  constructor(options: MemoryStoreOptions) {
    this.#cluster = options.cluster;
    this.#clock = options.clock;
    this.gate = options.gate ?? null;
    this.#watches = new MemoryWatches(options.cluster, options.clock);
  }

  /** Every request, and every watch that waits already, meets silence until `reconnect`. */
  cutOff(): void {
    this.#watches.link = "silent";
  }

  /** Watches that still wait answer with what they missed. */
  reconnect(): void {
    this.#watches.link = "connected";
    this.#watches.look();
  }

  /** Ends the waiting watches with `unavailable`, as a reset connection does. */
  dropWatches(): void {
    this.#watches.drop();
  }

  snapshot(prefix: string, options: RequestOptions): Promise<Result<Snapshot, StoreError>> {
    return this.#request("snapshot", prefix, options.deadline, () => this.#cluster.snapshot(prefix));
  }

  put(key: string, text: string, options: PutOptions): Promise<Result<Revision, StoreError>> {
    return this.#request("put", key, options.deadline, () => {
      const change: Change = { kind: "put", key, value: text, ...only(options) };
      const applied = this.#cluster.apply([change]);
      return applied.ok ? ok(applied.value[0] as Revision) : applied;
    });
  }

  delete(key: string, options: RequestOptions & { readonly condition?: Condition; readonly recursive?: boolean }) {
    return this.#request<null>("delete", key, options.deadline, () => {
      if (options.recursive === true) {
        this.#cluster.deleteBelow(key);
        return DONE;
      }
      const applied = this.#cluster.apply([{ kind: "delete", key, ...only(options) }]);
      return applied.ok ? DONE : applied;
    });
  }

  transaction(changes: readonly Change[], options: RequestOptions): Promise<Result<readonly Revision[], StoreError>> {
    return this.#request("transaction", changes[0]?.key ?? "", options.deadline, () => this.#cluster.apply(changes));
  }

  openSession({ name, ttl, check, deadline }: OpenSessionOptions): Promise<Result<Session, StoreError>> {
    return this.#request("openSession", name, deadline, () => ok(this.#cluster.openSession(name, ttl, check?.ttl ?? null)));
  }

  renewSession(id: string, options: RequestOptions): Promise<Result<Session, StoreError>> {
    return this.#request<Session>("renewSession", id, options.deadline, () => {
      const session = this.#cluster.renewSession(id);
      return session === null ? err({ kind: "session-gone", session: id }) : ok(session);
    });
  }

  sessionInfo(id: string, options: RequestOptions): Promise<Result<Session | null, StoreError>> {
    return this.#request("sessionInfo", id, options.deadline, () => ok(this.#cluster.sessionInfo(id)));
  }

  closeSession(id: string, options: RequestOptions): Promise<Result<null, StoreError>> {
    return this.#request("closeSession", id, options.deadline, () => {
      this.#cluster.closeSession(id);
      return DONE;
    });
  }

  limits(options: RequestOptions): Promise<Result<DynamicLimits, StoreError>> {
    return this.#request("limits", "", options.deadline, () => ok(this.#cluster.limits()));
  }

  watch(prefix: string, after: Revision, options: WatchOptions): Promise<Result<Snapshot, StoreError>> {
    return new Promise((answered) => this.watchFor(prefix, after, options, { answered }));
  }

  /** As watch, without a promise. The gate sees a watch as a request of its own; once let through, it waits. */
  watchFor(prefix: string, after: Revision, options: WatchOptions, watcher: Watcher): void {
    const admitted = this.#judge("watch", prefix, options.deadline, admit, options.signal);
    if (admitted instanceof Promise) void admitted.then((result) => this.#admitted(result, { prefix, after, options, watcher }));
    else if (admitted.ok) this.#watches.add(prefix, after, options, watcher);
    else watcher.answered(admitted);
  }

  /** Let through late: this client may be closed by now. */
  #admitted(
    result: Result<null, StoreError>,
    watch: { readonly prefix: string; readonly after: Revision; readonly options: WatchOptions; readonly watcher: Watcher },
  ): void {
    if (!result.ok) watch.watcher.answered(result);
    else if (this.#closed) watch.watcher.answered(CLOSED);
    else this.#watches.add(watch.prefix, watch.after, watch.options, watch.watcher);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#watches.close();
  }

  #request<T>(operation: StoreOperation, key: string, deadline: Ms, run: () => Result<T, StoreError>): Promise<Result<T, StoreError>> {
    const answer = this.#judge(operation, key, deadline, run);
    return answer instanceof Promise ? answer : Promise.resolve(answer);
  }

  /** A promise only where the answer takes time. */
  #judge<T>(
    operation: StoreOperation,
    key: string,
    deadline: Ms,
    run: () => Result<T, StoreError>,
    signal?: AbortSignal,
  ): Result<T, StoreError> | Promise<Result<T, StoreError>> {
    if (this.#closed) return CLOSED;
    if (signal?.aborted === true) return WATCH_ENDED;
    if (this.#clock.now() >= deadline) return TOO_LATE;
    if (this.#watches.link === "silent") return this.#silence(operation, deadline, signal);
    const verdict = this.gate === null ? PASS : this.gate(operation, key);
    switch (verdict.kind) {
      case "pass":
        return run();
      case "refuse":
        return REFUSED;
      case "silence":
        return this.#silence(operation, deadline, signal);
      case "lose-answer":
        run();
        return this.#silence(operation, deadline, signal);
      case "delay": {
        const answered = this.#delayed(verdict, run);
        return Promise.race([answered, this.#silence(operation, deadline, signal)]);
      }
    }
  }

  async #delayed<T>(verdict: { readonly requestMs: number; readonly answerMs: number }, run: () => Result<T, StoreError>) {
    await this.#clock.sleepUntil(ms(this.#clock.now() + verdict.requestMs));
    const result = run();
    await this.#clock.sleepUntil(ms(this.#clock.now() + verdict.answerMs));
    return result;
  }

  /** What the client knows when nothing has come back by the deadline. */
  async #silence(operation: StoreOperation, deadline: Ms, signal: AbortSignal | undefined): Promise<Result<never, StoreError>> {
    await this.#clock.sleepUntil(deadline, signal);
    return READS.has(operation) ? NO_ANSWER : NOT_CONFIRMED;
  }
}

/** A lost answer of these lost nothing. */
const READS: ReadonlySet<StoreOperation> = new Set(["snapshot", "watch", "sessionInfo", "limits"]);
const DONE = ok(null);

/** A watch that is let through changes nothing. */
function admit(): typeof DONE {
  return DONE;
}

const CLOSED = err<StoreError>({ kind: "unavailable", reason: "this client is closed" });
const TOO_LATE = err<StoreError>({ kind: "unavailable", reason: "the deadline had passed before the request was sent" });
const REFUSED = err<StoreError>({ kind: "unavailable", reason: "connection refused" });
const NOT_CONFIRMED = err<StoreError>({ kind: "unknown-outcome", reason: "no answer before the deadline" });

/** The options of a change without the deadline; absent ones stay absent. */
function only(options: { readonly condition?: Condition; readonly session?: string }): { condition?: Condition; session?: string } {
  const picked: { condition?: Condition; session?: string } = {};
  if (options.condition !== undefined) picked.condition = options.condition;
  if (options.session !== undefined) picked.session = options.session;
  return picked;
}
