// Owns the effective configuration: what the node's file says and what the `config` key says, together. Pure and cheap: it is
// called each time that the key changes. Nothing in the DCS can make it fail; what is wrong there is reported.

import { type DynamicConfig, type DynamicLimits, PATRONI_LIMITS } from "../model/dynamic-config.ts";
import type { ConfigFault } from "../model/errors.ts";
import { type Tags, tagEnabled } from "../model/member.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { buildPostgresql, mergePostgresql } from "./build-postgresql.ts";
import { withCitus, withCitusDefaults } from "./citus.ts";
import { acceptDynamic } from "./dynamic.ts";
import type { LoadedConfig } from "./load.ts";
import { withoutIgnored } from "./obsolete.ts";
import { DYNAMIC_SCHEMA } from "./schema-dynamic.ts";
import { NODE_SCHEMA } from "./schema-node.ts";
import { defaultsOf } from "./schema-walk.ts";
import { leavesOf, mergeTrees, type Source, type Tree, treeAt, valueAt, withoutNulls, withValue } from "./tree.ts";

export interface EffectiveConfig {
  readonly node: NodeConfig;
  readonly dynamic: DynamicConfig;
  /** Of the dynamic configuration, and of what the file may not set. */
  readonly faults: readonly ConfigFault[];
  readonly sources: ReadonlyMap<string, Source>;
  /** Everything in the form of the file, with defaults, for printing. Holds secrets. */
  readonly tree: Tree;
}

/** `dynamicJson` is the parsed `config` key; null where there is none. `limits` depend on the store and the members. */
export function effectiveConfig(
  loaded: LoadedConfig,
  dynamicJson: Readonly<Record<string, unknown>> | null,
  limits: DynamicLimits = PATRONI_LIMITS,
): EffectiveConfig {
  const accepted = acceptDynamic(dynamicJson ?? {}, limits, loaded.config.consul?.sessionCheckTtlMs ?? null);
  const local = treeAt(loaded.raw, "postgresql");
  const merged = mergePostgresql(treeAt(accepted.tree, "postgresql"), local);
  const ofNode = { pgpass: loaded.config.postgresql.pgpass, standbyCluster: accepted.config.standbyCluster };
  const { bootstrap, citus } = loaded.config;
  const built = withCitus(buildPostgresql(merged, ofNode), citus);
  const enforcesFeedback = built.useSlots && copiesLogicalSlots(accepted.config, loaded.config.tags);
  const node: NodeConfig = {
    ...loaded.config,
    bootstrap: { ...bootstrap, dcs: withCitusDefaults(bootstrap.dcs, citus) },
    postgresql: enforcesFeedback ? { ...built, enforcesFeedback } : built,
  };
  const tree = effectiveTree(loaded.raw, accepted, merged);
  const faults = [...accepted.faults, ...merged.faults];
  return { node, dynamic: accepted.config, faults, sources: effectiveSources(tree, loaded, accepted, merged), tree };
}

/** Its feedback keeps the catalogs on the primary that its copies need; also what passes on the feedback of those that stream from it. */
function copiesLogicalSlots({ slots, standbyCluster }: DynamicConfig, tags: Tags): boolean {
  if (standbyCluster !== null || tagEnabled(tags, "nostream")) return false;
  return slots.some(({ kind, clusterType }) => kind === "logical" && clusterType !== "standby");
}

type Accepted = ReturnType<typeof acceptDynamic>;
type Merged = ReturnType<typeof mergePostgresql>;

const NODE_DEFAULTS: Tree = defaultsOf(NODE_SCHEMA);
const { postgresql: _postgresql, ...DYNAMIC_DEFAULTS } = defaultsOf(DYNAMIC_SCHEMA);

function effectiveTree(raw: Tree, accepted: Accepted, merged: Merged): Tree {
  const { postgresql: _local, ...local } = withoutIgnored(withoutNulls(raw));
  const { postgresql: _dcs, ...dynamic } = withoutNulls(accepted.tree);
  const parameters = { ...treeAt(merged.tree, "parameters"), ...merged.controlled.values };
  const timeouts = adjustedTimeouts(accepted);
  return mergeTrees(mergeTrees(DYNAMIC_DEFAULTS, { ...dynamic, ...timeouts }), {
    ...mergeTrees(NODE_DEFAULTS, local),
    postgresql: withValue(mergeTrees(treeAt(NODE_DEFAULTS, "postgresql"), merged.tree), ["parameters"], parameters),
  });
}

/** Values that floors or the timeout rule changed, in seconds as in the key. */
function adjustedTimeouts({ adjusted, config }: Accepted): Tree {
  const all: Tree = { ttl: config.ttlMs / 1000, loop_wait: config.loopWaitMs / 1000, retry_timeout: config.retryTimeoutMs / 1000 };
  return Object.fromEntries(Object.entries(all).filter(([name]) => adjusted.has(name)));
}

function effectiveSources(tree: Tree, loaded: LoadedConfig, accepted: Accepted, merged: Merged): ReadonlyMap<string, Source> {
  const sources = new Map<string, Source>();
  for (const { path } of leavesOf(tree)) sources.set(path.join("."), sourceOf(path, loaded, accepted, merged));
  return sources;
}

function sourceOf(path: readonly string[], loaded: LoadedConfig, accepted: Accepted, merged: Merged): Source {
  const dotted = path.join(".");
  const [section, name, key] = path;
  if (section === "postgresql") {
    if (name === "parameters" && key !== undefined && Object.hasOwn(merged.controlled.values, key)) {
      return merged.controlled.fromDcs.includes(key) ? "dcs" : "default";
    }
    const local = name === "use_slots" ? undefined : ownSource(loaded, path);
    if (local !== undefined) return local;
    return valueAt(merged.tree, path.slice(1)) === undefined ? "default" : "dcs";
  }
  if (section !== undefined && Object.hasOwn(DYNAMIC_SCHEMA.entries, section)) {
    const written = valueAt(accepted.tree, path);
    if (accepted.adjusted.has(dotted)) return written === undefined || written === null ? "default, adjusted" : "dcs, adjusted";
    return written === undefined || written === null ? "default" : "dcs";
  }
  return ownSource(loaded, path) ?? "default";
}

/** The source of the leaf, or of the mapping around it that one variable set as a whole. */
function ownSource(loaded: LoadedConfig, path: readonly string[]): Source | undefined {
  const value = valueAt(loaded.raw, path);
  if (value === undefined || value === null) return undefined;
  for (let length = path.length; length > 0; length--) {
    const source = loaded.sources.get(path.slice(0, length).join("."));
    if (source !== undefined && source !== "default") return source;
  }
  return undefined;
}
