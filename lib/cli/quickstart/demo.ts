// Owns the demonstration of a takeover: a client writes, the leader's whole node is killed as when its host dies, and the time
// until another node takes writes is shown, with what became of the rows. Starting the killed node again is not its task.

import { SQL } from "bun";
import { type ClusterView, readCluster } from "./cluster-view.ts";
import type { QuickstartPaths } from "./folder.ts";
import { nodeMark } from "./launch.ts";
import { host, nodePaths, ttlSeconds } from "./node-file.ts";
import { killRun } from "./processes.ts";
import type { QuickstartNode, QuickstartState } from "./state.ts";

/** How often the client writes. */
const writeEveryMs = 10;
/** Long enough that the rows before the kill mean something. */
const writeBeforeMs = 2_000;
/** Far more than any takeover takes; then something is wrong, and the demonstration says so. */
const takeoverWithinMs = 60_000;
const connectWithinSeconds = 1;
const table = "quickstart_demo";

export interface Demo {
  readonly paths: QuickstartPaths;
  readonly state: QuickstartState;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

/** How many nodes a takeover needs: over the Raft the two that are left must be a majority. */
export function nodesForDemo(store: "raft" | "consul"): number {
  return store === "raft" ? 3 : 2;
}

/** Throws Error when nobody leads, or nobody takes over; the signal's reason when interrupted. */
export async function showTakeover(demo: Demo): Promise<void> {
  const { state, signal, say } = demo;
  const leader = leaderOf(state, await readCluster(state, signal));
  if (leader === null) throw new Error("no node leads, so there is nothing to take over");
  const client = new DemoClient(state);
  try {
    await client.begin(leader);
    say(`demo: a client writes a row to ${leader.name} every ${writeEveryMs} ms`);
    const before = await client.writeUntil(performance.now() + writeBeforeMs, signal);
    await killNode(demo, leader);
    const killedAt = performance.now();
    say(`demo: ${leader.name} is killed as when its host dies: supervisor, PostgreSQL and guard (ttl is ${ttlSeconds(state)} s)`);
    const next = await client.firstWriteAfter(killedAt, signal);
    const kept = await client.rowsUpTo(before, next.node);
    say(`demo: ${next.node.name} takes writes ${((next.at - killedAt) / 1000).toFixed(1)} s after the kill`);
    say(`demo: of ${before} rows acknowledged before it, ${kept} are there`);
    await client.end();
  } finally {
    await client.close();
  }
}

/** Nothing of a dead host answers, not even to refuse. */
async function killNode({ paths, state }: Demo, node: QuickstartNode): Promise<void> {
  const { folder } = nodePaths(paths, node.name);
  const left = await killRun(node.process === null ? [] : [node.process], { environment: nodeMark(state.runId, node.name), folder });
  if (left.length > 0) throw new Error(`${node.name} could not be killed: ${left.map(({ pid }) => pid).join(", ")}`);
}

function leaderOf(state: QuickstartState, view: ClusterView | null): QuickstartNode | null {
  const name = view?.members.find((member) => member.role === "leader")?.name;
  return state.nodes.find((node) => node.name === name) ?? null;
}

/** One client, as an application would be: it writes to whoever takes writes. */
class DemoClient {
  readonly #state: QuickstartState;
  #connection: { readonly node: QuickstartNode; readonly sql: SQL } | null = null;
  #rows = 0;

  constructor(state: QuickstartState) {
    this.#state = state;
  }

  async begin(leader: QuickstartNode): Promise<void> {
    const sql = this.#open(leader);
    await sql.unsafe(`drop table if exists ${table}`);
    await sql.unsafe(`create table ${table} (id integer primary key, written timestamptz not null default now())`);
  }

  /** Resolves to the number of acknowledged rows. Throws where a write fails. */
  async writeUntil(end: number, signal: AbortSignal): Promise<number> {
    while (performance.now() < end) {
      signal.throwIfAborted();
      await this.#insert();
      await Bun.sleep(writeEveryMs);
    }
    return this.#rows;
  }

  /** The node that takes the next row, and when it did; each node is tried in turn. Throws Error when none does in time. */
  async firstWriteAfter(since: number, signal: AbortSignal): Promise<{ readonly node: QuickstartNode; readonly at: number }> {
    for (let turn = 0; performance.now() < since + takeoverWithinMs; turn++) {
      signal.throwIfAborted();
      const node = this.#state.nodes[turn % this.#state.nodes.length] as QuickstartNode;
      try {
        await this.close();
        this.#open(node);
        await this.#insert();
        return { node, at: performance.now() };
      } catch (error) {
        // Down, or a standby: the next one is tried. Anything but an answer of that kind is a fault of ours.
        if (!(error instanceof Error)) throw error;
      }
      await Bun.sleep(writeEveryMs);
    }
    throw new Error(`no node took a write within ${takeoverWithinMs / 1000} s`);
  }

  /** How many of the first `count` rows the node has. */
  async rowsUpTo(count: number, node: QuickstartNode): Promise<number> {
    const { sql } = this.#connection ?? { sql: this.#open(node) };
    const [row] = (await sql.unsafe(`select count(*)::int as rows from ${table} where id <= ${count}`)) as readonly { rows: number }[];
    return row?.rows ?? 0;
  }

  /** Leaves nothing of the demonstration in the database. */
  async end(): Promise<void> {
    await this.#connection?.sql.unsafe(`drop table ${table}`);
  }

  async close(): Promise<void> {
    const { sql } = this.#connection ?? {};
    this.#connection = null;
    await sql?.close({ timeout: 0 });
  }

  #open(node: QuickstartNode): SQL {
    const sql = new SQL(`postgres://postgres@${host}:${node.postgresPort}/postgres`, {
      password: this.#state.passwords.superuser,
      max: 1,
      connectionTimeout: connectWithinSeconds,
      onclose: () => {},
    });
    this.#connection = { node, sql };
    return sql;
  }

  async #insert(): Promise<void> {
    if (this.#connection === null) throw new Error("the client is not connected");
    await this.#connection.sql.unsafe(`insert into ${table} (id) values (${this.#rows + 1})`);
    this.#rows += 1;
  }
}
