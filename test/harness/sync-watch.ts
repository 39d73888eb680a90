// Owns what a test sees of synchronous replication: the `sync` key as the store has it, the setting as the primary has it, and a watch
// over what the one promises and the other keeps. Knows the rule, not the product's code for it.

import type { TestCluster } from "./cluster.ts";
import type { ClusterNode } from "./cluster-node.ts";
import { until } from "./wait.ts";

export interface SyncKey {
  readonly leader: string | null;
  readonly standbys: readonly string[];
  readonly quorum: number;
}

/** Nothing is judged by it: a node may have to be started and to join first, and at a load of 30 on two cores that took longer than 20 s. */
const WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 20;

/** Null where the key is absent. */
export async function syncKey(cluster: TestCluster): Promise<SyncKey | null> {
  const found = await cluster.key("sync");
  return found === null ? null : parseKey(found.value);
}

function parseKey(text: string): SyncKey {
  const value = JSON.parse(text || "{}") as { leader?: string | null; sync_standby?: string | null; quorum?: number };
  return { leader: value.leader ?? null, standbys: value.sync_standby?.split(",") ?? [], quorum: value.quorum ?? 0 };
}

/** The setting in force, and the standbys that the server calls `sync` or `quorum`. */
export async function waitedFor(
  cluster: TestCluster,
  node: ClusterNode,
): Promise<{ readonly setting: string; readonly sync: readonly string[] }> {
  const [row] = await cluster.sql<{ setting: string; sync: string | null }>(
    node,
    `select current_setting('synchronous_standby_names') as setting, (select string_agg(application_name, ',' order by application_name)
     from pg_stat_replication where sync_state in ('sync', 'quorum')) as sync`,
  );
  return { setting: row?.setting ?? "", sync: row?.sync?.split(",") ?? [] };
}

/** Waits until key and setting are these. */
export async function untilSync(cluster: TestCluster, node: ClusterNode, key: Omit<SyncKey, "leader">, setting: string): Promise<void> {
  const wanted = `${node.name}: ${key.quorum} of ${key.standbys.join(",")}, '${setting}'`;
  await until(
    `the sync key and the setting are ${wanted}`,
    async () => {
      const found = await syncKey(cluster);
      const waited = await waitedFor(cluster, node);
      const shown = `${found?.leader}: ${found?.quorum} of ${found?.standbys.join(",")}, '${waited.setting}'`;
      if (shown !== wanted) throw new Error(`they are ${shown}`);
      return true;
    },
    { withinMs: WITHIN_MS },
  );
}

/** How many of `names` have every commit that is acknowledged under the setting. */
export function promisedBy(setting: string, names: readonly string[]): number {
  const [, count = "1", inner = setting] = /^(?:(?:ANY|FIRST) )?(\d+) \((.*)\)$/.exec(setting) ?? [];
  const waited = inner.split(",").map((name) => name.replaceAll('"', "").trim());
  if (setting === "") return 0;
  if (waited.every((name) => name.startsWith("__patroni_strict"))) return names.length;
  return Math.max(0, Number(count) - waited.filter((name) => !names.includes(name)).length);
}

/** Watches for as long as the test runs that no commit is acknowledged that some voter may lack without a vote saying so. */
export class SyncWatch {
  readonly violations: string[] = [];
  #stopping = false;
  #looks = 0;
  readonly #loop: Promise<void>;

  constructor(cluster: TestCluster) {
    this.#loop = this.#run(cluster);
  }

  /** What spoke against it. Throws where nothing could be looked at. */
  async stop(): Promise<readonly string[]> {
    this.#stopping = true;
    await this.#loop;
    if (this.#looks === 0) throw new Error("no look at the sync key succeeded");
    return this.violations;
  }

  async #run(cluster: TestCluster): Promise<void> {
    while (!this.#stopping) {
      try {
        await this.#look(cluster);
      } catch {
        // Between two leaders there is nobody to ask.
      }
      await Bun.sleep(LOOK_EVERY_MS);
    }
  }

  async #look(cluster: TestCluster): Promise<void> {
    const before = await cluster.key("sync");
    const leader = await cluster.leader();
    if (before === null || leader === null) return;
    const { setting } = await waitedFor(cluster, leader);
    const after = await cluster.key("sync");
    // Only what stayed the same around the question can be judged.
    if (after?.modifyIndex !== before.modifyIndex) return;
    const { leader: named, standbys, quorum } = parseKey(before.value);
    if (named !== leader.name) return;
    this.#looks += 1;
    if (quorum + promisedBy(setting, standbys) >= standbys.length) return;
    this.violations.push(`the key says ${quorum} of ${standbys.join(",")}, and ${leader.name} waits for '${setting}'`);
  }
}
