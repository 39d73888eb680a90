// Owns GET /openapi.json: the API as a document (OpenAPI 3.1), made from the schemas that requests are judged by and answers
// are held to. Every route stands in the table below; a test compares the two.

import type * as v from "valibot";
import { DYNAMIC_SCHEMA } from "../config/schema-dynamic.ts";
import { HEALTH_PATHS, type HealthCheck } from "../core/role-health.ts";
import { PRODUCT_NAME, PRODUCT_VERSION } from "../model/product.ts";
import { CLUSTER_DOCUMENT, FAILSAFE_DOCUMENT, HISTORY_DOCUMENT, STATUS_DOCUMENT } from "./answer-schemas.ts";
import type { ApiApp } from "./context.ts";
import { type JsonSchema, jsonSchema } from "./json-schema.ts";
import { CONFIG_BODY, FAILSAFE_BODY, REINITIALIZE_BODY, RESTART_BODY, SWITCHOVER_BODY } from "./request-schemas.ts";

type Method = "get" | "post" | "put" | "patch" | "delete";

/** What an answer's body is: text as it is, Prometheus' text, nothing, any JSON, or a document under `components/schemas`. */
type Body = "text" | "metrics" | "none" | "json" | keyof typeof DOCUMENTS;

interface Operation {
  readonly path: string;
  readonly method: Method;
  readonly summary: string;
  readonly body?: { readonly schema: v.GenericSchema; readonly required: boolean };
  readonly answers: Readonly<Record<number, readonly [description: string, body: Body]>>;
}

const DOCUMENTS = {
  Status: STATUS_DOCUMENT,
  Cluster: CLUSTER_DOCUMENT,
  History: HISTORY_DOCUMENT,
  Failsafe: FAILSAFE_DOCUMENT,
  DynamicConfiguration: DYNAMIC_SCHEMA,
} as const;

const CONFIG = { schema: CONFIG_BODY, required: true };
const SWITCHED = {
  200: ["done", "text"],
  202: ["will be done at its time", "text"],
  400: ["the request is wrong", "text"],
  412: ["not possible now", "text"],
  422: ["the time cannot be read or is past", "text"],
  503: ["failed, or the DCS is away", "text"],
} as const;

const OPERATIONS: readonly Operation[] = [
  { path: "/patroni", method: "get", summary: "The status document", answers: { 200: ["the status document", "Status"] } },
  {
    path: "/cluster",
    method: "get",
    summary: "The members with role, state and lag",
    answers: { 200: ["the cluster", "Cluster"], 503: ["the DCS has not been read yet", "text"] },
  },
  {
    path: "/history",
    method: "get",
    summary: "The timelines",
    answers: { 200: ["a line per timeline", "History"], 503: ["the DCS has not been read yet", "text"] },
  },
  {
    path: "/config",
    method: "get",
    summary: "The dynamic configuration",
    answers: { 200: ["as it stands in the DCS", "DynamicConfiguration"], 502: ["there is none", "text"] },
  },
  {
    path: "/config",
    method: "patch",
    summary: "Merges into the dynamic configuration; null deletes",
    body: CONFIG,
    answers: {
      200: ["the new configuration", "DynamicConfiguration"],
      400: ["the body is no JSON object, or an empty one", "text"],
      409: ["changed by somebody else meanwhile", "text"],
      503: ["there is none, or the DCS is away", "text"],
    },
  },
  {
    path: "/config",
    method: "put",
    summary: "Replaces the dynamic configuration",
    body: CONFIG,
    answers: {
      200: ["the new configuration", "DynamicConfiguration"],
      400: ["the body is no JSON object", "text"],
      502: ["not written", "text"],
    },
  },
  { path: "/reload", method: "post", summary: "Reads the node's file again", answers: { 202: ["reload scheduled", "text"] } },
  {
    path: "/restart",
    method: "post",
    summary: "Restarts PostgreSQL, now or later",
    body: { schema: RESTART_BODY, required: false },
    answers: {
      200: ["restarted", "text"],
      202: ["will be restarted at its time", "text"],
      400: ["the request is wrong", "text"],
      409: ["another one is scheduled", "text"],
      422: ["the time cannot be read or is past", "text"],
      500: ["cannot be scheduled while paused", "text"],
      503: ["failed, or the conditions do not hold", "text"],
    },
  },
  {
    path: "/restart",
    method: "delete",
    summary: "Drops the scheduled restart",
    answers: { 200: ["dropped", "text"], 404: ["none is scheduled", "text"] },
  },
  {
    path: "/reinitialize",
    method: "post",
    summary: "Removes the data directory of a replica and copies it again",
    body: { schema: REINITIALIZE_BODY, required: false },
    answers: { 200: ["begun", "text"], 400: ["the request is wrong", "text"], 503: ["not possible now", "text"] },
  },
  {
    path: "/switchover",
    method: "post",
    summary: "Changes the leader as planned, now or later",
    body: { schema: SWITCHOVER_BODY, required: true },
    answers: SWITCHED,
  },
  {
    path: "/switchover",
    method: "delete",
    summary: "Drops the scheduled switchover",
    answers: {
      200: ["dropped", "text"],
      404: ["none is scheduled", "text"],
      409: ["changed by somebody else meanwhile", "text"],
      503: ["the DCS is away", "text"],
    },
  },
  {
    path: "/failover",
    method: "post",
    summary: "Makes the candidate the leader, also where there is none",
    body: { schema: SWITCHOVER_BODY, required: true },
    answers: SWITCHED,
  },
  {
    path: "/failsafe",
    method: "get",
    summary: "The members that failsafe mode asks",
    answers: { 200: ["their URLs", "Failsafe"], 502: ["failsafe mode is off", "text"] },
  },
  {
    path: "/failsafe",
    method: "post",
    summary: "The primary's heartbeat while the DCS is away",
    body: { schema: FAILSAFE_BODY, required: true },
    answers: {
      200: ["this node promises not to lead; the header lsn holds its position", "text"],
      400: ["the request is wrong", "text"],
      500: ["this node leads, or sees another leader", "text"],
      502: ["failsafe mode is off", "text"],
    },
  },
  { path: "/metrics", method: "get", summary: "Metrics for Prometheus", answers: { 200: ["metrics", "metrics"] } },
  {
    path: "/events",
    method: "get",
    summary: "What happened here: kept, or as server-sent events where text/event-stream is accepted",
    answers: { 200: ["events", "json"], 400: ["an unknown kind", "text"], 503: ["too many readers", "text"] },
  },
  {
    path: "/explain",
    method: "get",
    summary: "For each member whether it could be promoted now, and every reason why not",
    answers: { 200: ["the explanation", "json"], 400: ["no such member", "text"] },
  },
  { path: "/openapi.json", method: "get", summary: "This document", answers: { 200: ["OpenAPI 3.1", "json"] } },
  ...["/mpp", "/citus"].map((path) => ({
    path,
    method: "post" as const,
    summary: "An event of another group of a distributed cluster",
    body: CONFIG,
    answers: { 200: ["taken", "text"], 400: ["the request is wrong", "text"] } as const,
  })),
];

/** What any request that may change something can be answered before it is looked at. */
const REFUSALS = {
  401: ["user name and password are needed", "text"],
  403: ["the address or its certificate is not allowed", "text"],
} as const;

const BODY_REFUSALS = {
  408: ["the body did not arrive in time", "text"],
  411: ["there is no body", "text"],
  413: ["the body is too large", "text"],
} as const;

export function openApiRoutes(app: ApiApp): void {
  let text: string | null = null;
  app.get("/openapi.json", () => {
    text ??= JSON.stringify(openApiDocument(), null, 2);
    return new Response(text, { headers: { "content-type": "application/json" } });
  });
}

export function openApiDocument(): JsonSchema {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const [path, check] of HEALTH_PATHS) paths[path] = withBodyless(healthOperation(path, check));
  for (const operation of OPERATIONS) {
    const described = describeOperation(operation);
    const at = paths[operation.path] ?? {};
    paths[operation.path] = { ...at, ...(operation.method === "get" ? withBodyless(described) : { [operation.method]: described }) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: `${PRODUCT_NAME}: REST API of a node`,
      version: PRODUCT_VERSION,
      description: "Paths, statuses and fields are those of Patroni 4.1. Any other GET path answers 503 with the status document.",
    },
    servers: [{ url: "/" }],
    paths,
    components: {
      schemas: Object.fromEntries(Object.entries(DOCUMENTS).map(([name, schema]) => [name, jsonSchema(schema)])),
      securitySchemes: {
        basic: { type: "http", scheme: "basic", description: "restapi.authentication" },
        certificate: { type: "mutualTLS", description: "restapi.verify_client" },
      },
    },
  };
}

/** HEAD and OPTIONS answer with the status of GET alone. */
function withBodyless(get: JsonSchema): Record<string, unknown> {
  const responses = Object.entries(get["responses"] as Readonly<Record<string, { description: string }>>);
  const bare = { ...get, responses: Object.fromEntries(responses.map(([status, { description }]) => [status, { description }])) };
  return { get, head: bare, options: bare };
}

function describeOperation({ method, summary, body, answers }: Operation): JsonSchema {
  const unsafe = method !== "get";
  const all = { ...answers, ...(unsafe ? REFUSALS : {}), ...(body === undefined ? {} : BODY_REFUSALS) };
  return {
    summary,
    ...(body === undefined
      ? {}
      : { requestBody: { required: body.required, content: { "application/json": { schema: jsonSchema(body.schema) } } } }),
    responses: Object.fromEntries(Object.entries(all).map(([status, answer]) => [status, responseOf(answer)])),
    ...(unsafe ? { security: [{}, { basic: [] }, { certificate: [] }, { basic: [], certificate: [] }] } : {}),
  };
}

function responseOf([description, body]: readonly [string, Body]): JsonSchema {
  switch (body) {
    case "none":
      return { description };
    case "text":
    case "metrics":
      return { description, content: { "text/plain": { schema: { type: "string" } } } };
    case "json":
      return { description, content: { "application/json": { schema: { type: "object" } } } };
    default:
      return { description, content: { "application/json": { schema: { $ref: `#/components/schemas/${body}` } } } };
  }
}

const ROLE_WORDS: Readonly<Record<HealthCheck, string>> = {
  primary: "primary that holds the lock",
  leader: "holds the lock",
  "standby-leader": "leads a standby cluster",
  replica: "running replica without the tag noloadbalance",
  "read-only": "may be read from",
  sync: "synchronous standby",
  "read-only-sync": "synchronous standby or primary",
  quorum: "quorum standby",
  "read-only-quorum": "quorum standby or primary",
  async: "replica that is neither synchronous nor of the quorum",
  health: "PostgreSQL runs",
  liveness: "the HA loop runs",
  readiness: "the leader, or a replica that is near enough",
};

const LEADER_CHECKS: readonly HealthCheck[] = ["primary", "leader", "standby-leader", "health", "liveness"];

function healthOperation(path: string, check: HealthCheck): JsonSchema {
  const body: Body = check === "liveness" || check === "readiness" ? "none" : "Status";
  return {
    summary: `200: ${ROLE_WORDS[check]}${path.slice(1) === check ? "" : ` (as /${check})`}`,
    ...(LEADER_CHECKS.includes(check) ? {} : { parameters: check === "readiness" ? READINESS_QUERY : REPLICA_QUERY }),
    responses: { 200: responseOf(["yes", body]), 503: responseOf(["no", body]) },
  };
}

const LAG = {
  name: "lag",
  in: "query",
  description: "at most so far behind the leader: bytes, or with kB, MB, GB, TB",
  schema: { type: "string" },
};
const REPLICA_QUERY = [
  LAG,
  { name: "replication_state", in: "query", description: "such as streaming", schema: { type: "string" } },
  {
    name: "tags",
    in: "query",
    description: "tag_NAME=VALUE: the node has this tag",
    style: "form",
    explode: true,
    schema: { type: "object", patternProperties: { "^tag_": { type: "string" } } },
  },
];
const READINESS_QUERY = [
  LAG,
  {
    name: "mode",
    in: "query",
    description: "which position counts: replayed or received",
    schema: { enum: ["apply", "write"], default: "apply" },
  },
];
