// Owns keeping an entry of Consul's service catalogue in step at the agent; what it says is in service-entry.ts.
// Must not decide when a node is to be registered: the caller says what is wanted, or null.

import * as v from "valibot";
import type { Clock } from "../../model/clock.ts";
import type { StoreError } from "../../model/errors.ts";
import type { Log } from "../../model/log.ts";
import type { ConsulConfig } from "../../model/node-config.ts";
import { err, ok, type Result } from "../../model/result.ts";
import type { Ms } from "../../model/units.ts";
import type { RequestOptions } from "../store.ts";
import { noAnswerError, parseJson, statusError, unreadable } from "./answers.ts";
import { ConsulHttp } from "./http.ts";
import { type LeaderEntryOptions, leaderEntryStands, type Standing } from "./service-catalogue.ts";
import { type ServiceDefinition, serviceDefinition, type WantedService, withoutStatus } from "./service-entry.ts";
import { saysUnknownCheck } from "./session-check.ts";

export type Reconciled = "unchanged" | "registered" | "deregistered";

export interface ConsulServicesOptions {
  readonly config: ConsulConfig;
  readonly clock: Clock;
  readonly log: Log;
  /** Of the entry that this node may have. */
  readonly id: string;
}

export class ConsulServices {
  readonly #http: ConsulHttp;
  readonly #log: Log;
  readonly #id: string;
  /** What this process registered last, the token included; null where the agent's entry is not from here. */
  #registered: string | null = null;

  /** Throws Error where a certificate file of the section cannot be read. */
  constructor(options: ConsulServicesOptions) {
    this.#http = new ConsulHttp(options.config, options.clock);
    this.#log = options.log;
    this.#id = options.id;
  }

  /** Takes over a changed `consul` section; the next `reconcile` acts on it. */
  reconfigure(config: ConsulConfig): void {
    this.#http.reconfigure(config);
  }

  /**
   * Makes the agent hold exactly this entry, or none (null). One request where nothing has to change, two otherwise.
   * Tags that somebody else overrode in the catalogue are left alone. Errors: unavailable, unknown-outcome, rejected.
   */
  async reconcile(wanted: WantedService | null, options: RequestOptions): Promise<Result<Reconciled, StoreError>> {
    const definition = wanted === null ? null : serviceDefinition(wanted, this.#http.config);
    const fingerprint = JSON.stringify([definition === null ? null : withoutStatus(definition), this.#http.config.token]);
    // A change is no time for questions: a client may be waiting for it.
    if (definition !== null && this.#registered !== null && this.#registered !== fingerprint)
      return this.#register(definition, fingerprint, options.deadline);
    const found = await this.#find(options.deadline);
    if (!found.ok) return found;
    if (definition === null) return found.value === null ? this.#forget() : this.#deregister(options.deadline);
    if (found.value !== null && this.#registered === fingerprint && isThere(found.value, definition)) return ok("unchanged");
    return this.#register(definition, fingerprint, options.deadline);
  }

  /** A leader's entry among those of all nodes, put right where it is not: service-catalogue.ts. Errors: as there. */
  async leaderEntryStands(wanted: WantedService, options: LeaderEntryOptions): Promise<Result<Standing, StoreError>> {
    const stands = await leaderEntryStands(this.#http, serviceDefinition(wanted, this.#http.config), options);
    if (stands.ok && stands.value.kind === "corrected")
      this.#log.info(`the leader's tags were put right in the catalogue: ${stands.value.ids.join(", ")}`);
    return stands;
  }

  /**
   * Tells the agent of the entry's health, where its check is one that we push. Value: false where the agent knows no such check, and
   * the entry has to be registered again. Errors: unavailable, unknown-outcome, rejected.
   */
  async push(health: { readonly status: "passing" | "critical"; readonly output: string }, options: RequestOptions) {
    const path = `/v1/agent/check/update/${encodeURIComponent(`service:${this.#id}`)}`;
    const body = JSON.stringify({ Status: health.status, Output: health.output });
    const answer = await this.#http.request({ method: "PUT", path, body, deadline: options.deadline });
    if (!answer.ok) return err(noAnswerError(answer.error, "write"));
    if (answer.value.status === 200) return ok(true);
    if (saysUnknownCheck(answer.value)) return ok(false);
    return err(statusError(answer.value, "write"));
  }

  async close(): Promise<void> {
    await this.#http.close();
  }

  async #find(deadline: Ms): Promise<Result<AgentEntry | null, StoreError>> {
    const path = `/v1/agent/health/service/id/${encodeURIComponent(this.#id)}`;
    const answer = await this.#http.request({ method: "GET", path, query: { format: "json" }, deadline });
    if (!answer.ok) return err(noAnswerError(answer.error, "read"));
    const { status, text } = answer.value;
    if (status === 404) return ok(null);
    // The status tells the service's own health (429 warning, 503 critical); the body is the same.
    const parsed = parseJson(AgentHealth, text);
    if (parsed !== null) return ok(parsed);
    return err(status === 200 ? unreadable("the service was described", "read") : statusError(answer.value, "read"));
  }

  async #register(definition: ServiceDefinition, fingerprint: string, deadline: Ms): Promise<Result<Reconciled, StoreError>> {
    this.#registered = null;
    const query = { "replace-existing-checks": "true" };
    const body = JSON.stringify(definition);
    const answer = await this.#http.request({ method: "PUT", path: "/v1/agent/service/register", query, body, deadline });
    if (!answer.ok) return err(noAnswerError(answer.error, "write"));
    if (answer.value.status !== 200) return err(statusError(answer.value, "write"));
    this.#registered = fingerprint;
    this.#log.info(`registered service ${definition.Name}, ID ${definition.ID}, tags ${definition.Tags.join(", ")}`);
    return ok("registered");
  }

  async #deregister(deadline: Ms): Promise<Result<Reconciled, StoreError>> {
    const path = `/v1/agent/service/deregister/${encodeURIComponent(this.#id)}`;
    const answer = await this.#http.request({ method: "PUT", path, deadline });
    if (!answer.ok) return err(noAnswerError(answer.error, "write"));
    if (answer.value.status !== 200 && answer.value.status !== 404) return err(statusError(answer.value, "write"));
    this.#registered = null;
    this.#log.info(`deregistered service ID ${this.#id}`);
    return ok("deregistered");
  }

  #forget(): Result<Reconciled, StoreError> {
    this.#registered = null;
    return ok("unchanged");
  }
}

const AgentHealth = v.object({
  Service: v.object({ Service: v.string(), Address: v.string(), Port: v.number() }),
  Checks: v.nullish(v.array(v.object({ CheckID: v.string() })), []),
});
type AgentEntry = v.InferOutput<typeof AgentHealth>;

function isThere(found: AgentEntry, wanted: ServiceDefinition): boolean {
  return (
    found.Service.Service === wanted.Name &&
    found.Service.Address === wanted.Address &&
    found.Service.Port === wanted.Port &&
    (found.Checks ?? []).some((check) => check.CheckID === `service:${wanted.ID}`)
  );
}
