// Owns where the parts of a data directory are that lie outside of it: WAL behind a link, tablespaces. Reads links only.

import { lstat, readdir, readlink } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { isMissing } from "./atomic-file.ts";

/** What a major upgrade puts beside a data directory. */
const KEPT = /^\.(before-upgrade|upgraded)-/;

/** The absolute path that a link leads to; null where there is none, or something else. Throws the system's error. */
export async function linkTarget(path: string): Promise<string | null> {
  try {
    if (!(await lstat(path)).isSymbolicLink()) return null;
    const target = await readlink(path);
    return isAbsolute(target) ? target : resolve(path, "..", target);
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** Folders that hold tablespaces of this directory, as its links name them, sorted. Throws the system's error. */
export async function tablespacesOf(dataDir: string): Promise<readonly string[]> {
  const links = join(dataDir, "pg_tblspc");
  const targets = await Promise.all((await namesIn(links)).map((name) => linkTarget(join(links, name))));
  return targets.filter((target) => target !== null).sort();
}

/**
 * What a major upgrade has put aside and still has data in the same tablespaces, in words that say what to do; null where there is nothing of
 * that kind. Throws the system's error.
 */
export async function keptBeside(dataDir: string): Promise<string | null> {
  const places = await tablespacesOf(dataDir);
  if (places.length === 0) return null;
  const [folder, own] = [dirname(resolve(dataDir)), basename(resolve(dataDir))];
  for (const name of await namesIn(folder)) {
    if (!name.startsWith(own) || !KEPT.test(name.slice(own.length))) continue;
    const shared = (await tablespacesOf(join(folder, name))).find((place) => places.includes(place));
    if (shared !== undefined)
      return `${join(folder, name)} has data in the same tablespaces (${shared}): remove it first, and its version's folder there, when nobody wants to go back`;
  }
  return null;
}

/** Empty where the folder is missing. */
export async function namesIn(path: string): Promise<readonly string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
