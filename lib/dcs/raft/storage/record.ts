// Owns the bytes of one log record: encoding, reading, and what makes a record written by half distinguishable from one
// that rotted. Pure; knows no file. What a bad record means for the log is judged in tail.ts.
//
//   0 start mark   1 kind   2 payload length u32   6 index u64   14 term u64   22 time f64   30 durable-up-to u32
//  34 mask u32   38 CRC u32   42 place check u32   46 head mark   47 payload   47 + length: end mark
//
// CRC: CRC-32C over bytes 0–37 and the stored payload, continued from the CRC of the record before (the chain).
// Place check: CRC-32C over bytes 0–41, continued from the place's own checksum: a head is found valid without its
// neighbours, and only at the segment and offset that it was written for.
// No byte of a mark can become zero by one flipped bit, and no sector inside a record is ever all zeros (the mask sees to
// it): so where a sector of a zero-filled segment is zero, it was never written.

import { logIndex, memberId, type Term, term } from "../../../model/raft.ts";
import type { EntryKind, HardState, LogEntry } from "../core/types.ts";
import { crc32c } from "./crc32c.ts";

export type LogRecord =
  | { readonly kind: "entry"; readonly entry: LogEntry }
  | { readonly kind: "hard-state"; readonly state: HardState }
  | { readonly kind: "reset"; readonly index: LogEntry["index"]; readonly term: Term }
  /** A damaged log has been made whole by a leader. */
  | { readonly kind: "whole" };

/** Where a record stands. */
export interface Place {
  /** Number of the segment. */
  readonly segment: number;
  /** From the beginning of the segment's file, in bytes. */
  readonly offset: number;
}

export const RECORD_HEAD_BYTES = 47;
/** A record takes this more than its payload. */
export const RECORD_EXTRA_BYTES = RECORD_HEAD_BYTES + 1;
/** Far above what one command may be; a greater one is a bug of the caller. */
export const PAYLOAD_BYTES_MAX = 128 * 1024 * 1024;
/** The smallest unit that disks write in one piece. */
export const SECTOR_BYTES = 512;

const START_MARK = 0xa7;
const HEAD_MARK = 0x96;
const AT = { kind: 1, length: 2, index: 6, term: 14, time: 22, durableUpTo: 30, mask: 34, crc: 38, place: 42, headMark: 46 } as const;
const END_MARK = 0x5b;
const KINDS = ["no-op", "command", "configuration", "hard-state", "reset", "whole"] as const;
type RecordKind = (typeof KINDS)[number];
const ENTRY_KINDS: ReadonlySet<RecordKind> = new Set<EntryKind>(["no-op", "command", "configuration"]);
const NOTHING = new Uint8Array(0);
const MEMBER_ID_BYTES = 16;
/** Two zero runs of fewer bytes than this, with a byte between them, do not fill a sector. */
const ZERO_RUN_MAX = SECTOR_BYTES / 2;
const HIGH = 2 ** 32;

/** Bytes that a record takes in the log. */
export function recordBytes(record: LogRecord): number {
  return RECORD_EXTRA_BYTES + payloadOf(record).length;
}

/**
 * Writes the record into `bytes` from `at` on, which must have room for `recordBytes(record)`.
 * Returns its CRC, from which the next record continues. Throws RangeError where the payload is too large.
 */
export function encodeRecord(
  target: { readonly bytes: Uint8Array; readonly view: DataView; readonly at: number },
  record: LogRecord,
  context: { readonly place: Place; readonly chain: number; readonly durableUpTo: number },
): number {
  const { bytes, view, at } = target;
  const payload = payloadOf(record);
  if (payload.length > PAYLOAD_BYTES_MAX) throw new RangeError(`a log record of ${payload.length} bytes`);
  const mask = maskFor(payload);
  const fields = fieldsOf(record);
  bytes[at] = START_MARK;
  bytes[at + AT.kind] = KINDS.indexOf(fields.kind) + 1;
  view.setUint32(at + AT.length, payload.length, true);
  setU64(view, at + AT.index, fields.index);
  setU64(view, at + AT.term, fields.term);
  view.setFloat64(at + AT.time, fields.time, true);
  view.setUint32(at + AT.durableUpTo, context.durableUpTo, true);
  view.setUint32(at + AT.mask, mask, true);
  const body = at + RECORD_HEAD_BYTES;
  bytes.set(payload, body);
  const end = body + payload.length;
  if (mask !== 0) applyMask(bytes, body, end, mask);
  const crc = crc32c(bytes, body, end, crc32c(bytes, at, at + AT.crc, context.chain));
  view.setUint32(at + AT.crc, crc, true);
  view.setUint32(at + AT.place, placeCheck(bytes, at, context.place), true);
  bytes[at + AT.headMark] = HEAD_MARK;
  bytes[end] = END_MARK;
  return crc;
}

export interface ReadRecord {
  readonly record: LogRecord;
  /** Offset behind it. */
  readonly end: number;
  readonly crc: number;
}

/** The record at the offset of the segment's bytes; null unless it is there, whole, and follows the chain. */
export function readRecord(segment: SegmentBytes, at: number, chain: number): ReadRecord | null {
  const end = headEnd(segment, at);
  if (end === null) return null;
  const { bytes, view } = segment;
  const body = at + RECORD_HEAD_BYTES;
  if (bytes[end - 1] !== END_MARK) return null;
  const crc = view.getUint32(at + AT.crc, true);
  if (crc32c(bytes, body, end - 1, crc32c(bytes, at, at + AT.crc, chain)) !== crc) return null;
  const payload = bytes.slice(body, end - 1);
  const mask = view.getUint32(at + AT.mask, true);
  if (mask !== 0) applyMask(payload, 0, payload.length, mask);
  const record = recordOf(view, at, payload);
  return record === null ? null : { record, end, crc };
}

/** A segment's content; `view` is over the same bytes. */
export interface SegmentBytes {
  readonly number: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export function segmentBytes(number: number, bytes: Uint8Array): SegmentBytes {
  return { number, bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}

/** Where the record whose head is valid at `at` ends; null where no valid head is. Says nothing about the payload. */
export function headEnd(segment: SegmentBytes, at: number): number | null {
  const { bytes, view } = segment;
  if (bytes[at] !== START_MARK || at + RECORD_EXTRA_BYTES > bytes.length || bytes[at + AT.headMark] !== HEAD_MARK) return null;
  if (view.getUint32(at + AT.place, true) !== placeCheck(bytes, at, { segment: segment.number, offset: at })) return null;
  const end = at + RECORD_EXTRA_BYTES + view.getUint32(at + AT.length, true);
  return end <= bytes.length ? end : null;
}

/** The first offset from `from` on where a valid head stands; null where there is none. */
export function nextHead(segment: SegmentBytes, from: number): number | null {
  for (let at = from; at < segment.bytes.length; at += 1) if (headEnd(segment, at) !== null) return at;
  return null;
}

/**
 * Whether part of what was to be written at `at` never reached the disk, as a crash leaves it. One flipped bit in a record
 * that was written wholly never makes this true.
 */
export function isPartlyUnwritten(segment: SegmentBytes, at: number): boolean {
  const { bytes } = segment;
  const end = headEnd(segment, at) ?? Math.min(at + RECORD_HEAD_BYTES, bytes.length);
  if (bytes[at] === 0 || bytes[end - 1] === 0) return true;
  for (let from = at; from < end; ) {
    const to = Math.min(end, from - (from % SECTOR_BYTES) + SECTOR_BYTES);
    if (isZero(bytes, from, to)) return true;
    from = to;
  }
  return false;
}

export function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at += 1) if (bytes[at] !== 0) return false;
  return true;
}

function placeCheck(bytes: Uint8Array, at: number, place: Place): number {
  const seed = (Math.imul(place.segment, 0x9e3779b1) ^ Math.imul(place.offset, 0x85ebca6b)) >>> 0;
  return crc32c(bytes, at, at + AT.place, seed);
}

function fieldsOf(record: LogRecord): { kind: RecordKind; index: number; term: number; time: number } {
  switch (record.kind) {
    case "entry":
      return record.entry;
    case "hard-state":
      return { kind: "hard-state", index: 0, term: record.state.term, time: 0 };
    case "reset":
      return { kind: "reset", index: record.index, term: record.term, time: 0 };
    case "whole":
      return { kind: "whole", index: 0, term: 0, time: 0 };
  }
}

function payloadOf(record: LogRecord): Uint8Array {
  if (record.kind === "entry") return record.entry.payload;
  if (record.kind === "hard-state" && record.state.votedFor !== null) return Buffer.from(record.state.votedFor, "hex");
  return NOTHING;
}

function recordOf(view: DataView, at: number, payload: Uint8Array): LogRecord | null {
  const kind = KINDS[view.getUint8(at + AT.kind) - 1];
  if (kind === undefined) return null;
  const index = logIndex(getU64(view, at + AT.index));
  const ofTerm = term(getU64(view, at + AT.term));
  if (isEntryKind(kind)) return { kind: "entry", entry: { index, term: ofTerm, kind, time: view.getFloat64(at + AT.time, true), payload } };
  if (kind === "reset") return { kind, index, term: ofTerm };
  if (kind === "whole") return { kind };
  if (payload.length === 0) return { kind: "hard-state", state: { term: ofTerm, votedFor: null } };
  const votedFor = payload.length === MEMBER_ID_BYTES ? memberId(Buffer.from(payload).toString("hex")) : null;
  return votedFor === null ? null : { kind: "hard-state", state: { term: ofTerm, votedFor } };
}

function isEntryKind(kind: RecordKind): kind is EntryKind {
  return ENTRY_KINDS.has(kind);
}

/** A word which, laid over the payload by exclusive or, leaves no long run of zeros; zero for nearly every payload. */
function maskFor(payload: Uint8Array): number {
  // Nearly no payload rules out any: then there is no set.
  let unfit = null as Set<number> | null;
  // A long run covers one of every ZERO_RUN_MAX bytes, so only those are looked at: each rules out one mask at most.
  for (let probe = ZERO_RUN_MAX - 1; probe < payload.length; probe += ZERO_RUN_MAX) {
    const mask = maskEndingAt(payload, probe);
    if (unfit?.has(mask) === true || !isLongRun(payload, probe, mask)) continue;
    unfit ??= new Set<number>();
    unfit.add(mask);
  }
  if (unfit === null) return 0;
  let mask = 0;
  while (unfit.has(mask)) mask += 1;
  return mask;
}

/** The mask under which the four bytes up to and including the probe become zero. */
function maskEndingAt(payload: Uint8Array, probe: number): number {
  let mask = 0;
  for (let at = probe - 3; at <= probe; at += 1) mask |= (payload[at] as number) << ((at & 3) * 8);
  return mask >>> 0;
}

function isLongRun(payload: Uint8Array, probe: number, mask: number): boolean {
  let from = probe;
  while (from > 0 && probe - from < ZERO_RUN_MAX && payload[from - 1] === maskByte(mask, from - 1)) from -= 1;
  let to = probe + 1;
  while (to < payload.length && to - from < ZERO_RUN_MAX && payload[to] === maskByte(mask, to)) to += 1;
  return to - from >= ZERO_RUN_MAX;
}

function maskByte(mask: number, position: number): number {
  return (mask >>> ((position & 3) * 8)) & 0xff;
}

function applyMask(bytes: Uint8Array, from: number, to: number, mask: number): void {
  for (let at = from; at < to; at += 1) bytes[at] = (bytes[at] as number) ^ maskByte(mask, at - from);
}

export function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % HIGH, true);
  view.setUint32(at + 4, Math.floor(value / HIGH), true);
}

export function getU64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * HIGH;
}
