// Owns CRC-32C (Castagnoli), with which everything that the Raft keeps on disk is checked. Sixteen tables, sixteen bytes a
// turn: Bun has CRC-32 alone, whose polynomial finds fewer errors in records of our size.

/** Reversed form of 0x1EDC6F41. */
const POLYNOMIAL = 0x82f63b78;
const TABLES = 16;

/** Table k at offset k · 256: what a byte does to the checksum when k zero bytes follow it. */
const TABLE = buildTables();

/**
 * The checksum of the bytes from `start` to `end`, continued from the checksum of what went before (0 = nothing).
 * `crc32c(b, 0, n, crc32c(a))` equals the checksum of `a` followed by `b`. Unsigned, 32 bits.
 */
export function crc32c(bytes: Uint8Array, start = 0, end: number = bytes.length, before = 0): number {
  const table = TABLE;
  let crc = ~before;
  let at = start;
  for (const blocksEnd = end - 15; at < blocksEnd; at += 16) {
    const a = crc ^ word(bytes, at);
    const b = word(bytes, at + 4);
    const c = word(bytes, at + 8);
    const d = word(bytes, at + 12);
    crc =
      at4(table, 3840, a, 3584, 3328, 3072) ^
      at4(table, 2816, b, 2560, 2304, 2048) ^
      at4(table, 1792, c, 1536, 1280, 1024) ^
      at4(table, 768, d, 512, 256, 0);
  }
  for (; at < end; at += 1) crc = (crc >>> 8) ^ (table[(crc ^ (bytes[at] as number)) & 0xff] as number);
  return ~crc >>> 0;
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24);
}

/** The four bytes of a word, lowest first, each through the table at its offset. */
function at4(table: Int32Array, first: number, value: number, second: number, third: number, fourth: number): number {
  return (
    (table[first + (value & 0xff)] as number) ^
    (table[second + ((value >>> 8) & 0xff)] as number) ^
    (table[third + ((value >>> 16) & 0xff)] as number) ^
    (table[fourth + (value >>> 24)] as number)
  );
}

function buildTables(): Int32Array {
  const table = new Int32Array(TABLES * 256);
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    table[byte] = crc;
  }
  for (let at = 256; at < table.length; at += 1) {
    const shorter = table[at - 256] as number;
    table[at] = (shorter >>> 8) ^ (table[shorter & 0xff] as number);
  }
  return table;
}
