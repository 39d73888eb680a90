// Owns the file that receives what the server writes to its standard output and error: everything where logging_collector
// is off, only the first lines where it is on. It cannot be our own stderr: the server outlives us.

import { copyFile, type FileHandle, mkdir, open, readdir, stat, truncate } from "node:fs/promises";
import { join, resolve } from "node:path";
import { errorCode } from "./processes.ts";

/** Below the data directory, which always belongs to the server's user; the folder is logging_collector's default one. */
const FOLDER = "log";
const NAME = "matriarch-postgres.log";
/** Beyond this size its content is put aside, in place of what was put aside before. */
export const STARTUP_LOG_MAX_BYTES = 32 * 1024 * 1024;
/** How often a running server's file should be looked at. */
export const STARTUP_LOG_CHECK_MS = 60_000;
const TAIL_LINES = 8;
const TAIL_CHARACTERS = 1_500;
const READ_BYTES = 64 * 1024;

export function startupLogPath(dataDir: string): string {
  return join(dataDir, FOLDER, NAME);
}

export interface StartupLog {
  readonly file: FileHandle;
  /** Where this start's lines begin. */
  readonly offset: number;
}

/** Opens it for appending. Throws the file system's error. */
export async function openStartupLog(dataDir: string): Promise<StartupLog> {
  const path = startupLogPath(dataDir);
  await mkdir(join(dataDir, FOLDER), { recursive: true, mode: 0o700 });
  await boundStartupLog(dataDir);
  const file = await open(path, "a", 0o600);
  return { file, offset: await sizeOf(path) };
}

/**
 * Puts the content aside where the file has grown too big. The server keeps the file open for appending, so it is copied
 * and cut off; lines that come in between are lost. Throws the file system's error.
 */
export async function boundStartupLog(dataDir: string, maxBytes = STARTUP_LOG_MAX_BYTES): Promise<void> {
  const path = startupLogPath(dataDir);
  if ((await sizeOf(path)) <= maxBytes) return;
  await copyFile(path, `${path}.old`);
  await truncate(path, 0);
}

/**
 * Why this start failed, on one line: the server's complaints, or its last lines where it made none; from the collector's
 * file where the server says that it went on there.
 */
export async function startupLogTail(dataDir: string, log: StartupLog): Promise<string> {
  const own = await readEnd(startupLogPath(dataDir), log.offset);
  const folder = /redirecting log output/.test(own) ? (/directory "(.+)"/.exec(own)?.[1] ?? null) : null;
  const collector = folder === null ? null : await newestFile(resolve(dataDir, folder));
  if (collector === null) return complaints(own);
  const collected = await readEnd(collector, 0);
  return complaints(collected.slice(Math.max(0, collected.lastIndexOf("starting PostgreSQL")))) || complaints(own);
}

function complaints(text: string): string {
  const lines = text.trimEnd().split("\n");
  const found = lines.filter(
    (line) => /\b(WARNING|ERROR|FATAL|PANIC|DETAIL|HINT|LOG: {2}could not)\b/.test(line) || /^\S*postgres: /.test(line),
  );
  return (found.length === 0 ? lines : found).slice(-TAIL_LINES).join(" | ").slice(-TAIL_CHARACTERS);
}

/** The collector's own list of files is gone when the server is: the newest one is it. */
async function newestFile(folder: string): Promise<string | null> {
  let newest: { readonly path: string; readonly mtimeMs: number } | null = null;
  for (const name of await readdir(folder)) {
    if (name.startsWith(NAME) || /\.(csv|json)$/.test(name)) continue;
    const path = join(folder, name);
    const { mtimeMs } = await stat(path);
    if (newest === null || mtimeMs > newest.mtimeMs) newest = { path, mtimeMs };
  }
  return newest?.path ?? null;
}

/** The end of a file from the offset on, at most 64 kB; "" where it cannot be read. */
async function readEnd(path: string, offset: number): Promise<string> {
  try {
    const file = Bun.file(path);
    const { size } = await file.stat();
    return await file.slice(Math.max(offset, size - READ_BYTES), size).text();
  } catch (error) {
    if (errorCode(error) === null) throw error;
    return "";
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    return 0;
  }
}
