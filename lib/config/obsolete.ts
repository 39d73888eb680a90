// Owns what a Patroni file may hold that means nothing here: obsolete options (a warning) and stores that we do not have
// (a fault, with the section to write instead).

import type { ConfigFault } from "../model/errors.ts";
import { NODE_SCHEMA } from "./schema-node.ts";
import { entriesOfSection, schemaAt, unknownPaths } from "./schema-walk.ts";
import { isTree, type Tree, treeAt, valueAt, withoutValue } from "./tree.ts";

/** Sections of stores that Patroni knows and we do not. */
export const FOREIGN_STORES: readonly string[] = ["etcd3", "etcd", "zookeeper", "exhibitor", "kubernetes"];

const OBSOLETE: Readonly<Record<string, string>> = {
  thread_pool_size: "there are no threads to count",
  thread_stack_size: "there are no threads to size",
  "restapi.thread_pool_size": "there are no threads to count",
  "log.traceback_level": "tracebacks go with DEBUG",
  "log.max_queue_size": "the log has no queue of its own",
  "bootstrap.users": "create users in post_bootstrap",
  permanent_slots: "write slots",
  "bootstrap.dcs.permanent_slots": "write slots",
  "postgresql.replica_method": "write create_replica_methods",
  "postgresql.create_replica_method": "write create_replica_methods",
  "postgresql.maximum_lag_on_failover": "write maximum_lag_on_failover in the dynamic configuration",
};

export function isObsolete(dotted: string): boolean {
  return Object.hasOwn(OBSOLETE, dotted);
}

/** One warning for each option of the file that is obsolete or unknown. Sections of methods are known by their method's name. */
export function ignoredOptions(tree: Tree): readonly ConfigFault[] {
  return ignoredPaths(tree).map((path) => ignoredFault(path));
}

/** The tree without them. */
export function withoutIgnored(tree: Tree): Tree {
  return ignoredPaths(tree).reduce(withoutValue, tree);
}

function ignoredPaths(tree: Tree): readonly (readonly string[])[] {
  return unknownPaths(NODE_SCHEMA, tree).filter(
    (path) => !isMethodSection(tree, path) && !(path.length === 1 && FOREIGN_STORES.includes(path[0] ?? "")),
  );
}

export function ignoredFault(path: readonly string[]): ConfigFault {
  const dotted = path.join(".");
  const cause = Object.hasOwn(OBSOLETE, dotted) ? OBSOLETE[dotted] : undefined;
  if (cause !== undefined) return { path: dotted, message: `obsolete and ignored: ${cause}` };
  const near = nearestName(path);
  return { path: dotted, message: `unknown and ignored${near === null ? "; remove it" : `; did you mean ${near}?`}` };
}

/** A mapping in `postgresql` is a method's section when a method names it, or when it has a command. */
function isMethodSection(tree: Tree, path: readonly string[]): boolean {
  const [section, name, ...rest] = path;
  if (name === undefined || rest.length > 0 || isObsolete(path.join("."))) return false;
  const value = valueAt(tree, path);
  if (section === "bootstrap") return treeAt(tree, "bootstrap")["method"] === name || (isTree(value) && "command" in value);
  if (section !== "postgresql" || !isTree(value)) return false;
  const methods = treeAt(tree, "postgresql")["create_replica_methods"];
  return "command" in value || (Array.isArray(methods) && methods.includes(name));
}

/** The known name beside it that differs by at most two letters. */
function nearestName(path: readonly string[]): string | null {
  const last = path.at(-1) ?? "";
  const schema = schemaAt(NODE_SCHEMA, path.slice(0, -1));
  const names = schema === undefined ? [] : Object.keys(entriesOfSection(schema) ?? {});
  const scored = names.map((name) => ({ name, distance: editDistance(name, last) })).sort((a, b) => a.distance - b.distance);
  const best = scored[0];
  return best !== undefined && best.distance <= Math.min(2, Math.floor(last.length / 3)) ? best.name : null;
}

/** Levenshtein distance; names are short, so the table is small. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, replace));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** One fault for each section of a store that we do not have. */
export function foreignStores(tree: Tree): readonly ConfigFault[] {
  return FOREIGN_STORES.filter((section) => Object.hasOwn(tree, section) && tree[section] !== null).map((section) => ({
    path: section,
    message:
      "this store is not supported; write raft: {self_addr: 10.0.0.1:5010, partner_addrs: ['10.0.0.2:5010'], data_dir: /var/lib/matriarch/raft} or consul: {host: 127.0.0.1:8500}",
  }));
}
