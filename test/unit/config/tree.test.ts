// Claims about plain trees: merging, leaves, values at paths.

import { expect, test } from "bun:test";
import { isTree, leavesOf, mergeTrees, type Tree, valueAt, withoutValue, withValue } from "../../../lib/config/tree.ts";
import { fc } from "../../harness/properties.ts";

const key = fc.string({ minLength: 1, maxLength: 3 }).filter((name) => name !== "__proto__");
const { tree } = fc.letrec<{ tree: Tree; value: unknown }>((tie) => ({
  tree: fc.dictionary(key, tie("value"), { maxKeys: 4, noNullPrototype: true }),
  value: fc.oneof({ maxDepth: 3 }, fc.integer(), fc.string(), fc.constant(null), fc.array(fc.integer(), { maxLength: 2 }), tie("tree")),
}));

/** The slow, obvious version: write each leaf of the stronger tree over a copy of the weaker one. */
function mergeByLeaves(base: Tree, over: Tree): Tree {
  return leavesOf(over).reduce<Tree>((merged, leaf) => {
    if (isTree(leaf.value) && isTree(valueAt(merged, leaf.path))) return merged;
    return withValue(merged, leaf.path, leaf.value);
  }, base);
}

test("merging equals writing leaf after leaf over the weaker tree", () => {
  fc.assert(
    fc.property(tree, tree, (base, over) => {
      expect(mergeTrees(base, over)).toEqual(mergeByLeaves(base, over));
    }),
  );
});

test("merging is associative, an empty tree changes nothing, and the arguments stay as they were", () => {
  fc.assert(
    fc.property(tree, tree, tree, (a, b, c) => {
      const before = structuredClone([a, b, c]);
      expect(mergeTrees(a, {})).toEqual(a);
      expect(mergeTrees({}, a)).toEqual(a);
      const [x, y] = [leavesOf(mergeTrees(mergeTrees(a, b), c)), leavesOf(mergeTrees(a, mergeTrees(b, c)))];
      // Where a mapping is replaced by a scalar and that by a mapping again, grouping decides; everything else agrees.
      if (!hasKindClash(a, b, c)) expect(sorted(x)).toEqual(sorted(y));
      expect([a, b, c]).toEqual(before);
    }),
  );
});

function sorted(leaves: ReturnType<typeof leavesOf>): string[] {
  return leaves.map((leaf) => JSON.stringify([leaf.path, leaf.value])).sort();
}

function hasKindClash(...trees: readonly Tree[]): boolean {
  const names = new Set(trees.flatMap((item) => Object.keys(item)));
  return [...names].some((name) => {
    const values = trees.filter((item) => Object.hasOwn(item, name)).map((item) => item[name]);
    const mappings = values.filter(isTree);
    return (mappings.length > 0 && mappings.length < values.length) || (mappings.length > 0 && hasKindClash(...mappings));
  });
}

test("what was set at a path is found there, and nothing is after it was taken out", () => {
  fc.assert(
    fc.property(tree, fc.array(key, { minLength: 1, maxLength: 4 }), fc.integer(), (base, path, value) => {
      const changed = withValue(base, path, value);
      expect(valueAt(changed, path)).toBe(value);
      expect(valueAt(withoutValue(changed, path), path)).toBeUndefined();
    }),
  );
});

test("a key named __proto__ changes no prototype", () => {
  const evil = JSON.parse('{"__proto__": {"polluted": true}, "a": {"__proto__": {"polluted": true}}}') as Tree;
  const merged = mergeTrees({ a: {} }, evil);
  expect((merged as Record<string, unknown>)["polluted"]).toBeUndefined();
  expect((merged["a"] as Record<string, unknown>)["polluted"]).toBeUndefined();
  expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
});
