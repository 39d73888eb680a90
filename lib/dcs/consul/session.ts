// Owns sessions in Consul: what is asked for, what was granted and what that promises (docs/adr/0001). Sends through http.ts.

import type * as v from "valibot";
import type { Clock } from "../../model/clock.ts";
import { type DynamicLimits, PATRONI_LIMITS } from "../../model/dynamic-config.ts";
import type { StoreError } from "../../model/errors.ts";
import type { Log } from "../../model/log.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Ms, ms, seconds } from "../../model/units.ts";
import type { OpenSessionOptions, RenewSessionOptions, RequestOptions, Session } from "../store.ts";
import {
  AgentSelf,
  CreatedSession,
  noAnswerError,
  parseDuration,
  parseJson,
  SessionList,
  saysSessionGone,
  statusError,
  unreadable,
} from "./answers.ts";
import type { ConsulHttp, HttpAnswer, NoAnswer } from "./http.ts";
import { type BoundCheck, readBoundCheck, SessionChecks } from "./session-check.ts";

/** Consul deletes a session no earlier than this many times its TTL after the last renewal (docs/adr/0001). */
export const TTL_FACTOR = 2;
/** Consul's own `session_ttl_min`, in force where the agent's configuration says 0. */
const TTL_MIN_DEFAULT_MS = 10_000;
/** Below it loop_wait and two tries of a request find no room, whatever Consul would grant. */
const TTL_FLOOR_MS = 2_000;
/** Consul takes no longer TTL. */
const TTL_MAX_MS = 86_400_000;
/** Zero would be read as "the default of 15 s". */
const LOCK_DELAY = "1ms";
/** A check is registered at the agent, which tells the servers in milliseconds; the session can be bound to it from then on. */
const CHECK_KNOWN_PAUSE_MS = 50;
/** Where a session is there already, its lock is to be confirmed again soon: the next cycle asks anew. */
const CHECK_KNOWN_WITHIN_MS = 500;

/** The same words each time: the check has another name with each attempt. */
const CHECK_UNKNOWN =
  "Consul's servers do not know the check of this node, although its agent has it; they refuse an agent that lost its data while its former self counts as alive";

export class ConsulSessions {
  readonly #http: ConsulHttp;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #checks: SessionChecks;
  /** Of the sessions that this process has opened or renewed, and not seen the end of: one, two during a move. */
  readonly #bound = new Map<string, BoundCheck>();
  /** The shortest TTL that Consul is known to accept, learned from a refusal. */
  #ttlMinMs = ms(0);
  /** The node of our agent, learned from the first answer that names it. */
  #node: string | null = null;

  constructor(http: ConsulHttp, clock: Clock, log: Log) {
    this.#http = http;
    this.#clock = clock;
    this.#log = log;
    this.#checks = new SessionChecks(http, clock, log);
  }

  /**
   * `ttl`: wanted from last renewal to end; Consul is asked for half of it. One request, three where the TTL is refused; two more with
   * a check of the session's own. An agent that was cut off from the servers tells them of a new check late (docs/consul.md has
   * measures): the session is then opened without it, and SessionKeeper says that it is outdated.
   */
  async open(options: OpenSessionOptions): Promise<Result<Session, StoreError>> {
    if (options.check == null) return await this.#open(options, null);
    const check = await this.#checks.register(options.check, { deadline: options.deadline });
    if (!check.ok) return check;
    const opened = await this.#open(options, check.value);
    if (!opened.ok) {
      await this.#checks.remove(check.value, options);
      return opened;
    }
    if (opened.value.checkTtl === undefined) {
      void this.#checks.remove(check.value, options);
      return opened;
    }
    this.#bound.set(opened.value.id, check.value);
    if (this.#checks.holds(check.value)) return opened;
    await this.close(opened.value.id, options);
    return err({ kind: "unavailable", reason: "the session was opened so slowly that its check may have ended it" });
  }

  async #open(options: OpenSessionOptions, check: BoundCheck | null): Promise<Result<Session, StoreError>> {
    const wanted = ms(Math.min(options.ttl / TTL_FACTOR, TTL_MAX_MS));
    const first = await this.#create(options, ms(Math.max(wanted, this.#ttlMinMs)), check);
    if (!first.ok) return first;
    if (first.value.kind === "created") return ok(first.value.session);
    const granted = await this.#lowestTtl(first.value.answer, options.deadline);
    if (granted === null || granted <= wanted) return err(statusError(first.value.answer, "read"));
    this.#ttlMinMs = granted;
    this.#log.warning(
      `Consul refuses a session TTL of ${wanted / 1000} s; using its minimum of ${granted / 1000} s: ` +
        `a lost session ends after ${(granted * TTL_FACTOR) / 1000} s instead of ${(wanted * TTL_FACTOR) / 1000} s (session_ttl_min)`,
    );
    const second = await this.#create(options, granted, check);
    if (!second.ok) return second;
    return second.value.kind === "created" ? ok(second.value.session) : err(statusError(second.value.answer, "read"));
  }

  /** One request; with a check of the session's own another one to the agent, at the same time. */
  async renew(id: string, { deadline, checkedUntil }: RenewSessionOptions): Promise<Result<Session, StoreError>> {
    const known = this.#bound.get(id);
    const [early, renewed] = await Promise.all([
      known === undefined ? null : this.#checks.pass(known, { deadline }),
      this.#renew(id, { deadline }),
    ]);
    if (!renewed.ok) {
      if (renewed.error.kind === "session-gone") this.#forget(id, { deadline });
      return renewed;
    }
    const check = known ?? readBoundCheck(renewed.value.checks, checkedUntil ?? ms(0));
    if (check === null) return ok(renewed.value.session);
    const passed = early ?? (await this.#checks.pass(check, { deadline }));
    if (!passed.ok) return passed;
    this.#bound.set(id, check);
    if (passed.value) return ok(withCheck(renewed.value.session, check));
    // The agent may have told the servers of it, or be about to: a session that is ended at any moment carries no lease.
    this.#log.warning(
      `the check of session ${id} was not passed in time, or is gone from the agent (consul.host has to be one agent): the session is closed`,
    );
    const closed = await this.close(id, { deadline });
    return closed.ok ? err({ kind: "session-gone", session: id }) : closed;
  }

  async #renew(id: string, options: RequestOptions): Promise<Result<Described, StoreError>> {
    const answer = await this.#http.request({
      method: "PUT",
      path: `/v1/session/renew/${encodeURIComponent(id)}`,
      query: this.#dc(),
      ...options,
    });
    if (!answer.ok) return err(noAnswerError(answer.error, "write"));
    if (answer.value.status === 404 || saysSessionGone(answer.value.text)) return err({ kind: "session-gone", session: id });
    if (answer.value.status !== 200) return err(statusError(answer.value, "write"));
    const described = this.#read(answer.value.text);
    return described === undefined || described === null ? err(unreadable("the renewal was answered", "write")) : ok(described);
  }

  async info(id: string, options: RequestOptions): Promise<Result<Session | null, StoreError>> {
    const query = { ...this.#dc(), consistent: "" };
    const answer = await this.#http.request({ method: "GET", path: `/v1/session/info/${encodeURIComponent(id)}`, query, ...options });
    if (!answer.ok) return err(noAnswerError(answer.error, "read"));
    if (saysSessionGone(answer.value.text)) return ok(null);
    if (answer.value.status !== 200) return err(statusError(answer.value, "read"));
    const described = this.#read(answer.value.text);
    if (described === undefined) return err(unreadable("the session was described", "read"));
    return ok(described === null ? null : withCheck(described.session, readBoundCheck(described.checks, ms(0))));
  }

  async close(id: string, options: RequestOptions): Promise<Result<null, StoreError>> {
    const answer = await this.#http.request({
      method: "PUT",
      path: `/v1/session/destroy/${encodeURIComponent(id)}`,
      query: this.#dc(),
      ...options,
    });
    if (!answer.ok) return err(noAnswerError(answer.error, "write"));
    if (answer.value.status !== 200 && !saysSessionGone(answer.value.text)) return err(statusError(answer.value, "write"));
    this.#forget(id, options);
    return ok(null);
  }

  /** Asks our agent for its configuration, which servers and clients are expected to share. Errors: unavailable, rejected. */
  async limits(options: RequestOptions): Promise<Result<DynamicLimits, StoreError>> {
    const answer = await this.#http.request({ method: "GET", path: "/v1/agent/self", deadline: options.deadline });
    if (!answer.ok) return err(noAnswerError(answer.error, "read"));
    if (answer.value.status !== 200) return err(statusError(answer.value, "read"));
    const text = parseJson(AgentSelf, answer.value.text)?.DebugConfig.SessionTTLMin;
    const configured = text === undefined ? null : parseDuration(text);
    if (configured === null) return err(unreadable("the agent described itself", "read"));
    const shortest = TTL_FACTOR * Math.max(configured === 0 ? TTL_MIN_DEFAULT_MS : configured, this.#ttlMinMs);
    if (shortest >= PATRONI_LIMITS.ttlFloorMs) return ok(PATRONI_LIMITS);
    return ok({ ttlFloorMs: ms(Math.max(shortest, TTL_FLOOR_MS)), loopWaitFloorMs: seconds(1), retryTimeoutFloorMs: seconds(1) });
  }

  async #create(
    options: OpenSessionOptions,
    ttl: Ms,
    own: BoundCheck | null,
  ): Promise<Result<{ kind: "created"; session: Session } | { kind: "refused"; answer: HttpAnswer }, StoreError>> {
    const { checks } = this.#http.config;
    const body = JSON.stringify(sessionBody({ name: options.name, ttl, checks, serviceChecks: own === null ? [] : [own.id] }));
    const answer = await this.#sendCreate(body, own, options);
    if (!answer.ok) return err(noAnswerError(answer.error, "write"));
    if (own !== null && saysMissing(answer.value, own)) {
      if (options.unchecked === "refused") return err({ kind: "unavailable", reason: CHECK_UNKNOWN });
      this.#log.warning(
        "Consul's servers do not know the check of this node's session yet: the session is opened without it, and follows later",
      );
      return await this.#create(options, ttl, null);
    }
    if (answer.value.status === 500 && /Invalid Session TTL/i.test(answer.value.text)) return ok({ kind: "refused", answer: answer.value });
    // "Missing check", "Check … is in critical state": refused before anything was written.
    if (answer.value.status === 500 && /Missing check|critical state/i.test(answer.value.text))
      return err(statusError(answer.value, "read"));
    if (answer.value.status !== 200) return err(statusError(answer.value, "write"));
    const created = parseJson(CreatedSession, answer.value.text);
    if (created === null) return err(unreadable("the new session was answered", "write"));
    if (checks.length > 0 || own !== null) await this.#verifyChecks(created.ID, own, options.deadline);
    const session = { id: created.ID, promisedMs: ms(ttl * TTL_FACTOR), place: this.#node };
    return ok({ kind: "created", session: withCheck(session, own) });
  }

  /** Again, within milliseconds, where the servers have not heard of our own check yet. */
  async #sendCreate(
    body: string,
    own: BoundCheck | null,
    { deadline, unchecked }: OpenSessionOptions,
  ): Promise<Result<HttpAnswer, NoAnswer>> {
    const from = this.#clock.now();
    // Half of the time, so that a session without it can still be had.
    const half = (deadline - from) / 2;
    const knownBy = from + (unchecked === "refused" ? Math.min(half, CHECK_KNOWN_WITHIN_MS) : half);
    for (;;) {
      const answer = await this.#http.request({ method: "PUT", path: "/v1/session/create", query: this.#dc(), body, deadline });
      const again = ms(this.#clock.now() + CHECK_KNOWN_PAUSE_MS);
      if (own === null || !answer.ok || again >= knownBy || !saysMissing(answer.value, own)) return answer;
      await this.#clock.sleepUntil(again);
    }
  }

  /** The session is over; its check is removed beside whatever comes next, as nothing waits for it. */
  #forget(id: string, options: RequestOptions): void {
    const check = this.#bound.get(id);
    this.#bound.delete(id);
    if (check !== undefined) void this.#checks.remove(check, options);
  }

  /** The server's own words, or else the agent's configuration: the larger of the two where both are known. */
  async #lowestTtl(refusal: HttpAnswer, deadline: Ms): Promise<Ms | null> {
    const spoken = /must be between \[([^=\]]+)=/.exec(refusal.text)?.[1];
    const fromServer = spoken === undefined ? null : parseDuration(spoken);
    const answer: Result<HttpAnswer, NoAnswer> = await this.#http.request({ method: "GET", path: "/v1/agent/self", deadline });
    const self = answer.ok && answer.value.status === 200 ? parseJson(AgentSelf, answer.value.text) : null;
    const fromAgent = self === null ? null : parseDuration(self.DebugConfig.SessionTTLMin);
    if (fromServer === null || fromAgent === null) return fromServer ?? fromAgent;
    return ms(Math.max(fromServer, fromAgent));
  }

  /** Consul's rules for binding checks are full of traps: what was really bound is looked up, and said where it differs. */
  async #verifyChecks(id: string, own: BoundCheck | null, deadline: Ms): Promise<void> {
    const answer = await this.#http.request({ method: "GET", path: `/v1/session/info/${id}`, query: this.#dc(), deadline });
    const wanted = [...this.#http.config.checks, ...(own === null ? [] : [own.id])].sort();
    const described = answer.ok && answer.value.status === 200 ? parseJson(SessionList, answer.value.text)?.[0] : undefined;
    if (described === undefined) {
      this.#log.warning(`the checks bound to session ${id} could not be looked up`);
      return;
    }
    this.#node = described.Node;
    const bound = checksOf(described).sort();
    if (bound.join() === wanted.join()) return;
    this.#log.warning(`session ${id} is bound to the checks [${bound.join(", ")}] instead of [${wanted.join(", ")}]`);
  }

  /** Undefined: not Consul's form; null: no such session. */
  #read(text: string): Described | null | undefined {
    const list = parseJson(SessionList, text);
    if (list === null) return undefined;
    const first = list[0];
    if (first === undefined) return null;
    const ttl = parseDuration(first.TTL);
    this.#node = first.Node;
    return { session: { id: first.ID, promisedMs: ms((ttl ?? 0) * TTL_FACTOR), place: first.Node }, checks: checksOf(first) };
  }

  #dc(): Readonly<Record<string, string | undefined>> {
    return { dc: this.#http.config.dc ?? undefined };
  }
}

/** The servers have not heard of the check; nothing was written. */
function saysMissing({ status, text }: HttpAnswer, check: BoundCheck): boolean {
  return status === 500 && text.includes(`Missing check '${check.id}'`);
}

/** A session as Consul describes it, and what is bound to it. */
interface Described {
  readonly session: Session;
  readonly checks: readonly string[];
}

function checksOf({ NodeChecks, ServiceChecks }: v.InferOutput<typeof SessionList>[number]): string[] {
  return [...(NodeChecks ?? []), ...(ServiceChecks ?? []).map(({ ID }) => ID)];
}

/** Promises no more than the check does. */
function withCheck(session: Session, check: BoundCheck | null): Session {
  if (check === null) return session;
  return { ...session, promisedMs: ms(Math.min(session.promisedMs, check.ttl)), checkTtl: check.ttl };
}

/**
 * The body of `PUT /v1/session/create`. `Checks: []` is sent: left out, it means serfHealth. With checks both lists are
 * sent: `Checks` alone would bind serfHealth beside them, and an empty `NodeChecks` would bind nothing at all.
 */
export function sessionBody(wanted: {
  readonly name: string;
  readonly ttl: Ms;
  readonly checks: readonly string[];
  /** Of services at our agent. */
  readonly serviceChecks?: readonly string[];
}): Readonly<Record<string, unknown>> {
  const checks = wanted.checks.length === 0 ? { Checks: [] } : { Checks: wanted.checks, NodeChecks: wanted.checks };
  const ofServices = (wanted.serviceChecks ?? []).map((id) => ({ ID: id }));
  const services = ofServices.length === 0 ? {} : { ServiceChecks: ofServices };
  return { Name: wanted.name, Behavior: "delete", LockDelay: LOCK_DELAY, TTL: `${wanted.ttl / 1000}s`, ...checks, ...services };
}
