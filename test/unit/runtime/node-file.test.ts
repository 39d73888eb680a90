// The node's own file in an upgrade: changed in one option, kept as it was beside it, and put back; refused where that cannot be.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LoadedConfig, loadNodeConfig } from "../../../lib/config/load.ts";
import { DiskNodeFile } from "../../../lib/runtime/node-file.ts";

const ID = "20260131-120000";
const TEXT = `name: a # me
scope: demo
consul: {host: 127.0.0.1:8500}
postgresql:
  bin_dir: /13/bin
  data_dir: /d
  listen: 127.0.0.1:5432
  authentication: {superuser: {username: s}, replication: {username: r}}
`;
let folder: string;
let reloads: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "matriarch-node-file-"));
  reloads = 0;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function nodeFile(path: string | null, env: Readonly<Record<string, string>> = {}): Promise<DiskNodeFile> {
  let loaded: LoadedConfig | null = null;
  /** As a supervisor's: what cannot be loaded leaves what was. */
  const reload = async (): Promise<void> => {
    const read = path === null ? null : await loadNodeConfig({ path, env });
    if (read?.ok) loaded = read.value;
    reloads += 1;
  };
  await reload();
  reloads = 0;
  const inForce = (): LoadedConfig => loaded ?? ({ sources: new Map() } as unknown as LoadedConfig);
  return new DiskNodeFile({ path, env, loaded: inForce, reload });
}

test("the file keeps its mode and every other byte, and so does the one of before; again, nothing is left to do", async () => {
  const path = join(folder, "node.yml");
  writeFileSync(path, TEXT);
  chmodSync(path, 0o640);
  const file = await nodeFile(path);
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
  const file = await nodeFile(path);
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
  writeFileSync(join(conf, "20-more.yml"), "postgresql:\n  listen: 127.0.0.2:5432\n");
  symlinkSync(elsewhere, join(conf, "10-node.yml"));
  expect((await (await nodeFile(conf)).usePrograms("/15/bin", ID)).ok).toBe(true);
  expect(readFileSync(elsewhere, "utf8")).toContain('"/15/bin"');
  expect(readdirSync(conf).sort()).toEqual(["10-node.yml", "20-more.yml"]);
});

test("what cannot be changed is told before: the environment, no file, no section", async () => {
  const path = join(folder, "node.yml");
  writeFileSync(path, TEXT);
  expect(await (await nodeFile(path)).obstacle("/15/bin")).toBeNull();
  expect(readdirSync(folder)).toEqual(["node.yml"]);
  expect(await (await nodeFile(path, { PATRONI_POSTGRESQL_BIN_DIR: "/x" })).obstacle("/15/bin")).toContain("PATRONI_POSTGRESQL_BIN_DIR");
  expect(await (await nodeFile(null)).obstacle("/15/bin")).toContain("not from a file");
  const file = await nodeFile(path);
  writeFileSync(path, "name: a\n");
  expect(await file.obstacle("/15/bin")).toContain("no section postgresql");
  expect(readFileSync(path, "utf8")).toBe("name: a\n");
});

test("what the rights to file and folder allow and writing does not is told before", async () => {
  // Room for the file's own name, and none for that of a file beside it: refused to every user alike.
  const path = join(folder, `${"n".repeat(230)}.yml`);
  writeFileSync(path, TEXT);
  expect(await (await nodeFile(path)).obstacle("/15/bin")).toContain("cannot be replaced by the supervisor");
  expect(readFileSync(path, "utf8")).toBe(TEXT);
});

test("the mode stays whatever the umask of the supervisor", async () => {
  const path = join(folder, "node.yml");
  writeFileSync(path, TEXT);
  chmodSync(path, 0o660);
  const umask = process.umask(0o077);
  try {
    expect((await (await nodeFile(path)).usePrograms("/15/bin", ID)).ok).toBe(true);
  } finally {
    process.umask(umask);
  }
  expect([path, `${path}.before-upgrade-${ID}`].map((name) => statSync(name).mode & 0o777)).toEqual([0o660, 0o660]);
});

test("programs under names of the operator's own that the new folder lacks are told before", async () => {
  const path = join(folder, "node.yml");
  writeFileSync(path, TEXT.replace("  data_dir: /d\n", "  data_dir: /d\n  bin_name: {postgres: postgres-own, pg_ctl: ctl-own}\n"));
  writeFileSync(join(folder, "ctl-own"), "");
  chmodSync(join(folder, "ctl-own"), 0o755);
  const told = await (await nodeFile(path)).obstacle(folder);
  expect(told).toContain("postgres-own (postgres)");
  expect(told).not.toContain("ctl-own");
});

test("a file that the reload refuses is told before, and is never taken for one in force", async () => {
  const path = join(folder, "node.yml");
  writeFileSync(path, TEXT);
  const file = await nodeFile(path);
  const broken = `${TEXT}log: {level: LOUD}\n`;
  writeFileSync(path, broken);
  expect(await file.obstacle("/15/bin")).toContain("log.level");
  expect(await file.usePrograms("/15/bin", ID)).toEqual({ ok: false, error: expect.stringContaining("those of /13/bin are in force") });
  // Mended, the same word again takes it into force; and back, as strictly.
  writeFileSync(path, readFileSync(path, "utf8").replace("LOUD", "INFO"));
  expect((await file.usePrograms("/15/bin", ID)).ok).toBe(true);
  writeFileSync(path, readFileSync(path, "utf8").replace("INFO", "LOUD"));
  expect(await file.takeBack(ID)).toEqual({ ok: false, error: expect.stringContaining("those of /15/bin are in force") });
});
