// Goal: lock files go only where their pid is certainly not their server: a zombie, or a program that is younger.
// Method: a real zombie, and this very process as the stranger.

import { afterAll, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readProcess, readProcessOrZombie } from "../../../lib/postgres/processes.ts";
import { removeStaleLockFiles } from "../../../lib/postgres/stale-lock-files.ts";
import { recordingLog } from "../../harness/recording-log.ts";

const folder = mkdtempSync(join(tmpdir(), "matriarch-lock-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const pidFile = join(folder, "postmaster.pid");
const socketLock = join(folder, ".s.PGSQL.5432.lock");
const now = Math.floor(Date.now() / 1000);

function lockFiles(pid: number, startedAt: number, socketPid = pid): void {
  writeFileSync(pidFile, `${pid}\n${folder}\n${startedAt}\n5432\n${folder}\n*\n`);
  writeFileSync(socketLock, `${socketPid}\n${folder}\n`);
}

test("a zombie's lock files are removed, another server's socket lock is not", async () => {
  // The shell turns into a program that never asks what became of its child.
  const parent = spawn("sh", ["-c", "sh -c 'echo $$' & exec sleep 30"], { stdio: ["ignore", "pipe", "ignore"] });
  const zombie = Number(await new Promise((resolve) => parent.stdout.once("data", (data: Buffer) => resolve(data.toString().trim()))));
  while (readProcessOrZombie(zombie)?.state !== "Z") await Bun.sleep(1);
  expect(readProcess(zombie)).toBeNull();
  lockFiles(zombie, now);
  await removeStaleLockFiles(folder, recordingLog());
  expect([existsSync(pidFile), existsSync(socketLock)]).toEqual([false, false]);
  lockFiles(zombie, now, process.pid);
  await removeStaleLockFiles(folder, recordingLog());
  expect([existsSync(pidFile), existsSync(socketLock)]).toEqual([false, true]);
  parent.kill("SIGKILL");
});

test("a program younger than the file is a stranger; one that may be as old as the file, or no program, is left to the server", async () => {
  lockFiles(process.pid, now - 86_400 * 365);
  await removeStaleLockFiles(folder, recordingLog());
  expect(existsSync(pidFile)).toBe(false);
  for (const [pid, startedAt] of [
    [process.pid, now + 1],
    [2 ** 22 + 1, now],
  ] as const) {
    lockFiles(pid, startedAt);
    await removeStaleLockFiles(folder, recordingLog());
    expect(existsSync(pidFile)).toBe(true);
  }
  rmSync(pidFile);
  await removeStaleLockFiles(folder, recordingLog());
});
