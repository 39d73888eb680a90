// Owns which ports a quickstart's servers get: the usual ones or a block, others where they are taken; those of a kept run
// again. Opens nothing.

import { choosePorts, type PortChoice, type PortWish } from "./ports.ts";
import type { QuickstartState } from "./state.ts";

export interface NodePorts {
  readonly postgresPort: number;
  readonly apiPort: number;
  /** Null over Consul. */
  readonly raftPort: number | null;
}

export interface ConsulPorts {
  readonly httpPort: number;
  readonly serverPort: number;
  readonly serfPort: number;
}

export interface PortPlan {
  /** In the order of the nodes. */
  readonly nodes: readonly NodePorts[];
  /** Null over the built-in Raft. */
  readonly consul: ConsulPorts | null;
}

const usual = {
  node: (index: number): NodePorts => ({ postgresPort: 5441 + index, apiPort: 8008 + index, raftPort: 5010 + index }),
  consul: { httpPort: 8500, serverPort: 8300, serfPort: 8301 },
} as const;

/** The usual ports, or a block from `first` on. Says which of them were taken. Throws Error when none is free within reach. */
export async function newPorts(options: {
  readonly count: number;
  readonly first: number | null;
  readonly store: "raft" | "consul";
  readonly say: (line: string) => void;
}): Promise<PortPlan> {
  const { count, first, store, say } = options;
  const nodes = Array.from({ length: count }, (_, index): NodePorts => {
    const wished = first === null ? usual.node(index) : blockNode(first, count, index);
    return { ...wished, raftPort: store === "raft" ? wished.raftPort : null };
  });
  const block = first === null ? usual.consul : blockConsul(first + 2 * count);
  const { plan, choices } = await choose({ nodes, consul: store === "consul" ? block : null });
  for (const choice of choices) {
    if (choice.chosen !== choice.port) say(`port ${choice.port} for ${choice.what} is taken; using ${choice.chosen}`);
  }
  return plan;
}

/** The ports of a kept run, others where they are taken. Throws Error for a Raft's: its members know each other by them. */
export async function keptPorts(kept: QuickstartState): Promise<PortPlan> {
  const { plan } = await choose({ nodes: kept.nodes, consul: kept.consul });
  kept.nodes.forEach((node, index) => {
    if (node.raftPort === plan.nodes[index]?.raftPort) return;
    throw new Error(`port ${node.raftPort} of ${node.name}'s Raft member is taken now, and the others know it by that; free it first`);
  });
  return plan;
}

async function choose(wished: PortPlan): Promise<{ readonly plan: PortPlan; readonly choices: readonly PortChoice[] }> {
  const { consul } = wished;
  const wishes: PortWish[] = wished.nodes.flatMap((node, index) => [
    { what: `node${index + 1}'s PostgreSQL`, port: node.postgresPort },
    { what: `node${index + 1}'s API`, port: node.apiPort },
    ...(node.raftPort === null ? [] : [{ what: `node${index + 1}'s Raft member`, port: node.raftPort }]),
  ]);
  if (consul !== null) {
    wishes.push({ what: "Consul", port: consul.httpPort });
    wishes.push({ what: "Consul's server", port: consul.serverPort }, { what: "Consul's gossip", port: consul.serfPort });
  }
  const choices = await choosePorts(wishes);
  const chosen = (port: number): number => choices.find((choice) => choice.port === port)?.chosen ?? port;
  const nodes = wished.nodes.map((node) => ({
    postgresPort: chosen(node.postgresPort),
    apiPort: chosen(node.apiPort),
    raftPort: node.raftPort === null ? null : chosen(node.raftPort),
  }));
  const consulPorts =
    consul === null
      ? null
      : { httpPort: chosen(consul.httpPort), serverPort: chosen(consul.serverPort), serfPort: chosen(consul.serfPort) };
  return { plan: { nodes, consul: consulPorts }, choices };
}

function blockNode(first: number, count: number, index: number): NodePorts {
  return { postgresPort: first + index, apiPort: first + count + index, raftPort: first + 2 * count + index };
}

function blockConsul(first: number): ConsulPorts {
  return { httpPort: first, serverPort: first + 1, serfPort: first + 2 };
}
