// Goal: what a reload changes is told in Patroni's words, once, and nothing that may hold a password is told. Method: the rows of pg_settings are given.

import { expect, test } from "bun:test";
import { changedLines, changedNames } from "../../../lib/postgres/changed-settings.ts";
import type { SettingRow } from "../../../lib/postgres/parameters.ts";

const row = (name: string, setting: string, changes: Partial<SettingRow> = {}): SettingRow => ({
  name,
  setting,
  shown: setting,
  unit: null,
  vartype: "string",
  boot_val: null,
  pending_restart: false,
  file_value: null,
  ...changes,
});

const WORK_MEM = row("work_mem", "4096", { unit: "kB", shown: "4MB", vartype: "integer" });

test("a value that differs is told with what the server ran with; another spelling of the same is no change", () => {
  const before = { work_mem: "4MB", log_statement: "none", "ext.a": "1" };
  const wanted = { work_mem: "8MB", log_statement: "none", "ext.a": "2", "ext.b": "on" };
  const names = changedNames(before, wanted);
  expect(names.toSorted()).toEqual(["ext.a", "ext.b", "work_mem"]);
  expect(changedLines(names, { before, wanted, rows: [WORK_MEM] })).toEqual([
    "Changed ext.a from '1' to '2'",
    "Changed ext.b from 'None' to 'on'",
    "Changed work_mem from '4MB' to '8MB'",
  ]);
  expect(changedLines(["work_mem"], { before, wanted: { work_mem: "4096kB" }, rows: [WORK_MEM] })).toEqual([]);
});

test("one that is taken out is told, and one that only a restart changes is not", () => {
  const before = { work_mem: "4MB", max_connections: "100" };
  const names = changedNames(before, { max_connections: "130" });
  expect(changedLines(names, { before, wanted: { max_connections: "130" }, rows: [WORK_MEM] })).toEqual([
    "Changed work_mem from '4MB' to 'None'",
  ]);
});

test("where the files' former content is not known, the server's own values tell", () => {
  const wanted = { work_mem: "8MB", log_statement: "none" };
  const rows = [WORK_MEM, row("log_statement", "none", { vartype: "enum" })];
  expect(changedLines(changedNames(null, wanted), { before: null, wanted, rows })).toEqual(["Changed work_mem from '4MB' to '8MB'"]);
});

test("the source, and the command that says a passphrase, are never told", () => {
  const wanted = { primary_conninfo: "user=a sslpassword=hush", ssl_passphrase_command: "echo hush", synchronous_standby_names: "b" };
  expect(changedNames(null, wanted)).toEqual([]);
  expect(changedNames({}, wanted)).toEqual([]);
});
