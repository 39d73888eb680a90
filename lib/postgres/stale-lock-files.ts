// Owns the lock files that a dead server left behind and that keep a new one from starting, because their pid still
// exists: as a zombie that nobody has buried yet, or as another program's. Called only when no process of the data
// directory is left; a pid that may be a server's is never judged here.

import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Log } from "../model/log.ts";
import { type PostmasterPidFile, readPostmasterPid } from "./data-directory.ts";
import { errorCode, readProcessOrZombie, startEpochSeconds } from "./processes.ts";

/** Wall clocks and start ticks are compared to the second. */
const PID_REUSE_MARGIN_SECONDS = 2;

/** Removes postmaster.pid, and the socket's lock file of the same server. Throws the file system's error. */
export async function removeStaleLockFiles(dataDir: string, log: Log): Promise<void> {
  const file = await readPostmasterPid(dataDir);
  if (file === null) return;
  const reason = whyStale(file);
  if (reason === null) return;
  log.info(`removing the lock files of a dead server: pid ${file.pid} ${reason}`);
  const socketLock = file.socketDirectory === null ? null : join(file.socketDirectory, `.s.PGSQL.${file.port}.lock`);
  if (socketLock !== null && (await belongsTo(socketLock, file.pid))) await rm(socketLock, { force: true });
  await rm(join(dataDir, "postmaster.pid"), { force: true });
}

/** null where the server may look after the file itself (no such process), or where the process may be what it says. */
function whyStale(file: PostmasterPidFile): string | null {
  const owner = readProcessOrZombie(file.pid);
  if (owner === null) return null;
  if (owner.state === "Z" || owner.state === "X") return "is a zombie";
  const startedAt = startEpochSeconds(owner);
  if (startedAt === null || file.startEpochSeconds === null) return null;
  return startedAt >= file.startEpochSeconds + PID_REUSE_MARGIN_SECONDS ? "belongs to another program now" : null;
}

async function belongsTo(lockFile: string, pid: number): Promise<boolean> {
  try {
    return Number((await readFile(lockFile, "utf8")).split("\n")[0]) === pid;
  } catch (error) {
    if (errorCode(error) === null) throw error;
    return false;
  }
}
