// Owns the fresh view of the cluster for GET /cluster, /history and /config: one consistent read at a time, shared by
// all who wait, so that a crowd of readers costs the store one request; what is in memory where the store is away.

import type { Cluster } from "../model/cluster.ts";
import type { NodeService } from "../runtime/node-service.ts";

export class ClusterSource {
  readonly #service: NodeService;
  #running: Promise<Cluster | null> | null = null;
  #next: Promise<Cluster | null> | null = null;

  constructor(service: NodeService) {
    this.#service = service;
  }

  /** Never older than the request; null when the store is away and nothing was ever read. */
  async latest(): Promise<Cluster | null> {
    const facts = this.#service.factsNow();
    if (!facts.dcsReachable) return facts.cluster;
    return (await this.#read()) ?? this.#service.factsNow().cluster;
  }

  /** A read that is under way may have begun before the request: such a request waits for the next one. */
  #read(): Promise<Cluster | null> {
    if (this.#running === null) {
      this.#running = this.#ask();
      return this.#running;
    }
    this.#next ??= this.#running.then(() => {
      this.#next = null;
      this.#running = this.#ask();
      return this.#running;
    });
    return this.#next;
  }

  async #ask(): Promise<Cluster | null> {
    try {
      const cluster = await this.#service.readCluster();
      return cluster.ok ? cluster.value : null;
    } finally {
      this.#running = null;
    }
  }
}
