// Owns the ways of the nodes of a test to one store that the test keeps: a port of loopback for each, which can be closed (refused) and
// opened again. What that does to a node is for the test to see.

import type { ClusterOptions } from "./cluster.ts";
import { TestCluster } from "./cluster.ts";
import { CountingProxy } from "./counting-proxy.ts";
import { type OutsideStore, startOutsideStore } from "./outside-store.ts";
import { serverPorts } from "./ports.ts";

export class Ways {
  readonly store: OutsideStore;
  readonly #ways: CountingProxy[];
  readonly #ports: readonly number[];

  private constructor(store: OutsideStore, ways: CountingProxy[]) {
    this.store = store;
    this.#ways = ways;
    this.#ports = ways.map(({ port }) => port);
  }

  static async open(count: number): Promise<Ways> {
    const store = await startOutsideStore();
    // Of the range for servers that are started again: while a way is closed, nobody else gets its port.
    const ports = await serverPorts(count);
    return new Ways(store, await Promise.all(ports.map((port) => CountingProxy.start(store.port, port))));
  }

  port(index: number): number {
    const port = this.#ports[index];
    if (port === undefined) throw new Error(`there is no way ${index}`);
    return port;
  }

  async close(index: number): Promise<void> {
    await this.#ways[index]?.close();
  }

  async reopen(index: number): Promise<void> {
    this.#ways[index] = await CountingProxy.start(this.store.port, this.port(index));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#ways.map((way) => way.close()));
    await this.store.stop();
  }
}

/** A cluster whose node `index` reaches the store by way `index`, for the length of `body`. */
export async function withWays(
  options: ClusterOptions & { readonly nodes: number },
  body: (cluster: TestCluster, ways: Ways) => Promise<void>,
): Promise<void> {
  const ways = await Ways.open(options.nodes);
  try {
    const wayPort = (index: number) => ways.port(index);
    await TestCluster.with({ ...options, outside: ways.store, wayPort }, (cluster) => body(cluster, ways));
  } finally {
    await ways.stop();
  }
}
