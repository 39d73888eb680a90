import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { CLUSTER_DOCUMENT, FAILSAFE_DOCUMENT, HISTORY_DOCUMENT, STATUS_DOCUMENT } from "../../../lib/api/answer-schemas.ts";
import { EVENTS_DOCUMENT, EXPLANATION_DOCUMENT } from "../../../lib/api/event-schemas.ts";
import { jsonSchema } from "../../../lib/api/json-schema.ts";
import { openApiDocument } from "../../../lib/api/openapi.ts";
import { apiRoutes } from "../../../lib/api/routes.ts";
import { parseJson } from "../../../lib/core/json-text.ts";
import { HEALTH_PATHS } from "../../../lib/core/role-health.ts";
import { type DecisionFacts, EVENT_KINDS, type EventBody } from "../../../lib/model/event.ts";
import { lsn, revision } from "../../../lib/model/units.ts";
import { apiOf } from "./asking.ts";
import {
  cluster,
  DYNAMIC,
  facts,
  LogUnderTest,
  leading,
  member,
  NodeUnderTest,
  postgres,
  replicaFacts,
  restApi,
} from "./node-under-test.ts";

type Tree = { readonly [key: string]: Tree };

const document = openApiDocument() as unknown as Tree;

/** Every value of `$ref` in the document. */
function references(tree: unknown): readonly string[] {
  if (typeof tree !== "object" || tree === null) return [];
  return Object.entries(tree).flatMap(([key, value]) => (key === "$ref" ? [String(value)] : references(value)));
}

describe("the OpenAPI document", () => {
  test("names every route with its method, and no other", () => {
    const context = { service: new NodeUnderTest(), log: new LogUnderTest(), settings: () => restApi(), wallNow: Date.now };
    const routes = apiRoutes(context).routes.map(({ method, path }) => `${method} ${path}`);
    const health = ["/patroni", ...HEALTH_PATHS.keys()].map((path) => `GET ${path}`);
    const bodyless = [...routes, ...health]
      .filter((route) => route.startsWith("GET "))
      .flatMap((route) => ["HEAD", "OPTIONS"].map((method) => route.replace("GET", method)));
    const described = Object.entries(document["paths"] as Tree).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(described.sort()).toEqual([...new Set([...routes, ...health, ...bodyless])].sort());
  });

  test("is served as it is, refers to nothing that is missing, and says what each answer is", async () => {
    const { status, text, headers } = await apiOf(new NodeUnderTest())("GET", "/openapi.json");
    expect([status, headers.get("content-type")]).toEqual([200, "application/json"]);
    expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(document)));
    expect(document["openapi"]).toBe("3.1.0" as never);
    for (const reference of references(document)) {
      const found = reference
        .slice(2)
        .split("/")
        .reduce((tree: Tree | undefined, key) => tree?.[key], document);
      expect([reference, found?.["type"] as unknown]).not.toEqual([reference, undefined]);
    }
    for (const [path, operations] of Object.entries(document["paths"] as Tree)) {
      for (const [method, operation] of Object.entries(operations)) {
        const responses = Object.entries(operation["responses"] as Tree);
        expect([path, method, responses.length > 0]).toEqual([path, method, true]);
        for (const [status, { description, content }] of responses) {
          expect([path, method, status, typeof description]).toEqual([path, method, status, "string"]);
          if (method === "head" || method === "options") expect(content).toBeUndefined();
        }
      }
    }
  });

  test("bodies are described from the schemas that judge them", () => {
    const restart = (document["paths"] as Tree)["/restart"]?.["post"]?.["requestBody"]?.["content"]?.["application/json"]?.["schema"];
    expect(restart?.["additionalProperties"]).toBe(false as never);
    expect(Object.keys(restart?.["properties"] ?? {})).toEqual(["schedule", "role", "postgres_version", "timeout", "restart_pending"]);
    expect(restart?.["properties"]?.["role"]).toMatchObject({
      anyOf: [{ enum: ["primary", "standby_leader", "replica", ""] }, { type: "null" }],
    });
    const failsafe = (document["paths"] as Tree)["/failsafe"]?.["post"]?.["requestBody"]?.["content"]?.["application/json"]?.["schema"];
    expect(failsafe?.["required"]).toEqual(["name", "conn_url", "api_url"] as never);
    const dynamic = (document["components"] as Tree)["schemas"]?.["DynamicConfiguration"]?.["properties"];
    expect(dynamic?.["ttl"]).toMatchObject({ default: 30 });
    expect(dynamic?.["postgresql"]?.["properties"]?.["use_slots"]).toMatchObject({ default: true });
  });

  test("a kind of schema that it cannot describe is an error, not a gap", () => {
    expect(() => jsonSchema(v.date())).toThrow("date");
    expect(() => jsonSchema(v.pipe(v.string(), v.email()))).toThrow("email");
  });
});

describe("answers have the form that the document says", () => {
  const PENDING = { max_connections: { old_value: "50", new_value: "60" } };
  const sync = { revision: revision(5), leader: "node1", standbys: ["node2"], quorum: 0 };

  test.each([
    ["a primary", facts()],
    ["a replica", replicaFacts()],
    [
      "a node without PostgreSQL, paused, without a leader",
      facts({ postgres: null, state: "stopped", paused: true, cluster: cluster({ leader: null }) }),
    ],
    ["a synchronous standby", replicaFacts({ cluster: cluster({ sync }), dynamic: { ...DYNAMIC, synchronousMode: "on" } })],
    ["a quorum standby", replicaFacts({ cluster: cluster({ sync }), dynamic: { ...DYNAMIC, synchronousMode: "quorum" } })],
    [
      "a node with everything else",
      facts({
        postgres: postgres({ walLsn: lsn(18446744073709551615n) }),
        failsafeActive: true,
        pendingRestart: PENDING,
        scheduledRestart: { schedule: "2099-01-01T00:00:00+00:00" },
        watchdogFailed: true,
        tags: { clonefrom: true },
        copy: { doneBytes: 1, totalBytes: 2, percent: 50 },
        raft: { state: "serving", role: "leader", term: 3, leader: "127.0.0.1:1" },
        lastDecision: { rule: "r", why: "w" },
      }),
    ],
  ])("the status document of %s", async (_name, current) => {
    const { text } = await apiOf(new NodeUnderTest(current))("GET", "/patroni");
    expect(v.safeParse(STATUS_DOCUMENT, parseJson(text)).issues).toBeUndefined();
  });

  test("/cluster, /history and /failsafe", async () => {
    const line = {
      timeline: 1 as never,
      lsn: lsn(9007199254740993n),
      reason: "r",
      time: "2026-11-21T21:45:55.960896+00:00",
      newLeader: "node2",
    };
    const scheduled = {
      revision: revision(3),
      leader: "node1",
      candidate: "node2",
      scheduledAt: 0,
      scheduledAtText: "1970-01-01T00:00:00+00:00",
    };
    const members = [
      leading("node1", { pendingRestart: true, pendingRestartReason: PENDING }),
      member("node2", { tags: { a: 1 }, receiveLsn: null, replayLsn: null }),
    ];
    const node = new NodeUnderTest(
      facts({
        cluster: cluster({
          history: [line],
          failover: scheduled,
          members,
          failsafe: { node1: "u1" },
          config: { revision: revision(7), data: { pause: true } },
        }),
      }),
    );
    const ask = apiOf(node);
    for (const [path, schema] of [
      ["/cluster", CLUSTER_DOCUMENT],
      ["/history", HISTORY_DOCUMENT],
      ["/failsafe", FAILSAFE_DOCUMENT],
    ] as const) {
      const { status, text } = await ask("GET", path);
      expect([path, status, v.safeParse(schema, parseJson(text)).issues]).toEqual([path, 200, undefined]);
    }
  });
});

describe("what was told of events and explained", () => {
  const request = { leader: "node1", candidate: null, scheduled_at: null };
  const DECIDED: DecisionFacts = {
    dcs: "reachable",
    leader: null,
    lock: "free",
    lease_remaining_ms: 0.5,
    paused: false,
    state: "running",
    role: "replica",
    timeline: 1,
    wal: "0/5000060",
    published_wal: null,
    task: null,
    request,
    sync: { leader: "node1", standbys: ["node2"], quorum: 0 },
    answers: { node2: null, node3: { state: "running", role: "replica", timeline: 1, wal: "0/5000060" } },
  };
  /** One of each kind, and the nulls that may stand in them. */
  const HAPPENED: readonly EventBody[] = [
    { kind: "supervisor", what: "started", version: "1.0" },
    { kind: "decision", effect: "acquire-lock", facts: DECIDED },
    { kind: "decision", effect: "wait", facts: { ...DECIDED, request: null, sync: null, role: null, lease_remaining_ms: null } },
    { kind: "effect", effect: "promote", ok: false },
    { kind: "task", task: "clone", ok: true, seconds: 1.5 },
    { kind: "leader", leader: null, former: "node1" },
    { kind: "role", role: "primary", former: null },
    { kind: "state", state: "running", former: "starting" },
    { kind: "failover", phase: "lock", cause: "automatic", former: null, seconds: null },
    { kind: "request", request },
    { kind: "request", request: null },
    { kind: "dcs", reachable: false },
    { kind: "pause", paused: true },
    { kind: "sync", leader: null, standbys: [], quorum: 1 },
    { kind: "members", joined: ["node2"], left: [] },
    { kind: "fencing", fencing: "lost" },
    { kind: "raft", role: "leader", term: 3 },
    { kind: "backup", what: "done", type: "full", node: "node2", label: "20260101-000000F" },
  ];

  test("/events has the form that the document says, for every kind", async () => {
    expect([...new Set(HAPPENED.map(({ kind }) => kind))].sort()).toEqual([...EVENT_KINDS].sort());
    const node = new NodeUnderTest();
    for (const body of HAPPENED) node.events.add(body, "text", null);
    const { status, text } = await apiOf(node)("GET", "/events");
    const told = JSON.parse(text) as { readonly events: readonly unknown[] };
    expect([status, told.events.length]).toEqual([200, HAPPENED.length]);
    expect(v.safeParse(EVENTS_DOCUMENT, told).issues).toBeUndefined();
    expect(v.safeParse(EVENTS_DOCUMENT, { ...told, events: [{ ...(told.events[0] as object), more: 1 }] }).success).toBe(false);
  });

  test("/explain has it too, with and without a race behind it", async () => {
    const node = new NodeUnderTest();
    const race = node.events.add({ kind: "decision", effect: "acquire-lock", facts: DECIDED }, "text", "race");
    for (const last_race of [null, JSON.parse(race.json) as unknown]) {
      node.explained = { ...node.explained, last_race };
      const { status, text } = await apiOf(node)("GET", "/explain");
      expect([status, v.safeParse(EXPLANATION_DOCUMENT, JSON.parse(text)).issues]).toEqual([200, undefined]);
    }
    expect(node.explained.members.length).toBeGreaterThan(0);
  });

  test("the document refers to both, names the stream, and says what they can be asked", () => {
    const events = (document["paths"] as Tree)["/events"]?.["get"];
    const content = events?.["responses"]?.["200"]?.["content"];
    expect(content?.["application/json"]?.["schema"]?.["$ref"]).toBe("#/components/schemas/Events" as never);
    expect(content?.["text/event-stream"]).toBeDefined();
    expect(((events?.["parameters"] ?? []) as unknown as readonly Tree[]).map(({ name }) => name as unknown)).toEqual([
      "after",
      "kind",
      "Last-Event-ID",
    ]);
    const kinds = (document["components"]?.["schemas"]?.["Events"]?.["properties"]?.["events"]?.["items"]?.["anyOf"] ??
      []) as unknown as readonly Tree[];
    expect(kinds.map(({ properties }) => properties?.["kind"]?.["const"] as unknown)).toEqual([...EVENT_KINDS]);
    expect((document["paths"] as Tree)["/explain"]?.["get"]?.["responses"]?.["200"]?.["content"]?.["application/json"]?.["schema"]).toEqual(
      {
        $ref: "#/components/schemas/Explanation",
      } as never,
    );
  });

  test("the document names the least role of a token for each request that may want one", () => {
    const roleOf = (path: string, method: string) => {
      const security = ((document["paths"] as Tree)[path]?.[method]?.["security"] ?? []) as unknown as readonly Record<string, unknown>[];
      return security.map((one) => one["token"]).find((roles) => roles !== undefined);
    };
    expect([roleOf("/config", "get"), roleOf("/restart", "post"), roleOf("/config", "patch")]).toEqual([["read"], ["operate"], ["admin"]]);
    expect([roleOf("/primary", "get"), roleOf("/patroni", "get")]).toEqual([undefined, undefined]);
    expect(document["components"]?.["securitySchemes"]?.["token"]).toMatchObject({ type: "http", scheme: "bearer" } as never);
  });
});

describe("bodies of the wrong form", () => {
  test.each([
    ["/restart", { role: {} }, "PostgreSQL role should be either primary, standby_leader, or replica"],
    ["/restart", { timeout: [] }, "timeout: a text is needed"],
    ["/restart", { schedule: { at: "now" } }, "schedule: a text is needed"],
    ["/restart", { restart_pending: {} }, "restart_pending: a boolean is needed"],
    ["/reinitialize", { force: [] }, "force: a boolean is needed"],
    ["/switchover", { leader: ["node1"] }, "leader: a text is needed"],
    ["/failover", { candidate: {} }, "candidate: a text is needed"],
    ["/switchover", { leader: "node1", scheduled_at: {} }, "scheduled_at: a text is needed"],
  ])("%s %j is refused and nothing is asked of the node", async (path, body, text) => {
    const node = new NodeUnderTest(path === "/reinitialize" ? replicaFacts() : facts());
    const answer = await apiOf(node)("POST", path, body);
    expect([answer.status, answer.text]).toEqual([400, text]);
    expect([node.asked, node.restarts, node.failovers]).toEqual([[], [], []]);
  });
});

describe("the log of requests", () => {
  test("at debug each request is a line with address, path, status and time, and without its headers", async () => {
    const log = new LogUnderTest();
    const ask = apiOf(new NodeUnderTest(), {}, log);
    await ask("GET", "/replica?lag=1", undefined, { headers: { authorization: "Basic c2VjcmV0" }, peer: { address: "192.0.2.7" } });
    await ask("GET", `/${"x".repeat(1000)}`);
    expect(log.lines[0]).toMatch(/^DEBUG API: 192\.0\.2\.7 - - "GET \/replica\?lag=1" 503 - latency: \d+\.\d{3} ms$/);
    expect(log.lines[1]?.length).toBeLessThan(400);
    expect(log.lines.join("\n")).not.toContain("c2VjcmV0");
  });

  test("above debug none is made", async () => {
    const log = Object.assign(new LogUnderTest(), { debugs: () => false });
    await apiOf(new NodeUnderTest(), {}, log)("GET", "/primary");
    expect(log.lines).toEqual([]);
  });
});
