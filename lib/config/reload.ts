// Owns what a changed node file means for a running node: which options changed, what has to be done for them, and which
// cannot change without a restart of the supervisor. Performs nothing. A broken file leaves the old configuration in force.

import type { ConfigFault } from "../model/errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { type LoadedConfig, type LoadOptions, loadNodeConfig } from "./load.ts";
import { isTree, sameContent, type Tree, valueAt, withoutValue, withValue } from "./tree.ts";

/** What a change asks of the running node. */
export type ReloadNeed =
  /** Write PostgreSQL's files and reload it (a restart may then be pending). */
  | "postgresql"
  /** Publish the member key again: addresses or tags changed. */
  | "member"
  /** Listen anew (address, TLS). */
  | "restapi-listener"
  /** New credentials, lists or headers for the running listener. */
  | "restapi-options"
  /** Rebuild the client of requests between members. */
  | "ctl"
  | "consul"
  | "raft"
  | "log"
  | "watchdog"
  | "tags";

export interface ConfigDifference {
  /** Dotted names as in NodeConfig, e.g. `restapi.listen`. */
  readonly changed: readonly string[];
  readonly needs: ReadonlySet<ReloadNeed>;
  /** Changes that were not taken: they need a restart. */
  readonly faults: readonly ConfigFault[];
  /** `after`, with every value that cannot be reloaded as it was before. */
  readonly accepted: NodeConfig;
}

interface FixedOption {
  /** Path in NodeConfig. */
  readonly path: readonly [string, ...string[]];
  /** Name in the file. */
  readonly option: string;
}

const FIXED: readonly FixedOption[] = [
  { path: ["scope"], option: "scope" },
  { path: ["namespace"], option: "namespace" },
  { path: ["name"], option: "name" },
  { path: ["citus"], option: "citus" },
  { path: ["postgresql", "dataDir"], option: "postgresql.data_dir" },
  { path: ["postgresql", "configDir"], option: "postgresql.config_dir" },
  { path: ["raft"], option: "raft" },
  { path: ["watchdog", "driver"], option: "watchdog.driver" },
  { path: ["watchdog", "device"], option: "watchdog.device" },
];

const PGPASS = ["postgresql", "pgpass"] as const;

const LISTENER_OPTIONS: readonly string[] = [
  "listen",
  "certfile",
  "keyfile",
  "keyfilePassword",
  "cafile",
  "ciphers",
  "verifyClient",
  "requestQueueSize",
];
const CLIENT_OPTIONS: readonly string[] = ["authentication", "tokens", "cafile"];
const MEMBER_OPTIONS: readonly string[] = [
  "restapi.connectAddress",
  "postgresql.connectAddress",
  "postgresql.proxyAddress",
  "restapi.certfile",
];

/** Compares two configurations. Files named in them may have new content: that is not seen here. */
export function diffConfig(before: NodeConfig, after: NodeConfig): ConfigDifference {
  const faults: ConfigFault[] = [];
  let accepted = keepStore(before, after, faults);
  for (const { path, option } of FIXED) {
    const was = at(before, path);
    if (was === undefined || sameContent(was, at(accepted, path))) continue;
    accepted = replaced(accepted, path, was) as NodeConfig;
    // The directory of the configuration is that of the data where nobody names another.
    if (option === "postgresql.config_dir" && after.postgresql.configDir === after.postgresql.dataDir) continue;
    faults.push({ path: option, message: "cannot change while the node runs and stays as it was; restart the supervisor to change it" });
  }
  // The default place of the password file is made of these names.
  if (faults.length > 0) accepted = replaced(accepted, PGPASS, before.postgresql.pgpass) as NodeConfig;
  const changed = changedOptions(before, accepted);
  return { changed, needs: needsOf(changed), faults, accepted };
}

export interface Reloaded {
  /** The new configuration, or the old one where the new one is broken. */
  readonly loaded: LoadedConfig;
  readonly difference: ConfigDifference;
  /** Why the new one was not taken, or which of its changes were not. */
  readonly faults: readonly ConfigFault[];
}

/** Loads again and compares. */
export async function reloadNodeConfig(current: LoadedConfig, options: LoadOptions): Promise<Reloaded> {
  const result = await loadNodeConfig(options);
  if (!result.ok) return { loaded: current, difference: diffConfig(current.config, current.config), faults: result.error };
  const difference = diffConfig(current.config, result.value.config);
  const raw = difference.faults.reduce((tree, { path }) => keptOption(tree, current.raw, path.split(".")), result.value.raw);
  return { loaded: { ...result.value, raw, config: difference.accepted }, difference, faults: difference.faults };
}

/** The refused option as it was in the old tree, so that what is computed from the tree later agrees. */
function keptOption(tree: Tree, old: Tree, path: readonly string[]): Tree {
  const was = valueAt(old, path);
  return was === undefined ? withoutValue(tree, path) : withValue(tree, path, was);
}

/** The store itself cannot be exchanged under a running node. */
function keepStore(before: NodeConfig, after: NodeConfig, faults: ConfigFault[]): NodeConfig {
  const same = (before.consul === null) === (after.consul === null) && (before.raft === null) === (after.raft === null);
  if (same) return after;
  const option = before.consul === null ? "raft" : "consul";
  faults.push({ path: option, message: "the store cannot change while the node runs; restart the supervisor to change it" });
  return { ...after, consul: before.consul, raft: before.raft };
}

function changedOptions(before: NodeConfig, after: NodeConfig): readonly string[] {
  return Object.entries(after).flatMap(([section, value]) => {
    const was = at(before, [section]);
    if (sameContent(was, value)) return [];
    if (!isTree(was) || !isTree(value) || section === "tags") return [section];
    const names = new Set([...Object.keys(was), ...Object.keys(value)]);
    return [...names].filter((name) => !sameContent(was[name], value[name])).map((name) => `${section}.${name}`);
  });
}

function needsOf(changed: readonly string[]): ReadonlySet<ReloadNeed> {
  const needs = new Set<ReloadNeed>();
  for (const name of changed) {
    const [section, option] = name.split(".");
    if (MEMBER_OPTIONS.includes(name) || section === "tags") needs.add("member");
    if (section === "restapi" && option !== undefined) {
      needs.add(LISTENER_OPTIONS.includes(option) ? "restapi-listener" : "restapi-options");
      if (CLIENT_OPTIONS.includes(option)) needs.add("ctl");
    } else if (section === "postgresql" || section === "ctl" || section === "consul" || section === "raft") needs.add(section);
    else if (section === "log" || section === "watchdog" || section === "tags") needs.add(section);
  }
  return needs;
}

function at(value: unknown, path: readonly string[]): unknown {
  let found = value;
  for (const key of path) found = isTree(found) ? found[key] : undefined;
  return found;
}

function replaced(value: unknown, path: readonly string[], part: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return part;
  return isTree(value) ? { ...value, [key]: replaced(value[key], rest, part) } : value;
}
