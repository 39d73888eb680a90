// Owns the claims on the order of many keys: more than a block holds, made and deleted in any order.

import { expect, test } from "bun:test";
import { SortedKeys } from "../../../../../lib/dcs/raft/kv/sorted-keys.ts";
import type { Entry } from "../../../../../lib/dcs/store.ts";
import { revision } from "../../../../../lib/model/units.ts";
import { Random } from "../../../../simulation/random.ts";

function entry(key: string, value = "v"): Entry {
  return { key, value, revision: revision(1), session: null };
}

test("thousands of keys stay sorted while they are made, replaced and deleted, and each prefix finds its own", () => {
  for (let seed = 1; seed <= 4; seed++) {
    const random = new Random(seed);
    const keys = new SortedKeys();
    const plain = new Map<string, Entry>();
    const draw = () => `${random.pick(["a", "a/", "b/", "ü/", "🐘/"])}${random.whole(0, 1_500)}`;
    for (let round = 0; round < 12_000; round++) {
      const key = draw();
      // First many more come than go, then the other way round.
      if (random.chance(round < 6_000 ? 0.8 : 0.2)) {
        const made = entry(key, `${round}`);
        keys.set(made);
        plain.set(key, made);
      } else {
        keys.delete(key);
        plain.delete(key);
      }
      if (round % 1_000 !== 0) continue;
      const sorted = [...plain.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
      for (const prefix of ["", "a", "a/", "a/1", "b/", "c", "🐘/9", "zzz", draw()]) {
        expect(keys.below(prefix)).toEqual(sorted.filter((each) => each.key.startsWith(prefix)));
      }
      expect(keys.size).toBe(plain.size);
      expect(keys.text).toBe(sorted.reduce((sum, each) => sum + each.key.length + each.value.length, 0));
      expect([...keys.slots()].length).toBe(plain.size);
    }
    for (const key of plain.keys()) keys.delete(key);
    expect([keys.size, keys.text, keys.below("")]).toEqual([0, 0, []]);
  }
});

test("an entry that did not change is the same object in each read", () => {
  const keys = new SortedKeys();
  const a = entry("a");
  keys.set(a);
  keys.set(entry("b"));
  expect(keys.below("")[0]).toBe(a);
  keys.set(entry("b", "other"));
  expect(keys.below("")[0]).toBe(a);
  expect(keys.get("a")).toBe(a);
});
