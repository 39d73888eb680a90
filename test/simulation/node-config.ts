// Owns the configuration of simulated nodes: one real configuration, loaded once, with each node's names and addresses.

import { acceptDynamic } from "../../lib/config/dynamic.ts";
import { loadNodeConfig } from "../../lib/config/load.ts";
import { type DynamicConfig, PATRONI_LIMITS } from "../../lib/model/dynamic-config.ts";
import type { Tags } from "../../lib/model/member.ts";
import type { NodeConfig } from "../../lib/model/node-config.ts";
import type { Ms } from "../../lib/model/units.ts";

const TEXT = `
scope: sim
namespace: service
name: template
consul: {host: "127.0.0.1:8500"}
restapi: {listen: "127.0.0.1:8008", connect_address: "127.0.0.1:8008"}
postgresql:
  listen: "127.0.0.1:5432"
  connect_address: "127.0.0.1:5432"
  data_dir: /data
  authentication: {superuser: {username: postgres, password: x}, replication: {username: replicator, password: x}}
  use_pg_rewind: true
`;

/** Errors: throws where the product refuses its own template. */
export async function loadTemplate(): Promise<NodeConfig> {
  const loaded = await loadNodeConfig({ path: null, env: { PATRONI_CONFIGURATION: TEXT } });
  if (!loaded.ok) throw new Error(loaded.error.map(({ path, message }) => `${path}: ${message}`).join("\n"));
  return loaded.value.config;
}

export interface NodeChoice {
  readonly name: string;
  readonly tags: Tags;
  readonly dcs: Readonly<Record<string, unknown>>;
  readonly usePgRewind: boolean;
  readonly removeDiverged: boolean;
  /** consul.session_check_ttl of this node; null: none. */
  readonly sessionCheckTtl: Ms | null;
  /** An operator's check stands before each promotion of this node. */
  readonly prePromote: boolean;
}

export function nodeConfig(template: NodeConfig, choice: NodeChoice): NodeConfig {
  const host = `host-${choice.name}`;
  const { consul } = template;
  return {
    ...template,
    name: choice.name,
    tags: choice.tags,
    consul: consul === null ? null : { ...consul, sessionCheckTtlMs: choice.sessionCheckTtl },
    restapi: { ...template.restapi, connectAddress: { host, port: 8008 } },
    bootstrap: { ...template.bootstrap, dcs: choice.dcs },
    postgresql: {
      ...template.postgresql,
      connectAddress: { host, port: 5432 },
      usePgRewind: choice.usePgRewind,
      prePromote: choice.prePromote ? "may-i" : null,
      removeDataDirectoryOnRewindFailure: true,
      removeDataDirectoryOnDivergedTimelines: choice.removeDiverged,
    },
  };
}

const accepted = new Map<string, DynamicConfig>();
/** Bound of the memory above: a simulation has a handful of configurations. */
const ACCEPTED_MAX = 500;

/** The dynamic configuration as the product reads it, on a node with this check of its session. */
export function dynamicConfig(tree: Readonly<Record<string, unknown>>, sessionCheckTtl: Ms | null = null): DynamicConfig {
  let configs = ofTree.get(tree);
  if (configs === undefined) {
    configs = new Map();
    ofTree.set(tree, configs);
  }
  let config = configs.get(sessionCheckTtl);
  if (config === undefined) {
    config = read(tree, sessionCheckTtl);
    configs.set(sessionCheckTtl, config);
  }
  return config;
}

/** Trees are immutable, and asked for at every turn. */
const ofTree = new WeakMap<Readonly<Record<string, unknown>>, Map<Ms | null, DynamicConfig>>();

/** Equal texts are one configuration: whatever is remembered with it is remembered once. */
function read(tree: Readonly<Record<string, unknown>>, sessionCheckTtl: Ms | null): DynamicConfig {
  const text = `${sessionCheckTtl} ${JSON.stringify(tree)}`;
  const known = accepted.get(text);
  if (known !== undefined) return known;
  if (accepted.size >= ACCEPTED_MAX) accepted.clear();
  const { config } = acceptDynamic(tree, PATRONI_LIMITS, sessionCheckTtl);
  accepted.set(text, config);
  return config;
}
