// Owns what of the old data directory is its operator's and not its server's, and comes along into the upgraded one: access rules, settings of
// ALTER SYSTEM, certificates, folders of either. Copies only; the old directory stays as it is.

import type { Dirent } from "node:fs";
import { chmod, constants, copyFile, lstat, mkdir, open, readdir, readlink, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { sizeText } from "../../model/size-text.ts";
import { isThere, reasonOf, syncFolder } from "../atomic-file.ts";

/** Of the old directory, what belongs to its server's life and not to its operator. */
const OF_THE_SERVER: ReadonlySet<string> = new Set([
  "PG_VERSION",
  "backup_label",
  "backup_label.old",
  "backup_manifest",
  "current_logfiles",
  "postgresql.conf",
  "postmaster.opts",
  "postmaster.pid",
  "recovery.done",
  "recovery.signal",
  "standby.signal",
  "tablespace_map",
  "tablespace_map.old",
]);
/** Folders of the server: the data, `pg_*` of every version, and its log, which stays with the old data. */
const FOLDER_OF_THE_SERVER = /^(base|global|log|lost\+found|pg_.*)$/;
const LINK_OF_THE_SERVER = /^pg_wal(\.new)?$/;
/** Whoever keeps more than certificates and settings there moves it first: it would be copied while nobody can write. */
const CARRIED_BYTES_MAX = 256 * 1024 ** 2;
const CARRIED_ENTRIES_MAX = 10_000;
const OWNER_ALONE = 0o700;

/** Why the operator's files and folders cannot come along; null where they can. Names what is in the way. */
export async function carriedObstacle(dataDir: string): Promise<string | null> {
  let [bytes, entries] = [0, 0];
  const isTooMuch = (): boolean => entries > CARRIED_ENTRIES_MAX || bytes > CARRIED_BYTES_MAX;
  const measure = async (path: string): Promise<void> => {
    if (isTooMuch()) return;
    entries += 1;
    const own = await lstat(path);
    if (own.isDirectory()) for (const name of await readdir(path)) await measure(join(path, name));
    if (!own.isFile()) return;
    bytes += own.size;
    await (await open(path, "r")).close();
  };
  try {
    for (const { name } of await carried(dataDir)) {
      await measure(join(dataDir, name));
      if (isTooMuch())
        return `${name} in ${dataDir} is none of PostgreSQL's, and too large to come along: with the rest more than ${sizeText(CARRIED_BYTES_MAX)} or ${CARRIED_ENTRIES_MAX} entries`;
    }
    return null;
  } catch (error) {
    return `what lies in ${dataDir} and is none of PostgreSQL's cannot come along: ${reasonOf(error)}`;
  }
}

/** Copies them; what initdb has made of the same name is replaced. Throws the system's error. */
export async function takeAlong(from: string, to: string): Promise<void> {
  for (const entry of await carried(from)) await take(entry, join(from, entry.name), join(to, entry.name));
  await syncFolder(to);
}

async function carried(dataDir: string): Promise<readonly Dirent[]> {
  const entries = await readdir(dataDir, { withFileTypes: true });
  return entries.filter((entry) => !isOfTheServer(entry));
}

function isOfTheServer(entry: Dirent): boolean {
  if (entry.isDirectory()) return FOLDER_OF_THE_SERVER.test(entry.name);
  // The old WAL is the old server's wherever it lies.
  return OF_THE_SERVER.has(entry.name) || (entry.isSymbolicLink() && LINK_OF_THE_SERVER.test(entry.name));
}

/** Sockets and their kind belong to whoever made them. */
async function take(entry: Dirent, source: string, target: string): Promise<void> {
  if (entry.isDirectory()) await takeFolder(source, target);
  else if (entry.isFile()) await takeFile(source, target);
  else if (entry.isSymbolicLink()) await takeLink(source, target);
}

async function takeFolder(source: string, target: string): Promise<void> {
  await mkdir(target, { recursive: true });
  for (const entry of await readdir(source, { withFileTypes: true })) await take(entry, join(source, entry.name), join(target, entry.name));
  await keepMode(source, target);
}

async function takeFile(source: string, target: string): Promise<void> {
  await copyFile(source, target, constants.COPYFILE_FICLONE);
  await keepMode(source, target);
}

/**
 * PostgreSQL takes a key that its group may read from root alone: a copy that belongs to another than the original is its owner's alone. A
 * folder that its owner cannot write in could not be removed again.
 */
async function keepMode(source: string, target: string): Promise<void> {
  const [before, now] = [await lstat(source), await lstat(target)];
  const mode = before.uid === now.uid ? before.mode & 0o7777 : before.mode & OWNER_ALONE;
  await chmod(target, now.isDirectory() ? mode | OWNER_ALONE : mode);
}

/** It leads to the same place from there; a folder that initdb has made stays. */
async function takeLink(source: string, target: string): Promise<void> {
  if ((await isThere(target)) && (await lstat(target)).isDirectory()) return;
  await rm(target, { force: true });
  await symlink(await readlink(source), target);
}
