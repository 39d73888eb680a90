// Goal: what the server would call the same value is the same value, and nobody sets what is not theirs.

import { expect, test } from "bun:test";
import { parseBoolean, parseNumber, sameValue } from "../../../lib/postgres/parameter-values.ts";
import { pendingRestartReason, raisedForStandby, type SettingRow, wantedParameters } from "../../../lib/postgres/parameters.ts";
import { settingLine, withoutSettings } from "../../../lib/postgres/setting-lines.ts";
import { serverConfig } from "../../harness/local-server.ts";
import { fc } from "../../harness/properties.ts";

test("values with units compare as the server reads them", () => {
  const buffers = { vartype: "integer", unit: "8kB" };
  expect(sameValue("128MB", "16384", buffers)).toBe(true);
  expect(sameValue("131072kB", "16384", buffers)).toBe(true);
  expect(sameValue("16384", "16384", buffers)).toBe(true);
  expect(sameValue("1GB", "16384", buffers)).toBe(false);
  expect(sameValue("1min", "60000", { vartype: "integer", unit: "ms" })).toBe(true);
  expect(sameValue("1.5min", "90", { vartype: "integer", unit: "s" })).toBe(true);
  expect(sameValue("1MB", "60000", { vartype: "integer", unit: "ms" })).toBe(false);
  expect(sameValue("0.50", "0.5", { vartype: "real", unit: null })).toBe(true);
  expect(sameValue("0x10", "16", { vartype: "integer", unit: null })).toBe(true);
  expect(sameValue("010", "8", { vartype: "integer", unit: null })).toBe(true);
  expect(sameValue("HOT_STANDBY", "replica", { vartype: "enum", unit: null })).toBe(true);
  expect(sameValue("yes", "on", { vartype: "bool", unit: null })).toBe(true);
  expect(sameValue("off", "on", { vartype: "bool", unit: null })).toBe(false);
  expect(sameValue("a", "A", { vartype: "string", unit: null })).toBe(false);
});

test("a unit of memory never turns into one of time", () => {
  expect(parseNumber("10s", "kB")).toBeNull();
  expect(parseNumber("10", "16MB")).toBe(10);
  expect(parseNumber("32MB", "16MB")).toBe(2);
  expect(parseNumber("lots", null)).toBeNull();
  expect(parseBoolean("o")).toBeNull();
  expect(parseBoolean("TRU")).toBe(true);
});

test("user parameters never replace the ones that are controlled or made from other options", () => {
  const config = {
    ...serverConfig("/data", "a", 5432),
    parameters: {
      Port: 1,
      listen_addresses: "*",
      hot_standby: false,
      MAX_CONNECTIONS: 7,
      work_mem: "4MB",
      jit: false,
      wal_keep_segments: 3,
    },
    parametersPrimary: { work_mem: "8MB", include: "/etc/passwd", "bad name": 1 },
    recoveryConf: { restore_command: "cp %f %p", standby_mode: "on", primary_conninfo: "host=evil" },
  };
  const wanted = wantedParameters(config, { role: "primary", scope: "herd" });
  expect(wanted.file).toMatchObject({ work_mem: "8MB", jit: "off", restore_command: "cp %f %p" });
  for (const name of ["port", "hot_standby", "max_connections", "primary_conninfo", "standby_mode", "include", "wal_keep_segments"]) {
    expect(wanted.file[name]).toBeUndefined();
  }
  expect(wanted.controlled).toMatchObject({
    port: "5432",
    listen_addresses: "127.0.0.1",
    cluster_name: "herd",
    hot_standby: "on",
    max_connections: "100",
  });
  expect(wanted.faults.map((fault) => fault.path)).toEqual(["postgresql.parameters.include", "postgresql.parameters.bad name"]);
});

test("wal_keep_segments becomes wal_keep_size of 16 MB each", () => {
  const config = { ...serverConfig("/data", "a", 5432), controlledParameters: { wal_keep_segments: "8" } };
  expect(wantedParameters(config, { role: "primary", scope: "s" }).controlled["wal_keep_size"]).toBe("128MB");
});

test("a standby gets at least what its primary had, and keeps more where it is asked for", () => {
  const control = { maxConnections: 200, maxWorkerProcesses: 4, maxWalSenders: 10, maxPreparedTransactions: 5, maxLocksPerTransaction: 64 };
  const raised = raisedForStandby({ max_connections: "100", max_worker_processes: "8", wal_level: "replica" }, control as never);
  expect(raised).toEqual({
    max_connections: "200",
    max_worker_processes: "8",
    wal_level: "replica",
    max_wal_senders: "10",
    max_prepared_transactions: "5",
    max_locks_per_transaction: "64",
  });
});

test("a restart is pending for changed values and for what the server itself says, with both values", () => {
  const row = (name: string, setting: string, changes: Partial<SettingRow> = {}): SettingRow => ({
    name,
    setting,
    shown: setting,
    unit: null,
    vartype: "integer",
    boot_val: "100",
    pending_restart: false,
    file_value: null,
    ...changes,
  });
  const rows = [
    row("max_connections", "50"),
    row("shared_buffers", "16384", { unit: "8kB", shown: "128MB" }),
    row("max_files_per_process", "2000", { pending_restart: true, boot_val: "1000" }),
    row("max_worker_processes", "8"),
  ];
  expect(pendingRestartReason({ max_connections: "60", shared_buffers: "256MB", max_worker_processes: "8" }, rows)).toEqual({
    max_connections: { old_value: "50", new_value: "60" },
    shared_buffers: { old_value: "128MB", new_value: "256MB" },
    max_files_per_process: { old_value: "2000", new_value: "1000" },
  });
});

test("a setting is one line whatever its value, and reads back as it was", () => {
  fc.assert(
    fc.property(fc.string(), (value) => {
      const line = settingLine("name", value);
      expect(line.includes("\n")).toBe(false);
      const body = /^name = '(.*)'$/s.exec(line)?.[1] ?? "";
      const read = body.replace(/''|\\(.)/gs, (match, escaped: string | undefined) => {
        if (match === "''") return "'";
        return escaped === "n" ? "\n" : escaped === "r" ? "\r" : (escaped ?? "");
      });
      expect(read).toBe(value);
    }),
  );
});

test("settings are taken out of postgresql.auto.conf without touching the rest", () => {
  const content = "# comment\nprimary_conninfo = 'x'\nwork_mem = '1MB'\n  Synchronous_Standby_Names='a'\nlast = 1";
  expect(withoutSettings(content, new Set(["primary_conninfo", "synchronous_standby_names"]))).toBe(
    "# comment\nwork_mem = '1MB'\nlast = 1",
  );
});

test("copies of logical slots switch hot_standby_feedback on for standbys, whatever the parameters say", () => {
  const off = {
    ...serverConfig("/data", "a", 5432),
    parameters: { hot_standby_feedback: "off" },
    parametersReplica: { hot_standby_feedback: false },
  };
  const feedback = (enforcesFeedback: boolean, role: "primary" | "replica") =>
    wantedParameters({ ...off, enforcesFeedback }, { role, scope: "s" }).file["hot_standby_feedback"];
  expect([feedback(true, "replica"), feedback(true, "primary"), feedback(false, "replica")]).toEqual(["on", "off", "off"]);
});
