// Owns the search for the last vote on a member's disk, so that a fault can flip a bit of it: in the newer slot, or in the log. Reads
// the files as they are and flips nothing by itself.

import { nextHead, RECORD_HEAD_BYTES, segmentBytes } from "../../../lib/dcs/raft/storage/record.ts";
import { HARD_STATE_BYTES, SEGMENT_HEADER_BYTES, segmentNumber } from "../../../lib/dcs/raft/storage/segment.ts";
import { decodeSlot, SLOT_NAMES } from "../../../lib/dcs/raft/storage/slots.ts";
import type { FakeDisk } from "../fake-disk.ts";

/** Bytes of one file, from `from` on. */
export interface Stretch {
  readonly file: string;
  readonly from: number;
  readonly length: number;
}

/** Behind magic and version: generation, durable-up-to, term and vote, checksum (slots.ts). */
const SLOT_FROM = 16;
const SLOT_LENGTH = 24 + HARD_STATE_BYTES + 4;
/** The record's kind (record.ts). */
const KIND_AT = 1;
const HARD_STATE_KIND = 4;

/** The slot that was written last; null where none is whole. */
export function newestSlot(disk: FakeDisk): Stretch | null {
  let newest: { readonly file: string; readonly generation: number } | null = null;
  for (const file of SLOT_NAMES) {
    const slot = disk.size(file) === null ? null : decodeSlot(disk.peek(file));
    if (slot !== null && (newest === null || slot.generation > newest.generation)) newest = { file, generation: slot.generation };
  }
  return newest === null ? null : { file: newest.file, from: SLOT_FROM, length: SLOT_LENGTH };
}

/** The last record of term and vote in the log; null where there is none. */
export function newestVoteRecord(disk: FakeDisk): Stretch | null {
  const segments = disk
    .names()
    .flatMap((file) => ({ file, number: segmentNumber(file) }))
    .filter((one): one is { file: string; number: number } => one.number !== null)
    .sort((a, b) => b.number - a.number);
  for (const { file, number } of segments) {
    const segment = segmentBytes(number, disk.peek(file));
    let found: number | null = null;
    for (let at = nextHead(segment, SEGMENT_HEADER_BYTES); at !== null; at = nextHead(segment, at + 1))
      if (segment.bytes[at + KIND_AT] === HARD_STATE_KIND) found = at;
    if (found !== null) return { file, from: found, length: RECORD_HEAD_BYTES };
  }
  return null;
}
