// Owns what can be told of the data directory and its postmaster without SQL and without a child process: directory
// contents, the making marker, postmaster.pid, /proc. It changes nothing, so a foreign directory is safe from it.

import { readdir } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import type { TimelineSwitch } from "../model/history.ts";
import type { DataDirectory, PostmasterProcess } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { Timeline } from "../model/units.ts";
import { isThere, readIfThere, reasonOf } from "./atomic-file.ts";
import { makingMarkerPath } from "./making-marker.ts";
import { errorCode, type ProcessFacts, postmasterAt, searchPostmaster, serverDirectory } from "./processes.ts";
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

/** What cannot be read is not taken for absent: a marker that is there and cannot be read would make a half-made directory a whole one. */
export async function inspectDataDirectory(dataDir: string): Promise<DataDirectory> {
  try {
    return await judge(dataDir);
  } catch (error) {
    if (errorCode(error) === null) throw error;
    return { kind: "foreign", sample: `${dataDir} cannot be read: ${reasonOf(error)}`, unread: true };
  }
}

/**
 * Throws the system's error. Asked all at once and judged one after the other: each answer of its own would wake this process once more in
 * every cycle. What a later question met with counts for nothing where an earlier answer decides.
 */
async function judge(dataDir: string): Promise<DataDirectory> {
  const [marker, listed, version, control] = await Promise.allSettled([
    readIfThere(makingMarkerPath(dataDir)),
    listNames(dataDir),
    majorVersionIn(dataDir),
    isThere(join(dataDir, "global", "pg_control")),
  ]);
  const making = answered(marker);
  const names = answered(listed);
  if (names === null) return { kind: "absent" };
  if (names.length === 0) return { kind: "empty" };
  if (making !== null) return { kind: "half-made", by: making.trim() };
  const majorVersion = answered(version);
  if (majorVersion !== null && answered(control)) return { kind: "valid", majorVersion };
  return { kind: "foreign", sample: [...names].sort().slice(0, SAMPLE_MAX_NAMES).join(", ") };
}

function answered<T>(answer: PromiseSettledResult<T>): T {
  if (answer.status === "rejected") throw answer.reason;
  return answer.value;
}

/** From PG_VERSION, e.g. 15. Errors: refused (there is none, or it names no version), failed (it cannot be read). */
export async function readMajorVersion(dataDir: string): Promise<Result<number, PostgresError>> {
  try {
    const version = await majorVersionIn(dataDir);
    if (version !== null) return ok(version);
    return err({ kind: "refused", message: `${dataDir} is not a PostgreSQL data directory` });
  } catch (error) {
    return err({ kind: "failed", message: `${dataDir}/PG_VERSION cannot be read: ${reasonOf(error)}` });
  }
}

/** Null where there is no PG_VERSION, or it names no version. Throws the system's error. */
async function majorVersionIn(dataDir: string): Promise<number | null> {
  const version = Number((await readIfThere(join(dataDir, "PG_VERSION")))?.trim());
  return Number.isInteger(version) && version > 0 ? version : null;
}

/** How this directory's timelines came about, from pg_wal; [] on timeline 1. Errors: failed (the history file is not there, or cannot be read). */
export async function readTimelineSwitches(dataDir: string, value: Timeline): Promise<Result<readonly TimelineSwitch[], PostgresError>> {
  if (value === 1) return ok([]);
  const name = timelineFileName(value);
  try {
    const text = await readIfThere(join(dataDir, "pg_wal", name));
    return text === null ? err({ kind: "failed", message: `there is no ${name} in pg_wal` }) : ok(parseTimelineHistory(text));
  } catch (error) {
    return err({ kind: "failed", message: `${name} in pg_wal cannot be read: ${reasonOf(error)}` });
  }
}

/** The postmaster that runs in this directory. A stale postmaster.pid, also one whose pid was reused, is `none`. */
export async function inspectPostmaster(dataDir: string): Promise<PostmasterProcess> {
  const facts = await findPostmaster(dataDir);
  if (facts === null) return { kind: "none" };
  return { kind: "running", pid: facts.pid, startTicks: facts.startTicks, stopped: facts.state === "T" || facts.state === "t" };
}

/** Facts of the living postmaster of this directory; null where there is none. */
export async function findPostmaster(dataDir: string): Promise<ProcessFacts | null> {
  const directory = serverDirectory(dataDir);
  if (directory === null) return null;
  const file = await readPostmasterPid(dataDir);
  const named = file === null ? null : postmasterAt(file.pid, directory);
  // Somebody may have removed or spoilt the file while the server runs on: only /proc knows then.
  return named ?? searchPostmaster(directory);
}

/**
 * null where there is no postmaster.pid, it cannot be read or does not begin with a pid: whether a server runs is asked of /proc as well.
 * Whether that process lives is not looked at.
 */
export async function readPostmasterPid(dataDir: string): Promise<PostmasterPidFile | null> {
  try {
    const text = await readIfThere(join(dataDir, "postmaster.pid"));
    return text === null ? null : parsePostmasterPid(text, dataDir);
  } catch (error) {
    if (errorCode(error) === null) throw error;
    return null;
  }
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

/** Names in the directory; null where there is none. Throws the system's error. */
async function listNames(path: string): Promise<readonly string[] | null> {
  try {
    return await readdir(path);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return null;
    throw error;
  }
}
