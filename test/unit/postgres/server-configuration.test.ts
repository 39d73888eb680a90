// Goal: files that were written are read by the server also where the server cannot be asked just then. Method: a data directory in a folder
// of the test; statements are answered, and the signal is taken, by the test.

import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { err, ok } from "../../../lib/model/result.ts";
import type { Connection } from "../../../lib/postgres/connection.ts";
import type { Postmaster } from "../../../lib/postgres/postmaster.ts";
import { ServerConfiguration } from "../../../lib/postgres/server-configuration.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { loadTemplate } from "../../simulation/node-config.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

const dataDir = mkdtempSync(join(tmpdir(), "server-configuration-"));
afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

test("a server that does not answer when its files have been written is reloaded all the same: no later call would find them changed", async () => {
  writeFileSync(join(dataDir, "PG_VERSION"), "15\n");
  writeFileSync(join(dataDir, "postgresql.conf"), "");
  const template = await loadTemplate();
  const config = { ...template.postgresql, dataDir, configDir: dataDir, pgpass: join(dataDir, "pgpass") };
  const signals: string[] = [];
  const connection = {
    query: async (text: string) => {
      if (text.includes("pg_conf_load_time")) return err({ kind: "timeout", message: "no answer in time" });
      return ok(text.includes("in_recovery") ? [{ in_recovery: false, conninfo: "", slot: "", synchronous: "" }] : []);
    },
  } as unknown as Connection;
  const postmaster = {
    find: async () => ({ pid: 10, startTicks: 1, stopped: false }),
    signal: async (signal: string) => signals.push(signal) > 0,
  } as unknown as Postmaster;
  const configuration = new ServerConfiguration({
    config,
    scope: "demo",
    memberName: "a",
    clock: new ManualClock(),
    log: recordingLog(),
    connection,
    postmaster,
  });
  expect(await configuration.configure(config, { role: "primary" })).toEqual({ ok: true, value: {} });
  expect(signals).toEqual(["SIGHUP"]);
});
