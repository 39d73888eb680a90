// Owns hostile input, drawn from a seed: values, texts and requests that are nearly right, and such as are nothing at all.

import type { Random } from "../simulation/random.ts";

/** Values that have broken parsers before, and such as are right somewhere. */
const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1,
  0.5,
  1e308,
  2 ** 53,
  2147483648,
  "",
  " ",
  "on",
  "off",
  "True",
  "0",
  "-1",
  "10MB",
  "5min",
  "1e999",
  "node1",
  "node2",
  "primary",
  "replica",
  "running",
  "*",
  "../../etc/passwd",
  "a'b\"c\\d",
  "\u0000",
  "\ud800",
  "ä😀",
  "__proto__",
  "constructor",
  "x".repeat(5_000),
  "2099-01-01T00:00:00+00:00",
  "2009-13-45T99:99:99",
  "postgres://[::1]:99999/x",
  "http://127.0.0.1:1/patroni",
  [],
  {},
  [null],
  [[[]]],
  { "": "" },
  [1, "2", { 3: 4 }],
];

/** The tree with one to three of its places replaced, removed, added or wrapped. */
export function hostileValue(random: Random, base: unknown): unknown {
  let value = base;
  for (let count = random.whole(1, 3); count > 0; count--) value = changed(random, value);
  return value;
}

function changed(random: Random, value: unknown): unknown {
  const isContainer = typeof value === "object" && value !== null && Object.keys(value).length > 0;
  if (!isContainer || random.chance(0.15)) return random.chance(0.1) ? nested(random.whole(2, 3_000)) : random.pick(VALUES);
  if (Array.isArray(value)) {
    const at = random.whole(0, value.length - 1);
    if (random.chance(0.2)) return [...value, random.pick(VALUES)];
    return random.chance(0.15) ? value.toSpliced(at, 1) : value.with(at, changed(random, value[at]));
  }
  const entries = Object.entries(value as Record<string, unknown>);
  const at = random.whole(0, entries.length - 1);
  const [key = "", inner] = entries[at] ?? [];
  if (random.chance(0.15)) return Object.fromEntries(entries.toSpliced(at, 1));
  if (random.chance(0.15)) return Object.fromEntries([...entries, [String(random.pick(VALUES)), random.pick(VALUES)]]);
  return Object.fromEntries(entries.with(at, [key, changed(random, inner)]));
}

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { a: value };
  return value;
}

const PIECES = [
  "{",
  "}",
  "[",
  "]",
  '"',
  ":",
  ",",
  "\n",
  "\t",
  "&a ",
  "*a ",
  "!!binary ",
  "---\n",
  "null",
  "1e400",
  "\\u0000",
  "\u0000",
  "\u2028",
  "- ",
  "#",
];

/** The text with a few places cut out, doubled or overwritten. */
export function hostileText(random: Random, base: string): string {
  let text = base;
  for (let count = random.whole(1, 6); count > 0; count--) {
    const at = random.whole(0, text.length);
    const to = Math.min(text.length, at + random.whole(0, 12));
    const how = random.next();
    if (how < 0.1) text = text.slice(0, at);
    else if (how < 0.2) text = text.slice(0, to) + text.slice(at);
    else text = text.slice(0, at) + random.pick(PIECES) + text.slice(to);
  }
  return text;
}

export interface HostileRequest {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string | null;
}

const METHODS = ["GET", "GET", "HEAD", "OPTIONS", "POST", "POST", "PUT", "PATCH", "DELETE", "TRACE"];

const BODIES: Readonly<Record<string, unknown>> = {
  "/config": {
    ttl: 30,
    loop_wait: 10,
    postgresql: { parameters: { max_connections: 100 } },
    pause: true,
    slots: { a: { type: "physical" } },
  },
  "/restart": { schedule: "2099-01-01T00:00:00+00:00", role: "replica", postgres_version: "15.1", timeout: "1min", restart_pending: true },
  "/reinitialize": { force: true, from_leader: true },
  "/switchover": { leader: "node1", candidate: "node2", scheduled_at: "2099-01-01T00:00:00+00:00" },
  "/failover": { candidate: "node2" },
  "/failsafe": { name: "node1", conn_url: "postgres://a/b", api_url: "http://a/patroni", slots: { a: 1 }, ttl: 30 },
  "/mpp": { type: "before_demote", group: 0, leader: "node1", timeout: 1, cooldown: 1 },
};

const PATHS = [
  ...Object.keys(BODIES),
  "/",
  "/primary",
  "/replica",
  "/leader",
  "/read-only",
  "/sync",
  "/quorum",
  "/async",
  "/health",
  "/liveness",
  "/readiness",
  "/patroni",
  "/cluster",
  "/history",
  "/metrics",
  "/reload",
  "/citus",
  "/openapi.json",
  "/sigterm",
];

const QUERIES = [
  "lag=1MB",
  "lag=",
  "lag=-1",
  "lag=1e99TB",
  "replication_state=streaming",
  "tag_a=b",
  "tag_=",
  "mode=write",
  "mode=%zz",
  "%",
  "&&==",
  "a=%00",
];

export function hostileRequest(random: Random): HostileRequest {
  const path = random.pick(PATHS);
  const method = random.chance(0.03) ? hostileText(random, "GET").replace(/[^A-Za-z]/g, "X") || "X" : random.pick(METHODS);
  const query = random.chance(0.3) ? `?${random.pick(QUERIES)}&${random.chance(0.2) ? percentText(random) : random.pick(QUERIES)}` : "";
  const odd = random.chance(0.15) ? percentText(random) : "";
  const body = method === "GET" || random.chance(0.2) ? null : bodyOf(random, BODIES[path] ?? {});
  return { method, target: `${random.chance(0.05) ? "/" : ""}${path}${odd}${query}`, headers: headersOf(random), body };
}

function bodyOf(random: Random, base: unknown): string {
  const value = random.chance(0.8) ? hostileValue(random, base) : base;
  const text = JSON.stringify(value) ?? "";
  if (random.chance(0.02)) return "[".repeat(random.whole(100, 100_000));
  return random.chance(0.3) ? hostileText(random, text) : text;
}

/** Characters that may stand in a request target. */
function percentText(random: Random): string {
  return Array.from({ length: random.whole(1, 40) }, () =>
    random.pick(["a", "/", "..", "%2f", "%00", "%ff", ";", "=", "~", "%", "%u0041", "'"]),
  ).join("");
}

const HEADERS: readonly (readonly [string, string])[] = [
  ["Authorization", "Basic"],
  ["Authorization", "Basic !!!"],
  ["Authorization", `Basic ${btoa("operator:")}`],
  ["Authorization", `Basic ${btoa("a".repeat(3_000))}`],
  ["Authorization", "Bearer x"],
  ["Content-Type", "text/plain"],
  ["Content-Type", "multipart/form-data; boundary=\u00e9"],
  ["Content-Encoding", "gzip"],
  ["Accept-Encoding", "gzip, br"],
  ["X-Forwarded-For", "127.0.0.1"],
  ["X-HTTP-Method-Override", "DELETE"],
  ["Range", "bytes=0-1"],
  ["If-None-Match", "*"],
  ["Upgrade", "websocket"],
  ["Cookie", "x".repeat(2_000)],
  ["Origin", "null"],
];

function headersOf(random: Random): HostileRequest["headers"] {
  return Array.from({ length: random.whole(0, 3) }, () => random.pick(HEADERS));
}
