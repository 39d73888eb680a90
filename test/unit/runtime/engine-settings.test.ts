// Goal: a supervisor runs with the settings of its engine, once and for itself alone, and never fails to run for their sake.

import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ENGINE_SETTINGS, type Engine, forgetEngineSettings, settleEngine } from "../../../lib/runtime/engine-settings.ts";

type Replaced = Parameters<Engine["replace"]>;

function engine(env: Engine["env"], replace?: Engine["replace"]): { readonly engine: Engine; readonly replaced: Replaced[] } {
  const replaced: Replaced[] = [];
  const given = { execPath: "/usr/bin/bun", execArgv: ["--smol"], script: "/opt/workers/supervisor.ts" };
  return { engine: { ...given, env, replace: replace ?? ((...words) => void replaced.push(words)) }, replaced };
}

describe("the settings of the engine", () => {
  test("are taken by starting anew with the same words, and the rest of the environment as it is", () => {
    const { engine: without, replaced } = engine({ PATH: "/bin", EMPTY: "", GONE: undefined });
    settleEngine("supervisor", ["--adopt", "node.yml"], without);
    const argv = ["/usr/bin/bun", "--smol", "/opt/workers/supervisor.ts", "--adopt", "node.yml"];
    expect(replaced).toEqual([["/usr/bin/bun", argv, { ...ENGINE_SETTINGS, PATH: "/bin", EMPTY: "" }]]);
  });

  test("that are there already need no other start: it never starts twice", () => {
    const { engine: settled, replaced } = engine({ ...ENGINE_SETTINGS });
    settleEngine("supervisor", [], settled);
    expect(replaced).toEqual([]);
  });

  test("that somebody chose stay as they are", () => {
    const [name = ""] = Object.keys(ENGINE_SETTINGS);
    const { engine: chosen, replaced } = engine({ [name]: "7" });
    settleEngine("supervisor", [], chosen);
    expect(replaced[0]?.[2]).toEqual({ ...ENGINE_SETTINGS, [name]: "7" });
    const env = { ...ENGINE_SETTINGS, [name]: "7" };
    forgetEngineSettings(env);
    expect(env).toEqual({ [name]: "7" });
  });

  test("that cannot be had let it go on without them", () => {
    const { engine: broken } = engine({}, () => {
      throw new Error("ENOENT");
    });
    expect(() => settleEngine("supervisor", [], broken)).not.toThrow();
  });

  test("are in force in the process that goes on, which is the same process, and are not in the environment that it hands on", () => {
    const folder = mkdtempSync(join(tmpdir(), "engine-"));
    try {
      const module = new URL("../../../lib/runtime/engine-settings.ts", import.meta.url).pathname;
      const program = join(folder, "program.ts");
      writeFileSync(
        program,
        `import { forgetEngineSettings, settleEngine } from ${JSON.stringify(module)};
settleEngine("supervisor", process.argv.slice(2));
const taken = { ...process.env };
forgetEngineSettings(process.env);
console.log(JSON.stringify({ pid: process.pid, words: process.argv.slice(2), taken, left: { ...process.env } }));`,
      );
      const run = Bun.spawnSync([process.execPath, "run", program, "--adopt", "a b.yml"], { env: { HOME: folder, KEPT: "1" } });
      const { pid, words, taken, left } = JSON.parse(run.stdout.toString());
      expect({ pid, words }).toEqual({ pid: run.pid, words: ["--adopt", "a b.yml"] });
      // The log of a node does not begin with a word about how it was started.
      expect(run.stderr.toString()).not.toContain("execve");
      expect(taken).toMatchObject({ ...ENGINE_SETTINGS, KEPT: "1" });
      expect(left).toMatchObject({ KEPT: "1", HOME: folder });
      for (const name of Object.keys(ENGINE_SETTINGS)) expect(left).not.toHaveProperty(name);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
