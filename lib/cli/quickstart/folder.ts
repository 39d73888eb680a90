// Owns where a quickstart keeps its things and which user runs it. The folder is readable by nobody else; started by
// root, what the servers write belongs to PostgreSQL's own user, and what `stop` trusts stays root's.

import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, rmdirSync, rmSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { removeState } from "./state.ts";

/** The user that runs the servers; null ids: the one who called. */
export interface ServerUser {
  readonly uid: number | null;
  readonly gid: number | null;
}

export interface QuickstartPaths {
  /** Holds the state file and the password file; belongs to the caller. */
  readonly folder: string;
  /** Holds the nodes, Consul and the logs; belongs to the server user. */
  readonly run: string;
  readonly passwordFile: string;
}

const productFolder = "matriarch";

/** `$XDG_STATE_HOME` or `~/.local/state`, `/var/lib` for root, each with matriarch/quickstart below it. */
export function defaultFolder(environment: Readonly<Record<string, string | undefined>>, uid: number): string {
  if (uid === 0) return join("/var/lib", productFolder, "quickstart");
  const home = environment["XDG_STATE_HOME"];
  return join(home?.startsWith("/") ? home : join(homedir(), ".local/state"), productFolder, "quickstart");
}

export function pathsOf(folder: string): QuickstartPaths {
  const absolute = resolve(folder);
  return { folder: absolute, run: join(absolute, "run"), passwordFile: join(absolute, "pgpass") };
}

/** PostgreSQL refuses to run as root: root's quickstart runs as user postgres. Throws Error where there is no such user. */
export function serverUser(): ServerUser {
  if (process.getuid?.() !== 0) return { uid: null, gid: null };
  const ask = (flag: string) => spawnSync("id", [flag, "postgres"], { encoding: "utf8" });
  const [uid, gid] = [ask("-u"), ask("-g")];
  if (uid.status !== 0 || gid.status !== 0) throw new Error("there is no user postgres to run PostgreSQL as (root may not run it)");
  return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
}

/** Creates the folders with their owners and modes. Throws Error when the folder is in use for something else. */
export function createFolders(paths: QuickstartPaths, user: ServerUser): void {
  if (existsSync(paths.folder)) {
    const foreign = readdirSync(paths.folder).filter((name) => !isOurs(name));
    if (foreign.length > 0)
      throw new Error(`${paths.folder} holds other things (${foreign.slice(0, 3).join(", ")}); choose another folder`);
  }
  mkdirSync(paths.folder, { recursive: true });
  mkdirSync(paths.run, { recursive: true });
  if (user.uid === null || user.gid === null) {
    chmodSync(paths.folder, 0o700);
  } else {
    // The server user passes through, and sees nothing but its own folder.
    chownSync(paths.folder, 0, user.gid);
    chmodSync(paths.folder, 0o710);
  }
  ownedFolder(paths.run, user);
  if (user.uid === null || user.gid === null) return;
  const reachable = spawnSync("test", ["-w", paths.run], { uid: user.uid, gid: user.gid, cwd: "/" });
  if (reachable.status === 0) return;
  removeFolders(paths);
  throw new Error(`the user that runs PostgreSQL cannot get into ${paths.run}: a folder above it is closed to it`);
}

/** A folder of the server user, for nobody else. */
export function ownedFolder(path: string, user: ServerUser): void {
  mkdirSync(path, { recursive: true });
  give(path, user);
  chmodSync(path, 0o700);
}

export function give(path: string, user: ServerUser): void {
  if (user.uid !== null && user.gid !== null) chownSync(path, user.uid, user.gid);
}

/** Removes the data and the folder itself; the state goes last, so that an interrupted removal can be repeated. */
export function removeFolders(paths: QuickstartPaths): void {
  rmSync(paths.run, { recursive: true, force: true, maxRetries: 3, retryDelay: 50 });
  rmSync(paths.passwordFile, { force: true });
  removeState(paths.folder);
  const above = dirname(paths.folder);
  // The default's parent is ours as well, where we made it: the Debian package's is the servers'. Any other is the caller's.
  const madeAbove = basename(above) === productFolder && statSync(above, { throwIfNoEntry: false })?.uid === process.getuid?.();
  for (const folder of [paths.folder, ...(madeAbove ? [above] : [])]) {
    try {
      rmdirSync(folder);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? "";
      // Not ours alone, or not ours to remove: it stays.
      if (["ENOTEMPTY", "EEXIST", "ENOENT", "EACCES", "EPERM", "EBUSY"].includes(code)) return;
      throw error;
    }
  }
}

function isOurs(name: string): boolean {
  return name === "run" || name === "pgpass" || name === "state.json" || name.startsWith("state.json.");
}
