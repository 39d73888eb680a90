// Goal: a starting supervisor loads what it needs for its first answer, and no more: each module costs a third of a millisecond then.
// Method: the static imports from workers/supervisor.ts on, and from what it imports once it runs with the settings of its engine, as the
// loader follows them; what else is imported at run time is not among them.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const root = resolve(import.meta.dir, "../..");
const transpiler = new Bun.Transpiler({ loader: "ts" });

/** Every module that a program loads before its first line runs: paths below the root, and names of packages. */
function loadedBy(...entries: readonly string[]): ReadonlySet<string> {
  const loaded = new Set<string>();
  const pending = [...entries];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    if (loaded.has(path)) continue;
    loaded.add(path);
    if (!path.endsWith(".ts")) continue;
    for (const { kind, path: specifier } of transpiler.scanImports(readFileSync(join(root, path), "utf8"))) {
      if (kind !== "import-statement") continue;
      pending.push(specifier.startsWith(".") ? relative(root, resolve(root, dirname(path), specifier)) : specifier);
    }
  }
  return loaded;
}

/** What `main` of the supervisor waits for before it reads the configuration. */
const AT_START = ["lib/config/load.ts", "lib/runtime/log.ts", "lib/runtime/node.ts", "workers/http-api.ts", "workers/vip.ts"];
const loaded = loadedBy("workers/supervisor.ts", ...AT_START);
const own = [...loaded].filter((path) => /^(?:lib|workers|scripts)\//.test(path));

/** What a start does not load, and when it is loaded instead. */
const LATER: readonly (readonly [string, string])[] = [
  ["hono", "once the API listens"],
  ["lib/api/routes.ts", "once the API listens"],
  ["lib/api/openapi.ts", "GET /openapi.json"],
  ["lib/api/certificate-listener.ts", "verify_client: optional"],
  ["lib/runtime/ha-loop.ts", "once the API listens"],
  ["lib/core/decide.ts", "once the API listens"],
  ["lib/runtime/watch-loop.ts", "once the API listens"],
  ["lib/runtime/catalogues.ts", "once the API listens, where the node is in a catalogue"],
  ["lib/runtime/peer-agent.ts", "once the API listens, or where somebody has the node's name"],
  ["lib/runtime/explaining.ts", "GET /explain"],
  ["lib/runtime/backups.ts", "GET /backups"],
  ["lib/runtime/mpp/coordinator.ts", "a citus section"],
  ["lib/runtime/mpp/worker.ts", "a citus section"],
];

describe("a starting supervisor", () => {
  test.each([...LATER])("does not load %s (it is for: %s)", (module) => {
    expect(loaded.has(module)).toBe(false);
  });

  test.each(["lib/dcs/consul/", "lib/dcs/raft/", "lib/cli/", "lib/core/rules/", "lib/runtime/pgbouncer/"])(
    "loads nothing below %s before it knows its configuration",
    (folder) => {
      expect(own.filter((path) => path.startsWith(folder))).toEqual([]);
    },
  );

  test("loads no HTTP client before it knows that its store is asked over HTTP", () => {
    expect([...loaded].filter((name) => name.startsWith("undici"))).toEqual([]);
  });

  test("loads next to nothing before it is started anew with the settings of its engine", () => {
    expect([...loadedBy("workers/supervisor.ts")].length).toBeLessThanOrEqual(8);
    const source = readFileSync(join(root, "workers/supervisor.ts"), "utf8");
    for (const path of AT_START)
      expect(source).toContain(`import("${path.startsWith("lib/") ? `../${path}` : path.replace("workers/", "./")}")`);
  });

  test("loads no more modules of ours than it did when they were counted", () => {
    // To be lowered when there are fewer; what makes them more wants a look at whether the first answer needs it.
    expect(own.length).toBeLessThanOrEqual(225);
    expect(own.length).toBeGreaterThan(100);
  });
});
