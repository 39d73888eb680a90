// Owns a test cluster whose nodes are hosts of their own (namespaces.ts), with Consul on one more unless it is over the Raft. The test itself reaches
// every node by the wire that is never cut. Must not know what a test does with it.

import { type ClusterOptions, TestCluster } from "./cluster.ts";
import type { ClusterNode, Tree } from "./cluster-node.ts";
import { Consul } from "./consul.ts";
import { HostNetwork } from "./namespaces.ts";
import { storeOfTests } from "./store-sight.ts";
import { until } from "./wait.ts";

export interface HostClusterOptions extends Pick<ClusterOptions, "nodes" | "store" | "dynamic" | "extra" | "scope"> {
  /** True: each node has a client agent of its own on its host, and asks that. */
  readonly agents?: boolean;
  /** Changes a node's file before it starts. */
  readonly configure?: (config: Tree, network: HostNetwork) => void;
  /** True: the nodes may change the network of their hosts. */
  readonly networkAdmin?: boolean;
}

/** Of setpriv(1), which every host's prefix ends with. */
const NETWORK_ADMIN = ["--inh-caps=+net_admin,+net_raw", "--ambient-caps=+net_admin,+net_raw"];

export interface HostCluster {
  readonly cluster: TestCluster;
  readonly network: HostNetwork;
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
    if ((options.store ?? storeOfTests()) === "consul") {
      const server = await Consul.start({ host: network.host(count) });
      consul = server;
      const hosts = options.agents === true ? Array.from({ length: count }, (_, index) => network.host(index)) : [];
      agents.push(...(await Promise.all(hosts.map((host) => Consul.start({ host, joins: server })))));
    }
    const base: ClusterOptions = {
      ...options,
      ...(consul === null ? {} : overConsul(consul, agents)),
      network: (index) => {
        const { testAddress, address, prefix } = network.host(index);
        return { host: testAddress, peerHost: address, prefix: options.networkAdmin === true ? [...prefix, ...NETWORK_ADMIN] : prefix };
      },
      start: false,
    };
    return await TestCluster.with(base, async (cluster) => {
      cluster.nodes.forEach((node, index) => {
        node.editConfig((config) => {
          listenEverywhere(config, node, network.host(index).address);
          options.configure?.(config, network);
        });
        node.start();
      });
      const indexOf = (node: ClusterNode) => cluster.nodes.indexOf(node);
      return await body({
        cluster,
        network,
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

/** Each node asks its own agent where there are any, else the server. */
function overConsul(server: Consul, agents: readonly Consul[]): Pick<ClusterOptions, "consul" | "consulUrl"> {
  const consulUrl = (index: number) => {
    const near = agents[index] ?? server;
    return `http://${near.address}:${near.httpPort}`;
  };
  return { consul: server, consulUrl };
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
