// Owns the command `bun run scripts/raft-plants.ts`: puts each known bug into a copy of the tree and shows that the Raft simulation,
// or a scenario file, finds it. The tree itself is never changed.

import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { PLANTS } from "../test/raft/plants/all-plants.ts";
import { type Plant, patched, patchesOf } from "../test/raft/plants/plant.ts";

const USAGE = `usage: bun run scripts/raft-plants.ts [--only NAME]
  --only NAME  one planted bug: ${PLANTS.map(({ name }) => name).join(", ")}
Exit status: 0 each was found, 1 one was not, 2 usage.`;

const product = resolve(import.meta.dir, "..");
/**
 * raft.md: what random search misses for a minute has a scenario file. A minute is what the simulator does in one at the rates that it
 * is to reach: counted in events, so that whatever else the machine does changes nothing of what is found.
 */
const SEARCH_EVENTS = { core: 60_000_000, whole: 12_000_000 };
/** Only what hangs takes so long. */
const HANGS_MS = 3_600_000;
const MANY_SEEDS = 1_000_000;
/** What the simulation needs of the tree. */
const COPIED = ["lib", "test/raft", "test/simulation", "test/unit/dcs/raft", "scripts", "package.json", "tsconfig.json", "bunfig.toml"];

function main(): number {
  const only = readOptions();
  const plants = PLANTS.filter(({ name }) => only === null || name === only);
  if (only === undefined || plants.length === 0) {
    console.error(USAGE);
    return 2;
  }
  let missed = 0;
  for (const plant of plants) {
    const begin = performance.now();
    const found = find(plant);
    const seconds = ((performance.now() - begin) / 1000).toFixed(1);
    console.log(`${found === null ? "NOT FOUND" : "found    "} ${plant.name.padEnd(34)} ${seconds.padStart(5)} s  ${found ?? plant.what}`);
    if (found === null) missed += 1;
  }
  console.log(`${plants.length - missed} of ${plants.length} planted bugs were found`);
  return missed === 0 ? 0 : 1;
}

/** What found it; null where nothing did. */
function find(plant: Plant): string | null {
  const tree = mkdtempSync(join(tmpdir(), "raft-plant."));
  try {
    for (const path of COPIED) cpSync(join(product, path), join(tree, path), { recursive: true });
    symlinkSync(join(product, "node_modules"), join(tree, "node_modules"));
    for (const patch of patchesOf(plant))
      writeFileSync(join(tree, patch.file), patched(readFileSync(join(tree, patch.file), "utf8"), patch));
    if (plant.scenario !== undefined) {
      const test = "./test/unit/dcs/raft/simulation/scenarios.test.ts";
      // A test that runs into a time limit fails as well, and has found nothing.
      const run = bun(tree, ["test", "--timeout", String(HANGS_MS), test, "-t", plant.scenario]);
      return run.status === 1 && run.text.includes("(fail)") ? `by the scenario ${plant.scenario}` : null;
    }
    const level = plant.level ?? "core";
    const bounds = ["--first", "--seeds", String(MANY_SEEDS), "--events", String(SEARCH_EVENTS[level])];
    const run = bun(tree, ["run", "scripts/simulate.ts", "--raft", ...(level === "whole" ? ["--whole"] : []), ...bounds]);
    const violation = /^seed (\d+): VIOLATION (.*)$/m.exec(run.text);
    const events = Number(/: (\d+) events,/.exec(run.text)?.[1]);
    if (run.status !== 1 || violation === null) return null;
    return `by seed ${violation[1]}, ${((100 * events) / SEARCH_EVENTS[level]).toFixed(1)} % of the search: ${violation[2]}`;
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

function bun(tree: string, words: readonly string[]): { readonly status: number | null; readonly text: string } {
  const run = spawnSync(process.execPath, [...words], { cwd: tree, encoding: "utf8", timeout: HANGS_MS, killSignal: "SIGKILL" });
  return { status: run.status, text: `${run.stdout}${run.stderr}` };
}

/** Null: all of them. Undefined: a wrong call. */
function readOptions(): string | null | undefined {
  try {
    const { values } = parseArgs({ options: { only: { type: "string" } } });
    return values.only ?? null;
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

process.exitCode = main();
