// Owns a whole cluster for a test: real PostgreSQL under real supervisors over a real Consul or the Raft of its own nodes, in a
// folder of its own, and its end however the test ends. What happens to it is up to the test; how it is watched is here.

import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SQL } from "bun";
import { give, type ServerUser, serverUser } from "../../lib/cli/quickstart/folder.ts";
import { secretsInFiles } from "../../scripts/suite/secret-search.ts";
import { ClusterNode, type NodePlace, nodeConfig, type Tree } from "./cluster-node.ts";
import { type ClusterStore, type ClusterStoreOptions, openClusterStore } from "./cluster-store.ts";
import type { Consul } from "./consul.ts";
import { serverPorts } from "./ports.ts";
import { releaseSharedMemory } from "./shared-memory.ts";
import type { SeenKey, SeenSession, StoreClient, StoreKind, StoreSight } from "./store-sight.ts";
import { until } from "./wait.ts";
import { Writer, withConnection } from "./writer.ts";

export interface ClusterOptions extends ClusterStoreOptions {
  /** How many (node1, node2 …), or their names. */
  readonly nodes?: number | readonly string[];
  readonly scope?: string;
  /** Merged over the first dynamic configuration (ttl 20, loop_wait 2, retry_timeout 3). Read once, at the bootstrap. */
  readonly dynamic?: Tree;
  /** Merged over the node's file; null removes an option. */
  readonly extra?: (index: number, name: string) => Tree;
  /** A network of its own for node `index`: where it listens, and the command in front of the supervisor's. */
  readonly network?: (index: number) => NodeNetwork;
  /** False: the nodes are made but not started. */
  readonly start?: boolean;
}

export interface NodeNetwork {
  /** Where the test reaches it. */
  readonly host: string;
  /** Where the other nodes reach it, if that is elsewhere. */
  readonly peerHost?: string;
  readonly prefix: readonly string[];
}

/** A row of GET /cluster. */
export interface ListedMember {
  readonly name: string;
  readonly role: string;
  readonly state: string;
  readonly timeline?: number;
  readonly lag?: number | string;
  /** As PostgreSQL writes positions; the leader has none. */
  readonly lsn?: string;
  readonly pending_restart?: boolean;
  readonly tags?: Readonly<Record<string, unknown>>;
}

export interface ListedCluster {
  readonly members: readonly ListedMember[];
  readonly scope: string;
  readonly pause?: boolean;
  readonly scheduled_switchover?: { readonly at: string; readonly from?: string; readonly to?: string };
}

/** Three empty directories to all streaming takes about 5 s; four clusters at once on two busy cores took more than a minute. Nothing is judged by it. */
const HEALTHY_WITHIN_MS = 120_000;
const LOG_TAIL = 60;
const running = new Set<TestCluster>();

export class TestCluster {
  readonly folder: string;
  readonly scope: string;
  readonly nodes: readonly ClusterNode[];
  readonly #store: ClusterStore;
  readonly #writers: Writer[] = [];
  #shared = false;

  private constructor(parts: ClusterParts) {
    this.folder = parts.folder;
    this.scope = parts.scope;
    this.nodes = parts.nodes;
    this.#store = parts.store;
    running.add(this);
  }

  /** Makes the nodes and starts their supervisors; waits for nothing but Consul. */
  static async start(options: ClusterOptions = {}): Promise<TestCluster> {
    const names =
      typeof options.nodes === "object" ? options.nodes : Array.from({ length: options.nodes ?? 3 }, (_, index) => `node${index + 1}`);
    const user = serverUser();
    const ports = await serverPorts(PORTS_PER_NODE * names.length);
    const folder = mkdtempSync(join(tmpdir(), "cluster-"));
    give(folder, user);
    const scope = options.scope ?? "demo";
    const places = names.map((name, index) => placeOf({ options, index, name, folder, user, ports }));
    const store = await openClusterStore(options, places, folder);
    const nodes = places.map((place, index) => makeNode({ options, index, place, scope, store: store.sectionOf(index) }));
    const cluster = new TestCluster({ folder, scope, nodes, store });
    if (options.start !== false) for (const node of nodes) node.start();
    return cluster;
  }

  /** A cluster for the length of `body`; when that fails, the end of each node's log is printed. */
  static async with<T>(options: ClusterOptions, body: (cluster: TestCluster) => Promise<T>): Promise<T> {
    const cluster = await TestCluster.start(options);
    try {
      return await cluster.during(() => body(cluster));
    } finally {
      await cluster.stop();
    }
  }

  /** For the tests of one file, one after the other, each inside `during`; `stopAll` in afterAll ends it. */
  static async shared(options: ClusterOptions = {}): Promise<TestCluster> {
    const cluster = await TestCluster.start(options);
    cluster.#shared = true;
    return cluster;
  }

  /** For afterAll: ends shared clusters, and what a test left that ran into its time limit. */
  static async stopAll(): Promise<void> {
    for (const cluster of [...running]) {
      if (!cluster.#shared) cluster.printLogs("the test did not end its cluster");
      await cluster.stop();
    }
  }

  /** When `body` fails, the end of each node's log is printed. */
  async during<T>(body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      this.printLogs(error instanceof Error ? error.message : String(error));
      throw error;
    }
  }

  get store(): StoreKind {
    return this.#store.kind;
  }

  /** How a client reaches its store. */
  get storeClient(): StoreClient {
    return this.#store.client;
  }

  /** The store as a whole, past every node. */
  get sight(): StoreSight {
    return this.#store.sight;
  }

  /** Its agent. Throws where the cluster is over the Raft. */
  get consul(): Consul {
    if (this.#store.consul === null) throw new Error("this cluster has no Consul: it is over the Raft");
    return this.#store.consul;
  }

  /** By index from 0, or by name. Throws where there is no such node. */
  node(which: number | string): ClusterNode {
    const node = typeof which === "number" ? this.nodes[which] : this.nodes.find(({ name }) => name === which);
    if (node === undefined) throw new Error(`there is no node ${which}`);
    return node;
  }

  others(...than: readonly ClusterNode[]): readonly ClusterNode[] {
    return this.nodes.filter((node) => !than.includes(node));
  }

  /** GET /cluster of the first node that answers. */
  async list(from: readonly ClusterNode[] = this.nodes): Promise<ListedCluster> {
    for (const node of from) {
      if (node.pid === null) continue;
      const answer = await node.api("/cluster", { timeoutMs: 5_000 }).catch(() => null);
      if (answer?.status === 200) return answer.json as ListedCluster;
    }
    throw new Error("no node answers GET /cluster");
  }

  /** The node whose GET /primary is 200 now. Throws where two are. */
  async leader(): Promise<ClusterNode | null> {
    const codes = await Promise.all(this.nodes.map((node) => (node.pid === null ? null : node.health("/primary"))));
    const leaders = this.nodes.filter((_, index) => codes[index] === 200);
    if (leaders.length > 1) throw new Error(`two nodes answer 200 to GET /primary: ${leaders.map(({ name }) => name).join(", ")}`);
    return leaders[0] ?? null;
  }

  /** Waits until one of `among` answers 200 to GET /primary. */
  async untilLeader(options: { readonly withinMs?: number; readonly among?: readonly ClusterNode[] } = {}): Promise<ClusterNode> {
    const among = options.among ?? this.nodes;
    return until(
      `one of ${among.map(({ name }) => name).join(", ")} leads`,
      async () => {
        const leader = await this.leader();
        return leader !== null && among.includes(leader) ? leader : null;
      },
      { withinMs: options.withinMs ?? HEALTHY_WITHIN_MS, everyMs: 50 },
    );
  }

  /** Waits until one node leads and all other given ones stream from it on its timeline; resolves to the leader. */
  async untilHealthy(options: { readonly withinMs?: number; readonly nodes?: readonly ClusterNode[] } = {}): Promise<ClusterNode> {
    const wanted = options.nodes ?? this.nodes;
    let last = "";
    return until(
      "the cluster is healthy",
      async () => {
        const leader = await this.leader();
        if (leader === null) throw new Error("no leader");
        const { members } = await this.list([leader]);
        last = members.map(({ name, role, state, timeline }) => `${name} ${role} ${state} ${timeline}`).join(", ");
        const timeline = members.find(({ name }) => name === leader.name)?.timeline;
        const well = wanted.every((node) => {
          const row = members.find(({ name }) => name === node.name);
          if (row === undefined || row.timeline !== timeline || timeline === undefined) return false;
          return node === leader ? row.role === "leader" && row.state === "running" : row.role !== "leader" && row.state === "streaming";
        });
        // The key of a host that died stands for as long as its session: each node has to say so itself.
        const own = await Promise.all(
          wanted.map((node) => node.health(node === leader ? "/primary" : "/replica?replication_state=streaming")),
        );
        if (own.some((status) => status !== 200)) throw new Error(`${last}; own answers ${own.join(", ")}`);
        if (!well) throw new Error(last);
        return leader;
      },
      { withinMs: options.withinMs ?? HEALTHY_WITHIN_MS, everyMs: 50 },
    );
  }

  /**
   * A client that inserts every 10 ms; ended with the cluster. The table is made on the present leader. `answerMaxMs`: how
   * long it waits for one commit before it tries another.
   */
  async writer(options: { readonly answerMaxMs?: number } = {}): Promise<Writer> {
    const writer = await Writer.start(this.nodes, await this.untilLeader(), options.answerMaxMs);
    this.#writers.push(writer);
    return writer;
  }

  /** Rows of one statement on a node, as objects. Throws where it fails. */
  async sql<T = Record<string, unknown>>(node: ClusterNode, statement: string): Promise<readonly T[]> {
    return withConnection(node, async (sql: SQL) => (await sql.unsafe(statement)) as readonly T[]);
  }

  /** A key below the cluster's prefix as the store has it, by a consistent read; null where it is absent. Throws where nobody answers. */
  key(name: string): Promise<SeenKey | null> {
    return this.sight.key(this.path(name));
  }

  /** Writes a key below the cluster's prefix by hand, past every node. */
  putKey(name: string, value: string): Promise<void> {
    return this.sight.putKey(this.path(name), value);
  }

  deleteKey(name: string): Promise<void> {
    return this.sight.deleteKey(this.path(name));
  }

  /** The path of a key below the cluster's prefix. */
  path(name: string): string {
    return `service/${this.scope}/${name}`;
  }

  /** The session that owns a key; null where there is none, or it does not live. */
  async sessionOf(name: string): Promise<SeenSession | null> {
    const session = (await this.key(name))?.session ?? null;
    return session === null ? null : this.sight.session(session);
  }

  /** Ends a session of the store by hand. */
  endSession(id: string): Promise<void> {
    return this.sight.endSession(id);
  }

  /** Names in the `sync` key, sorted; empty where there are none. */
  async syncStandbys(): Promise<readonly string[]> {
    const value = JSON.parse((await this.key("sync"))?.value || "{}") as { sync_standby?: string | null };
    return value.sync_standby === undefined || value.sync_standby === null ? [] : value.sync_standby.split(",");
  }

  /** PATCH /config on the first node that answers. Throws where it is refused. */
  async patchConfig(body: Tree): Promise<void> {
    const answering = this.nodes.filter(({ pid }) => pid !== null);
    for (const node of answering) {
      // One that was only just started does not listen yet.
      const answer = await node.api("/config", { method: "PATCH", body }).catch(() => null);
      if (answer === null) continue;
      if (answer.status !== 200) throw new Error(`PATCH /config: ${answer.status} ${answer.text}`);
      return;
    }
    throw new Error("no node answers PATCH /config");
  }

  printLogs(reason: string): void {
    const tails = this.nodes.map((node) => `── ${node.name} (${node.pid ?? "down"})\n${logEnd(node.log)}`);
    const witnesses = this.#store.witnesses.map(({ address, log }) => `── witness at ${address}\n${logEnd(log)}`);
    process.stderr.write(`\n${reason}\n${[...tails, ...witnesses].join("\n")}\n`);
  }

  /**
   * Ends writers, supervisors, servers, guards and Consul, and removes the folder. Can be repeated. Throws where one of the cluster's
   * secrets stood in an answer of the API, or in a file that is not meant for it.
   */
  async stop(): Promise<void> {
    if (!running.delete(this)) return;
    const kept = process.env["MATRIARCH_TEST_KEEP"];
    await Promise.all(this.#writers.map((writer) => writer.stop()));
    await Promise.all(this.nodes.map((node) => node.killHost()));
    await this.#store.stop();
    releaseSharedMemory(this.folder);
    const leaks = [...this.nodes.flatMap((node) => node.answersWithSecrets), ...(await secretsInFiles(this.folder))];
    // Not in one piece: on a busy disk that is seconds, in which the witnesses of other tests in this process see nothing.
    if (kept === undefined || kept === "") await rm(this.folder, { recursive: true, force: true, maxRetries: 3, retryDelay: 50 });
    else process.stderr.write(`kept: ${this.folder}\n`);
    if (leaks.length > 0) throw new Error(`a secret stands where it must not: ${leaks.join(", ")}`);
  }
}

interface ClusterParts {
  readonly folder: string;
  readonly scope: string;
  readonly nodes: readonly ClusterNode[];
  readonly store: ClusterStore;
}

function logEnd(log: string): string {
  return log.trimEnd().split("\n").slice(-LOG_TAIL).join("\n");
}

/** PostgreSQL, API, member of the Raft. */
const PORTS_PER_NODE = 3;

function placeOf(parts: {
  readonly options: ClusterOptions;
  readonly index: number;
  readonly name: string;
  readonly folder: string;
  readonly user: ServerUser;
  readonly ports: readonly number[];
}): NodePlace {
  const { options, index, name, ports } = parts;
  const network = options.network?.(index) ?? { host: "127.0.0.1", prefix: [] };
  const [postgresPort, apiPort, raftPort] = ports.slice(PORTS_PER_NODE * index) as [number, number, number];
  return { name, peerHost: network.host, ...network, postgresPort, apiPort, raftPort, folder: join(parts.folder, name), user: parts.user };
}

function makeNode(parts: {
  readonly options: ClusterOptions;
  readonly index: number;
  readonly place: NodePlace;
  readonly scope: string;
  readonly store: Tree;
}): ClusterNode {
  const { options, index, place, scope, store } = parts;
  const config = nodeConfig({ place, scope, store, dynamic: options.dynamic ?? {}, extra: options.extra?.(index, place.name) ?? {} });
  return new ClusterNode(place, config);
}
