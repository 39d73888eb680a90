// Owns a Citus cluster for a test: a coordinator's group and one of workers over one store, each a cluster of its own, with the
// stand-in for the extension. What happens to them is up to the test.

import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { give, serverUser } from "../../lib/cli/quickstart/folder.ts";
import { installCitusStandIn } from "./citus-stand-in.ts";
import { TestCluster } from "./cluster.ts";
import type { ClusterNode, Tree } from "./cluster-node.ts";
import { type OutsideStore, startOutsideStore } from "./outside-store.ts";
import { until } from "./wait.ts";
import { withConnection } from "./writer.ts";

export const DATABASE = "app";
/** A look at all groups, each cycle; on a machine that may be busy. */
const REGISTERED_WITHIN_MS = 40_000;

export interface DistRow {
  readonly id: number;
  readonly group: number;
  readonly at: string;
  readonly role: string;
}

export class CitusCluster {
  readonly coordinator: TestCluster;
  readonly worker: TestCluster;
  readonly #store: OutsideStore;
  readonly #folder: string;

  private constructor(parts: { coordinator: TestCluster; worker: TestCluster; store: OutsideStore; folder: string }) {
    this.coordinator = parts.coordinator;
    this.worker = parts.worker;
    this.#store = parts.store;
    this.#folder = parts.folder;
  }

  /** Ended by `stop`. */
  static async start(options: {
    readonly coordinators: readonly string[];
    readonly workers: readonly string[];
    readonly dynamic?: Tree;
    /** In front of the supervisors' commands of a group: another program instead of ours. */
    readonly prefixes?: { readonly coordinators?: readonly string[]; readonly workers?: readonly string[] };
  }): Promise<CitusCluster> {
    const folder = mkdtempSync(join(tmpdir(), "citus-"));
    const bin = installCitusStandIn(folder);
    give(folder, serverUser());
    const store = await startOutsideStore();
    const group = (nodes: readonly string[], number: number, prefix: readonly string[] = []): Promise<TestCluster> =>
      TestCluster.shared({
        nodes,
        network: () => ({ host: "127.0.0.1", prefix }),
        outside: store,
        dynamic: { loop_wait: 1, ...options.dynamic },
        extra: () => ({ citus: { group: number, database: DATABASE }, postgresql: { bin_dir: bin, basebackup: [{ checkpoint: "fast" }] } }),
      });
    const [coordinator, worker] = await Promise.all([
      group(options.coordinators, 0, options.prefixes?.coordinators),
      group(options.workers, 1, options.prefixes?.workers),
    ]);
    return new CitusCluster({ coordinator, worker, store, folder });
  }

  async during<T>(body: () => Promise<T>): Promise<T> {
    return this.coordinator.during(() => this.worker.during(body));
  }

  /** In the database of the cluster. */
  async sql<T = Record<string, unknown>>(node: ClusterNode, statement: string): Promise<readonly T[]> {
    return withConnection(inDatabase(node), async (sql) => (await sql.unsafe(statement)) as readonly T[]);
  }

  /** pg_dist_node on that node of the coordinator. */
  async rows(coordinator: ClusterNode): Promise<readonly DistRow[]> {
    const columns = "nodeid AS id, groupid AS group, nodename || ':' || nodeport AS at, noderole::text AS role";
    return this.sql<DistRow>(coordinator, `SELECT ${columns} FROM pg_dist_node ORDER BY groupid, nodeid`);
  }

  /**
   * Waits until pg_dist_node says who leads the coordinators and the workers, and that all others follow; resolves to the id of the
   * workers' primary.
   */
  async untilRegistered(coordinator: ClusterNode, worker: ClusterNode): Promise<number> {
    const group = (cluster: TestCluster, number: number, leader: ClusterNode): readonly string[] =>
      cluster.nodes.map((node) => `${number} ${addressOf(node)} ${node === leader ? "primary" : "secondary"}`);
    const wanted = [...group(this.coordinator, 0, coordinator), ...group(this.worker, 1, worker)].sort().join();
    return until(
      `group 0 is at ${coordinator.name}, group 1 at ${worker.name}`,
      async () => {
        const rows = await this.rows(coordinator);
        const told = rows.map(({ group, at, role }) => `${group} ${at} ${role}`);
        if (told.sort().join() !== wanted) throw new Error(told.join(", "));
        return rows.find(({ at }) => at === addressOf(worker))?.id;
      },
      { withinMs: REGISTERED_WITHIN_MS, everyMs: 50 },
    );
  }

  /** Waits until the workers' leader counts `standby` among those that have every commit. */
  async untilVoter(standby: ClusterNode): Promise<void> {
    const votes = async () => (await this.worker.key("1/sync"))?.value.includes(`"${standby.name}"`);
    await until(`${standby.name} has every commit`, votes, { withinMs: REGISTERED_WITHIN_MS });
  }

  /** What was done to pg_dist_node, and committed, in order. */
  async calls(coordinator: ClusterNode): Promise<readonly string[]> {
    return (await this.sql<{ call: string }>(coordinator, "SELECT call FROM citus.calls ORDER BY id")).map(({ call }) => call);
  }

  async stop(): Promise<void> {
    await this.worker.stop();
    await this.coordinator.stop();
    await this.#store.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

export function inDatabase({ name, dsn }: ClusterNode): { readonly name: string; readonly dsn: string } {
  return { name, dsn: dsn.replace(/\/postgres$/, `/${DATABASE}`) };
}

/** As pg_dist_node has it. */
export function addressOf({ place }: ClusterNode): string {
  return `${place.host}:${place.postgresPort}`;
}

/** A client of the coordinator that writes on the worker, one statement after the other; what failed is kept. */
export class DistributedWriter {
  readonly failures: string[] = [];
  /** Of acknowledged statements; each wrote a number of its own. */
  written = 0;
  #stopping = false;
  readonly #ended: Promise<void>;

  constructor(coordinator: ClusterNode) {
    this.#ended = withConnection(inDatabase(coordinator), async (sql) => {
      while (!this.#stopping) {
        await sql
          .unsafe(`SELECT citus.run_on_group(1, 'INSERT INTO written VALUES (${this.written})')`)
          .then(() => (this.written += 1))
          .catch((error: unknown) => this.failures.push(String(error)));
      }
    });
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#ended;
  }
}
