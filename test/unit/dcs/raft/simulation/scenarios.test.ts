// Goal: the scenario files of test/raft/scenarios (the paper's figures, known bugs of other implementations) end as they tell.
// With RAFT_SCENARIOS=rewrite the files are written anew: review the difference.

import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { runScenario } from "../../../../raft/simulation/scenario.ts";

const folder = resolve(import.meta.dir, "../../../../raft/scenarios");
const files = readdirSync(folder).filter((name) => name.endsWith(".txt"));

describe("scenario", () => {
  test("files are there", () => {
    expect(files.length).toBeGreaterThanOrEqual(10);
  });

  for (const file of files.sort()) {
    test(file.replace(".txt", ""), () => {
      const path = join(folder, file);
      const text = readFileSync(path, "utf8");
      const really = runScenario(text);
      if (process.env["RAFT_SCENARIOS"] === "rewrite") writeFileSync(path, really);
      else expect(really).toBe(text);
    });
  }
});
