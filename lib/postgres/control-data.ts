// Owns the reading of pg_control: all of it through pg_controldata, and its state word directly (to see a shutdown
// checkpoint the moment it is there). It writes nothing.

import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import { parseLsn } from "../model/lsn.ts";
import type { ControlData } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Lsn, ms, type Timeline, timeline } from "../model/units.ts";
import { reasonOf } from "./atomic-file.ts";
import type { RunProgram } from "./context.ts";
import { errorCode } from "./processes.ts";

/** pg_controldata reads one file of 8 kB; longer means that the disk hangs. */
const CONTROLDATA_TIMEOUT_MS = 10_000;
/** Offset of the state in ControlFileData: after system_identifier, pg_control_version and catalog_version_no; the same from 13 to 18. */
const STATE_OFFSET = 16;
/** Timeline, and the two halves of the segment's number. */
const SEGMENT_NAME = /^[0-9A-F]{24}$/;
/** DBState of pg_control.h: DB_SHUTDOWNED and DB_SHUTDOWNED_IN_RECOVERY. */
const SHUT_DOWN_STATES = new Set([1, 2]);

/** Errors: failed (no control file, checksum wrong, program missing). */
export async function readControlData(run: RunProgram, clock: Clock, dataDir: string): Promise<Result<ControlData, PostgresError>> {
  const text = await readControlText(run, clock, dataDir);
  return text.ok ? parseControlData(text.value) : text;
}

/** The name of the WAL segment with the shutdown checkpoint. Errors: failed (as above; it was not shut down as a primary). */
export async function readShutdownSegment(run: RunProgram, clock: Clock, dataDir: string): Promise<Result<string, PostgresError>> {
  const text = await readControlText(run, clock, dataDir);
  if (!text.ok) return text;
  const fields = fieldsOf(text.value);
  const [state, segment] = [fields.get("Database cluster state"), fields.get("Latest checkpoint's REDO WAL file")];
  if (state === "shut down" && segment !== undefined && SEGMENT_NAME.test(segment)) return ok(segment);
  return err({ kind: "failed", message: `there is no shutdown checkpoint: the server is "${state}", its WAL file ${segment}` });
}

async function readControlText(run: RunProgram, clock: Clock, dataDir: string): Promise<Result<string, PostgresError>> {
  const outcome = await run({
    argv: ["pg_controldata", "-D", dataDir],
    env: { LC_ALL: "C", LANG: "C" },
    deadline: ms(clock.now() + CONTROLDATA_TIMEOUT_MS),
  });
  if (!outcome.ok) return outcome;
  const { exitCode, stdout, stderr } = outcome.value;
  if (exitCode !== 0) return err({ kind: "failed", message: `pg_controldata: ${stderr.trim() || `exit status ${exitCode}`}` });
  // It still exits with 0 when the file is damaged.
  if (/warning: .*(CRC|checksum)/i.test(stdout + stderr)) {
    return err({ kind: "failed", message: `pg_controldata: the control file of ${dataDir} is damaged` });
  }
  return ok(stdout);
}

function fieldsOf(text: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields.set(line.slice(0, colon).trim(), line.slice(colon + 1).trim());
  }
  return fields;
}

/** Parses the output of pg_controldata in the C locale. Errors: failed (a field is missing or unreadable, named). */
export function parseControlData(text: string): Result<ControlData, PostgresError> {
  const fields = fieldsOf(text);
  const problems: string[] = [];
  const word = (name: string): string => {
    const value = fields.get(name);
    if (value === undefined || value === "") problems.push(name);
    return value ?? "";
  };
  const position = (name: string): Lsn => {
    const value = parseLsn(word(name));
    if (value === null) problems.push(name);
    return value ?? (0n as Lsn);
  };
  const whole = (name: string): number => {
    const value = Number(word(name));
    if (!Number.isInteger(value)) problems.push(name);
    return value;
  };
  const minRecoveryEnd = position("Minimum recovery ending location");
  const minRecoveryTimeline = whole("Min recovery ending loc's timeline");
  const checkpointTimeline = whole("Latest checkpoint's TimeLineID");
  const control = {
    systemIdentifier: word("Database system identifier"),
    state: word("Database cluster state"),
    checkpointLsn: position("Latest checkpoint location"),
    checkpointRedoLsn: position("Latest checkpoint's REDO location"),
    minRecoveryEnd: minRecoveryEnd === 0n ? null : minRecoveryEnd,
    walLogHints: word("wal_log_hints setting") === "on",
    dataChecksums: whole("Data page checksum version") !== 0,
    maxConnections: whole("max_connections setting"),
    maxWorkerProcesses: whole("max_worker_processes setting"),
    maxWalSenders: whole("max_wal_senders setting"),
    maxPreparedTransactions: whole("max_prepared_xacts setting"),
    maxLocksPerTransaction: whole("max_locks_per_xact setting"),
  };
  if (checkpointTimeline < 1) problems.push("Latest checkpoint's TimeLineID");
  if (problems.length > 0) return err({ kind: "failed", message: `pg_controldata: no readable value for ${problems.join(", ")}` });
  const minTimeline: Timeline | null = minRecoveryTimeline > 0 ? timeline(minRecoveryTimeline) : null;
  return ok({ ...control, timeline: timeline(checkpointTimeline), minRecoveryTimeline: minTimeline });
}

/**
 * The system identifier, as pg_controldata writes it: the first word of pg_control in every version, whatever follows it, so that it is read
 * without knowing whose data this is. Errors: failed (missing, cut off, unreadable).
 */
export async function readSystemIdentifier(dataDir: string): Promise<Result<string, PostgresError>> {
  const path = join(dataDir, "global", "pg_control");
  const bytes = new Uint8Array(8);
  try {
    if ((await readStart(path, bytes)) < bytes.length) return err({ kind: "failed", message: `${path} is cut off` });
  } catch (error) {
    return err({ kind: "failed", message: `${path}: ${reasonOf(error)}` });
  }
  return ok(String(new BigUint64Array(bytes.buffer)[0]));
}

/** Whether pg_control says "shut down" (in recovery or not) at this moment; false where it cannot be read. No child process. */
export async function saysShutDown(dataDir: string): Promise<boolean> {
  const bytes = new Uint8Array(STATE_OFFSET + 4);
  try {
    if ((await readStart(join(dataDir, "global", "pg_control"), bytes)) < bytes.length) return false;
  } catch (error) {
    if (errorCode(error) === null) throw error;
    return false;
  }
  return SHUT_DOWN_STATES.has(new Uint32Array(bytes.buffer, STATE_OFFSET, 1)[0] ?? -1);
}

/** Fills the bytes; how many there were. */
async function readStart(path: string, bytes: Uint8Array): Promise<number> {
  const file = await open(path, "r");
  try {
    return (await file.read(bytes, 0, bytes.length, 0)).bytesRead;
  } finally {
    await file.close();
  }
}
