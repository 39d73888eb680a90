// Goal: the planted bugs fit the source as it is, so that scripts/raft-plants.ts can show that each is found.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { PLANTS } from "../../../../raft/plants/all-plants.ts";
import { occurrences, patched, patchesOf } from "../../../../raft/plants/plant.ts";

const product = resolve(import.meta.dir, "../../../../..");

test("there are at least 20 planted bugs, each with a name of its own", () => {
  expect(PLANTS.length).toBeGreaterThanOrEqual(20);
  expect(new Set(PLANTS.map(({ name }) => name)).size).toBe(PLANTS.length);
});

for (const plant of PLANTS) {
  test(`what ${plant.name} replaces stands in the source exactly once, and changes it`, () => {
    for (const patch of patchesOf(plant)) {
      const source = readFileSync(join(product, patch.file), "utf8");
      expect(`${patch.file}: ${occurrences(source, patch.find)}`).toBe(`${patch.file}: 1`);
      expect(patched(source, patch)).not.toBe(source);
    }
  });
}
