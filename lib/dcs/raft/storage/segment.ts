// Owns names and headers of the log's segments. A segment is a zero-filled file; its header says which record of which
// segment it continues, and what the log amounted to there. Pure; knows no file.
//
// Segments are numbered by one; a number is never used twice, and no byte of a segment is written twice, save that the
// remains of a torn record are zeroed. So nothing stale can ever be taken for a record: a truncation of the log is an
// entry with a lower index further on, not a change of what was written.

import { memberId, type Term, term } from "../../../model/raft.ts";
import type { HardState } from "../core/types.ts";
import { crc32c } from "./crc32c.ts";
import { getU64, isZero, setU64 } from "./record.ts";

/** About 27,000 records of 300 bytes; zeroing it takes tens of milliseconds, which happens ahead of need. */
export const SEGMENT_BYTES = 8 * 1024 * 1024;
export const SEGMENT_HEADER_BYTES = 128;

export interface SegmentHeader {
  readonly number: number;
  /** Of the whole file, in bytes. */
  readonly size: number;
  /** Where the log went on from; null in the first segment, and where nothing before could be trusted. */
  readonly previous: { readonly number: number; readonly end: number; readonly crc: number } | null;
  /** The last entry when the segment began: the log may be empty, and continues behind it. */
  readonly lastIndex: number;
  readonly lastTerm: Term;
  readonly hardState: HardState;
  /** Whether the log was damaged, and not yet made whole by a leader, when the segment began. */
  readonly log: "whole" | "damaged";
}

const MAGIC = Buffer.from("MATRILOG");
const VERSION = 1;
const AT = {
  version: 8,
  damaged: 12,
  number: 16,
  previousNumber: 24,
  previousEnd: 32,
  previousCrc: 36,
  lastIndex: 40,
  lastTerm: 48,
  hardTerm: 56,
  voted: 64,
  vote: 65,
  size: 84,
  crc: 120,
  endMark: 127,
} as const;
const END_MARK = 0x96;
const NAME = /^log-(\d{20})\.seg$/;

export function segmentName(number: number): string {
  return `log-${String(number).padStart(20, "0")}.seg`;
}

/** Null for the name of anything else. */
export function segmentNumber(name: string): number | null {
  const digits = NAME.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
}

export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC, 0);
  view.setUint32(AT.version, VERSION, true);
  view.setUint32(AT.damaged, header.log === "damaged" ? 1 : 0, true);
  setU64(view, AT.number, header.number);
  view.setUint32(AT.size, header.size, true);
  if (header.previous !== null) {
    setU64(view, AT.previousNumber, header.previous.number);
    view.setUint32(AT.previousEnd, header.previous.end, true);
    view.setUint32(AT.previousCrc, header.previous.crc, true);
  }
  setU64(view, AT.lastIndex, header.lastIndex);
  setU64(view, AT.lastTerm, header.lastTerm);
  encodeHardState(bytes, view, AT.hardTerm, header.hardState);
  view.setUint32(AT.crc, crc32c(bytes, 0, AT.crc), true);
  bytes[AT.endMark] = END_MARK;
  return bytes;
}

/** From this checksum the first record of a segment continues. */
export function headerCrc(encoded: Uint8Array): number {
  return new DataView(encoded.buffer, encoded.byteOffset).getUint32(AT.crc, true);
}

export type ReadHeader =
  | { readonly kind: "header"; readonly header: SegmentHeader; readonly crc: number }
  /** Part of it was never written: unused, unless a valid record follows or it is known to have been durable. */
  | { readonly kind: "unwritten" }
  | { readonly kind: "bad" };

/** Reads the header of the segment with this number from the first bytes of its file. */
export function readSegmentHeader(number: number, bytes: Uint8Array): ReadHeader {
  // The file was zero-filled before it got its name, so a short one has lost its end.
  if (bytes.length < SEGMENT_HEADER_BYTES) return { kind: "bad" };
  if (bytes[0] === 0 || bytes[AT.endMark] === 0) return { kind: "unwritten" };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const crc = view.getUint32(AT.crc, true);
  if (crc32c(bytes, 0, AT.crc) !== crc || !MAGIC.equals(bytes.subarray(0, MAGIC.length))) return { kind: "bad" };
  if (bytes[AT.endMark] !== END_MARK || !isZero(bytes, AT.crc + 4, AT.endMark)) return { kind: "bad" };
  if (view.getUint32(AT.version, true) !== VERSION || getU64(view, AT.number) !== number) return { kind: "bad" };
  const hardState = decodeHardState(bytes, view, AT.hardTerm);
  if (hardState === null) return { kind: "bad" };
  const previousNumber = getU64(view, AT.previousNumber);
  const previous = { number: previousNumber, end: view.getUint32(AT.previousEnd, true), crc: view.getUint32(AT.previousCrc, true) };
  const header: SegmentHeader = {
    number,
    size: view.getUint32(AT.size, true),
    previous: previousNumber === 0 ? null : previous,
    lastIndex: getU64(view, AT.lastIndex),
    lastTerm: term(getU64(view, AT.lastTerm)),
    hardState,
    log: view.getUint32(AT.damaged, true) === 0 ? "whole" : "damaged",
  };
  return { kind: "header", header, crc };
}

/** Bytes that a hard state takes: term, whether there is a vote, the member's id. */
export const HARD_STATE_BYTES = AT.vote - AT.hardTerm + 16;

export function encodeHardState(bytes: Uint8Array, view: DataView, at: number, state: HardState): void {
  setU64(view, at, state.term);
  if (state.votedFor === null) return;
  bytes[at + 8] = 1;
  bytes.set(Buffer.from(state.votedFor, "hex"), at + 9);
}

/** Null where the bytes are not what encodeHardState writes. */
export function decodeHardState(bytes: Uint8Array, view: DataView, at: number): HardState | null {
  const ofTerm = term(getU64(view, at));
  if (bytes[at + 8] === 0) return { term: ofTerm, votedFor: null };
  const votedFor = memberId(Buffer.from(bytes.subarray(at + 9, at + 25)).toString("hex"));
  return votedFor === null ? null : { term: ofTerm, votedFor };
}
