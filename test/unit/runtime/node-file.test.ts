// The node's own file in an upgrade: changed in one option, kept as it was beside it, and put back; refused where that cannot be.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LoadedConfig } from "../../../lib/config/load.ts";
import { DiskNodeFile } from "../../../lib/runtime/node-file.ts";

const ID = "20260131-120000";
const TEXT = "name: a # me\npostgresql:\n  bin_dir: /13/bin\n  data_dir: /d\n";
let folder: string;
let reloads: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "matriarch-node-file-"));
  reloads = 0;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function nodeFile(path: string | null, source = "file:node.yml"): DiskNodeFile {
  const loaded = { sources: new Map([["postgresql.bin_dir", source]]) } as unknown as LoadedConfig;
  const reload = async (): Promise<void> => {
    reloads += 1;
  };
  return new DiskNodeFile({ path, loaded: () => loaded, reload });
}

test("the file keeps its mode and every other byte, and so does the one of before; again, nothing is left to do", async () => {
  const path = join(folder, "node.yml");
  writeFileSync(path, TEXT);
  chmodSync(path, 0o640);
  const file = nodeFile(path);
  for (let time = 1; time <= 2; time += 1) {
    expect(await file.usePrograms("/15/bin", ID)).toEqual({ ok: true, value: null });
    expect(readFileSync(path, "utf8")).toBe(TEXT.replace("/13/bin", '"/15/bin"'));
    expect(readFileSync(`${path}.before-upgrade-${ID}`, "utf8")).toBe(TEXT);
    expect([path, `${path}.before-upgrade-${ID}`].map((name) => statSync(name).mode & 0o777)).toEqual([0o640, 0o640]);
    expect(reloads).toBe(time);
  }
  // What somebody has changed since stays.
  writeFileSync(path, readFileSync(path, "utf8").replace("# me", "# you"));
  expect((await file.takeBack(ID)).ok).toBe(true);
  expect(readFileSync(path, "utf8")).toBe(TEXT.replace("# me", "# you").replace("/13/bin", '"/13/bin"'));
});

test("where the option was not there it is gone again, and an upgrade that changed nothing takes nothing back", async () => {
  const path = join(folder, "node.yml");
  const text = TEXT.replace("  bin_dir: /13/bin\n", "");
  writeFileSync(path, text);
  const file = nodeFile(path);
  expect((await file.takeBack(ID)).ok).toBe(true);
  expect((await file.usePrograms("/15/bin", ID)).ok).toBe(true);
  expect((await file.takeBack(ID)).ok).toBe(true);
  expect(readFileSync(path, "utf8")).toBe(text);
});

test("of a folder of files the one with the option is changed, where a link leads; the file of before is none that is read", async () => {
  const elsewhere = join(folder, "elsewhere.yml");
  const conf = join(folder, "conf");
  mkdirSync(conf);
  writeFileSync(elsewhere, TEXT);
  writeFileSync(join(conf, "20-more.yml"), "postgresql:\n  listen: a:5432\n");
  symlinkSync(elsewhere, join(conf, "10-node.yml"));
  expect((await nodeFile(conf).usePrograms("/15/bin", ID)).ok).toBe(true);
  expect(readFileSync(elsewhere, "utf8")).toContain('"/15/bin"');
  expect(readdirSync(conf).sort()).toEqual(["10-node.yml", "20-more.yml"]);
});

test("what cannot be changed is told before: the environment, no file, no section", async () => {
  const path = join(folder, "node.yml");
  writeFileSync(path, TEXT);
  expect(await nodeFile(path).obstacle("/15/bin")).toBeNull();
  expect(await nodeFile(path, "environment PATRONI_POSTGRESQL_BIN_DIR").obstacle("/15/bin")).toContain("PATRONI_POSTGRESQL_BIN_DIR");
  expect(await nodeFile(null).obstacle("/15/bin")).toContain("not from a file");
  writeFileSync(path, "name: a\n");
  expect(await nodeFile(path).obstacle("/15/bin")).toContain("no section postgresql");
  expect(readFileSync(path, "utf8")).toBe("name: a\n");
});
