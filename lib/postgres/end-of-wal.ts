// Owns the question how far the WAL of a stopped server reaches: answered from the WAL itself, record by record, because
// pg_control knows only where a checkpoint record begins, and whether that record reached a standby is what matters.

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import { formatLsn, parseLsn } from "../model/lsn.ts";
import type { ControlData } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Lsn, lsn, type Timeline, timeline } from "../model/units.ts";
import { readIfThere, reasonOf } from "./atomic-file.ts";
import type { PostgresContext, ProgramOutcome } from "./context.ts";
import { parseTimelineHistory } from "./timeline-history.ts";

/** WAL page size of every packaged server; the header of a page, and of the first page of a segment. */
const PAGE_BYTES = 8192n;
const PAGE_HEADER_BYTES = 24n;
const SEGMENT_HEADER_BYTES = 40n;
/** Default of initdb --wal-segsize. */
const DEFAULT_SEGMENT_BYTES = 16n * 1024n * 1024n;
const RECORD_ALIGNMENT = 8n;

/** pg_control's words for a server that was a standby when it last ran. */
const STANDBY_STATES: ReadonlySet<string> = new Set(["shut down in recovery", "in archive recovery"]);

/**
 * First byte after the last valid record, on the newest timeline that the directory has WAL of.
 * Errors: failed (no readable record from the checkpoint on).
 */
export async function localEndOfWal(
  context: PostgresContext,
  control: ControlData,
): Promise<Result<{ readonly timeline: Timeline; readonly lsn: Lsn }, PostgresError>> {
  const folder = join(context.config.dataDir, "pg_wal");
  try {
    const names = await readdir(folder);
    const files = { names, segmentBytes: await segmentSize(folder, names) };
    let failure: PostgresError = { kind: "failed", message: `${folder} holds no WAL` };
    for (const { timeline: current, from } of await beginnings(folder, names, control)) {
      const last = await lastRecord(context, files, { timeline: current, from });
      const end = last.ok ? await recordEnd(context, files, { timeline: current, from: last.value }) : last;
      if (end.ok) return ok({ timeline: current, lsn: end.value });
      failure = end.error;
    }
    return err(failure);
  } catch (error) {
    return err({ kind: "failed", message: `${folder}: ${reasonOf(error)}` });
  }
}

interface Beginning {
  readonly timeline: Timeline;
  readonly from: Lsn;
}

/**
 * Where to begin reading, newest timeline first. A standby may hold WAL of a timeline that pg_control does not know yet
 * (received, not replayed); a server promoted and crashed before its first checkpoint knows it from the end of recovery.
 */
async function beginnings(folder: string, names: readonly string[], control: ControlData): Promise<readonly Beginning[]> {
  if (control.state === "shut down") return [{ timeline: control.timeline, from: control.checkpointLsn }];
  const known = control.minRecoveryTimeline ?? control.timeline;
  const found: Beginning[] = [];
  for (const name of names.filter((each) => /^[0-9A-F]{8}\.history$/.test(each))) {
    const candidate = Number.parseInt(name.slice(0, 8), 16);
    const wanted = candidate === known || (STANDBY_STATES.has(control.state) && candidate > known);
    if (!wanted || candidate <= control.timeline || !names.some((each) => isSegmentOf(each, name.slice(0, 8)))) continue;
    const history = parseTimelineHistory((await readIfThere(join(folder, name))) ?? "");
    const begin = history.at(-1);
    if (begin === undefined || !history.some((entry) => entry.timeline === control.timeline)) continue;
    found.push({ timeline: timeline(candidate), from: begin.switchpoint });
  }
  found.sort((left, right) => right.timeline - left.timeline);
  return [...found, { timeline: control.timeline, from: control.checkpointRedoLsn }];
}

function isSegmentOf(name: string, timelineDigits: string): boolean {
  return /^[0-9A-F]{24}$/.test(name) && name.startsWith(timelineDigits);
}

/** Every segment file has the full size from its making on. */
async function segmentSize(folder: string, names: readonly string[]): Promise<bigint> {
  const segment = names.find((name) => /^[0-9A-F]{24}$/.test(name));
  return segment === undefined ? DEFAULT_SEGMENT_BYTES : BigInt((await stat(join(folder, segment))).size);
}

interface WalFiles {
  readonly names: readonly string[];
  readonly segmentBytes: bigint;
}

/** End of the last file of an unbroken row that holds `from`: told where to stop, pg_waldump does not wait 5 s for a next one. */
function endOfFiles(files: WalFiles, beginning: Beginning): Lsn {
  const digits = hexadecimal(beginning.timeline);
  const numbers = new Set(files.names.filter((name) => isSegmentOf(name, digits)).map((name) => segmentNumber(name, files.segmentBytes)));
  let segment = beginning.from / files.segmentBytes;
  while (numbers.has(segment + 1n)) segment += 1n;
  return lsn((segment + 1n) * files.segmentBytes);
}

/** Position of a segment in the whole of the WAL: its name holds timeline, the upper 32 bits, and the number below them. */
function segmentNumber(name: string, segmentBytes: bigint): bigint {
  const high = BigInt(`0x${name.slice(8, 16)}`);
  const low = BigInt(`0x${name.slice(16, 24)}`);
  return high * (0x1_0000_0000n / segmentBytes) + low;
}

function hexadecimal(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, "0");
}

/**
 * Where the last valid record begins. pg_waldump names it when it meets the first invalid one; where the WAL ends with
 * its last file there is no invalid one, and the records themselves are listed instead.
 */
async function lastRecord(context: PostgresContext, files: WalFiles, beginning: Beginning): Promise<Result<Lsn, PostgresError>> {
  const { from } = beginning;
  const outcome = await walDump(context, files, beginning, ["--quiet"]);
  if (!outcome.ok) return outcome;
  const found = parseLsn(/error in WAL record at ([0-9A-F]+\/[0-9A-F]+)/.exec(outcome.value.stderr)?.[1] ?? "");
  if (found !== null) return ok(found);
  let last: Lsn | null = null;
  const listed = await walDump(context, files, beginning, [], (line) => {
    last = parseLsn(/ lsn: ([0-9A-F]+\/[0-9A-F]+),/.exec(line)?.[1] ?? "") ?? last;
  });
  if (!listed.ok) return listed;
  if (last !== null) return ok(last);
  return err({ kind: "failed", message: `no end of WAL was found from ${formatLsn(from)} on: ${outcome.value.stderr.trim()}` });
}

/** Of the record that begins at `from`. */
async function recordEnd(context: PostgresContext, files: WalFiles, record: Beginning): Promise<Result<Lsn, PostgresError>> {
  const { from: begin } = record;
  const outcome = await walDump(context, files, record, ["--limit=1"]);
  if (!outcome.ok) return outcome;
  const match = /len \(rec\/tot\):\s*[0-9]+\/\s*([0-9]+),.*?lsn: ([0-9A-F]+\/[0-9A-F]+),/.exec(outcome.value.stdout);
  const position = match?.[2] === undefined ? null : parseLsn(match[2]);
  if (match?.[1] === undefined || position === null) {
    return err({ kind: "failed", message: `the WAL record at ${formatLsn(begin)} cannot be read: ${outcome.value.stderr.trim()}` });
  }
  return ok(endOfRecord(position, BigInt(match[1]), files.segmentBytes));
}

/** End of a record of `length` bytes, page headers on its way counted, aligned as the next record will be. */
export function endOfRecord(begin: Lsn, length: bigint, segmentBytes: bigint): Lsn {
  let position: bigint = begin;
  let left = length;
  for (;;) {
    const room = PAGE_BYTES - (position % PAGE_BYTES);
    if (left <= room) {
      position += left;
      break;
    }
    left -= room;
    position += room;
    position += position % segmentBytes === 0n ? SEGMENT_HEADER_BYTES : PAGE_HEADER_BYTES;
  }
  const over = position % RECORD_ALIGNMENT;
  return lsn(over === 0n ? position : position + RECORD_ALIGNMENT - over);
}

/**
 * First and last segment are named: pg_waldump would else learn the size of segments from any file of the folder, and one
 * that a standby has made and not yet received anything for holds zeros.
 */
function walDump(
  context: PostgresContext,
  files: WalFiles,
  beginning: Beginning,
  options: readonly string[],
  onLine?: (line: string) => void,
): Promise<Result<ProgramOutcome, PostgresError>> {
  const { timeline: on, from } = beginning;
  const end = endOfFiles(files, beginning);
  const range = [`--timeline=${on}`, `--start=${formatLsn(from)}`, `--end=${formatLsn(end)}`];
  const [first, last] = [from / files.segmentBytes, end / files.segmentBytes - 1n];
  const segments = [first, last].map((number) => segmentName(on, number, files.segmentBytes));
  return context.run({
    argv: ["pg_waldump", `--path=${join(context.config.dataDir, "pg_wal")}`, ...range, ...options, ...segments],
    env: { LC_ALL: "C", LC_MESSAGES: "C" },
    ...(onLine === undefined ? {} : { onLine }),
  });
}

function segmentName(on: Timeline, number: bigint, segmentBytes: bigint): string {
  const perHigh = 0x1_0000_0000n / segmentBytes;
  return `${hexadecimal(on)}${hexadecimal(Number(number / perHigh))}${hexadecimal(Number(number % perHigh))}`;
}
