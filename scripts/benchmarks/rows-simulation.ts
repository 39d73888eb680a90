// Owns the row of the simulator's speed: it runs the simulator's own figure and reads what that says.

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import type { OwnRow } from "./rows.ts";

/** So many that the compiler's work at the beginning, the same for any number, does not decide (docs/simulation.md). */
const SEEDS = 1000;
const script = join(import.meta.dir, "../simulate.ts");

export const SIMULATION_ROWS: readonly OwnRow[] = [
  {
    id: "simulation",
    title: "simulation: 3 nodes, loop_wait 10, a fault a minute, all invariants on",
    unit: "cluster-minutes/s",
    reach: "≥ 1000",
    measureOwn: async () => {
      const ran = spawnSync(process.execPath, ["run", script, "--figure", "--seeds", String(SEEDS)], { encoding: "utf8" });
      const rate = /\((\d+) a second\)/.exec(ran.stdout)?.[1];
      if (rate === undefined) throw new Error(`the simulator said: ${ran.stdout}${ran.stderr}`);
      return Number(rate);
    },
  },
];
