// Owns the markers beside the data directory. "making": we are filling it, and only such a directory may be cleared unasked.
// "rewinding": pg_rewind was at work in it; it must not be started before a rewind or a new copy has succeeded. "way-back": what lies
// there may be the data from before a restore (restore-back.ts); it is whole, but not for use before the DCS says so.

import type { PostgresError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import { readIfThere, reasonOf, removeFile, replaceFile } from "./atomic-file.ts";

/** `remove`: a deletion was interrupted. `restored`, `upgraded`: whole, but not yet to be used (aside.ts). */
export type Making = "initdb" | "clone" | "restore" | "restored" | "upgrade" | "upgraded" | "remove";

/** `<data_dir>.matriarch-making`, beside the directory. */
export function makingMarkerPath(dataDir: string): string {
  return `${dataDir.replace(/\/+$/, "")}.matriarch-making`;
}

/** Word in the marker; null where there is none. Errors: failed. */
export async function readMakingMarker(dataDir: string): Promise<Result<string | null, PostgresError>> {
  try {
    return ok((await readIfThere(makingMarkerPath(dataDir)))?.trim() ?? null);
  } catch (error) {
    return err({ kind: "failed", message: `${makingMarkerPath(dataDir)}: ${reasonOf(error)}` });
  }
}

/** Durable when it returns: before the first file of the directory is made. Throws the system's error. */
export async function writeMakingMarker(dataDir: string, making: Making): Promise<void> {
  await replaceFile(makingMarkerPath(dataDir), `${making}\n`);
}

/** Durable when it returns: the directory is whole from now on. Throws the system's error. */
export async function clearMakingMarker(dataDir: string): Promise<void> {
  await removeFile(makingMarkerPath(dataDir));
}

/** `<data_dir>.matriarch-rewinding`, beside the directory. */
export function rewindingMarkerPath(dataDir: string): string {
  return `${dataDir.replace(/\/+$/, "")}.matriarch-rewinding`;
}

/** Was a rewind interrupted here, or is one at work? Throws the system's error. */
export async function isRewinding(dataDir: string): Promise<boolean> {
  return (await readIfThere(rewindingMarkerPath(dataDir))) !== null;
}

/** Durable when it returns. Throws the system's error. */
export async function writeRewindingMarker(dataDir: string): Promise<void> {
  await replaceFile(rewindingMarkerPath(dataDir), "rewind\n");
}

/** Durable when it returns. Throws the system's error. */
export async function clearRewindingMarker(dataDir: string): Promise<void> {
  await removeFile(rewindingMarkerPath(dataDir));
}

/** `<data_dir>.matriarch-way-back`, beside the directory. */
export function wayBackMarkPath(dataDir: string): string {
  return `${dataDir.replace(/\/+$/, "")}.matriarch-way-back`;
}

/** The id of the restore that is being taken back; null where none is. Throws the system's error. */
export async function readWayBackMark(dataDir: string): Promise<string | null> {
  return (await readIfThere(wayBackMarkPath(dataDir)))?.trim() ?? null;
}

/** Durable when it returns. Throws the system's error. */
export async function writeWayBackMark(dataDir: string, id: string): Promise<void> {
  await replaceFile(wayBackMarkPath(dataDir), `${id}\n`);
}

/** Durable when it returns. Throws the system's error. */
export async function clearWayBackMark(dataDir: string): Promise<void> {
  await removeFile(wayBackMarkPath(dataDir));
}
