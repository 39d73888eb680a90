// Owns where the parts of a data directory are that lie outside of it: WAL behind a link, tablespaces. Reads links only.

import { lstat, readdir, readlink, realpath } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { isMissing } from "./atomic-file.ts";

/** What a major upgrade puts beside a data directory. */
const KEPT = /^\.(before-upgrade|upgraded)-/;

/**
 * The absolute path that a link leads to, without a slash at its end, so that it names the entry there (a link again, maybe) and can be
 * renamed; null where there is none, or something else. Throws the system's error.
 */
export async function linkTarget(path: string): Promise<string | null> {
  try {
    if (!(await lstat(path)).isSymbolicLink()) return null;
    const words = await readlink(path);
    const target = isAbsolute(words) ? words : `${dirname(path)}/${words}`;
    // What stands behind a link on the way has another parent than the words say.
    return target.split("/").includes("..") ? await physical(target) : resolve(target);
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

/** As linkTarget, with every link on the way followed: two that are equal are one folder. Where nothing is there, the words. */
async function realTarget(path: string): Promise<string | null> {
  const target = await linkTarget(path);
  return target === null ? null : await realOf(target);
}

/**
 * What a major upgrade has put aside and still has data in the same tablespaces, or its WAL where this directory's link leads, in words that say
 * what to do; null where there is nothing of that kind. Throws the system's error.
 */
export async function keptBeside(dataDir: string): Promise<string | null> {
  const own = await realOutside(dataDir);
  if (own.length === 0) return null;
  const [folder, name] = [dirname(resolve(dataDir)), basename(resolve(dataDir))];
  for (const other of await namesIn(folder)) {
    if (!other.startsWith(name) || !KEPT.test(other.slice(name.length))) continue;
    const shared = (await realOutside(join(folder, other))).find((place) => own.includes(place));
    if (shared !== undefined)
      return `${join(folder, other)} has data in the same tablespaces or WAL (${shared}): remove it first, and its version's folder there, when nobody wants to go back`;
  }
  return null;
}

async function realOutside(dataDir: string): Promise<readonly string[]> {
  const wal = await realTarget(join(dataDir, "pg_wal"));
  return [...(wal === null ? [] : [wal]), ...(await Promise.all((await tablespacesOf(dataDir)).map(realOf)))];
}

async function realOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (isMissing(error)) return path;
    throw error;
  }
}

/** The folder that it lies in as it is reached, and its own name as it stands. */
async function physical(path: string): Promise<string> {
  const plain = path.replace(/\/+$/, "");
  const name = basename(plain);
  return name === ".." || name === "." ? await realOf(plain) : join(await realOf(dirname(plain)), name);
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
