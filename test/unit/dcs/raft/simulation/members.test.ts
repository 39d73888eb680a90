// Goal: a few simulated clusters of whole members, as production puts them together, found themselves, keep what clients saw
// linearizable through their faults, converge, and replay exactly. The many seeds: `scripts/simulate.ts --raft --whole`.

import { describe, expect, test } from "bun:test";
import { runWhole } from "../../../../raft/simulation/whole-run.ts";

describe("simulated Raft members", () => {
  test("are one store to their clients through faults, and converge and serve when all is healed", () => {
    let acknowledged = 0;
    let reads = 0;
    for (let seed = 1; seed <= 15; seed += 1) {
      const result = runWhole({ seed, seconds: 6, print: null });
      expect(result.violation === null ? null : `seed ${seed}: ${result.violation}`).toBeNull();
      acknowledged += result.acknowledged;
      reads += result.reads;
    }
    expect(acknowledged).toBeGreaterThan(100);
    expect(reads).toBeGreaterThan(100);
  });

  test("the same seed is the same run, whatever ran before", () => {
    const first = runWhole({ seed: 3, seconds: 5, print: null });
    runWhole({ seed: 4, seconds: 2, print: null });
    const again = runWhole({ seed: 3, seconds: 5, print: null });
    expect([again.hash, again.events, again.committed]).toEqual([first.hash, first.events, first.committed]);
    expect(runWhole({ seed: 4, seconds: 5, print: null }).hash).not.toBe(first.hash);
  });
});
