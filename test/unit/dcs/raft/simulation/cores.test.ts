// Goal: a few simulated clusters of Raft cores keep every invariant through their faults, converge, and replay exactly. The many
// seeds are run by `scripts/simulate.ts --raft`. Method: the core as it is, over fake networks, disks and clocks (docs/simulation.md).

import { describe, expect, test } from "bun:test";
import { runCores } from "../../../../raft/simulation/core-run.ts";

describe("simulated Raft cores", () => {
  test("keep the invariants through faults, and elect, converge and serve when all is healed", () => {
    for (let seed = 1; seed <= 25; seed += 1) {
      const result = runCores({ seed, seconds: 5, print: null });
      expect(result.violation === null ? null : `seed ${seed}: ${result.violation}`).toBeNull();
      expect(result.committed).toBeGreaterThan(0);
      expect(result.reads).toBeGreaterThan(0);
    }
  });

  test("the same seed is the same run, whatever ran before", () => {
    const first = runCores({ seed: 7, seconds: 5, print: null });
    runCores({ seed: 8, seconds: 2, print: null });
    const lines: string[] = [];
    const again = runCores({ seed: 7, seconds: 5, print: (line) => void lines.push(line) });
    expect(again.hash).toBe(first.hash);
    expect(again.events).toBe(first.events);
    expect(lines.length).toBeGreaterThan(100);
    expect(runCores({ seed: 8, seconds: 5, print: null }).hash).not.toBe(first.hash);
  });
});
