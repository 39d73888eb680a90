// Owns the node's run lock: at most one supervisor for a data directory, and the token by which its guard knows it.
// Lives beside the data directory, never inside it (initdb refuses a directory that is not empty). Must not decide what a
// second supervisor does.

import { dlopen, FFIType } from "bun:ffi";
import {
  closeSync,
  constants,
  fchmodSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { err, ok, type Result } from "../model/result.ts";

// Source: flock(2).
const LOCK_EX_NB = 2 | 4;
const LOCK_SH_NB = 1 | 4;
/** Somebody who only looks holds a shared lock for microseconds: tried again so often before it counts as held. */
const LOOKERS_MAX = 1000;
const libc = dlopen("libc.so.6", { flock: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 } });

/**
 * - `held`: another process has it. `pid` is 0 where the file does not say.
 * - `unusable`: the folder or file cannot be made or opened; `message` names the path and what to do.
 */
export type RunLockError =
  | { readonly kind: "held"; readonly holderPid: number }
  | { readonly kind: "unusable"; readonly path: string; readonly message: string };

export interface RunLock {
  readonly path: string;
  /** Random; proves to the guard that an order comes from the holder. A secret of this node. */
  readonly token: string;
  /** Gives it up; the file stays. Death of the process does the same. */
  release(): void;
}

/** The folder for what must survive a supervisor but not live in the data directory: run lock, lease file, guard. */
export function stateDir(dataDir: string): string {
  // Two spellings of one directory must find one lock.
  try {
    return `${realpathSync(dataDir)}.matriarch`;
  } catch {
    // Not made yet: its parent may exist.
  }
  try {
    return join(realpathSync(dirname(dataDir)), `${basename(dataDir)}.matriarch`);
  } catch {
    return `${dataDir.replace(/\/+$/, "")}.matriarch`;
  }
}

export function runLockPath(dataDir: string): string {
  return join(stateDir(dataDir), "run.lock");
}

/**
 * Takes the lock for the life of this process. Does not wait. The file then holds `PID START_TICKS TOKEN`, mode 0600; a worker
 * that runs alone adds its name on a second line.
 */
export function acquireRunLock(path: string, worker: string | null = null): Result<RunLock, RunLockError> {
  let fd: number;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    return err({ kind: "unusable", path, message: whyUnusable(path, error) });
  }
  if (!lockAlone(fd)) {
    closeSync(fd);
    return err({ kind: "held", holderPid: runLockHolder(path) ?? 0 });
  }
  // Somebody may have removed the folder between open and lock: then a third one would lock another file.
  if (!sameFile(fd, path)) {
    closeSync(fd);
    return acquireRunLock(path, worker);
  }
  const token = Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("hex");
  try {
    fchmodSync(fd, 0o600);
    ftruncateSync(fd, 0);
    writeSync(fd, `${process.pid} ${ownStartTicks()} ${token}\n${worker === null ? "" : `${worker}\n`}`, 0);
  } catch (error) {
    closeSync(fd);
    return err({ kind: "unusable", path, message: whyUnusable(path, error) });
  }
  let held = true;
  return ok({
    path,
    token,
    release: () => {
      if (held) closeSync(fd);
      held = false;
    },
  });
}

/** The process that holds the lock now; null where nobody does. Looking takes the lock from nobody. */
export function runLockHolder(path: string): number | null {
  return runLockOwner(path)?.pid ?? null;
}

/** As runLockHolder, with the name of the worker that runs alone; `worker` is null for a supervisor. */
export function runLockOwner(path: string): { readonly pid: number; readonly worker: string | null } | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY);
  } catch {
    // No file: no supervisor ever ran here.
    return null;
  }
  try {
    if (libc.symbols.flock(fd, LOCK_SH_NB) === 0) return null;
    const [first = "", worker = ""] = readFileSync(fd, "latin1").split("\n");
    const pid = Number(first.split(" ")[0]);
    return { pid: Number.isInteger(pid) ? pid : 0, worker: worker === "" ? null : worker };
  } finally {
    closeSync(fd);
  }
}

/** False where somebody else has it for itself; does not wait for that one. */
function lockAlone(fd: number): boolean {
  for (let attempt = 0; attempt < LOOKERS_MAX; attempt++) {
    if (libc.symbols.flock(fd, LOCK_EX_NB) === 0) return true;
    // Refused a shared lock as well: it is held. Otherwise somebody was only looking.
    if (libc.symbols.flock(fd, LOCK_SH_NB) !== 0) return false;
  }
  return false;
}

function sameFile(fd: number, path: string): boolean {
  try {
    const there = statSync(path);
    const here = statSync(`/proc/self/fd/${fd}`);
    return there.ino === here.ino && there.dev === here.dev;
  } catch {
    // Removed meanwhile.
    return false;
  }
}

function ownStartTicks(): string {
  const text = readFileSync("/proc/self/stat", "latin1");
  return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? "0";
}

/** The system's words, and what to do about them. */
export function whyUnusable(path: string, error: unknown): string {
  const reason = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && "code" in error ? error.code : null;
  return `${path}: ${reason} (${remedy(path, code)})`;
}

function remedy(path: string, code: unknown): string {
  if (code === "EROFS") return "mount the file system writable, then start again";
  if (code === "ENOSPC" || code === "EDQUOT") return "make room on the disk, then start again";
  return `make ${dirname(path)} once, owned by the user that runs this node`;
}
