// Owns the node's entry in Consul's service catalogue: what it says (pure functions) and keeping the agent in step with it.
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
import { TTL_FACTOR } from "./session.ts";

/** What the node wants to be known as. */
export interface WantedService {
  readonly scope: string;
  readonly name: string;
  /** `postgres://host:port/…` of this member. */
  readonly connUrl: string;
  /** `http[s]://host:port/patroni` of this member. */
  readonly apiUrl: string;
  readonly role: "primary" | "replica" | "standby_leader";
  /** Our own health says that the check would pass: the service then starts passing, and DNS has it in milliseconds. */
  readonly healthy: boolean;
  /** The cluster's ttl: an entry critical for five of them is removed. */
  readonly ttl: Ms;
}

type ServiceOptions = Pick<ConsulConfig, "serviceTags" | "serviceCheckInterval" | "serviceCheckTlsServerName">;

/** As `PUT /v1/agent/service/register` takes it. */
export interface ServiceDefinition {
  readonly ID: string;
  readonly Name: string;
  readonly Address: string;
  readonly Port: number;
  readonly Tags: readonly string[];
  readonly EnableTagOverride: true;
  readonly Check: {
    readonly HTTP: string;
    readonly Interval: string;
    readonly DeregisterCriticalServiceAfter: string;
    readonly TLSServerName?: string;
    readonly Status?: "passing";
  };
}

export type Reconciled = "unchanged" | "registered" | "deregistered";

export interface ConsulServicesOptions {
  readonly config: ConsulConfig;
  readonly clock: Clock;
  readonly log: Log;
  /** Of the entry that this node may have. */
  readonly scope: string;
  readonly name: string;
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
    this.#id = serviceId(options);
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
    const found = await this.#find(options.deadline);
    if (!found.ok) return found;
    if (wanted === null) return found.value === null ? this.#forget() : this.#deregister(options.deadline);
    const definition = serviceDefinition(wanted, this.#http.config);
    const fingerprint = JSON.stringify([withoutStatus(definition), this.#http.config.token]);
    if (found.value !== null && this.#registered === fingerprint && isThere(found.value, definition)) return ok("unchanged");
    return this.#register(definition, fingerprint, options.deadline);
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

/** Consul's limit on the part of a DNS name, with room for what it puts around it. */
const NAME_MAX_CHARS = 230;

/**
 * The service's name: the scope in lower case, `.`, `_` and space as `-`, any other character outside a-z, 0-9 and `-` as
 * `u` and its code point in decimal, padded to four digits.
 *
 * @example serviceName("My_Db.1") // "my-db-1"
 */
export function serviceName(scope: string): string {
  const characters = [...scope.toLowerCase()].map((character) => {
    if (/^[._ ]$/.test(character)) return "-";
    if (/^[a-z0-9-]$/.test(character)) return character;
    return `u${String(character.codePointAt(0)).padStart(4, "0")}`;
  });
  return characters.join("").slice(0, NAME_MAX_CHARS);
}

export function serviceId(member: { readonly scope: string; readonly name: string }): string {
  return `${member.scope}/${member.name}`;
}

/** The entry for a member. Throws TypeError where a url of the member is none: they come from our own configuration. */
export function serviceDefinition(wanted: WantedService, options: ServiceOptions): ServiceDefinition {
  const connection = new URL(wanted.connUrl);
  const role = wanted.role.replaceAll("_", "-");
  const tlsServerName = options.serviceCheckTlsServerName;
  return {
    ID: serviceId(wanted),
    Name: serviceName(wanted.scope),
    Address: connection.hostname.replace(/^\[(.*)\]$/, "$1"),
    Port: Number(connection.port === "" ? "5432" : connection.port),
    Tags: [...options.serviceTags, role, ...(wanted.role === "primary" ? ["master"] : [])],
    EnableTagOverride: true,
    Check: {
      HTTP: new URL(`/${role}`, wanted.apiUrl).href,
      Interval: options.serviceCheckInterval,
      DeregisterCriticalServiceAfter: `${(wanted.ttl / TTL_FACTOR / 1000) * 10}s`,
      ...(tlsServerName === null ? {} : { TLSServerName: tlsServerName }),
      ...(wanted.healthy ? { Status: "passing" as const } : {}),
    },
  };
}

/** The health of the moment is Consul's to follow: it is no reason to register again. */
function withoutStatus(definition: ServiceDefinition): ServiceDefinition {
  const { Status: _, ...Check } = definition.Check;
  return { ...definition, Check };
}

function isThere(found: AgentEntry, wanted: ServiceDefinition): boolean {
  return (
    found.Service.Service === wanted.Name &&
    found.Service.Address === wanted.Address &&
    found.Service.Port === wanted.Port &&
    (found.Checks ?? []).some((check) => check.CheckID === `service:${wanted.ID}`)
  );
}
