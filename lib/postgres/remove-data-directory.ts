// Owns the deletion of a data directory, its WAL directory and its tablespaces. Nothing else in the product deletes data.

import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import { hasCode, isThere, reasonOf, syncFolder } from "./atomic-file.ts";
import type { PostgresContext } from "./context.ts";
import { findPostmaster, inspectDataDirectory, readMajorVersion } from "./data-directory.ts";
import { clearMakingMarker, clearRewindingMarker, writeMakingMarker } from "./making-marker.ts";
import { endLeftoverMakers } from "./making-processes.ts";
import { keptBeside, linkTarget, namesIn, tablespacesOf } from "./outside-links.ts";

/** What PostgreSQL makes in a tablespace, one for each version. */
const TABLESPACE_FOLDER = /^PG_[0-9.]+_[0-9]+$/;

/**
 * Deletes a valid or half-made directory with its WAL and tablespaces; the directory itself, mount points and the targets
 * of links stay, empty. A foreign one, and one with a running server, is refused. Interrupted, it goes on at the next call.
 * Errors: refused, failed.
 */
export async function removeDataDirectory(context: PostgresContext): Promise<Result<null, PostgresError>> {
  const { dataDir } = context.config;
  const directory = await inspectDataDirectory(dataDir);
  if (directory.kind === "absent" || directory.kind === "empty") return ok(null);
  if (directory.kind === "foreign") {
    return err({ kind: "refused", message: `${dataDir} is not PostgreSQL's (${directory.sample}): it is not deleted` });
  }
  const running = await findPostmaster(dataDir);
  if (running !== null)
    return err({ kind: "refused", message: `${dataDir} is in use by the server with pid ${running.pid}: it is not deleted` });
  try {
    const kept = await keptBeside(dataDir);
    if (kept !== null) return err({ kind: "refused", message: `${dataDir} is not deleted: ${kept}` });
    await endLeftoverMakers(dataDir);
    // From here on it is only a part of a data directory, and a crash must not make it look like a stranger's.
    await writeMakingMarker(dataDir, "remove");
    await emptyDataDirectory(dataDir);
    await clearRewindingMarker(dataDir);
    await clearMakingMarker(dataDir);
    return ok(null);
  } catch (error) {
    return err({ kind: "failed", message: `cannot delete ${dataDir}: ${reasonOf(error)}` });
  }
}

/**
 * Empties the directory without asking what it is: the caller knows. Linked WAL and tablespace directories are emptied first. Throws the
 * system's error, and Error where what an upgrade has put aside has data there, too.
 */
export async function emptyDataDirectory(dataDir: string): Promise<void> {
  const kept = await keptBeside(dataDir);
  if (kept !== null) throw new Error(kept);
  await emptyTablespaces(dataDir);
  for (const name of ["pg_wal", "pg_xlog"]) {
    const target = await linkTarget(join(dataDir, name));
    if (target !== null) await emptyFolder(target);
  }
  await emptyFolder(dataDir);
}

/**
 * A cluster of another version may have a folder of its own in the same place, and other files are not ours at all: only the folder of this
 * directory's version goes. Each link goes after it, so that whoever comes after a crash does not judge what is there once more.
 */
async function emptyTablespaces(dataDir: string): Promise<void> {
  const places = await tablespacesOf(dataDir);
  if (places.length === 0) return;
  const version = await readMajorVersion(dataDir);
  if (!version.ok && version.error.kind !== "refused") throw new Error(version.error.message);
  const ours: string[] = [];
  for (const place of places) {
    const folders = (await namesIn(place)).filter((name) => TABLESPACE_FOLDER.test(name));
    const own = version.ok ? folders.filter((name) => name.startsWith(`PG_${version.value}_`)) : folders;
    // A copy that was cut off has no version yet; it had begun with an empty place, so that there is one folder, and its own.
    if (!version.ok && folders.length > 1)
      throw new Error(`${place} has ${folders.join(", ")}, and which of them belongs to ${dataDir} cannot be told: remove that one`);
    ours.push(...own.map((name) => join(place, name)));
  }
  for (const path of ours) await rm(path, { recursive: true, force: true });
  for (const place of places) if (await isThere(place)) await syncFolder(place);
  await emptyFolder(join(dataDir, "pg_tblspc"));
}

async function emptyFolder(path: string): Promise<void> {
  for (const name of await namesIn(path)) {
    const inner = join(path, name);
    try {
      await rm(inner, { recursive: true, force: true });
    } catch (error) {
      // A mount point inside (pg_wal on a disk of its own) cannot go; its content can.
      if (!hasCode(error, "EBUSY")) throw error;
      await emptyFolder(inner);
    }
  }
  if ((await namesIn(path)).length === 0 && (await isThere(path))) await syncFolder(path);
}
