// Owns the list of what the API offers, for GET /openapi.json: each request with its words, its body and its answers. A test compares it
// with the routes. The health paths have a list of their own (lib/core/role-health.ts).

import type * as v from "valibot";
import { DYNAMIC_SCHEMA } from "../config/schema-dynamic.ts";
import { EVENT_KINDS } from "../model/event.ts";
import { CLUSTER_DOCUMENT, FAILSAFE_DOCUMENT, HISTORY_DOCUMENT, STATUS_DOCUMENT } from "./answer-schemas.ts";
import { EVENTS_DOCUMENT, EXPLANATION_DOCUMENT } from "./event-schemas.ts";
import type { JsonSchema } from "./json-schema.ts";
import { CONFIG_BODY, FAILSAFE_BODY, REINITIALIZE_BODY, RESTART_BODY, SWITCHOVER_BODY } from "./request-schemas.ts";

type Method = "get" | "post" | "put" | "patch" | "delete";

/** What an answer's body is: text as it is, Prometheus' text, nothing, any JSON, or a document under `components/schemas`. */
export type Body = "text" | "metrics" | "none" | "json" | keyof typeof DOCUMENTS;

export interface Operation {
  readonly path: string;
  readonly method: Method;
  readonly summary: string;
  readonly parameters?: readonly JsonSchema[];
  readonly body?: { readonly schema: v.GenericSchema; readonly required: boolean };
  readonly answers: Readonly<Record<number, readonly [description: string, body: Body]>>;
}

export const DOCUMENTS = {
  Status: STATUS_DOCUMENT,
  Cluster: CLUSTER_DOCUMENT,
  History: HISTORY_DOCUMENT,
  Failsafe: FAILSAFE_DOCUMENT,
  Events: EVENTS_DOCUMENT,
  Explanation: EXPLANATION_DOCUMENT,
  DynamicConfiguration: DYNAMIC_SCHEMA,
} as const;

const CONFIG = { schema: CONFIG_BODY, required: true };
const KINDS = `of these kinds alone, commas between: ${EVENT_KINDS.join(", ")}`;
const EVENTS_QUERY = [
  { name: "after", in: "query", description: "those after the event of this id", schema: { type: "string" } },
  { name: "kind", in: "query", description: KINDS, schema: { type: "string" } },
  {
    name: "Last-Event-ID",
    in: "header",
    description: "the same as after, for a stream that is taken up again",
    schema: { type: "string" },
  },
];
const EXPLAIN_QUERY = [{ name: "member", in: "query", description: "this member alone", schema: { type: "string" } }];

const SWITCHED = {
  200: ["done", "text"],
  202: ["will be done at its time", "text"],
  400: ["the request is wrong", "text"],
  412: ["not possible now", "text"],
  422: ["the time cannot be read or is past", "text"],
  503: ["failed, or the DCS is away", "text"],
} as const;

export const OPERATIONS: readonly Operation[] = [
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
    parameters: EVENTS_QUERY,
    answers: { 200: ["events", "Events"], 400: ["an unknown kind", "text"], 503: ["too many readers", "text"] },
  },
  {
    path: "/explain",
    method: "get",
    summary: "For each member whether it could be promoted now, and every reason why not",
    parameters: EXPLAIN_QUERY,
    answers: { 200: ["the explanation", "Explanation"], 400: ["no such member", "text"] },
  },
  {
    path: "/backups",
    method: "get",
    summary: "The backups in pgBackRest's repository",
    answers: {
      200: ["stanza, status and backups", "json"],
      502: ["pgBackRest is not configured on this node", "text"],
      503: ["pgBackRest failed, and how", "text"],
    },
  },
  {
    path: "/restore",
    method: "get",
    summary: "What keeps this node from restoring the cluster from a backup, or from taking a restore back; null where nothing does",
    parameters: [{ name: "back", in: "query", description: "the id of the restore that is to be taken back", schema: { type: "string" } }],
    answers: { 200: ["the obstacle", "json"], 400: ["that is no id", "text"] },
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
