// Owns prepared queries in Consul: what a cluster's are like, and bringing the servers in step with them. Retries nothing.
// Source: "Prepared Query HTTP API" of Consul's documentation, checked against Consul 1.8.7.

import * as v from "valibot";
import type { StoreError } from "../../model/errors.ts";
import { err, ok, type Result } from "../../model/result.ts";
import type { RequestOptions } from "../store.ts";
import { noAnswerError, type Purpose, parseJson, statusError, unreadable } from "./answers.ts";
import type { ConsulHttp, HttpAnswer, HttpRequest } from "./http.ts";

/** A query as it is wanted. */
export interface WantedQuery {
  /** `NAME.query.consul` */
  readonly name: string;
  readonly service: string;
  /** Instances without each of these are left out; `!tag`: those with it. */
  readonly tags: readonly string[];
  /** `_agent`: who asks is told of the nearest first; "" where the order does not matter. */
  readonly near: string;
  /** Where the own datacenter has nobody: the so many nearest others, then those that are named. */
  readonly failover: { readonly nearestN: number; readonly datacenters: readonly string[] };
  /** For how long a resolver may keep the answer, e.g. `0s`. */
  readonly dnsTtl: string;
}

const Query = v.object({
  ID: v.string(),
  Name: v.string(),
  Token: v.optional(v.string(), ""),
  Service: v.object({
    Service: v.string(),
    Failover: v.optional(v.object({ NearestN: v.optional(v.number(), 0), Datacenters: v.nullish(v.array(v.string()), []) }), {
      NearestN: 0,
      Datacenters: [],
    }),
    OnlyPassing: v.optional(v.boolean(), false),
    Near: v.optional(v.string(), ""),
    Tags: v.nullish(v.array(v.string()), []),
  }),
  DNS: v.optional(v.object({ TTL: v.optional(v.string(), "") }), { TTL: "" }),
});
export type FoundQuery = v.InferOutput<typeof Query>;

const Created = v.object({ ID: v.string() });

/** What became of a query. `id`: Consul's. */
export type QueryOutcome = { readonly kind: "created" | "updated" | "unchanged" | "removed"; readonly id: string };

/** As `POST /v1/query` takes it. */
export function queryDefinition(wanted: WantedQuery): Readonly<Record<string, unknown>> {
  return {
    Name: wanted.name,
    Service: {
      Service: wanted.service,
      Tags: wanted.tags,
      OnlyPassing: true,
      Near: wanted.near,
      Failover: { NearestN: wanted.failover.nearestN, Datacenters: wanted.failover.datacenters },
    },
    DNS: { TTL: wanted.dnsTtl },
  };
}

export function isAsWanted(found: FoundQuery, wanted: WantedQuery): boolean {
  const { Service, DNS } = found;
  return (
    Service.Service === wanted.service &&
    Service.OnlyPassing &&
    Service.Near === wanted.near &&
    same(Service.Tags ?? [], wanted.tags) &&
    Service.Failover.NearestN === wanted.failover.nearestN &&
    same(Service.Failover.Datacenters ?? [], wanted.failover.datacenters) &&
    DNS.TTL === wanted.dnsTtl
  );
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((value, index) => value === b[index]);
}

/** The queries of one datacenter; null: the agent's own. */
export class PreparedQueries {
  readonly #http: ConsulHttp;
  readonly #query: { readonly dc?: string };

  constructor(http: ConsulHttp, datacenter: string | null) {
    this.#http = http;
    this.#query = datacenter === null ? {} : { dc: datacenter };
  }

  /** Null where there is none of that name. Errors: unavailable, rejected. */
  async find(name: string, options: RequestOptions): Promise<Result<FoundQuery | null, StoreError>> {
    const answer = await this.#send({ method: "GET", path: "/v1/query", ...options }, "read");
    if (!answer.ok) return answer;
    const found = parseJson(v.array(Query), answer.value.text);
    if (found === null) return err(unreadable("the prepared queries were listed", "read"));
    return ok(found.find(({ Name }) => Name === name) ?? null);
  }

  /** Makes it what is wanted: `absent: create` also where there is none. Errors: unavailable, unknown-outcome, condition-failed (there is none), rejected. */
  async bring(
    wanted: WantedQuery,
    options: RequestOptions & { readonly absent: "create" | "refuse" },
  ): Promise<Result<QueryOutcome, StoreError>> {
    const { deadline } = options;
    const found = await this.find(wanted.name, options);
    if (!found.ok) return found;
    const body = queryDefinition(wanted);
    if (found.value === null) return options.absent === "create" ? await this.#create(body, deadline) : err({ kind: "condition-failed" });
    const { ID: id, Token } = found.value;
    if (isAsWanted(found.value, wanted)) return ok({ kind: "unchanged", id });
    // A token that is bound to the query would be lost with an update that does not carry it.
    if (Token === "<hidden>")
      return err({ kind: "rejected", reason: "a token is bound to it that this token may not see; remove it first" });
    const kept = Token === "" ? body : { ...body, Token };
    const path = `/v1/query/${encodeURIComponent(id)}`;
    const answer = await this.#send({ method: "PUT", path, body: JSON.stringify(kept), deadline }, "write");
    return answer.ok ? ok({ kind: "updated", id }) : answer;
  }

  /** Value: null where there was none. Errors: unavailable, unknown-outcome, rejected. */
  async remove(name: string, options: RequestOptions): Promise<Result<QueryOutcome | null, StoreError>> {
    const found = await this.find(name, options);
    if (!found.ok || found.value === null) return found.ok ? ok(null) : found;
    const { ID: id } = found.value;
    const answer = await this.#send({ method: "DELETE", path: `/v1/query/${encodeURIComponent(id)}`, ...options }, "write");
    return answer.ok ? ok({ kind: "removed", id }) : answer;
  }

  async #create(body: Readonly<Record<string, unknown>>, deadline: RequestOptions["deadline"]): Promise<Result<QueryOutcome, StoreError>> {
    const answer = await this.#send({ method: "POST", path: "/v1/query", body: JSON.stringify(body), deadline }, "write");
    if (!answer.ok) return answer;
    const created = parseJson(Created, answer.value.text);
    return created === null ? err(unreadable("the new query was answered", "write")) : ok({ kind: "created", id: created.ID });
  }

  async #send(request: Omit<HttpRequest, "query">, purpose: Purpose): Promise<Result<HttpAnswer, StoreError>> {
    const answer = await this.#http.request({ ...request, query: this.#query });
    if (!answer.ok) return err(noAnswerError(answer.error, purpose));
    return answer.value.status === 200 ? ok(answer.value) : err(statusError(answer.value, purpose));
  }
}
