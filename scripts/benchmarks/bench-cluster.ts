// Owns the cluster that the rows are measured on: started once for each system, healed between two samples, with one writer and
// one clock of the lock over all of it.

import { TestCluster } from "../../test/harness/cluster.ts";
import type { ClusterNode, Tree } from "../../test/harness/cluster-node.ts";
import type { ClusterStoreOptions } from "../../test/harness/cluster-store.ts";
import type { Writer } from "../../test/harness/writer.ts";
import { LockClock } from "./lock-clock.ts";
import type { System } from "./system.ts";

/** Patroni's own defaults. */
export const DEFAULT: Tree = { ttl: 30, loop_wait: 10, retry_timeout: 10 };
/** The shortest that both take over Consul. */
export const TIGHT: Tree = { ttl: 20, loop_wait: 1, retry_timeout: 3 };

/** A Consul that all clusters of a run share, or a Raft of each cluster's own nodes. */
export type BenchStore = Pick<ClusterStoreOptions, "store" | "outside">;

const HEALTHY_WITHIN_MS = 180_000;
/** The writer's rows from before the event that belong to its gap. */
const BEFORE_MS = 200;

export class BenchCluster {
  readonly cluster: TestCluster;
  readonly system: System;
  readonly store: BenchStore;
  readonly clock: LockClock;
  #writer: Writer | null = null;
  #settings = "";

  private constructor(cluster: TestCluster, system: System, store: BenchStore) {
    this.cluster = cluster;
    this.system = system;
    this.store = store;
    this.clock = new LockClock(cluster);
  }

  static async start(system: System, options: { readonly store: BenchStore; readonly scope: string }): Promise<BenchCluster> {
    const cluster = await TestCluster.start({
      ...options.store,
      scope: options.scope,
      dynamic: DEFAULT,
      ...(system.prefix.length === 0 ? {} : { network: () => ({ host: "127.0.0.1", prefix: system.prefix }) }),
    });
    return new BenchCluster(cluster, system, options.store);
  }

  /** The leader, once everybody streams under these settings. */
  async ready(settings: Tree): Promise<ClusterNode> {
    const leader = await this.cluster.untilHealthy({ withinMs: HEALTHY_WITHIN_MS });
    const wanted = JSON.stringify(settings);
    if (wanted === this.#settings) return leader;
    await this.cluster.patchConfig({ primary_start_timeout: null, ...settings });
    this.#settings = wanted;
    // Every node has to have gone through one cycle of the former length.
    await Bun.sleep(11_000);
    return await this.cluster.untilHealthy({ withinMs: HEALTHY_WITHIN_MS });
  }

  async writer(): Promise<Writer> {
    this.#writer ??= await this.cluster.writer();
    return this.#writer;
  }

  async stopWriting(): Promise<void> {
    await this.#writer?.stop();
    this.#writer = null;
  }

  /** Seconds without an acknowledged write around what `act` does; over when `recovered` says so. */
  async outage(act: () => Promise<unknown>, recovered: (writer: Writer) => Promise<unknown>): Promise<number> {
    const writer = await this.writer();
    await writer.afterNow(10_000);
    const from = performance.now() - BEFORE_MS;
    const acting = act();
    await recovered(writer);
    await acting;
    return writer.longestGap(from).ms / 1000;
  }

  async stop(): Promise<void> {
    await this.clock.stop();
    await this.cluster.stop();
  }
}

/** A moment anywhere in the loop, so that no system is hit where it is quickest. */
export async function someMoment(settings: Tree): Promise<void> {
  await Bun.sleep(Math.random() * Math.min(3000, Number(settings["loop_wait"]) * 1000));
}
