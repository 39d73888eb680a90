// Owns the second net under the linter's import rules: it walks every import of the tree and holds it against one table.
// It must not read anything but source files.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative, resolve } from "node:path";

const root = resolve(import.meta.dir, "../..");

/** What each layer may import besides itself; docs/ARCHITECTURE.md, Layers. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  "lib/model": [],
  "lib/core": ["lib/model"],
  "lib/dcs/raft/core": ["lib/core", "lib/model"],
  "lib/dcs": ["lib/core", "lib/model", "lib/dcs/raft/core"],
  "lib/postgres": ["lib/core", "lib/model"],
  "lib/config": ["lib/core", "lib/model"],
  "lib/runtime": ["lib/dcs", "lib/postgres", "lib/config", "lib/core", "lib/model"],
  "lib/api": ["lib/runtime", "lib/dcs", "lib/postgres", "lib/config", "lib/core", "lib/model"],
  "lib/cli": ["lib/runtime", "lib/dcs", "lib/postgres", "lib/config", "lib/core", "lib/model"],
};

/** Layers that see time, randomness, the network and files only as data. */
const pure = ["lib/core", "lib/dcs/raft/core"];
const pureExceptions = ["node:assert"];

interface Import {
  readonly file: string;
  readonly specifier: string;
}

/** The layer of a path, longest name first; null for workers, scripts and tests, which may import anything. */
function layerOf(path: string): string | null {
  const layers = Object.keys(allowed).sort((a, b) => b.length - a.length);
  return layers.find((layer) => path.startsWith(`${layer}/`)) ?? null;
}

/** The fault of one import, or null. */
function faultOf({ file, specifier }: Import): string | null {
  if (specifier === "undici") return `${file} imports the bare "undici" (a stub inside Bun)`;
  const from = layerOf(file);
  if (from === null) return null;
  if (!specifier.startsWith(".")) {
    const impure = pure.includes(from) && /^(node:|bun$|bun:)/.test(specifier) && !pureExceptions.includes(specifier);
    return impure ? `${file} imports ${specifier}, but ${from} is pure` : null;
  }
  const target = normalize(join(dirname(file), specifier));
  const to = layerOf(target);
  if (to === from || (to !== null && allowed[from]?.includes(to))) return null;
  return `${file} imports ${target}, but ${from} may import only itself and [${allowed[from]?.join(", ")}]`;
}

function sourceFiles(folder: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
}

/** Type imports count too, which a transpiler's scan would leave out: so the text is read, without its comments. */
function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), "utf8")
    .replace(/\/\*[\s\S]*?\*\//g, "")
    .replace(/^\s*\/\/.*$/gm, "");
  const found = text.matchAll(/(?:^|[\s;}])(?:from|import)\s*\(?\s*["']([^"'\n]+)["']/g);
  return [...found].map((match) => ({ file, specifier: match[1] ?? "" }));
}

describe("imports point down only", () => {
  const files = sourceFiles("lib").concat(sourceFiles("workers"), sourceFiles("scripts"));

  test("every import of the tree obeys the table", () => {
    const faults = files.flatMap(importsOf).flatMap((entry) => faultOf(entry) ?? []);
    expect(faults).toEqual([]);
  });

  test("the walk sees the tree", () => {
    expect(files.length).toBeGreaterThan(15);
    expect(importsOf("lib/dcs/store.ts").map((entry) => entry.specifier)).toContain("../model/errors.ts");
  });

  test("every folder of lib has a row in the table", () => {
    const folders = readdirSync(join(root, "lib"), { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect(folders.map((entry) => `lib/${entry.name}`).filter((folder) => !(folder in allowed))).toEqual([]);
  });

  test.each([
    ["lib/model/a.ts", "../core/b.ts"],
    ["lib/core/a.ts", "../runtime/b.ts"],
    ["lib/core/rules/a.ts", "node:fs"],
    ["lib/dcs/a.ts", "../postgres/b.ts"],
    ["lib/dcs/raft/core/a.ts", "../../store.ts"],
    ["lib/dcs/raft/core/a.ts", "../disk.ts"],
    ["lib/postgres/a.ts", "../config/b.ts"],
    ["lib/config/a.ts", "../dcs/b.ts"],
    ["lib/runtime/a.ts", "../api/b.ts"],
    ["lib/api/a.ts", "../cli/b.ts"],
    ["lib/cli/a.ts", "../../workers/b.ts"],
    ["lib/runtime/a.ts", "../../scripts/b.ts"],
    ["workers/a.ts", "undici"],
  ])("%s must not import %s", (file, specifier) => {
    expect(faultOf({ file, specifier })).not.toBeNull();
  });

  test.each([
    ["lib/model/a.ts", "./b.ts"],
    ["lib/core/rules/a.ts", "../../model/b.ts"],
    ["lib/dcs/raft/a.ts", "./core/b.ts"],
    ["lib/dcs/raft/core/a.ts", "../../../model/b.ts"],
    ["lib/runtime/a.ts", "../postgres/b.ts"],
    ["workers/a.ts", "../lib/api/b.ts"],
    ["lib/dcs/consul/a.ts", "undici/index.js"],
  ])("%s may import %s", (file, specifier) => {
    expect(faultOf({ file, specifier })).toBeNull();
  });
});

describe("the source map of docs/ARCHITECTURE.md", () => {
  const page = readFileSync(join(root, "docs/ARCHITECTURE.md"), "utf8");
  const rows = [...page.slice(page.indexOf("## Source map")).matchAll(/^\| ((?:lib|workers|scripts)[^ |]*) \| ([^|]+) \|/gm)];
  const mapped = rows.map((row) => row[1] ?? "");

  test("has a row for each folder that holds files, and none for a folder that is not there", () => {
    const folders = ["lib", "workers", "scripts"].flatMap((top) =>
      readdirSync(join(root, top), { withFileTypes: true, recursive: true })
        .filter((entry) => entry.isFile())
        .map((entry) => relative(root, entry.parentPath)),
    );
    expect([...new Set(folders)].filter((folder) => !mapped.includes(folder)).sort()).toEqual([]);
    expect(mapped.filter((folder) => !folders.includes(folder))).toEqual([]);
  });

  test("names files to open first that are there", () => {
    const named = rows.flatMap((row) => (row[2] ?? "").split(", ").map((name) => join(row[1] ?? "", name.trim())));
    expect(named.length).toBeGreaterThan(mapped.length);
    expect(named.filter((file) => !existsSync(join(root, file)))).toEqual([]);
  });
});

describe("docs/ARCHITECTURE.md", () => {
  test("names every folder of test/", () => {
    const page = readFileSync(join(root, "docs/ARCHITECTURE.md"), "utf8");
    const folders = readdirSync(join(root, "test"), { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect(folders.map(({ name }) => `test/${name}`).filter((folder) => !page.includes(`| ${folder} |`))).toEqual([]);
  });
});
