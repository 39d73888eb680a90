// What a command costs before it does anything is the code that it loads: held down here by what is imported, not by a clock.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const ROOT = join(import.meta.dir, "../../../..");
const transpiler = new Bun.Transpiler({ loader: "ts" });

/** Files that are loaded together with these, and the packages; what is imported later, on demand, is not followed. */
function loadedWith(...entries: readonly string[]): ReadonlySet<string> {
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    if (!file.endsWith(".ts")) return;
    for (const { path, kind } of transpiler.scanImports(readFileSync(join(ROOT, file), "utf8"))) {
      if (kind !== "import-statement") continue;
      visit(path.startsWith(".") ? relative(ROOT, join(ROOT, dirname(file), path)) : path);
    }
  };
  for (const entry of entries) visit(entry);
  return seen;
}

const PROGRAM = "lib/cli/ctl/program.ts";
const LIST = [PROGRAM, "lib/cli/ctl/context.ts", "lib/cli/ctl/commands/list.ts"] as const;

describe("a command of ctl loads what it needs", () => {
  test("the program alone loads no command and no configuration", () => {
    const loaded = [...loadedWith(PROGRAM)];
    expect(loaded).toContain("commander");
    expect(loaded.filter((file) => /\/commands\/|lib\/(config|dcs|postgres)\//.test(file))).toEqual([]);
  });

  test("list loads no store before it knows which, and no client of the members", () => {
    const loaded = [...loadedWith(...LIST)];
    expect(loaded).toContain("lib/dcs/cluster-store.ts");
    expect(
      loaded.filter((file) => /^undici|peer-client|lib\/dcs\/raft\/(client|transport|member)|consul\/store|lib\/postgres/.test(file)),
    ).toEqual([]);
  });

  test("each store loads nothing of the other", () => {
    expect([...loadedWith("lib/dcs/open-consul.ts")].filter((file) => file.includes("dcs/raft/"))).toEqual([]);
    expect([...loadedWith("lib/dcs/open-raft.ts")].filter((file) => file.includes("dcs/consul/") || file.startsWith("undici"))).toEqual([]);
  });
});
