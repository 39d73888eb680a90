// Owns the judgement over the place where the records of the log end: a clean end, a record torn by a crash, or corruption.
// Pure. The rule (raft.md, Log): a bad record is torn only if nothing valid follows it, nothing later says that it was
// durable, and part of it was never written. Everything else is corruption, a rotted last record too.

import { isPartlyUnwritten, isZero, nextHead, type SegmentBytes } from "./record.ts";

export type Tail =
  /** Nothing but zeros from there on. */
  | { readonly kind: "clean" }
  /** A crash interrupted a write that nobody was told of. The rest of the segment has to be zeroed before it is used. */
  | { readonly kind: "torn" }
  | { readonly kind: "corrupt"; readonly reason: string };

/**
 * Judges what stands at `at`, where no readable record follows the chain any more, in the newest segment.
 * `durableUpTo`: the offset up to which this segment is known, from elsewhere, to have been durable.
 */
export function judgeTail(segment: SegmentBytes, at: number, durableUpTo: number): Tail {
  if (durableUpTo > at) {
    return { kind: "corrupt", reason: `records up to offset ${durableUpTo} were durable, but none can be read at ${at}` };
  }
  if (isZero(segment.bytes, at, segment.bytes.length)) return { kind: "clean" };
  const following = nextHead(segment, at + 1);
  if (following !== null) return { kind: "corrupt", reason: `the record at offset ${at} is bad, and one at ${following} is valid` };
  if (!isPartlyUnwritten(segment, at)) return { kind: "corrupt", reason: `the record at offset ${at} was written wholly, and is bad now` };
  return { kind: "torn" };
}
