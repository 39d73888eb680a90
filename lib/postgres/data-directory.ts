// Owns what can be told of the data directory and its postmaster without SQL and without a child process: directory
// contents, the making marker, postmaster.pid, /proc. It changes nothing, so a foreign directory is safe from it.

import { readdir, readFile, stat } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import type { TimelineSwitch } from "../model/history.ts";
import type { DataDirectory, PostmasterProcess } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { Timeline } from "../model/units.ts";
import { makingMarkerPath } from "./making-marker.ts";
import { directoryIdentity, errorCode, type ProcessFacts, postmasterAt, searchPostmaster } from "./processes.ts";
import { parseTimelineHistory, timelineFileName } from "./timeline-history.ts";

/** How many names of a foreign directory are shown. */
const SAMPLE_MAX_NAMES = 5;

/** postmaster.pid, line by line. Fields that the postmaster has not written yet are null. */
export interface PostmasterPidFile {
  readonly pid: number;
  /** Epoch seconds at which that postmaster started. */
  readonly startEpochSeconds: number | null;
  readonly port: number | null;
  /** First directory of unix_socket_directories in effect, absolute; null where there is none. */
  readonly socketDirectory: string | null;
  /** First of listen_addresses in effect; null where it does not listen on TCP. */
  readonly listenAddress: string | null;
  /** starting, stopping, ready, standby (up, but not accepting connections). */
  readonly status: string | null;
}

export async function inspectDataDirectory(dataDir: string): Promise<DataDirectory> {
  const marker = await readText(makingMarkerPath(dataDir));
  const names = await listNames(dataDir);
  if (typeof names === "string") {
    return names === "ENOENT" ? { kind: "absent" } : { kind: "foreign", sample: `${dataDir} cannot be read: ${names}` };
  }
  if (names.length === 0) return { kind: "empty" };
  if (marker !== null) return { kind: "half-made", by: marker.trim() };
  const foreign: DataDirectory = { kind: "foreign", sample: [...names].sort().slice(0, SAMPLE_MAX_NAMES).join(", ") };
  if (!names.includes("PG_VERSION")) return foreign;
  const majorVersion = await readMajorVersion(dataDir);
  if (majorVersion === null) return foreign;
  return (await exists(join(dataDir, "global", "pg_control"))) ? { kind: "valid", majorVersion } : foreign;
}

/** From PG_VERSION, e.g. 15; null where there is no readable one. */
export async function readMajorVersion(dataDir: string): Promise<number | null> {
  const version = Number((await readText(join(dataDir, "PG_VERSION")))?.trim());
  return Number.isInteger(version) && version > 0 ? version : null;
}

/** How this directory's timelines came about, from pg_wal; [] on timeline 1. Errors: failed (the history file is not there). */
export async function readTimelineSwitches(dataDir: string, value: Timeline): Promise<Result<readonly TimelineSwitch[], PostgresError>> {
  if (value === 1) return ok([]);
  const name = timelineFileName(value);
  const text = await readText(join(dataDir, "pg_wal", name));
  return text === null ? err({ kind: "failed", message: `there is no ${name} in pg_wal` }) : ok(parseTimelineHistory(text));
}

/** The postmaster that runs in this directory. A stale postmaster.pid, also one whose pid was reused, is `none`. */
export async function inspectPostmaster(dataDir: string): Promise<PostmasterProcess> {
  const facts = await findPostmaster(dataDir);
  if (facts === null) return { kind: "none" };
  return { kind: "running", pid: facts.pid, startTicks: facts.startTicks, stopped: facts.state === "T" || facts.state === "t" };
}

/** Facts of the living postmaster of this directory; null where there is none. */
export async function findPostmaster(dataDir: string): Promise<ProcessFacts | null> {
  const directory = directoryIdentity(dataDir);
  if (directory === null) return null;
  const file = await readPostmasterPid(dataDir);
  const named = file === null ? null : postmasterAt(file.pid, directory);
  // Somebody may have removed or spoilt the file while the server runs on: only /proc knows then.
  return named ?? searchPostmaster(directory);
}

/** null where there is no postmaster.pid or it does not begin with a pid. Whether that process lives is not looked at. */
export async function readPostmasterPid(dataDir: string): Promise<PostmasterPidFile | null> {
  const text = await readText(join(dataDir, "postmaster.pid"));
  return text === null ? null : parsePostmasterPid(text, dataDir);
}

/** Source: the lock file's layout in PostgreSQL's documentation ("Database File Layout") and miscadmin.h. */
export function parsePostmasterPid(text: string, dataDir: string): PostmasterPidFile | null {
  const lines = text.split("\n").map((line) => line.trim());
  // A standalone backend (single-user mode) writes its pid negated.
  const pid = Math.abs(Number(lines[0]));
  if (!Number.isInteger(pid) || pid === 0) return null;
  const started = Number(lines[2]);
  const port = Number(lines[3]);
  const socket = lines[4] ?? "";
  const listen = lines[5] ?? "";
  const status = lines[7] ?? "";
  return {
    pid,
    startEpochSeconds: Number.isInteger(started) && started > 0 ? started : null,
    port: Number.isInteger(port) && port > 0 ? port : null,
    socketDirectory: socket === "" || socket.startsWith("@") ? null : isAbsolute(socket) ? socket : join(dataDir, socket),
    listenAddress: listen === "" ? null : listen,
    status: status === "" ? null : status,
  };
}

/** Names in the directory, or the error code that kept us from reading it. */
async function listNames(path: string): Promise<readonly string[] | string> {
  try {
    return await readdir(path);
  } catch (error) {
    const code = errorCode(error);
    if (code === null) throw error;
    return code;
  }
}

/** Text of a file; null where it does not exist or cannot be read. */
async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (errorCode(error) === null) throw error;
    return null;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errorCode(error) === null) throw error;
    return false;
  }
}
