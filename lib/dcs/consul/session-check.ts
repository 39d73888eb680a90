// Owns the agent's TTL checks that end a session soon after its owner fell silent (docs/adr/0011): registering, passing and removing
// them, and until when each certainly holds. Must not open or close a session.

import { randomUUID } from "node:crypto";
import type { Clock } from "../../model/clock.ts";
import type { StoreError } from "../../model/errors.ts";
import type { Log } from "../../model/log.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Ms, ms } from "../../model/units.ts";
import type { RequestOptions, SessionCheck } from "../store.ts";
import { noAnswerError, parseDuration, statusError } from "./answers.ts";
import type { ConsulHttp } from "./http.ts";
import { serviceName } from "./service-entry.ts";

/** Consul's own minimum: what a dead supervisor left is gone from the catalogue a minute later. */
const DEREGISTER_AFTER = "1m";
/** Always the same text: a status that does not change costs the agent no write to the servers. */
const OUTPUT = "the supervisor answers";

/** An agent that does not know the check may be another one behind a balancer: so often at most the question is asked. */
const PASS_ATTEMPTS = 3;

/** A check as bound to a session of ours. */
export interface BoundCheck {
  /** Names the check and its service at the agent. */
  readonly id: string;
  readonly ttl: Ms;
  /**
   * Boot-time instant: up to it the agent has certainly not called the check critical. Its timer starts when it receives a pass, so this
   * counts from before the last confirmed one was sent.
   */
  holdsUntil: Ms;
}

export class SessionChecks {
  readonly #http: ConsulHttp;
  readonly #clock: Clock;
  readonly #log: Log;
  #toldOfSeveral = false;

  constructor(http: ConsulHttp, clock: Clock, log: Log) {
    this.#http = http;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * Registers a new check, passing. It belongs to a service of its own: a check of the node would take every service of this host out
   * of DNS when it turns critical. Each session gets another one: an old check may have turned critical without the servers knowing
   * it yet, and would end the new session as soon as they do. Errors: unavailable, unknown-outcome, rejected.
   */
  async register(check: SessionCheck, options: RequestOptions): Promise<Result<BoundCheck, StoreError>> {
    const id = checkId(check);
    const sentAt = this.#clock.now();
    const body = JSON.stringify({
      ID: id,
      Name: serviceName(check.service),
      Check: {
        CheckID: id,
        Name: `supervisor of ${check.owner}`,
        TTL: `${check.ttl / 1000}s`,
        Status: "passing",
        DeregisterCriticalServiceAfter: DEREGISTER_AFTER,
      },
    });
    const answer = await this.#http.request({ method: "PUT", path: "/v1/agent/service/register", body, ...options });
    if (!answer.ok) return err(noAnswerError(answer.error, "write"));
    if (answer.value.status !== 200) return err(statusError(answer.value, "write"));
    return ok({ id, ttl: check.ttl, holdsUntil: ms(sentAt + check.ttl) });
  }

  /**
   * Starts the check's time anew. Value: false where it may have turned critical before the agent heard of this, or where no agent that
   * answers knows such a check (it was restarted without its data): the session may be ended at any moment.
   * Errors: unavailable, unknown-outcome, rejected.
   */
  async pass(check: BoundCheck, options: RequestOptions): Promise<Result<boolean, StoreError>> {
    const path = `/v1/agent/check/update/${encodeURIComponent(check.id)}`;
    const body = JSON.stringify({ Status: "passing", Output: OUTPUT });
    for (let attempt = 1; ; attempt++) {
      const sentAt = this.#clock.now();
      const answer = await this.#http.request({ method: "PUT", path, body, ...options });
      if (!answer.ok) return err(noAnswerError(answer.error, "write"));
      const unknown = saysUnknownCheck(answer.value);
      if (unknown && attempt < PASS_ATTEMPTS && this.holds(check)) continue;
      if (unknown) return ok(false);
      if (answer.value.status !== 200) return err(statusError(answer.value, "write"));
      if (!this.holds(check)) return ok(false);
      check.holdsUntil = ms(sentAt + check.ttl);
      if (attempt > 1) this.#tellOfSeveral();
      return ok(true);
    }
  }

  #tellOfSeveral(): void {
    if (this.#toldOfSeveral) return;
    this.#toldOfSeveral = true;
    this.#log.warning(
      "Consul's address leads to several agents, and only one of them has the check of this node's session: name that one in consul.host",
    );
  }

  /** It has certainly not turned critical up to now. */
  holds(check: BoundCheck): boolean {
    return this.#clock.now() < check.holdsUntil;
  }

  /** Removes it from the agent. What cannot be removed turns critical, and Consul removes it a minute later. */
  async remove(check: BoundCheck, options: RequestOptions): Promise<void> {
    await this.#http.request({ method: "PUT", path: `/v1/agent/service/deregister/${encodeURIComponent(check.id)}`, ...options });
  }
}

/** An agent's answer for a check that it does not have, or not as one that is pushed. */
export function saysUnknownCheck(answer: { readonly status: number; readonly text: string }): boolean {
  return answer.status === 404 || /does not have associated TTL|Unknown check/i.test(answer.text);
}

/** Says by itself how long the check lasts: whoever goes on with a session of another process reads it there. */
function checkId({ owner, ttl }: SessionCheck): string {
  return `${owner}:${randomUUID()}:${ttl / 1000}s`;
}

/** The check of ours among those bound to a session; `holdsUntil` as given. Null where there is none. */
export function readBoundCheck(ids: readonly string[], holdsUntil: Ms): BoundCheck | null {
  for (const id of ids) {
    const written = /:[0-9a-f-]{36}:([0-9.]+s)$/.exec(id)?.[1];
    const ttl = written === undefined ? null : parseDuration(written);
    if (ttl !== null) return { id, ttl, holdsUntil };
  }
  return null;
}
