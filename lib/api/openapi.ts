// Owns GET /openapi.json: the API as a document (OpenAPI 3.1), made from the schemas that requests are judged by and answers
// are held to. Every route stands in openapi-operations.ts.

import { HEALTH_PATHS, type HealthCheck } from "../core/role-health.ts";
import { isProtectable } from "../model/api-access.ts";
import { PRODUCT_NAME, PRODUCT_VERSION } from "../model/product.ts";
import { type JsonSchema, jsonSchema } from "./json-schema.ts";
import { type Body, DOCUMENTS, OPERATIONS, type Operation } from "./openapi-operations.ts";
import { roleNeeded } from "./roles.ts";

/** What any request that may change something can be answered before it is looked at. */
const REFUSALS = {
  401: ["a password or a token is needed", "text"],
  403: ["the address, its certificate or the role of its token is not allowed", "text"],
} as const;

/** The same for what restapi.protected_paths may close. */
const READ_REFUSALS = { 401: REFUSALS[401] } as const;

const BODY_REFUSALS = {
  408: ["the body did not arrive in time", "text"],
  411: ["there is no body", "text"],
  413: ["the body is too large", "text"],
} as const;

let text: string | null = null;

/** The same while the process runs. */
export function openApiText(): string {
  text ??= JSON.stringify(openApiDocument(), null, 2);
  return text;
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
        basic: { type: "http", scheme: "basic", description: "restapi.authentication: may do everything" },
        token: {
          type: "http",
          scheme: "bearer",
          description: "restapi.tokens: each operation names the least role (read, operate, admin) that a token needs",
        },
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

function describeOperation({ path, method, summary, parameters, body, answers }: Operation): JsonSchema {
  const unsafe = method !== "get";
  const refusals = unsafe ? REFUSALS : isProtectable(path) ? READ_REFUSALS : {};
  const all = { ...answers, ...refusals, ...(body === undefined ? {} : BODY_REFUSALS) };
  return {
    summary,
    ...(parameters === undefined ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: body.required, content: { "application/json": { schema: jsonSchema(body.schema) } } } }),
    responses: Object.fromEntries(Object.entries(all).map(([status, answer]) => [status, responseOf(answer)])),
    ...securityOf(method, path),
  };
}

/** One of the entries is enough; nothing at all where the operator asks for nothing. The words beside `token` are the role. */
function securityOf(method: Operation["method"], path: string): JsonSchema {
  if (method === "get") return isProtectable(path) ? { security: [{}, { basic: [] }, { token: ["read"] }] } : {};
  const credentials = [{}, { basic: [] }, { token: [roleNeeded(method.toUpperCase(), path)] }];
  return { security: [...credentials, ...credentials.map((one) => ({ ...one, certificate: [] }))] };
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
    case "Events": {
      const stream = { schema: { type: "string", description: "server-sent events; the data of each is one of `events`" } };
      return { description, content: { ...referenceTo(body), "text/event-stream": stream } };
    }
    default:
      return { description, content: referenceTo(body) };
  }
}

function referenceTo(document: string): JsonSchema {
  return { "application/json": { schema: { $ref: `#/components/schemas/${document}` } } };
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
