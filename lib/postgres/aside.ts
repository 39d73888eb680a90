// Owns the exchange of a stopped data directory for another that is made in its place, and the way back. Each step can be repeated after
// a crash, and no directory is ever deleted but one that was begun to be filled here.

import { lstat, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import { isThere, reasonOf, syncFolder } from "./atomic-file.ts";
import type { PostgresContext } from "./context.ts";
import { findPostmaster, inspectDataDirectory } from "./data-directory.ts";
import { whileMaking } from "./making-directory.ts";
import { clearMakingMarker, type Making, readMakingMarker, writeMakingMarker } from "./making-marker.ts";
import { endLeftoverMakers } from "./making-processes.ts";

export interface AsidePlace {
  /** Where the old data is kept. */
  readonly aside: string;
  /** While the other directory is being made, and from when it is whole until it is taken into use. */
  readonly making: Making;
  readonly whole: Making;
  readonly progress: (text: string) => void;
  /** What lies outside of the directory goes with it; refused where this is missing. */
  readonly outside?: {
    /** Asked while nothing was changed. */
    readonly obstacle: () => Promise<string | null>;
    /** Before each attempt, with the old directory aside. */
    readonly ready: () => Promise<void>;
  };
}

/** A sibling of the data directory, on the same file system. */
export function beside(dataDir: string, suffix: string): string {
  return `${trimmed(dataDir)}.${suffix}`;
}

/**
 * Puts the stopped data directory aside and makes another in its place by `fill`; it stays marked as half-made until finishAside. Does
 * nothing where that was done already. Errors: refused (nothing was changed), failed, cancelled.
 */
export async function exchangeAside(
  context: PostgresContext,
  { aside, making, whole, progress, outside }: AsidePlace,
  fill: () => Promise<Result<null, PostgresError>>,
): Promise<Result<null, PostgresError>> {
  const { dataDir } = context.config;
  const own = trimmed(dataDir);
  const marker = await readMakingMarker(dataDir);
  if (!marker.ok) return marker;
  try {
    const isAside = await isThere(aside);
    if (!isAside) {
      const place = (await whyNotWhole(dataDir)) ?? (await placeObstacle(dataDir));
      const obstacle = place ?? (outside === undefined ? await outsideRefused(dataDir) : await outside.obstacle());
      if (obstacle !== null) return err({ kind: "refused", message: obstacle });
      await rename(own, aside);
      await syncFolder(dirname(own));
      progress(`the old data is kept in ${aside}`);
    }
    if (isAside && marker.value === whole) return ok(null);
    await outside?.ready();
    return await whileMaking(context, { making, keepValid: false, whole }, fill);
  } catch (error) {
    return err({ kind: "failed", message: `${making}: ${reasonOf(error)}` });
  }
}

/** What was made is whole, and in use from now on. Errors: failed. */
export async function finishAside(dataDir: string, whole: Making): Promise<Result<null, PostgresError>> {
  const marker = await readMakingMarker(dataDir);
  if (!marker.ok) return marker;
  if (marker.value !== null && marker.value !== whole)
    return err({ kind: "failed", message: `${dataDir} is not what was made: it is half-made (${marker.value})` });
  try {
    await clearMakingMarker(dataDir);
    return ok(null);
  } catch (error) {
    return err({ kind: "failed", message: reasonOf(error) });
  }
}

/**
 * The old directory again; what stands in its place is kept as `kept`, or removed where that is null. Does nothing where nothing was put
 * aside. `release`: before anything is renamed, for what lies outside of both. Errors: refused, failed.
 */
export async function putAsideBack(
  { config: { dataDir }, log }: PostgresContext,
  { aside, kept, release }: { readonly aside: string; readonly kept: string | null; readonly release?: () => Promise<void> },
): Promise<Result<null, PostgresError>> {
  const own = trimmed(dataDir);
  try {
    // A program that outlived its supervisor goes by the path: it would write on into the old data.
    const ended = await endLeftoverMakers(dataDir);
    if (ended.length > 0) log.warning(`ended process ${ended.join(", ")}, left over from what was made in ${dataDir}`);
    for (const directory of [dataDir, aside]) {
      const running = await findPostmaster(directory);
      if (running !== null) return err({ kind: "refused", message: `the server with pid ${running.pid} still runs in ${directory}` });
    }
    const given = beside(dataDir, "matriarch-given-up");
    if (!(await isThere(aside))) {
      await rm(given, { recursive: true, force: true });
      return ok(null);
    }
    // What was whole is taken apart from here on: it is not to be found whole by whoever comes after a crash.
    if (kept === null && (await isThere(dataDir))) await writeMakingMarker(dataDir, "remove");
    await release?.();
    if (await isThere(dataDir)) {
      if (kept === null) await rm(given, { recursive: true, force: true });
      await rename(own, kept ?? given);
      await syncFolder(dirname(own));
    }
    // Before the old data is there: whatever the marker stands beside may be cleared unasked.
    await clearMakingMarker(dataDir);
    await rename(aside, own);
    await syncFolder(dirname(own));
    await rm(given, { recursive: true, force: true });
    log.info(`the old data is in ${dataDir} again`);
    return ok(null);
  } catch (error) {
    return err({ kind: "failed", message: `the old data could not be put back: ${reasonOf(error)}` });
  }
}

/** What keeps the directory from being put aside as a whole, whether or not its server runs; null where nothing does. */
export async function asideObstacle(dataDir: string): Promise<string | null> {
  return (await placeObstacle(dataDir)) ?? (await outsideRefused(dataDir));
}

/** The same, of the directory itself and not of what its links lead to. */
export async function placeObstacle(dataDir: string): Promise<string | null> {
  const path = trimmed(dataDir);
  const own = await lstat(path);
  if (own.isSymbolicLink()) return `${dataDir} is a link: it cannot be put aside as a whole`;
  if (own.dev !== (await lstat(dirname(path))).dev) return `${dataDir} is a mount point: it cannot be renamed`;
  return null;
}

async function outsideRefused(dataDir: string): Promise<string | null> {
  if ((await lstat(join(dataDir, "pg_wal"))).isSymbolicLink())
    return `${dataDir}/pg_wal is a link: WAL outside of the data directory is not supported`;
  if ((await readdir(join(dataDir, "pg_tblspc"))).length > 0) return `${dataDir} has tablespaces: they are not supported here`;
  return null;
}

async function whyNotWhole(dataDir: string): Promise<string | null> {
  const directory = await inspectDataDirectory(dataDir);
  if (directory.kind !== "valid") return `${dataDir} is ${directory.kind}: there is no whole data directory to put aside`;
  const running = await findPostmaster(dataDir);
  return running === null ? null : `the server with pid ${running.pid} still runs in ${dataDir}`;
}

function trimmed(path: string): string {
  return path.replace(/\/+$/, "");
}
