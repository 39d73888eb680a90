// Owns the replacing of small files so that a crash leaves the old or the new content, never a mixture.

import { randomUUID } from "node:crypto";
import { lstat, open, readFile, realpath, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** Nobody reads a file by the rights of a group that it is not given to yet. */
const OWNER_ALONE = 0o700;

/**
 * Replaces the file where its content differs; of a link, the file that it leads to. Returns whether it changed. Throws the system's error
 * (ENOSPC, EROFS, EACCES …).
 */
export async function replaceFile(link: string, content: string, mode = 0o600): Promise<boolean> {
  if ((await readIfThere(link)) === content) return false;
  await replaceEntry(await targetOf(link), content, mode, null);
  return true;
}

/**
 * Puts the file under that very name, whatever stands there: a link is replaced, not what it leads to. Temporary file beside it, fsync,
 * rename, fsync of the folder. `owner`: to whom it belongs from its first instant under this name, with that very mode; null = to whoever
 * runs, with what the umask leaves of the mode. Throws the system's error.
 */
export async function replaceEntry(
  path: string,
  content: string,
  mode: number,
  owner: { readonly uid: number; readonly gid: number } | null,
): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    const handle = await open(temporary, "wx", owner === null ? mode : mode & OWNER_ALONE);
    try {
      await handle.writeFile(content);
      if (owner !== null) {
        await handle.chown(owner.uid, owner.gid);
        await handle.chmod(mode);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Where a link points to: the link stays, its target is replaced. */
async function targetOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (isMissing(error)) return path;
    throw error;
  }
}

/** Removes the file durably; true where it was there. Throws the system's error. */
export async function removeFile(path: string): Promise<boolean> {
  try {
    await rm(path);
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
  await syncFolder(dirname(path));
  return true;
}

/** Content as UTF-8 text; null where there is no such file. Throws any other error of the system. */
export async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** Makes a rename or removal inside the folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Whether anything stands there, a link that leads nowhere too. Throws the system's error where it cannot be told. */
export async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

export function isMissing(error: unknown): boolean {
  return hasCode(error, "ENOENT") || hasCode(error, "ENOTDIR");
}

export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

/** The system's own words for an error, without a stack. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
