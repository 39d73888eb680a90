// Owns how PgBouncer's files are written: whole or not at all, for their owner's eyes alone, and belonging to whom PgBouncer runs as. Their
// folder is PgBouncer's, and this process may be root: no link in it is followed. Knows nothing of what stands in them.

import { constants } from "node:fs";
import { type FileHandle, lstat, open, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { err, ok, type Result } from "../../model/result.ts";
import { hasCode, isMissing, reasonOf, replaceEntry } from "../../postgres/atomic-file.ts";

/** Passwords may stand in them. */
const MODE = 0o600;

/**
 * Replaces the file where its content or mode is another. Its owner is that of the file that is there, else that of its folder.
 * Value: whether the content changed. Errors: the system's words; also where PgBouncer could not read what this process would write, and
 * where a link stands there.
 */
export async function writePoolFile(path: string, content: string): Promise<Result<boolean, string>> {
  try {
    const owner = await ownerFor(path);
    const self = process.getuid?.() ?? owner.uid;
    if (self !== 0 && self !== owner.uid) {
      return err(
        `${path} belongs to user ${owner.uid}, and PgBouncer could not read what user ${self} writes: run this worker as its owner, or as root`,
      );
    }
    if (await holds(path, content)) return ok(false);
    await replaceEntry(path, content, MODE, self === 0 ? owner : null);
    return ok(true);
  } catch (error) {
    return err(`${path}: ${reasonOf(error)}`);
  }
}

/** Content as UTF-8 text; null where there is no such file. Throws the system's error, and where it is no plain file. */
export async function readPoolFile(path: string): Promise<string | null> {
  const handle = await openHere(path);
  if (handle === null) return null;
  try {
    return await handle.readFile("utf8");
  } finally {
    await handle.close();
  }
}

/** Whether the file says that already; one that others could read is then closed to them. */
async function holds(path: string, content: string): Promise<boolean> {
  const handle = await openHere(path);
  if (handle === null) return false;
  try {
    if ((await handle.readFile("utf8")) !== content) return false;
    if (((await handle.stat()).mode & 0o777) !== MODE) await handle.chmod(MODE);
    return true;
  } finally {
    await handle.close();
  }
}

/** Null where nothing is there. What is judged and changed is this handle: the name may lead elsewhere a moment later. */
async function openHere(path: string): Promise<FileHandle | null> {
  let handle: FileHandle;
  try {
    // A pipe would keep us waiting for its writer.
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isMissing(error)) return null;
    throw hasCode(error, "ELOOP") ? new Error(LINK) : error;
  }
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new Error(NO_FILE);
}

async function ownerFor(path: string): Promise<{ readonly uid: number; readonly gid: number }> {
  try {
    const found = await lstat(path);
    if (found.isSymbolicLink()) throw new Error(LINK);
    if (!found.isFile()) throw new Error(NO_FILE);
    return found;
  } catch (error) {
    if (!isMissing(error)) throw error;
    return await stat(dirname(path));
  }
}

const LINK = "it is a symbolic link, and none is followed here: name the file that it leads to";
const NO_FILE = "it is no plain file";
