// Owns operations on plain trees (what YAML and JSON parse to): merging, paths, leaves. Knows no option and no file.

export interface Tree {
  readonly [key: string]: unknown;
}

/** Where an effective value comes from: `default`, `file:NAME`, `environment VAR` or `dcs`. */
export type Source = string;

export const EMPTY_TREE: Tree = {};

/** True for a mapping; lists, null and scalars are not. */
export function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Own entries without `__proto__`, which must never reach an assignment. */
export function entriesOf(tree: Tree): [string, unknown][] {
  return Object.entries(tree).filter(([key]) => key !== "__proto__");
}

/** Mappings are merged key by key, at every depth; anything else in `over` replaces what is in `base`. */
export function mergeTrees(base: Tree, over: Tree): Tree {
  const merged: Record<string, unknown> = Object.fromEntries(entriesOf(base));
  for (const [key, value] of entriesOf(over)) {
    const below = Object.hasOwn(merged, key) ? merged[key] : undefined;
    merged[key] = isTree(below) && isTree(value) ? mergeTrees(below, value) : value;
  }
  return merged;
}

/** The value at the path; undefined where there is none. */
export function valueAt(tree: Tree, path: readonly string[]): unknown {
  let value: unknown = tree;
  for (const key of path) {
    if (!isTree(value) || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return value;
}

/** The mapping at the path; empty where there is none or where it is something else. */
export function treeAt(tree: Tree, ...path: readonly string[]): Tree {
  const value = valueAt(tree, path);
  return isTree(value) ? value : EMPTY_TREE;
}

/** A copy with the value set; mappings on the way are made where they are missing, or replace what is no mapping. */
export function withValue(tree: Tree, path: readonly string[], value: unknown): Tree {
  const [key, ...rest] = path;
  if (key === undefined || key === "__proto__") return tree;
  const below = Object.hasOwn(tree, key) ? tree[key] : undefined;
  return { ...tree, [key]: rest.length === 0 ? value : withValue(isTree(below) ? below : EMPTY_TREE, rest, value) };
}

/** A copy without the value; the same tree where the path leads nowhere. */
export function withoutValue(tree: Tree, path: readonly string[]): Tree {
  const [key, ...rest] = path;
  if (key === undefined || !Object.hasOwn(tree, key)) return tree;
  if (rest.length === 0) return Object.fromEntries(entriesOf(tree).filter(([name]) => name !== key));
  const below = tree[key];
  return isTree(below) ? { ...tree, [key]: withoutValue(below, rest) } : tree;
}

/** Leaves in the order of the tree: path and value. A list is one leaf; so is an empty mapping. */
export function leavesOf(tree: Tree, prefix: readonly string[] = []): { path: readonly string[]; value: unknown }[] {
  return entriesOf(tree).flatMap(([key, value]) => {
    const path = [...prefix, key];
    return isTree(value) && entriesOf(value).length > 0 ? leavesOf(value, path) : [{ path, value }];
  });
}

/** A copy without null values, at every depth: null means "not set" in YAML as in the DCS. */
export function withoutNulls(tree: Tree): Tree {
  return Object.fromEntries(
    entriesOf(tree)
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([key, value]) => [key, isTree(value) ? withoutNulls(value) : value]),
  );
}

/** Same content, by value; the order of keys does not count. */
export function sameContent(a: unknown, b: unknown): boolean {
  return Bun.deepEquals(a, b, true);
}
