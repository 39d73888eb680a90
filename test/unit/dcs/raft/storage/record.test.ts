// Records as bytes: what is written is read again, only in its place and behind its predecessor; a record written by half is
// told apart from one that rotted, whatever it holds; and what that means at the end of the log.

import { expect, test } from "bun:test";
import { crc32c } from "../../../../../lib/dcs/raft/storage/crc32c.ts";
import {
  encodeRecord,
  isPartlyUnwritten,
  type LogRecord,
  readRecord,
  recordBytes,
  SECTOR_BYTES,
  type SegmentBytes,
  segmentBytes,
} from "../../../../../lib/dcs/raft/storage/record.ts";
import { judgeTail } from "../../../../../lib/dcs/raft/storage/tail.ts";
import { logIndex, term } from "../../../../../lib/model/raft.ts";
import { fc } from "../../../../harness/properties.ts";
import { ownMs } from "../../../../harness/stall.ts";
import { ALICE, entry } from "./storage-fixtures.ts";

const SEGMENT = 7;

/** The records one after the other from the offset on, in a segment of zeros. */
function written(at: number, ...records: LogRecord[]): { readonly segment: SegmentBytes; readonly ends: readonly number[] } {
  const size = at + records.reduce((sum, record) => sum + recordBytes(record), 0) + 100;
  const segment = segmentBytes(SEGMENT, new Uint8Array(size));
  const ends: number[] = [];
  let chain = 99;
  let offset = at;
  for (const record of records) {
    chain = encodeRecord({ ...segment, at: offset }, record, { place: { segment: SEGMENT, offset }, chain, durableUpTo: 0 });
    offset += recordBytes(record);
    ends.push(offset);
  }
  return { segment, ends };
}

const of = (payload: Uint8Array): LogRecord => ({ kind: "entry", entry: entry(3, 2, payload) });

/** Payloads with long runs of zeros and of other words in them. */
const payloads = fc
  .array(fc.record({ length: fc.integer({ min: 0, max: 900 }), word: fc.constantFrom(0, 0, 1, 0xff, 0x01020304, 0xffffffff) }), {
    maxLength: 6,
  })
  .map((runs) => Uint8Array.from(runs.flatMap(({ length, word }) => Array.from({ length }, (_, at) => (word >>> ((at & 3) * 8)) & 0xff))));

test("the checksum is CRC-32C, and continues over pieces", () => {
  const bytes = new TextEncoder().encode("123456789");
  expect(crc32c(bytes)).toBe(0xe3069283);
  const slow = (data: Uint8Array): number => {
    let crc = 0xffffffff;
    for (const byte of data) {
      crc ^= byte;
      for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    }
    return ~crc >>> 0;
  };
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (data, cut) => {
      const at = Math.min(cut, data.length);
      expect(crc32c(data)).toBe(slow(data));
      expect(crc32c(data, at, data.length, crc32c(data, 0, at))).toBe(slow(data));
    }),
  );
});

test("every kind of record is read as it was written, behind its predecessor alone", () => {
  const records: LogRecord[] = [
    { kind: "hard-state", state: { term: term(2 ** 40), votedFor: ALICE } },
    { kind: "hard-state", state: { term: term(5), votedFor: null } },
    { kind: "reset", index: logIndex(2 ** 45), term: term(9) },
    { kind: "whole" },
    { kind: "entry", entry: entry(1, 1, "", "no-op") },
    { kind: "entry", entry: entry(2, 1, "c", "configuration") },
    of(new Uint8Array(3000)),
  ];
  const { segment, ends } = written(200, ...records);
  let at = 200;
  let chain = 99;
  for (const [position, record] of records.entries()) {
    const read = readRecord(segment, at, chain);
    expect(read?.record).toEqual(record);
    expect(read?.end).toBe(ends[position] as number);
    expect(readRecord(segment, at, chain ^ 1)).toBeNull();
    at = read?.end as number;
    chain = read?.crc as number;
  }
});

test("a record is valid only in the segment and at the offset that it was written for", () => {
  const { segment } = written(200, of(new Uint8Array(20)));
  const moved = new Uint8Array(segment.bytes.length);
  moved.set(segment.bytes.subarray(200, 300), 201);
  expect(readRecord(segmentBytes(SEGMENT, moved), 201, 99)).toBeNull();
  expect(readRecord(segmentBytes(SEGMENT + 1, segment.bytes), 200, 99)).toBeNull();
});

test("no record that was written wholly looks partly unwritten, whatever it holds and whichever bit rots", () => {
  fc.assert(
    fc.property(payloads, fc.nat(1023), fc.nat(), (payload, at, draw) => {
      const { segment, ends } = written(at, of(payload));
      expect(readRecord(segment, at, 99)?.record).toEqual(of(payload));
      const end = ends[0] as number;
      expect(isPartlyUnwritten(segment, at)).toBe(false);
      const bit = draw % ((end - at) * 8);
      const byte = at + Math.floor(bit / 8);
      segment.bytes[byte] = (segment.bytes[byte] as number) ^ (1 << (bit % 8));
      expect(readRecord(segment, at, 99)).toBeNull();
      expect(isPartlyUnwritten(segment, at)).toBe(false);
    }),
    { numRuns: 500 },
  );
});

test("a record cut at any byte, or without any one of its sectors, looks partly unwritten", () => {
  const payload = new Uint8Array(1300).map((_, at) => 1 + (at % 7));
  const { segment, ends } = written(300, of(payload));
  const end = ends[0] as number;
  for (let cut = 300; cut < end; cut += 1) {
    const torn = segmentBytes(SEGMENT, segment.bytes.slice());
    torn.bytes.fill(0, cut);
    expect(isPartlyUnwritten(torn, 300)).toBe(true);
  }
  for (let sector = 0; sector * SECTOR_BYTES < end; sector += 1) {
    const torn = segmentBytes(SEGMENT, segment.bytes.slice());
    torn.bytes.fill(0, Math.max(300, sector * SECTOR_BYTES), (sector + 1) * SECTOR_BYTES);
    expect(isPartlyUnwritten(torn, 300)).toBe(true);
  }
});

test("a payload of sixteen million zeros is encoded without delay", () => {
  const before = performance.now();
  const { segment } = written(0, of(new Uint8Array(16 * 1024 * 1024)));
  expect(isPartlyUnwritten(segment, 0)).toBe(false);
  expect(ownMs(before)).toBeLessThan(5000);
});

test("a record with a part unwritten is torn, unless something valid follows it or it is known to have been durable", () => {
  const { segment, ends } = written(300, of(new Uint8Array(1300).fill(1)), of(new Uint8Array(10)));
  const [end, followingEnd] = ends as [number, number];
  segment.bytes.fill(0, 512, 1024);
  expect(judgeTail(segment, 300, 0)).toMatchObject({ kind: "corrupt" });
  const alone = segmentBytes(SEGMENT, segment.bytes.slice());
  alone.bytes.fill(0, end, followingEnd);
  expect(judgeTail(alone, 300, 0)).toEqual({ kind: "torn" });
  expect(judgeTail(alone, 300, 300)).toEqual({ kind: "torn" });
  expect(judgeTail(alone, 300, end)).toMatchObject({ kind: "corrupt" });
  const blank = segmentBytes(SEGMENT, new Uint8Array(2000));
  expect(judgeTail(blank, 300, 0)).toEqual({ kind: "clean" });
  expect(judgeTail(blank, 300, end)).toMatchObject({ kind: "corrupt" });
});
