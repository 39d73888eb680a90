// Goal: nothing that comes from outside takes a node down, makes it hang, is answered by a 5xx that the contract does not
// know, or changes what it was not allowed to change.
// Method: hostile requests, bodies, configuration files and store values from a seed, which is printed; FUZZ_CASES and
// FUZZ_SEED choose how many and which.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { connect } from "node:net";
import { Api } from "../../lib/api/app.ts";
import { acceptDynamic } from "../../lib/config/dynamic.ts";
import { loadNodeConfig } from "../../lib/config/load.ts";
import { decide } from "../../lib/core/decide.ts";
import { ClusterDecoder } from "../../lib/dcs/cluster-decoder.ts";
import { clusterKeys } from "../../lib/dcs/keys.ts";
import type { Entry } from "../../lib/dcs/store.ts";
import type { Cluster } from "../../lib/model/cluster.ts";
import { PATRONI_LIMITS } from "../../lib/model/dynamic-config.ts";
import { ms, revision } from "../../lib/model/units.ts";
import { TestCluster } from "../harness/cluster.ts";
import { wholeFromEnvironment } from "../harness/from-environment.ts";
import { type HostileRequest, hostileRequest, hostileText, hostileValue } from "../harness/hostile.ts";
import { inTier } from "../harness/times.ts";
import { Random } from "../simulation/random.ts";
import { facts, LogUnderTest, leading as leadingMember, NodeUnderTest, replicaFacts, restApi } from "../unit/api/node-under-test.ts";
import { leading, observation } from "../unit/core/observations.ts";

const CASES = wholeFromEnvironment("FUZZ_CASES", 2_000);
/** The default tier does the same each time; new ones are tried in the full tier. */
const SEED = wholeFromEnvironment("FUZZ_SEED", inTier({ full: 1 + (Date.now() % 1_000_000_007), byDefault: 20_261_122 }));
/** Files and values of the store, which take longer each. */
const DOCUMENTS = Math.ceil(CASES / 4);
/** For the whole run, whatever the machine: a hang is what never ends. */
const LIMIT_MS = 60_000 + CASES * 20;
/** Far beyond every timeout of the API for a client that does not go on. */
const HANG_MS = 60_000;

const REFUSALS: ReadonlySet<number> = new Set([400, 401, 403, 404, 405, 408, 409, 411, 412, 413, 414, 415, 417, 422, 431]);
/** 5xx of the contract that need no failure: unknown method, nothing there, not this role, HTTP of another version. */
const CONTRACT_5XX: ReadonlySet<number> = new Set([501, 502, 503, 505]);

beforeAll(() => console.log(`fuzz: ${CASES} requests, ${DOCUMENTS} files and stores, seed ${SEED}`));
afterAll(() => TestCluster.stopAll());

const CLIENTS = 8;
const AUTHENTICATION = { username: "operator", password: "herd" };

test(
  "a node with a password: whatever is sent to its API, it serves on and nothing of its cluster changes",
  async () => {
    await TestCluster.with({ nodes: 1, extra: () => ({ restapi: { authentication: AUTHENTICATION } }) }, async (cluster) => {
      const node = await cluster.untilHealthy();
      const state = async () => ({
        pid: node.pid,
        postmaster: node.postmasterPid(),
        config: await cluster.key("config"),
        failover: await cluster.key("failover"),
        leader: (await cluster.key("leader"))?.session,
      });
      const before = await state();
      const random = new Random(SEED);
      const seen = new Map<string, number>();
      let left = CASES;
      const client = async (): Promise<void> => {
        while (left-- > 0) {
          const request = hostileRequest(random);
          const broken = random.chance(0.15);
          const status = await send(node.place.apiPort, bytesOf(random, request, broken), broken);
          const known = status === null || (status >= 200 && status < 300) || REFUSALS.has(status) || CONTRACT_5XX.has(status);
          if (!known) throw new Error(`${status} for ${JSON.stringify(request)}`);
          if (!broken && status !== null && status < 300) expect(["GET", "HEAD", "OPTIONS"]).toContain(request.method);
          seen.set(String(status), (seen.get(String(status)) ?? 0) + 1);
          if (left % 100 === 0) expect((await node.api("/primary", { timeoutMs: HANG_MS })).status).toBe(200);
        }
      };
      await Promise.all(Array.from({ length: CLIENTS }, client));
      console.log(`answers: ${[...seen].map(([status, count]) => `${status} ${count}`).join(", ")}`);
      expect(seen.size).toBeGreaterThan(4);
      expect(await state()).toEqual(before);
      expect(node.log).not.toMatch(/ (ERROR|CRITICAL): |internal error/);
    });
  },
  LIMIT_MS,
);

/** The request on the wire; `broken`: then hostile to HTTP itself. */
function bytesOf(random: Random, request: HostileRequest, broken: boolean): Buffer {
  const length = request.body === null ? [] : [["Content-Length", String(Buffer.byteLength(request.body))] as const];
  const headers = [["Host", "node"], ["Connection", "close"], ...request.headers, ...length] as const;
  const head = `${request.method} ${request.target} HTTP/1.1\r\n${headers.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
  const text = head + (request.body ?? "");
  return Buffer.from(broken ? hostileText(random, text) : text, broken ? "latin1" : "utf8");
}

/** The status that was answered; null where the server closed without one, as it may where that was no HTTP. Throws on a hang. */
function send(port: number, bytes: Buffer, broken: boolean): Promise<number | null> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    const hang = setTimeout(() => {
      socket.destroy();
      reject(new Error(`no end of the answer to ${JSON.stringify(bytes.toString("latin1").slice(0, 2_000))}`));
    }, HANG_MS);
    socket.on("data", (part: Buffer) => {
      if (answer.length < 100) answer += part.toString("latin1");
    });
    // A reset is what a client gets that goes on after the server has had enough.
    socket.on("error", () => socket.destroy());
    socket.on("end", () => socket.destroy());
    socket.on("close", () => {
      clearTimeout(hang);
      resolve(/^HTTP\/1\.[01] (\d{3})/.test(answer) ? Number(answer.slice(9, 12)) : null);
    });
    // What is broken may wait for more: there is no more.
    if (broken) socket.end(bytes);
    else socket.write(bytes);
  });
}

/** Where a handler is asked without a socket. */
const PEER = { address: "127.0.0.1", certificate: "not-asked", allowSilence: () => undefined } as const;

test(
  "without a password: what is refused was not begun, and what is safe changes nothing",
  async () => {
    const random = new Random(SEED + 1);
    const log = new LogUnderTest();
    const [asLeader, asReplica] = [facts(), replicaFacts()];
    for (let index = 0; index < CASES; index++) {
      const current = index % 2 === 0 ? asLeader : asReplica;
      const node = new NodeUnderTest({ ...current, dynamic: { ...current.dynamic, failsafeMode: index % 3 === 0, loopWaitMs: ms(1) } });
      // Whoever is asked for takes the lock at once.
      node.onFailover = () => {
        const [candidate = "node2"] = node.failovers.map(
          ({ value }) => (value as { candidate: string | null } | null)?.candidate ?? "node2",
        );
        node.publish({
          failover: null,
          leader: { name: candidate, session: "s2", revision: revision(99) },
          members: [leadingMember(candidate)],
        });
      };
      const settings = restApi();
      const api = new Api({ service: node, log, settings: () => settings, wallNow: () => 0 });
      const { method, target, headers, body } = hostileRequest(random);
      const request = requestOf(method, target, headers, body);
      if (request === null) continue;
      const { status } = await api.handle(request, PEER);
      const asked = [...node.asked.filter((what) => what !== "wake"), ...node.restarts, ...node.failovers, ...node.configs, ...node.beats];
      const told = `${status} for ${method} ${target} ${body}`;
      if (["GET", "HEAD", "OPTIONS"].includes(method) || status >= 400) expect(asked, told).toEqual([]);
      const known = (status >= 200 && status < 300) || REFUSALS.has(status) || CONTRACT_5XX.has(status);
      if (!known) throw new Error(told);
    }
    expect(log.lines.filter((line) => /^(ERROR|CRITICAL)/.test(line))).toEqual([]);
  },
  LIMIT_MS,
);

/** Null where no client could send it. */
function requestOf(method: string, target: string, headers: HostileRequest["headers"], body: string | null): Request | null {
  const sent = new Headers();
  for (const [name, value] of headers) sent.append(name, value.replace(/[^ -~]/g, "?"));
  if (body !== null) sent.set("Content-Length", String(Buffer.byteLength(body)));
  try {
    return new Request(`http://node${target.replace(/^\/+/, "/")}`, {
      method,
      headers: sent,
      body: method === "GET" || method === "HEAD" ? null : body,
    });
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}

const SECRET = "hushhush";
const FILE = `scope: demo
name: node1
consul: {host: "127.0.0.1:8500", token: ${SECRET}}
log: {level: INFO, type: json, loggers: {patroni.api: DEBUG}}
restapi:
  listen: 0.0.0.0:8008
  connect_address: 10.0.0.1:8008
  authentication: {username: operator, password: ${SECRET}}
  allowlist: [10.0.0.0/8, admin.example.org]
  http_extra_headers: {X-Frame-Options: deny}
bootstrap:
  dcs:
    ttl: 30
    slots: {a: {type: physical}}
    postgresql: {use_pg_rewind: true, parameters: {max_connections: 100}}
  initdb: [{encoding: UTF8}, data-checksums]
postgresql:
  listen: 0.0.0.0,::1:5432
  connect_address: 10.0.0.1:5432
  data_dir: /data
  bin_dir: /bin
  pgpass: /data/pgpass
  authentication:
    superuser: {username: postgres, password: ${SECRET}}
    replication: {username: replicator, password: ${SECRET}, sslmode: require}
  parameters: {shared_buffers: 1GB, archive_command: "cp %p /archive/%f"}
  pg_hba:
  - host all all 0.0.0.0/0 scram-sha-256
  callbacks: {on_start: /bin/true}
  create_replica_methods: [basebackup]
  basebackup: [{max-rate: 100M}, verbose]
watchdog: {mode: automatic, safety_margin: 5}
tags: {nofailover: false, failover_priority: 1, clonefrom: true}
`;

test(
  "configuration files: accepted, or refused with faults of one line each that show no secret",
  async () => {
    const random = new Random(SEED + 2);
    let accepted = 0;
    for (let index = 0; index < DOCUMENTS; index++) {
      const text = hostileText(random, FILE);
      const loaded = await loadNodeConfig({ path: null, env: { PATRONI_CONFIGURATION: text } });
      if (loaded.ok) {
        accepted++;
        continue;
      }
      expect(loaded.error.length, text).toBeGreaterThan(0);
      for (const { path, message } of loaded.error) {
        expect(`${path}: ${message}`).not.toMatch(/[\n\r]/);
        // A cut may have made the secret a part of another option's value, which may be shown.
        if (/password|token|PATRONI/.test(path)) expect(message).not.toContain(SECRET);
      }
    }
    expect([accepted > 0, accepted < DOCUMENTS]).toEqual([true, true]);
  },
  LIMIT_MS,
);

const KEYS = clusterKeys({ namespace: "service", scope: "demo", group: null });
const MEMBER = {
  conn_url: "postgres://10.0.0.1:5432/postgres",
  api_url: "http://10.0.0.1:8008/patroni",
  state: "running",
  role: "replica",
  version: "4.1.5",
  xlog_location: 67108864,
  receive_lsn: 67108864,
  replay_lsn: 67108864,
  replication_state: "streaming",
  timeline: 1,
  tags: { clonefrom: true, failover_priority: 1 },
  pending_restart: true,
  pending_restart_reason: { max_connections: { old_value: "50", new_value: "60" } },
  scheduled_restart: { schedule: "2099-01-01T00:00:00+00:00" },
};
/** What stands below the cluster's prefix, as it should be. */
const VALUES: Readonly<Record<string, unknown>> = {
  config: {
    ttl: 30,
    loop_wait: 10,
    retry_timeout: 10,
    synchronous_mode: "quorum",
    failsafe_mode: true,
    pause: false,
    slots: { a: { type: "logical", database: "d", plugin: "p" } },
    ignore_slots: [{ name: "x" }],
    standby_cluster: null,
    postgresql: { parameters: { max_connections: 100 }, pg_hba: ["local all all trust"] },
  },
  failover: { leader: "a", member: "b", scheduled_at: "2099-01-01T00:00:00+00:00" },
  failsafe: { a: "http://10.0.0.1:8008/patroni", b: "http://10.0.0.2:8008/patroni" },
  history: [[1, 67108864, "no recovery target specified", "2026-11-21T21:45:55.960896+00:00", "b"]],
  initialize: "7710744159307945845",
  leader: "a",
  "members/a": { ...MEMBER, role: "primary" },
  "members/b": MEMBER,
  status: { optime: 67108864, slots: { a: 67108864 }, retain_slots: ["a", "b"] },
  sync: { leader: "a", sync_standby: "b,c", quorum: 1 },
};
const READ_PATHS = ["/cluster", "/config", "/history", "/failsafe", "/patroni", "/metrics", "/replica?lag=1", "/readiness"];

test(
  "values in the store: read as far as they make sense, decided on and shown, whatever they are",
  async () => {
    const random = new Random(SEED + 3);
    const log = new LogUnderTest();
    for (let index = 0; index < DOCUMENTS; index++) {
      const entries = Object.entries(VALUES).map(([name, value]): Entry => {
        const wrong = random.chance(0.2) ? hostileValue(random, value) : value;
        const text = typeof wrong === "string" ? wrong : JSON.stringify(wrong);
        const written = random.chance(0.05) ? hostileText(random, text) : random.chance(0.002) ? "[".repeat(200_000) : text;
        return { key: `${KEYS.prefix}${name}`, value: written, revision: revision(7), session: name === "leader" ? "s-a" : null };
      });
      const cluster = new ClusterDecoder(KEYS).cluster({ entries, revision: revision(20) });
      const { config: dynamic } = acceptDynamic(cluster.config?.data ?? {}, PATRONI_LIMITS);
      for (const seen of [observation({ cluster, config: dynamic }), leading({ cluster, config: dynamic })]) {
        expect(decide(seen).rule).not.toBe("");
      }
      await readAll(cluster, log, random.pick(READ_PATHS));
    }
    expect(log.lines.filter((line) => /^(ERROR|CRITICAL)/.test(line))).toEqual([]);
  },
  LIMIT_MS,
);

async function readAll(cluster: Cluster, log: LogUnderTest, path: string): Promise<void> {
  const settings = restApi();
  const api = new Api({ service: new NodeUnderTest(facts({ cluster })), log, settings: () => settings, wallNow: () => 0 });
  const { status } = await api.handle(new Request(`http://node${path}`), PEER);
  if (status !== 200 && status !== 502 && status !== 503) throw new Error(`${status} for ${path} of ${JSON.stringify(cluster.faults)}`);
}
