// Owns how PgBouncer's files are written: whole or not at all, for their owner's eyes alone, and belonging to whom PgBouncer runs as.
// Knows nothing of what stands in them.

import { chmod, chown, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { err, ok, type Result } from "../../model/result.ts";
import { isMissing, reasonOf, replaceFile } from "../../postgres/atomic-file.ts";

/** Passwords may stand in them. */
const MODE = 0o600;

/**
 * Replaces the file where its content, mode or owner is another. Its owner is that of the file that is there, else that of its folder.
 * Value: whether the content changed. Errors: the system's words; also where PgBouncer could not read what this process would write.
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
    const changed = await replaceFile(path, content, MODE, self === 0 ? owner : null);
    const now = await stat(path);
    if (self === 0 && (now.uid !== owner.uid || now.gid !== owner.gid)) await chown(path, owner.uid, owner.gid);
    if ((now.mode & 0o777) !== MODE) await chmod(path, MODE);
    return ok(changed);
  } catch (error) {
    return err(`${path}: ${reasonOf(error)}`);
  }
}

async function ownerFor(path: string): Promise<{ readonly uid: number; readonly gid: number }> {
  try {
    return await stat(path);
  } catch (error) {
    if (!isMissing(error)) throw error;
    return await stat(dirname(path));
  }
}
