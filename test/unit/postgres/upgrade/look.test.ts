// What of a server counts before a major upgrade: how the new cluster is made like the old one, and what does not survive.

import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { placeFindings, roomFindings, serverFindings } from "../../../../lib/postgres/upgrade/look.ts";
import { initdbLocale, initdbOptions, type ServerFacts } from "../../../../lib/postgres/upgrade/server-facts.ts";
import { serverConfig } from "../../../harness/local-server.ts";

const facts: ServerFacts = {
  major: 13,
  in_recovery: false,
  install_user: "admin",
  encoding: "UTF8",
  collate: "C",
  ctype: "de_DE.UTF-8",
  provider: "c",
  locale: "",
  icu_rules: "",
  checksums: "on",
  wal_segment_mb: 64,
  prepared: 0,
  logical_slots: 0,
  tablespaces: 0,
  bytes: 3 * 1024 ** 3,
  outside: [],
};

test("the new cluster is made as the old one was, also where a default has changed since", () => {
  const alike = ["--username=admin", "--encoding=UTF8", "--lc-collate=C", "--lc-ctype=de_DE.UTF-8", "--wal-segsize=64"];
  expect(initdbOptions(facts, 15)).toEqual([...alike, "--data-checksums"]);
  expect(initdbOptions({ ...facts, checksums: "off" }, 15)).toEqual(alike);
  expect(initdbOptions({ ...facts, checksums: "off" }, 18)).toEqual([...alike, "--no-data-checksums"]);
});

test("locales of ICU and of PostgreSQL's own come along; of a provider that nobody knows, the new cluster is not made", () => {
  const icu = initdbOptions({ ...facts, major: 15, provider: "i", locale: "de-DE" }, 17);
  expect(icu).toContain("--locale-provider=icu");
  expect(icu).toContain("--icu-locale=de-DE");
  expect(initdbLocale({ ...facts, provider: "i", locale: "und", icu_rules: "&V << w" })).toContain("--icu-rules=&V << w");
  expect(initdbLocale({ ...facts, provider: "b", locale: "C.UTF-8" })).toEqual(["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
  expect([initdbLocale(facts), initdbLocale({ ...facts, provider: "x" })]).toEqual([[], null]);
});

test("what an upgrade refuses is a fault, what it loses or has to be thought of a warning", () => {
  const verdicts = (over: Partial<ServerFacts>) => serverFindings({ ...facts, ...over }).map(({ verdict }) => verdict);
  expect(verdicts({})).toEqual(["fine"]);
  expect(verdicts({ prepared: 1 })).toEqual(["fault"]);
  expect(verdicts({ logical_slots: 2, tablespaces: 1 })).toEqual(["warning", "warning"]);
  // From 17 on pg_upgrade takes logical slots along.
  expect(verdicts({ logical_slots: 2, major: 17 })).toEqual(["fine"]);
});

test("what cannot be looked at stands against the upgrade by its reason: a look that nobody hears of would be waited for", async () => {
  const folder = mkdtempSync(join(tmpdir(), "matriarch-look-"));
  try {
    const config = serverConfig(folder, "data", 1);
    for (const inner of ["pg_wal", "pg_tblspc"]) mkdirSync(join(config.dataDir, inner), { recursive: true });
    const found = () => placeFindings(config, { newMajor: 15, standbyOf: 13 });
    expect(await found()).toEqual([]);
    mkdirSync(join(folder, "space/lost+found"), { recursive: true });
    symlinkSync(join(folder, "space"), join(config.dataDir, "pg_tblspc/16400"));
    expect(await found()).toMatchObject([{ subject: "directory", says: expect.stringContaining("lost+found") }]);
    expect(await placeFindings(config, { newMajor: 15, standbyOf: null })).toEqual([]);
    // PostgreSQL runs well with a link that leads nowhere.
    symlinkSync(join(folder, "gone"), join(config.dataDir, "pg_tblspc/16401"));
    expect(await found()).toMatchObject([{ subject: "directory", verdict: "fault", says: expect.stringContaining("gone") }]);
    const outside = [{ place: "pg_tblspc/16400", bytes: 1 }];
    expect(await roomFindings(config, { ...facts, outside }, "copy")).toMatchObject([{ subject: "room", verdict: "fault" }]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
