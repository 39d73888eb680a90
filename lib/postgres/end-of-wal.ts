// Owns the question how far the WAL of a stopped server reaches: answered from the WAL itself, record by record, because
// pg_control knows only where a checkpoint record begins, and whether that record reached a standby is what matters.

import { join } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import { formatLsn, parseLsn } from "../model/lsn.ts";
import type { ControlData } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Lsn, lsn, type Timeline } from "../model/units.ts";
import { readIfThere, reasonOf } from "./atomic-file.ts";
import type { PostgresContext } from "./context.ts";
import { parseTimelineHistory, timelineFileName } from "./timeline-history.ts";

/** WAL page size of every packaged server; the header of a page, and of the first page of a segment. */
const PAGE_BYTES = 8192n;
const PAGE_HEADER_BYTES = 24n;
const SEGMENT_HEADER_BYTES = 40n;
/** Default of initdb --wal-segsize; the real size is asked of the segment's first page only where that matters (the header differs by 16 bytes). */
const DEFAULT_SEGMENT_BYTES = 16n * 1024n * 1024n;
const RECORD_ALIGNMENT = 8n;

/**
 * First byte after the last valid record, on the newest timeline that the directory has WAL of.
 * Errors: failed (no readable record from the checkpoint on).
 */
export async function localEndOfWal(
  context: PostgresContext,
  control: ControlData,
): Promise<Result<{ readonly timeline: Timeline; readonly lsn: Lsn }, PostgresError>> {
  const timeline = newestTimeline(control);
  const from = await firstPosition(context, control, timeline);
  if (!from.ok) return from;
  const last = await lastRecord(context, timeline, from.value);
  if (!last.ok) return last;
  const end = await recordEnd(context, timeline, last.value);
  return end.ok ? ok({ timeline, lsn: end.value }) : end;
}

/** A server that was promoted and crashed before its first checkpoint knows the new timeline only from the end of recovery. */
function newestTimeline(control: ControlData): Timeline {
  const other = control.minRecoveryTimeline;
  return other !== null && other > control.timeline ? other : control.timeline;
}

/** The checkpoint's redo point, or where its newer timeline begins: earlier WAL stands in files of the older one. */
async function firstPosition(context: PostgresContext, control: ControlData, timeline: Timeline): Promise<Result<Lsn, PostgresError>> {
  if (control.state === "shut down") return ok(control.checkpointLsn);
  if (timeline === control.timeline) return ok(control.checkpointRedoLsn);
  const path = join(context.config.dataDir, "pg_wal", timelineFileName(timeline));
  try {
    const history = parseTimelineHistory((await readIfThere(path)) ?? "");
    const begin = history.at(-1)?.switchpoint;
    return begin === undefined ? err({ kind: "failed", message: `${path} does not say where timeline ${timeline} begins` }) : ok(begin);
  } catch (error) {
    return err({ kind: "failed", message: `${path}: ${reasonOf(error)}` });
  }
}

/** Where the last valid record begins: pg_waldump names it when it meets the first invalid one. */
async function lastRecord(context: PostgresContext, timeline: Timeline, from: Lsn): Promise<Result<Lsn, PostgresError>> {
  const outcome = await walDump(context, timeline, from, ["--quiet"]);
  if (!outcome.ok) return outcome;
  const found = /error in WAL record at ([0-9A-F]+\/[0-9A-F]+)/.exec(outcome.value.stderr)?.[1];
  const position = found === undefined ? null : parseLsn(found);
  if (position !== null) return ok(position);
  return err({ kind: "failed", message: `no end of WAL was found from ${formatLsn(from)} on: ${outcome.value.stderr.trim()}` });
}

async function recordEnd(context: PostgresContext, timeline: Timeline, begin: Lsn): Promise<Result<Lsn, PostgresError>> {
  const outcome = await walDump(context, timeline, begin, ["--limit=1"]);
  if (!outcome.ok) return outcome;
  const match = /len \(rec\/tot\):\s*[0-9]+\/\s*([0-9]+),.*?lsn: ([0-9A-F]+\/[0-9A-F]+),/.exec(outcome.value.stdout);
  const position = match?.[2] === undefined ? null : parseLsn(match[2]);
  if (match?.[1] === undefined || position === null) {
    return err({ kind: "failed", message: `the WAL record at ${formatLsn(begin)} cannot be read: ${outcome.value.stderr.trim()}` });
  }
  return ok(endOfRecord(position, BigInt(match[1]), DEFAULT_SEGMENT_BYTES));
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

function walDump(context: PostgresContext, timeline: Timeline, from: Lsn, options: readonly string[]) {
  return context.run({
    argv: [
      "pg_waldump",
      `--path=${join(context.config.dataDir, "pg_wal")}`,
      `--timeline=${timeline}`,
      `--start=${formatLsn(from)}`,
      ...options,
    ],
    env: { LC_ALL: "C", LC_MESSAGES: "C" },
  });
}
