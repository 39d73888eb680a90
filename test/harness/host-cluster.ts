// Owns a test cluster whose nodes are hosts of their own (namespaces.ts), with Consul on one more. The test itself reaches
// every node by the wire that is never cut. Must not know what a test does with it.

import { type ClusterOptions, TestCluster } from "./cluster.ts";
import type { ClusterNode, Tree } from "./cluster-node.ts";
import { Consul } from "./consul.ts";
import { HostNetwork } from "./namespaces.ts";
import { until } from "./wait.ts";

export interface HostClusterOptions extends Pick<ClusterOptions, "nodes" | "dynamic" | "extra" | "scope"> {
  /** True: each node has a client agent of its own on its host, and asks that. */
  readonly agents?: boolean;
}

export interface HostCluster {
  readonly cluster: TestCluster;
  readonly network: HostNetwork;
  /** The server. */
  readonly consul: Consul;
  /** The client agent of a node. Throws where it has none. */
  agent(node: ClusterNode): Consul;
  cut(node: ClusterNode): void;
  heal(node: ClusterNode): void;
  /** What the API port of this node answers to other hosts is dropped, until the returned function is called. */
  silenceApi(node: ClusterNode): () => void;
}

/** A cluster of hosts for the length of `body`. */
export async function withHostCluster<T>(options: HostClusterOptions, body: (hosts: HostCluster) => Promise<T>): Promise<T> {
  const count = typeof options.nodes === "object" ? options.nodes.length : (options.nodes ?? 3);
  const network = HostNetwork.create(count + 1);
  const agents: Consul[] = [];
  let consul: Consul | null = null;
  try {
    const server = await Consul.start({ host: network.host(count) });
    consul = server;
    if (options.agents === true) {
      agents.push(
        ...(await Promise.all(Array.from({ length: count }, (_, index) => Consul.start({ host: network.host(index), joins: server })))),
      );
    }
    const consulUrl = (index: number) => {
      const near = agents[index] ?? server;
      return `http://${near.address}:${near.httpPort}`;
    };
    const base: ClusterOptions = {
      ...options,
      consul: server,
      consulUrl,
      network: (index) => ({ host: network.host(index).testAddress, prefix: network.host(index).prefix }),
      start: false,
    };
    return await TestCluster.with(base, async (cluster) => {
      cluster.nodes.forEach((node, index) => {
        node.editConfig((config) => listenEverywhere(config, node, network.host(index).address));
        node.start();
      });
      const indexOf = (node: ClusterNode) => cluster.nodes.indexOf(node);
      return await body({
        cluster,
        network,
        consul: server,
        agent: (node) => {
          const agent = agents[indexOf(node)];
          if (agent === undefined) throw new Error(`${node.name} has no agent`);
          return agent;
        },
        cut: (node) => network.cut(indexOf(node)),
        heal: (node) => network.heal(indexOf(node)),
        silenceApi: (node) => {
          network.silencePort(indexOf(node), node.place.apiPort);
          return () => network.unsilencePort(indexOf(node), node.place.apiPort);
        },
      });
    });
  } finally {
    await Promise.all([...agents, ...(consul === null ? [] : [consul])].map((agent) => agent.stop()));
    network.close();
  }
}

/** For the other nodes at the host's own address, for the test at its own. */
function listenEverywhere(config: Tree, node: ClusterNode, address: string): void {
  const { apiPort, postgresPort } = node.place;
  config["restapi"] = { ...(config["restapi"] as Tree), listen: `0.0.0.0:${apiPort}`, connect_address: `${address}:${apiPort}` };
  config["postgresql"] = {
    ...(config["postgresql"] as Tree),
    listen: `0.0.0.0:${postgresPort}`,
    connect_address: `${address}:${postgresPort}`,
  };
}

/** Resolves to the moment (`performance.now()`) at which the lock was first seen not to be this node's. Throws after `withinMs`. */
export async function watchLock(cluster: TestCluster, holder: ClusterNode, withinMs = 60_000): Promise<number> {
  await until(`the lock of ${holder.name} is gone`, async () => (await cluster.key("leader"))?.value !== holder.name, {
    withinMs,
    everyMs: 5,
  });
  return performance.now();
}
