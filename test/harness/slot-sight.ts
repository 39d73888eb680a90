// Owns what a test sees of the replication slots of a cluster: on each server, and in the status key. It changes nothing.

import type { TestCluster } from "./cluster.ts";
import type { ClusterNode } from "./cluster-node.ts";
import { until } from "./wait.ts";

const WITHIN_MS = 20_000;

export interface SlotRow {
  readonly slot_name: string;
  readonly slot_type: string;
  readonly active: boolean;
  readonly restart_lsn: string;
  readonly confirmed_flush_lsn: string | null;
}

export class SlotSight {
  readonly #cluster: TestCluster;

  constructor(cluster: TestCluster) {
    this.#cluster = cluster;
  }

  /** By name. */
  async of(node: ClusterNode): Promise<Readonly<Record<string, SlotRow>>> {
    const query = "SELECT slot_name, slot_type, active, restart_lsn, confirmed_flush_lsn FROM pg_replication_slots";
    const rows = await this.#cluster.sql<SlotRow>(node, query);
    return Object.fromEntries(rows.map((row) => [row.slot_name, row]));
  }

  /** Waits until the node has exactly these slots. */
  async until(node: ClusterNode, names: readonly string[]): Promise<void> {
    const wanted = [...names].sort();
    await until(
      `slots of ${node.name}: ${wanted.join(", ")}`,
      async () => {
        const found = Object.keys(await this.of(node)).sort();
        if (found.join() !== wanted.join()) throw new Error(`found ${found.join(", ")}`);
        return true;
      },
      { withinMs: WITHIN_MS, everyMs: 100 },
    );
  }

  /** Waits until the slot's consumer has everything up to there, as far as this node knows. */
  async untilAt(node: ClusterNode, slot: string, position: string): Promise<void> {
    const query = `SELECT coalesce(confirmed_flush_lsn, restart_lsn) >= '${position}' AS there FROM pg_replication_slots WHERE slot_name = '${slot}'`;
    const reached = async () => (await this.#cluster.sql<{ there: boolean }>(node, query))[0]?.there === true;
    await until(`slot ${slot} of ${node.name} is at ${position}`, reached, { withinMs: WITHIN_MS, everyMs: 100 });
  }

  /** The status key. */
  async published(): Promise<{ readonly slots?: Readonly<Record<string, number>>; readonly retain_slots?: readonly string[] }> {
    return JSON.parse((await this.#cluster.key("status"))?.value ?? "{}") as Awaited<ReturnType<SlotSight["published"]>>;
  }
}
