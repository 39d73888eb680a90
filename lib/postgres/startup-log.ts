// Owns the file that receives what the server writes to its standard output and error: everything where logging_collector
// is off, only the first lines where it is on. It cannot be our own stderr: the server outlives us.

import { type FileHandle, mkdir, open, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "./processes.ts";

/** Below the data directory, which always belongs to the server's user; the folder is logging_collector's default one. */
const FOLDER = "log";
const NAME = "matriarch-postgres.log";
/** Beyond this size the file is put aside at the next start, in place of the one put aside before. */
const ROTATE_ABOVE_BYTES = 16 * 1024 * 1024;
const TAIL_LINES = 10;
const TAIL_CHARACTERS = 2_000;
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
  if ((await sizeOf(path)) > ROTATE_ABOVE_BYTES) await rename(path, `${path}.old`);
  const file = await open(path, "a", 0o600);
  return { file, offset: await sizeOf(path) };
}

/** The last lines of this start on one line, for an error message; also of the collector's file where the server says that it went on there. */
export async function startupLogTail(dataDir: string, offset: number): Promise<string> {
  const own = await tailOf(startupLogPath(dataDir), offset);
  if (!/redirecting log output/.test(own)) return own;
  const current = await readEnd(join(dataDir, "current_logfiles"), 0);
  const path = /^stderr (.+)$/m.exec(current)?.[1];
  if (path === undefined) return own;
  return (await tailOf(path.startsWith("/") ? path : join(dataDir, path), 0)) || own;
}

async function tailOf(path: string, offset: number): Promise<string> {
  const text = (await readEnd(path, offset)).trimEnd();
  return text.split("\n").slice(-TAIL_LINES).join(" | ").slice(-TAIL_CHARACTERS);
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
