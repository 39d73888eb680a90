// Owns the ending of programs that an earlier, killed supervisor left at work on a data directory (initdb, pg_basebackup,
// a restore script, a backup): two of them at once would mix two copies. They are known by a variable in their environment.

import { readdir, readFile } from "node:fs/promises";
import { hasCode, isMissing } from "./atomic-file.ts";

const VARIABLE = "MATRIARCH_MAKING";
const BACKUP_VARIABLE = "MATRIARCH_BACKUP";
const REHEARSAL_VARIABLE = "MATRIARCH_REHEARSAL";
/** From SIGKILL until the process is gone; longer means that it hangs in the kernel on a dead disk. */
const GONE_WITHIN_MS = 5_000;
const POLL_MS = 5;
const WAIT_POLL_MS = 100;

/** Environment for everything that fills this data directory. */
export function makingEnvironment(dataDir: string): Readonly<Record<string, string>> {
  return { [VARIABLE]: dataDir };
}

/** Environment for what takes a scheduled backup of this data directory. */
export function backupEnvironment(dataDir: string): Readonly<Record<string, string>> {
  return { [BACKUP_VARIABLE]: dataDir };
}

/** Environment for the rehearsal of an upgrade of this data directory, which is only looked at: nothing has to wait for it. */
export function rehearsalEnvironment(dataDir: string): Readonly<Record<string, string>> {
  return { [REHEARSAL_VARIABLE]: dataDir };
}

/** Kills what still works on the directory and waits until it is gone; the pids. Throws Error where one does not go. */
export function endLeftoverMakers(dataDir: string): Promise<readonly number[]> {
  return endAllWith(`${VARIABLE}=${dataDir}`, dataDir);
}

/** The same for a backup that is still being taken. */
export function endLeftoverBackups(dataDir: string): Promise<readonly number[]> {
  return endAllWith(`${BACKUP_VARIABLE}=${dataDir}`, dataDir);
}

/** The same for a rehearsal. */
export function endLeftoverRehearsals(dataDir: string): Promise<readonly number[]> {
  return endAllWith(`${REHEARSAL_VARIABLE}=${dataDir}`, dataDir);
}

async function endAllWith(wanted: string, dataDir: string): Promise<readonly number[]> {
  const found: number[] = [];
  const giveUpAt = performance.now() + GONE_WITHIN_MS;
  for (;;) {
    const pids = await processesWith(wanted);
    if (pids.length === 0) return found;
    if (performance.now() > giveUpAt) throw new Error(`process ${pids.join(", ")} still works on ${dataDir} and does not end`);
    for (const pid of pids) {
      if (!found.includes(pid)) found.push(pid);
      kill(pid);
    }
    await Bun.sleep(POLL_MS);
  }
}

/** Waits until nothing works on the directory any more, or the signal aborts; "cancelled" then. */
export async function untilMakersEnd(dataDir: string, signal: AbortSignal): Promise<"ended" | "cancelled"> {
  while (!signal.aborted) {
    if ((await processesWith(`${VARIABLE}=${dataDir}`)).length === 0) return "ended";
    await Bun.sleep(WAIT_POLL_MS);
  }
  return "cancelled";
}

async function processesWith(variable: string): Promise<readonly number[]> {
  const pids: number[] = [];
  for (const name of await readdir("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    if ((await environment(pid)).includes(variable)) pids.push(pid);
  }
  return pids;
}

/** Empty for a zombie, for a process of another user, and for one that has just ended. */
async function environment(pid: number): Promise<readonly string[]> {
  try {
    return (await readFile(`/proc/${pid}/environ`, "utf8")).split("\0");
  } catch (error) {
    if (isMissing(error) || hasCode(error, "EACCES") || hasCode(error, "EPERM") || hasCode(error, "ESRCH")) return [];
    throw error;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (!hasCode(error, "ESRCH")) throw error;
  }
}
