// Goal: the server's log stays within its bound while the server holds it open, and an error shows this start's complaints only.
// Method: files written as a server and its logging collector write them.

import { afterAll, expect, test } from "bun:test";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { boundStartupLog, openStartupLog, startupLogPath, startupLogTail } from "../../../lib/postgres/startup-log.ts";

const root = mkdtempSync(join(tmpdir(), "matriarch-log-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function dataDir(name: string): string {
  const path = join(root, name);
  mkdirSync(join(path, "log"), { recursive: true });
  return path;
}

test("the complaints of this start are shown, not those of the one before, and the last lines where there are none", async () => {
  const path = dataDir("plain");
  appendFileSync(startupLogPath(path), "12:00 [1] FATAL:  yesterday\n");
  const log = await openStartupLog(path);
  appendFileSync(startupLogPath(path), "12:01 [2] LOG:  starting\n12:01 [2] LOG:  listening\n");
  expect(await startupLogTail(path, log)).toBe("12:01 [2] LOG:  starting | 12:01 [2] LOG:  listening");
  appendFileSync(startupLogPath(path), "12:01 [2] FATAL:  no room\n12:01 [2] HINT:  Make some.\n12:01 [2] LOG:  down\n");
  expect(await startupLogTail(path, log)).toBe("12:01 [2] FATAL:  no room | 12:01 [2] HINT:  Make some.");
  await log.file.close();
});

test("where the server went on in the collector's file, that is read from this start on", async () => {
  const path = dataDir("collected");
  const collector = join(path, "log", "pg.log");
  writeFileSync(collector, "LOG:  starting PostgreSQL 15\nFATAL:  yesterday\n");
  const log = await openStartupLog(path);
  const redirected =
    'LOG:  redirecting log output to logging collector process\nHINT:  Future log output will appear in directory "log".\n';
  appendFileSync(startupLogPath(path), redirected);
  appendFileSync(collector, "LOG:  starting PostgreSQL 15\nFATAL:  today\n");
  expect(await startupLogTail(path, log)).toBe("FATAL:  today");
  await log.file.close();
});

test("a log that grew too big is put aside while the server goes on appending to it", async () => {
  const path = dataDir("big");
  const log = await openStartupLog(path);
  await log.file.write("first\n".repeat(100));
  await boundStartupLog(path, 1_000);
  expect(readFileSync(startupLogPath(path), "utf8")).toHaveLength(600);
  await boundStartupLog(path, 500);
  await log.file.write("second\n");
  expect(readFileSync(startupLogPath(path), "utf8")).toBe("second\n");
  expect(readFileSync(`${startupLogPath(path)}.old`, "utf8")).toHaveLength(600);
  await log.file.close();
  await boundStartupLog(join(root, "nowhere"), 500);
});
