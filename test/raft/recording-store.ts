// Owns a store that writes down what its user asked and was answered, for checkBySearch (linearizability.ts). It passes
// everything on as it is and judges nothing. Watches are passed on and not written down: they promise to wake, not to be new.

import type { Command, CommandAnswer, QueryValue } from "../../lib/dcs/raft/kv/command.ts";
import type { Change, PutOptions, RequestOptions, Session, Snapshot, Store } from "../../lib/dcs/store.ts";
import type { StoreError } from "../../lib/model/errors.ts";
import type { Result } from "../../lib/model/result.ts";
import type { Ms, Revision } from "../../lib/model/units.ts";
import { revision } from "../../lib/model/units.ts";
import type { Operation } from "./history.ts";

export interface RecordingOptions {
  readonly store: Store;
  /** For the reports. */
  readonly who: string;
  /** True time in ms, the same clock for all recorders of a history. */
  readonly now: () => number;
  /** Where the operations go, each when it has ended: a request that is still waiting at the end is in `pending`. */
  readonly history: Operation[];
}

export class RecordingStore implements Store {
  readonly kind: string;
  readonly #options: RecordingOptions;
  readonly #store: Store;
  readonly #pending = new Set<Operation>();

  constructor(options: RecordingOptions) {
    this.#options = options;
    this.#store = options.store;
    this.kind = options.store.kind;
  }

  /** Commands that were asked and have no answer yet: they belong to the history as well. */
  get pending(): readonly Operation[] {
    return [...this.#pending];
  }

  async snapshot(prefix: string, options: RequestOptions & { readonly consistency?: "consistent" | "default" | "stale" }) {
    const invokedAt = this.#options.now();
    const result = await this.#store.snapshot(prefix, options);
    const consistency = options.consistency === "stale" ? "stale" : "linearizable";
    if (result.ok) this.#read({ kind: "snapshot", prefix, consistency }, { kind: "snapshot", snapshot: result.value }, invokedAt);
    return result;
  }

  async put(key: string, value: string, options: PutOptions): Promise<Result<Revision, StoreError>> {
    const { deadline: _, ...rest } = options;
    const command: Command = { kind: "change", changes: [{ kind: "put", key, value, ...rest }] };
    return await this.#command(
      command,
      () => this.#store.put(key, value, options),
      (given) => ({ kind: "revisions", revisions: [given] }),
    );
  }

  async delete(key: string, options: Parameters<Store["delete"]>[1]): Promise<Result<null, StoreError>> {
    const change = options.condition === undefined ? { key } : { key, condition: options.condition };
    const recursive = options.recursive === true;
    const command: Command = recursive
      ? { kind: "delete-prefix", prefix: key }
      : { kind: "change", changes: [{ kind: "delete", ...change }] };
    return await this.#command(
      command,
      () => this.#store.delete(key, options),
      () => (recursive ? { kind: "done" } : { kind: "revisions", revisions: [revision(0)] }),
    );
  }

  async transaction(changes: readonly Change[], options: RequestOptions): Promise<Result<readonly Revision[], StoreError>> {
    return await this.#command(
      { kind: "change", changes },
      () => this.#store.transaction(changes, options),
      (revisions) => ({
        kind: "revisions",
        revisions,
      }),
    );
  }

  /** One that got no answer has no id that anybody could use: it is not written down. */
  async openSession(options: RequestOptions & { readonly name: string; readonly ttl: Ms }): Promise<Result<Session, StoreError>> {
    const invokedAt = this.#options.now();
    const result = await this.#store.openSession(options);
    if (!result.ok) return result;
    const { id, promisedMs, place } = result.value;
    // The promise is what the store is held to, whatever was wished for.
    const command: Command = { kind: "open-session", id, name: options.name, ttl: promisedMs, place };
    this.#settle({ command, invokedAt }, { ok: true, value: { kind: "session", session: result.value } });
    return result;
  }

  async renewSession(id: string, options: RequestOptions): Promise<Result<Session, StoreError>> {
    return await this.#command(
      { kind: "renew-session", id },
      () => this.#store.renewSession(id, options),
      (session) => ({
        kind: "session",
        session,
      }),
    );
  }

  async sessionInfo(id: string, options: RequestOptions): Promise<Result<Session | null, StoreError>> {
    const invokedAt = this.#options.now();
    const result = await this.#store.sessionInfo(id, options);
    if (result.ok) this.#read({ kind: "session-info", id }, { kind: "session-info", session: result.value }, invokedAt);
    return result;
  }

  async closeSession(id: string, options: RequestOptions): Promise<Result<null, StoreError>> {
    return await this.#command(
      { kind: "close-session", id },
      () => this.#store.closeSession(id, options),
      () => ({ kind: "done" }),
    );
  }

  watch(
    prefix: string,
    after: Revision,
    options: RequestOptions & { readonly signal?: AbortSignal },
  ): Promise<Result<Snapshot, StoreError>> {
    return this.#store.watch(prefix, after, options);
  }

  limits(options: RequestOptions): ReturnType<Store["limits"]> {
    return this.#store.limits(options);
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #command<T>(
    command: Command,
    ask: () => Promise<Result<T, StoreError>>,
    told: (value: T) => Extract<CommandAnswer, { ok: true }>["value"],
  ): Promise<Result<T, StoreError>> {
    const invokedAt = this.#options.now();
    const open: Operation = { kind: "command", who: this.#options.who, invokedAt, answeredAt: null, command, answer: null, identity: null };
    this.#pending.add(open);
    const result = await ask();
    this.#pending.delete(open);
    this.#settle({ command, invokedAt }, result.ok ? { ok: true, value: told(result.value) } : result);
    return result;
  }

  #settle({ command, invokedAt }: { readonly command: Command; readonly invokedAt: number }, answer: CommandAnswer): void {
    const unknown = !answer.ok && answer.error.kind === "unknown-outcome";
    const answeredAt = unknown ? null : this.#options.now();
    const { who, history } = this.#options;
    history.push({ kind: "command", who, invokedAt, answeredAt, command, answer: unknown ? null : answer, identity: null });
  }

  #read(query: Extract<Operation, { kind: "query" }>["query"], value: QueryValue, invokedAt: number): void {
    const { who, history, now } = this.#options;
    history.push({ kind: "query", who, invokedAt, answeredAt: now(), query, value, index: null });
  }
}
