// Owns the store over the built-in Raft: THE interface of lib/dcs/store.ts on top of commands, queries and watches. Knows no
// connection (client/) and no member (member/).

import type { Clock } from "../../model/clock.ts";
import { type DynamicLimits, RAFT_LIMITS } from "../../model/dynamic-config.ts";
import type { StoreError } from "../../model/errors.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Ms, ms, type Revision, revision } from "../../model/units.ts";
import type { Change, Condition, PutOptions, RequestOptions, Session, Snapshot, Store } from "../store.ts";
import type { RaftChannel } from "./client/channel.ts";
import { RaftCommands } from "./client/commands.ts";
import { type ClientAnswer, type ClientRequest, WATCH_WAIT_MAX_MS } from "./kv/client-protocol.ts";
import type { Command, CommandValue, Query, QueryValue } from "./kv/command.ts";

/** How much later than its deadline a watch may be answered: the read that answers it begins then. */
const WATCH_ANSWER_MS = 1000;
/** One attempt of a read; a member that does not answer by then is given up for another. */
const READ_ATTEMPT_MS = 1500;
const RETRY_FIRST_MS = 10;
const RETRY_MAX_MS = 250;
const SESSION_ID_BYTES = 16;

export interface RaftStoreOptions {
  readonly channel: RaftChannel;
  readonly clock: Clock;
  readonly random: (bytes: number) => Uint8Array;
  /** Aborts, with a reason in words, when nothing can be answered any more: what waits is given up, and nothing more is asked. */
  readonly lost?: AbortSignal;
  /** Ends what the channel holds open; a member in this process is not ended by a store over it. */
  readonly close?: () => Promise<void> | void;
}

export class RaftStore implements Store {
  readonly kind = "raft";
  readonly #options: RaftStoreOptions;
  readonly #commands: RaftCommands;
  readonly #closing = new AbortController();
  /** Closed, or lost. */
  readonly #gone: AbortSignal;

  constructor(options: RaftStoreOptions) {
    const { lost } = options;
    this.#options = options;
    this.#gone = lost === undefined ? this.#closing.signal : AbortSignal.any([this.#closing.signal, lost]);
    this.#commands = new RaftCommands(options);
  }

  async snapshot(
    prefix: string,
    options: RequestOptions & { readonly consistency?: "consistent" | "default" | "stale" },
  ): Promise<Result<Snapshot, StoreError>> {
    const consistency = options.consistency === "stale" ? "stale" : "linearizable";
    const value = await this.#query({ kind: "snapshot", prefix, consistency }, options.deadline);
    if (!value.ok) return value;
    return value.value.kind === "snapshot" ? ok(value.value.snapshot) : NONSENSE;
  }

  async put(key: string, value: string, options: PutOptions): Promise<Result<Revision, StoreError>> {
    const changes: readonly Change[] = [{ kind: "put", key, value, ...conditionAndSession(options) }];
    const revisions = revisionsOf(await this.#run({ kind: "change", changes }, options.deadline));
    return revisions.ok ? ok(revisions.value[0] ?? revision(0)) : revisions;
  }

  async delete(
    key: string,
    options: RequestOptions & { readonly condition?: Condition; readonly recursive?: boolean },
  ): Promise<Result<null, StoreError>> {
    if (options.recursive === true) return done(await this.#run({ kind: "delete-prefix", prefix: key }, options.deadline));
    const changes: readonly Change[] = [{ kind: "delete", key, ...conditionAndSession(options) }];
    return done(revisionsOf(await this.#run({ kind: "change", changes }, options.deadline)));
  }

  async transaction(changes: readonly Change[], options: RequestOptions): Promise<Result<readonly Revision[], StoreError>> {
    return revisionsOf(await this.#run({ kind: "change", changes }, options.deadline));
  }

  async openSession(options: RequestOptions & { readonly name: string; readonly ttl: Ms }): Promise<Result<Session, StoreError>> {
    const id = Buffer.from(this.#options.random(SESSION_ID_BYTES)).toString("hex");
    return session(await this.#run({ kind: "open-session", id, name: options.name, ttl: options.ttl, place: null }, options.deadline));
  }

  async renewSession(id: string, options: RequestOptions): Promise<Result<Session, StoreError>> {
    return session(await this.#run({ kind: "renew-session", id }, options.deadline));
  }

  async sessionInfo(id: string, options: RequestOptions): Promise<Result<Session | null, StoreError>> {
    const value = await this.#query({ kind: "session-info", id }, options.deadline);
    if (!value.ok) return value;
    return value.value.kind === "session-info" ? ok(value.value.session) : NONSENSE;
  }

  async closeSession(id: string, options: RequestOptions): Promise<Result<null, StoreError>> {
    return done(await this.#run({ kind: "close-session", id }, options.deadline));
  }

  async watch(
    prefix: string,
    after: Revision,
    options: RequestOptions & { readonly signal?: AbortSignal },
  ): Promise<Result<Snapshot, StoreError>> {
    const { clock } = this.#options;
    const { deadline } = options;
    const gone = options.signal === undefined ? this.#gone : AbortSignal.any([options.signal, this.#gone]);
    if (!gone.aborted && clock.now() >= deadline) return TOO_LATE;
    const ask = async (): Promise<ClientAnswer> => {
      const waitMs = ms(Math.min(Math.max(0, deadline - clock.now()), WATCH_WAIT_MAX_MS));
      return this.#options.channel.request({ kind: "watch", prefix, after, waitMs }, ms(deadline + WATCH_ANSWER_MS), gone);
    };
    const answer = await this.#repeat(ask, ms(deadline + WATCH_ANSWER_MS), gone);
    if (!answer.ok) return answer;
    if (answer.value.kind === "watch") return ok(answer.value.snapshot);
    return answer.value.kind === "compacted" ? err({ kind: "compacted" }) : NONSENSE;
  }

  /** Its sessions end as soon as they were asked to: raft.md, Peers. */
  async limits(options: RequestOptions): Promise<Result<DynamicLimits, StoreError>> {
    return this.#refusal(options.deadline) ?? ok(RAFT_LIMITS);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#options.close?.();
  }

  /** As each step between a writer and its answer: no promise of its own where one is there already. */
  #run(command: Command, deadline: Ms): Promise<Result<CommandValue, StoreError>> {
    const refusal = this.#refusal(deadline);
    return refusal === null ? this.#commands.run(command, deadline) : Promise.resolve(refusal);
  }

  /** A read may be repeated as often as it takes. */
  async #query(query: Query, deadline: Ms): Promise<Result<QueryValue, StoreError>> {
    const refusal = this.#refusal(deadline);
    if (refusal !== null) return refusal;
    const { clock, channel } = this.#options;
    const request: ClientRequest = { kind: "query", query };
    const ask = (): Promise<ClientAnswer> => channel.request(request, ms(Math.min(deadline, clock.now() + READ_ATTEMPT_MS)), this.#gone);
    const answer = await this.#repeat(ask, deadline, this.#gone);
    if (!answer.ok) return answer;
    return answer.value.kind === "query" ? ok(answer.value.value) : NONSENSE;
  }

  /** Of reads and watches alone. */
  async #repeat(ask: () => Promise<ClientAnswer>, deadline: Ms, gone: AbortSignal): Promise<Result<ClientAnswer, StoreError>> {
    const { clock } = this.#options;
    let reason = "no answer before the deadline";
    for (let wait = RETRY_FIRST_MS; clock.now() < deadline; wait = Math.min(wait * 2, RETRY_MAX_MS)) {
      if (gone.aborted) return this.#ended();
      const answer = await ask();
      if (gone.aborted) return this.#ended();
      if (answer.kind === "refused") return err({ kind: "rejected", reason: answer.reason });
      if (answer.kind !== "unavailable" && answer.kind !== "unknown-outcome" && answer.kind !== "not-leader") return ok(answer);
      reason = answer.kind === "not-leader" ? "there is no leader" : answer.reason;
      await clock.sleepUntil(ms(Math.min(deadline, clock.now() + wait)), gone);
    }
    return err({ kind: "unavailable", reason });
  }

  #ended(): Result<never, StoreError> {
    const { lost } = this.#options;
    return lost?.aborted === true ? err({ kind: "unavailable", reason: String(lost.reason) }) : ENDED;
  }

  #refusal(deadline: Ms): Result<never, StoreError> | null {
    if (this.#closing.signal.aborted) return CLOSED;
    if (this.#gone.aborted) return this.#ended();
    return this.#options.clock.now() >= deadline ? TOO_LATE : null;
  }
}

const CLOSED = err<StoreError>({ kind: "unavailable", reason: "this client is closed" });
const ENDED = err<StoreError>({ kind: "unavailable", reason: "the watch was ended" });
const TOO_LATE = err<StoreError>({ kind: "unavailable", reason: "the deadline had passed before the request was sent" });
const NONSENSE = err<StoreError>({ kind: "unknown-outcome", reason: "the answer does not belong to the request" });

function done(result: Result<unknown, StoreError>): Result<null, StoreError> {
  return result.ok ? ok(null) : result;
}

function revisionsOf(result: Result<CommandValue, StoreError>): Result<readonly Revision[], StoreError> {
  if (!result.ok) return result;
  return result.value.kind === "revisions" ? ok(result.value.revisions) : NONSENSE;
}

function session(result: Result<CommandValue, StoreError>): Result<Session, StoreError> {
  if (!result.ok) return result;
  return result.value.kind === "session" ? ok(result.value.session) : NONSENSE;
}

/** The options of a change without the deadline; absent ones stay absent. */
function conditionAndSession(options: { readonly condition?: Condition; readonly session?: string }): {
  condition?: Condition;
  session?: string;
} {
  const picked: { condition?: Condition; session?: string } = {};
  if (options.condition !== undefined) picked.condition = options.condition;
  if (options.session !== undefined) picked.session = options.session;
  return picked;
}
