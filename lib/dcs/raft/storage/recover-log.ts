// Owns the reading of the log after a start: which segments count, what their records amount to, and where they end. Writes
// nothing. Corruption is reported, never mended: what stands before it is returned, and the log counts as damaged.

import { logIndex, type Term, term } from "../../../model/raft.ts";
import type { HardState, LogEntry } from "../core/types.ts";
import type { Disk } from "./disk.ts";
import { isZero, type LogRecord, nextHead, type Place, readRecord, type SegmentBytes, segmentBytes } from "./record.ts";
import { readSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentHeader, segmentName, segmentNumber } from "./segment.ts";
import { laterHardState } from "./slots.ts";
import { judgeTail, type Tail } from "./tail.ts";

/** Where the next record goes, and the checksum that it continues from. */
export interface LogEnd {
  readonly number: number;
  readonly end: number;
  readonly crc: number;
}

export interface UsedSegment {
  readonly number: number;
  /** The last index of the log when the segment began. */
  readonly lastIndex: number;
}

export interface RecoveredLog {
  /** Behind the snapshot, consecutive. */
  readonly entries: readonly LogEntry[];
  readonly lastIndex: number;
  readonly lastTerm: Term;
  readonly hardState: HardState;
  readonly log: "whole" | "damaged";
  /** What is wrong, where this reading found it; null where it found nothing (a log may be damaged from before). */
  readonly corruption: string | null;
  /** The log does not lead on from the snapshot: it has to be reset to it. */
  readonly fromSnapshot: boolean;
  /** Null where no segment can be gone on from. */
  readonly end: LogEnd | null;
  /** The segment's bytes from the end on are the remains of a torn record. */
  readonly torn: boolean;
  /** Bytes of the segment where the log ends. */
  readonly size: number;
  /** Those that were read, oldest first. */
  readonly segments: readonly UsedSegment[];
  /** Prepared and never used; `blank`: its size, where all of it is zeros. */
  readonly unused: readonly UnusedSegment[];
  /** The highest number that was ever used, 0 = none. */
  readonly newest: number;
}

export interface UnusedSegment {
  readonly number: number;
  readonly blank: number | null;
}

/** The entry that the log has to lead on from: of the snapshot, or index 0 and term 0. */
export interface LogBase {
  readonly index: number;
  readonly term: Term;
}

/** Rejects with DiskError where a file cannot be read. */
export async function recoverLog(disk: Disk, names: readonly string[], base: LogBase, durable: Place): Promise<RecoveredLog> {
  const found = await readHeaders(disk, names, durable);
  const { path, fault } = findPath(found, base);
  const replay = new Replay(path[0]?.header ?? null);
  let corruption = fault;
  let end: LogEnd | null = null;
  let torn = false;
  let size = 0;
  const segments: UsedSegment[] = [];
  for (const [position, { header, crc }] of path.entries()) {
    const next = path[position + 1]?.header.previous ?? null;
    const segment = segmentBytes(header.number, await disk.read(segmentName(header.number)));
    replay.enter(header);
    end = replay.run(segment, crc, next?.end ?? segment.bytes.length);
    size = segment.bytes.length;
    segments.push({ number: header.number, lastIndex: header.lastIndex });
    const judged =
      next === null ? judgeTail(segment, end.end, durable.segment === header.number ? durable.offset : 0) : judgeJoint(end, next);
    torn = judged.kind === "torn";
    const reason =
      size < header.size ? `the file has only ${size} of its ${header.size} bytes` : judged.kind === "corrupt" ? judged.reason : null;
    if (reason === null) continue;
    corruption ??= `${segmentName(header.number)}: ${reason}`;
    break;
  }
  const aligned = replay.align(base);
  return {
    ...aligned,
    hardState: replay.hardState,
    log: corruption !== null || aligned.gap !== null ? "damaged" : replay.log,
    corruption: corruption ?? aligned.gap,
    end,
    torn: torn && corruption === null,
    size,
    segments,
    unused: found.unused,
    newest: found.newest,
  };
}

interface FoundHeader {
  readonly header: SegmentHeader;
  readonly crc: number;
}

interface FoundSegments {
  /** By number, ascending. */
  readonly headers: ReadonlyMap<number, FoundHeader>;
  readonly unused: readonly UnusedSegment[];
  readonly newest: number;
}

async function readHeaders(disk: Disk, names: readonly string[], durable: Place): Promise<FoundSegments> {
  const headers = new Map<number, FoundHeader>();
  const unwritten: number[] = [];
  // Numbers have no gap, so the newest used one is known even where its file is gone.
  let newest = durable.segment;
  const numbers = names.map(segmentNumber).filter((number) => number !== null);
  for (const number of numbers.sort((a, b) => a - b)) {
    const read = readSegmentHeader(number, await disk.readAt(segmentName(number), 0, SEGMENT_HEADER_BYTES));
    if (read.kind === "unwritten") {
      unwritten.push(number);
      continue;
    }
    newest = Math.max(newest, number);
    if (read.kind === "header") headers.set(number, { header: read.header, crc: read.crc });
  }
  const unused: UnusedSegment[] = [];
  for (const number of unwritten.reverse()) {
    if (number <= newest) break;
    const segment = segmentBytes(number, await disk.read(segmentName(number)));
    const { length } = segment.bytes;
    if (nextHead(segment, SEGMENT_HEADER_BYTES) !== null) newest = number;
    else unused.push({ number, blank: isZero(segment.bytes, 0, length) ? length : null });
  }
  return { headers, unused, newest };
}

/**
 * The segments to read, oldest first, from the newest one whose beginning the base covers. Where one of them is missing or
 * its header is bad, what stands before it counts, and `fault` says why.
 */
function findPath(found: FoundSegments, base: LogBase): { readonly path: readonly FoundHeader[]; readonly fault: string | null } {
  let fault: string | null = null;
  let top = found.newest;
  while (top > 0) {
    const path: FoundHeader[] = [];
    let wanted: number | null = top;
    while (wanted !== null) {
      const segment = found.headers.get(wanted);
      if (segment === undefined) break;
      path.unshift(segment);
      if (segment.header.lastIndex <= base.index) return { path, fault };
      wanted = segment.header.previous?.number ?? null;
    }
    const reason = wanted === null ? "the log does not reach back to the snapshot" : `${segmentName(wanted)} is missing or unreadable`;
    fault = fault === null ? reason : fault;
    const below = wanted ?? path[0]?.header.number ?? top;
    top = Math.max(0, ...[...found.headers.keys()].filter((number) => number < below));
  }
  return { path: [], fault };
}

/** A segment that another one goes on from ends where that one says. */
function judgeJoint(end: LogEnd, wanted: LogEnd): Tail {
  if (end.end === wanted.end && end.crc === wanted.crc) return { kind: "clean" };
  return { kind: "corrupt", reason: `the record at offset ${end.end} is bad, and a later segment goes on behind it` };
}

/** What the records amount to, applied one after the other. */
class Replay {
  hardState: HardState = { term: term(0), votedFor: null };
  log: "whole" | "damaged" = "whole";
  #baseIndex = 0;
  #baseTerm: Term | null = term(0);
  #entries: LogEntry[] = [];

  constructor(first: SegmentHeader | null) {
    if (first !== null) this.#reset(first.lastIndex, first.lastTerm);
  }

  enter(header: SegmentHeader): void {
    this.hardState = laterHardState(this.hardState, header.hardState);
    this.log = header.log;
    // A segment that was begun after corruption may go on from the snapshot instead of from what could still be read.
    if (header.lastIndex !== this.#lastIndex() || this.#termAt(header.lastIndex) !== header.lastTerm) {
      this.#reset(header.lastIndex, header.lastTerm);
    }
  }

  /** Applies records up to the offset `until`, or up to the first that is not there. */
  run(segment: SegmentBytes, headerCrc: number, until: number): LogEnd {
    let at = SEGMENT_HEADER_BYTES;
    let crc = headerCrc;
    while (at < until) {
      const read = readRecord(segment, at, crc);
      if (read === null || !this.#apply(read.record)) break;
      at = read.end;
      crc = read.crc;
    }
    return { number: segment.number, end: at, crc };
  }

  /** Entries behind the base, and whether the log leads on from it. */
  align(base: LogBase): Pick<RecoveredLog, "entries" | "lastIndex" | "lastTerm" | "fromSnapshot"> & { readonly gap: string | null } {
    const gap = this.#baseIndex > base.index ? `entries ${base.index + 1} to ${this.#baseIndex} are missing from the log` : null;
    if (gap !== null || this.#termAt(base.index) !== base.term) {
      return { entries: [], lastIndex: base.index, lastTerm: base.term, fromSnapshot: true, gap };
    }
    const entries = this.#entries.slice(base.index - this.#baseIndex);
    const last = entries.at(-1);
    return { entries, lastIndex: last?.index ?? base.index, lastTerm: last?.term ?? base.term, fromSnapshot: false, gap };
  }

  /** False where the record cannot follow what was read: then something before it is not what was written. */
  #apply(record: LogRecord): boolean {
    switch (record.kind) {
      case "hard-state":
        this.hardState = laterHardState(this.hardState, record.state);
        return true;
      case "reset":
        this.#reset(record.index, record.term);
        return true;
      case "whole":
        this.log = "whole";
        return true;
      case "entry":
        return this.#append(record.entry);
    }
  }

  #append(entry: LogEntry): boolean {
    const last = this.#lastIndex();
    if (entry.index > last + 1 || entry.index < 1) return false;
    if (entry.index <= this.#baseIndex) {
      this.#baseIndex = entry.index - 1;
      this.#baseTerm = null;
      this.#entries = [];
    }
    this.#entries.length = entry.index - 1 - this.#baseIndex;
    this.#entries.push(entry);
    return true;
  }

  #reset(index: number, ofTerm: Term): void {
    this.#baseIndex = index;
    this.#baseTerm = ofTerm;
    this.#entries = [];
  }

  #lastIndex(): number {
    return this.#baseIndex + this.#entries.length;
  }

  /** Null where the log does not know it. */
  #termAt(index: number): Term | null {
    if (index === this.#baseIndex) return this.#baseTerm;
    return this.#entries[index - this.#baseIndex - 1]?.term ?? null;
  }
}

/** Index 0, before the first entry. */
export const NO_BASE: LogBase = { index: logIndex(0), term: term(0) };
