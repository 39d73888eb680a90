// Owns what of a data directory lies outside of it in a major upgrade: WAL behind a link, and tablespaces. The WAL goes aside with the old
// directory; a tablespace holds a folder of each version beside the other's. Only the new version's folders are ever removed here, and
// WAL only where the old one is known to stand aside. Each step can be repeated after a crash.

import { access, constants, lstat, realpath, rename, rm, symlink } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import { isThere, removeFile, syncFolder } from "../atomic-file.ts";
import { keptBeside, linkTarget, namesIn, tablespacesOf } from "../outside-links.ts";

const WAL = "pg_wal";
const TABLESPACES = "pg_tblspc";

export interface Outside {
  /** The old data directory, put aside. */
  readonly aside: string;
  readonly dataDir: string;
  readonly id: string;
  readonly toMajor: number;
}

export type BackFrom = Omit<Outside, "toMajor"> & { readonly fromMajor: number };

/** Why what lies outside cannot be upgraded along; null where it can, or nothing does. Throws the system's error. */
export async function outsideObstacle(dataDir: string, toMajor: number): Promise<string | null> {
  return (await walObstacle(dataDir)) ?? (await tablespaceObstacle(dataDir, toMajor));
}

/**
 * Why a standby could not be copied again into its tablespaces, once its data is deleted for it: a copy takes an empty folder only, and what is
 * of another version or nobody's is not deleted. Null where it could. Throws the system's error.
 */
export async function copyObstacle(dataDir: string, ownMajor: number): Promise<string | null> {
  for (const place of await tablespacesOf(dataDir)) {
    const own = await foldersOf(place, ownMajor);
    const other = (await namesIn(place)).find((name) => !own.includes(name));
    if (other !== undefined)
      return `${join(place, other)} lies in a tablespace and is not of this server: the copy of the upgraded data takes an empty folder only`;
  }
  return null;
}

async function walObstacle(dataDir: string): Promise<string | null> {
  const path = await linkTarget(join(dataDir, WAL));
  if (path === null) return null;
  const own = await lstat(path);
  if (own.isSymbolicLink()) return `${dataDir}/${WAL} leads to ${path}, which is a link again: name the folder itself`;
  if (own.dev !== (await lstat(dirname(path))).dev)
    return `${path}, where WAL is, is a mount point: it cannot be renamed; put WAL into a folder on that disk`;
  if (await isInside(path, dataDir)) return `${dataDir}/${WAL} is a link to a folder of the same directory`;
  return (await mayWrite(dirname(path))) ? null : `${dirname(path)}, where the folder with WAL is renamed, cannot be written to`;
}

async function tablespaceObstacle(dataDir: string, toMajor: number): Promise<string | null> {
  const places = await tablespacesOf(dataDir);
  for (const name of await namesIn(join(dataDir, TABLESPACES)))
    if (!(await lstat(join(dataDir, TABLESPACES, name))).isSymbolicLink())
      return `tablespaces in ${dataDir} itself (${name}) are not supported: pg_upgrade does not carry them`;
  for (const place of places) {
    if (await isInside(place, dataDir)) return `the tablespace in ${place} lies in ${dataDir} itself, which is renamed`;
    const [left] = await foldersOf(place, toMajor);
    if (left !== undefined) return `${join(place, left)} is there already, of version ${toMajor}: remove what an earlier upgrade has left`;
    if (!(await mayWrite(place))) return `${place}, which holds a tablespace, cannot be written to`;
  }
  return places.length === 0 ? null : await keptBeside(dataDir);
}

/**
 * The old WAL stands aside like its directory. Value: where the new server's WAL belongs, a folder that is not there or empty; null: inside.
 * Throws the system's error, and Error where the old WAL is lost.
 */
export async function putWalAside({ aside, dataDir, id }: Pick<Outside, "aside" | "dataDir" | "id">): Promise<string | null> {
  const wal = await walOf(aside, id);
  if (wal === null) return null;
  const lost = await lostWal({ aside, dataDir }, wal);
  if (lost !== null) throw new Error(lost);
  if (!(await isThere(wal.old))) await move(wal.place, wal.old);
  await lead(join(aside, WAL), wal.old);
  return wal.place;
}

/** Why the old directory would not be whole in its place again; null where it would, or is there already. Throws the system's error. */
export async function backObstacle({ aside, dataDir, id, fromMajor }: BackFrom): Promise<string | null> {
  for (const place of await tablespacesOf(aside)) {
    if ((await foldersOf(place, fromMajor)).length === 0)
      return `${place} has no folder of version ${fromMajor} any more, and ${aside} has a tablespace there`;
  }
  const wal = await walOf(aside, id);
  return wal === null ? null : await lostWal({ aside, dataDir }, wal);
}

interface Wal {
  /** Where it belongs, and where the new server's is while the old one stands aside. */
  readonly place: string;
  readonly old: string;
}

async function walOf(aside: string, id: string): Promise<Wal | null> {
  const target = await linkTarget(join(aside, WAL));
  if (target === null) return null;
  const suffix = `.before-upgrade-${id}`;
  const place = target.endsWith(suffix) ? target.slice(0, -suffix.length) : target;
  return { place, old: `${place}${suffix}` };
}

/** Once the new directory's link leads to the place, what is there is not the old one. */
async function lostWal({ aside, dataDir }: Pick<Outside, "aside" | "dataDir">, { place, old }: Wal): Promise<string | null> {
  if (await isThere(old)) return null;
  const isOld = (await isThere(place)) && (await linkTarget(join(dataDir, WAL))) !== place;
  return isOld ? null : `${old} is not there any more, the WAL of ${aside}`;
}

/** What an attempt of the new version has left in the tablespaces is gone; what the old one has there is not touched. */
export async function clearNewTablespaces({ aside, dataDir, toMajor }: Outside): Promise<void> {
  // Nothing aside: what lies in its place is the old data.
  if (!(await isThere(aside))) return;
  // By the links of the old directory: an attempt may have been killed before it had made its own.
  for (const place of await tablespacesOf(aside)) {
    for (const folder of await foldersOf(place, toMajor)) await rm(join(place, folder), { recursive: true, force: true });
    if (await isThere(place)) await syncFolder(place);
  }
  // Whoever empties the half-made directory would empty what its links lead to, the old version's folders as well.
  const links = join(dataDir, TABLESPACES);
  for (const name of await namesIn(links)) await rm(join(links, name), { recursive: true, force: true });
}

/**
 * Before the old directory takes its place again: its WAL is where it was. `kept`: where the new directory is going to be kept, with its WAL and
 * its folders in the tablespaces; null: they are removed with it.
 */
export async function bringOutsideBack(outside: Outside, kept: string | null): Promise<void> {
  const { aside, dataDir, id } = outside;
  if (kept === null) await clearNewTablespaces(outside);
  const wal = await walOf(aside, id);
  if (wal === null) return;
  const { place, old } = wal;
  const own = join(dataDir, WAL);
  if (await isThere(old)) {
    // So whatever stands in its place is the new server's.
    if (kept === null) {
      // The half-made directory must not lead to the old WAL: whoever empties it would empty that.
      if ((await linkTarget(own)) !== null) await removeFile(own);
      await rm(place, { recursive: true, force: true });
    } else if ((await linkTarget(own)) === place) {
      await move(place, `${place}.upgraded-${id}`);
      await lead(own, `${place}.upgraded-${id}`);
    }
    await move(old, place);
  }
  await lead(join(aside, WAL), place);
}

/** Done already where only the second is there. Throws the system's error, also where the second is there and not empty. */
async function move(from: string, to: string): Promise<void> {
  if (!(await isThere(from)) && (await isThere(to))) return;
  await rename(from, to);
  await syncFolder(dirname(from));
}

/** The link leads there from now on, and at no instant nowhere. */
async function lead(link: string, to: string): Promise<void> {
  if ((await linkTarget(link)) === to) return;
  const next = `${link}.new`;
  await rm(next, { force: true });
  await symlink(to, next);
  await rename(next, link);
  await syncFolder(dirname(link));
}

async function foldersOf(place: string, major: number): Promise<readonly string[]> {
  return (await namesIn(place)).filter((name) => new RegExp(`^PG_${major}_\\d+$`).test(name));
}

async function isInside(path: string, folder: string): Promise<boolean> {
  return `${await realpath(path)}${sep}`.startsWith(`${await realpath(folder)}${sep}`);
}

async function mayWrite(folder: string): Promise<boolean> {
  return await access(folder, constants.W_OK).then(
    () => true,
    () => false, // That is the answer.
  );
}
