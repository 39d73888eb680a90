// Owns one client's connection to a MemoryCluster, with a gate for faults on each request. For tests and the simulator; reads no
// clock but its own client's.

import type { Clock } from "../model/clock.ts";
import type { DynamicLimits } from "../model/dynamic-config.ts";
import type { StoreError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, ms, type Revision } from "../model/units.ts";
import type { MemoryCluster } from "./memory.ts";
import type { Change, Condition, PutOptions, RequestOptions, Session, Snapshot, Store } from "./store.ts";

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

interface WaitingWatch {
  readonly deadline: Ms;
  /** The store has changed, or can be reached again. */
  readonly look: () => void;
  /** The deadline has come. */
  readonly late: () => void;
  readonly end: () => void;
}

export class MemoryStore implements Store {
  readonly kind = "memory";
  readonly #cluster: MemoryCluster;
  readonly #clock: Clock;
  /** The gate decides on each request; null lets everything pass. May be changed at any time. */
  gate: Gate | null;
  readonly #watches = new Set<WaitingWatch>();
  #timer: { readonly at: Ms; readonly stop: AbortController } | null = null;
  #link: "connected" | "silent" = "connected";
  #closed = false;

  constructor(options: MemoryStoreOptions) {
    this.#cluster = options.cluster;
    this.#clock = options.clock;
    this.gate = options.gate ?? null;
  }

  /** Every request, and every watch that waits already, meets silence until `reconnect`. */
  cutOff(): void {
    this.#link = "silent";
  }

  /** Watches that still wait answer with what they missed. */
  reconnect(): void {
    this.#link = "connected";
    for (const watch of [...this.#watches]) watch.look();
  }

  /** Ends the waiting watches with `unavailable`, as a reset connection does. */
  dropWatches(): void {
    for (const watch of [...this.#watches]) watch.end();
  }

  snapshot(prefix: string, options: RequestOptions): Promise<Result<Snapshot, StoreError>> {
    return this.#request("snapshot", prefix, options.deadline, () => this.#cluster.snapshot(prefix));
  }

  put(key: string, text: string, options: PutOptions): Promise<Result<Revision, StoreError>> {
    const change: Change = { kind: "put", key, value: text, ...only(options) };
    return this.#request("put", key, options.deadline, () => {
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

  openSession(options: RequestOptions & { readonly name: string; readonly ttl: Ms }): Promise<Result<Session, StoreError>> {
    return this.#request("openSession", options.name, options.deadline, () => ok(this.#cluster.openSession(options.name, options.ttl)));
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

  /** The gate sees a watch as a request of its own; once let through, it waits here. */
  watch(
    prefix: string,
    after: Revision,
    options: RequestOptions & { readonly signal?: AbortSignal },
  ): Promise<Result<Snapshot, StoreError>> {
    const admitted = this.#judge<null>("watch", prefix, options.deadline, () => DONE, options.signal);
    if (!(admitted instanceof Promise)) return admitted.ok ? this.#wait(prefix, after, options) : Promise.resolve(admitted);
    return admitted.then((result) => (result.ok ? this.#wait(prefix, after, options) : result));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.stop.abort();
    this.#timer = null;
    this.dropWatches();
  }

  #wait(
    prefix: string,
    after: Revision,
    options: RequestOptions & { readonly signal?: AbortSignal },
  ): Promise<Result<Snapshot, StoreError>> {
    if (this.#closed) return Promise.resolve(CLOSED);
    if (options.signal?.aborted === true) return Promise.resolve(ENDED);
    const watched = this.#cluster.watched(prefix);
    if (watched.revision > after && this.#link === "connected") return Promise.resolve(this.#cluster.snapshot(prefix));
    return new Promise((resolve) => {
      const finish = (result: Result<Snapshot, StoreError>): void => {
        watched.waiting.delete(look);
        this.#watches.delete(handle);
        options.signal?.removeEventListener("abort", end);
        resolve(result);
      };
      const look = (): void => {
        if (this.#link === "connected" && watched.revision > after) finish(this.#cluster.snapshot(prefix));
      };
      const end = (): void => finish(ENDED);
      const late = (): void => finish(this.#link === "connected" ? this.#cluster.snapshot(prefix) : NO_ANSWER);
      const handle = { end, look, late, deadline: options.deadline };
      watched.waiting.add(look);
      this.#watches.add(handle);
      options.signal?.addEventListener("abort", end);
      this.#armTimer(options.deadline);
    });
  }

  /** One timer for all watches, at the earliest deadline of any so far; it is set anew when it fires. */
  #armTimer(deadline: Ms): void {
    if (this.#timer !== null && this.#timer.at <= deadline) return;
    this.#timer?.stop.abort();
    const timer = { at: deadline, stop: new AbortController() };
    this.#timer = timer;
    void this.#clock.sleepUntil(deadline, timer.stop.signal).then(() => {
      if (timer.stop.signal.aborted) return;
      this.#timer = null;
      const now = this.#clock.now();
      for (const watch of [...this.#watches]) if (watch.deadline <= now) watch.late();
      for (const watch of this.#watches) this.#armTimer(watch.deadline);
    });
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
    if (signal?.aborted === true) return ENDED;
    if (this.#clock.now() >= deadline) return TOO_LATE;
    if (this.#link === "silent") return this.#silence(operation, deadline, signal);
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
const CLOSED = err<StoreError>({ kind: "unavailable", reason: "this client is closed" });
const ENDED = err<StoreError>({ kind: "unavailable", reason: "the watch was ended" });
const TOO_LATE = err<StoreError>({ kind: "unavailable", reason: "the deadline had passed before the request was sent" });
const REFUSED = err<StoreError>({ kind: "unavailable", reason: "connection refused" });
const NO_ANSWER = err<StoreError>({ kind: "unavailable", reason: "no answer before the deadline" });
const NOT_CONFIRMED = err<StoreError>({ kind: "unknown-outcome", reason: "no answer before the deadline" });

/** The options of a change without the deadline; absent ones stay absent. */
function only(options: { readonly condition?: Condition; readonly session?: string }): { condition?: Condition; session?: string } {
  const picked: { condition?: Condition; session?: string } = {};
  if (options.condition !== undefined) picked.condition = options.condition;
  if (options.session !== undefined) picked.session = options.session;
  return picked;
}
