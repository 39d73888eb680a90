// Owns the bytes and names of snapshot files: a line of JSON with the metadata between two lengths, the body, and a CRC-32C of
// all that stands before it. Pure; knows no file.

import * as v from "valibot";
import type { SnapshotMeta } from "../core/types.ts";
import { crc32c } from "./crc32c.ts";
import { ConfigurationSchema, LogIndexSchema, parseJson, TermSchema } from "./stored-configuration.ts";

/** A cluster's whole state, far above what the bounds of the key-value machine allow; a length beyond it is not ours. */
export const SNAPSHOT_BYTES_MAX = 2 * 1024 * 1024 * 1024 - 1;

const MAGIC = Buffer.from("MATRISNP");
const VERSION = 1;
const AT = { version: 8, metaLength: 12, bodyLength: 16, meta: 20 } as const;
const CRC_BYTES = 4;
const NAME = /^snapshot-(\d{16})-(\d{16})$/;

const MetaSchema = v.object({
  index: LogIndexSchema,
  term: TermSchema,
  time: v.pipe(v.number(), v.finite()),
  configuration: ConfigurationSchema,
  configurationIndex: LogIndexSchema,
});

/** Names sort by index, then term. */
export function snapshotName(meta: { readonly index: number; readonly term: number }): string {
  return `snapshot-${String(meta.index).padStart(16, "0")}-${String(meta.term).padStart(16, "0")}`;
}

/** Null for the name of anything else. */
export function parseSnapshotName(name: string): { readonly index: number; readonly term: number } | null {
  const parts = NAME.exec(name);
  return parts === null ? null : { index: Number(parts[1]), term: Number(parts[2]) };
}

/** The whole file. Throws RangeError above SNAPSHOT_BYTES_MAX. */
export function encodeSnapshot(meta: SnapshotMeta, body: Uint8Array): Uint8Array {
  const { index, term, time, configuration, configurationIndex } = meta;
  const json = Buffer.from(JSON.stringify({ index, term, time, configuration, configurationIndex }));
  const size = AT.meta + json.length + body.length + CRC_BYTES;
  if (size > SNAPSHOT_BYTES_MAX) throw new RangeError(`a snapshot of ${size} bytes`);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC, 0);
  view.setUint32(AT.version, VERSION, true);
  view.setUint32(AT.metaLength, json.length, true);
  view.setUint32(AT.bodyLength, body.length, true);
  bytes.set(json, AT.meta);
  bytes.set(body, AT.meta + json.length);
  view.setUint32(size - CRC_BYTES, crc32c(bytes, 0, size - CRC_BYTES), true);
  return bytes;
}

export interface DecodedSnapshot {
  readonly meta: SnapshotMeta;
  /** A view of the bytes given. */
  readonly body: Uint8Array;
}

/** Null where the bytes are not a whole snapshot. */
export function decodeSnapshot(bytes: Uint8Array): DecodedSnapshot | null {
  if (bytes.length < AT.meta + CRC_BYTES || !MAGIC.equals(bytes.subarray(0, MAGIC.length))) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const bodyAt = AT.meta + view.getUint32(AT.metaLength, true);
  const end = bodyAt + view.getUint32(AT.bodyLength, true);
  if (view.getUint32(AT.version, true) !== VERSION || end + CRC_BYTES !== bytes.length) return null;
  if (crc32c(bytes, 0, end) !== view.getUint32(end, true)) return null;
  const meta = parseJson(MetaSchema, Buffer.from(bytes.buffer, bytes.byteOffset + AT.meta, bodyAt - AT.meta).toString("utf8"));
  return meta === null ? null : { meta, body: bytes.subarray(bodyAt, end) };
}

/** Checks the checksum of a snapshot that is read in pieces, in order. */
export class SnapshotCheck {
  #crc = 0;
  /** The last bytes so far: they may be the checksum. */
  #last: Uint8Array = new Uint8Array(0);

  add(piece: Uint8Array): void {
    const joined = new Uint8Array(this.#last.length + piece.length);
    joined.set(this.#last, 0);
    joined.set(piece, this.#last.length);
    const covered = Math.max(0, joined.length - CRC_BYTES);
    this.#crc = crc32c(joined, 0, covered, this.#crc);
    this.#last = joined.slice(covered);
  }

  /** To be asked once, after the last piece. */
  isWhole(): boolean {
    const { buffer, byteOffset, length } = this.#last;
    return length === CRC_BYTES && new DataView(buffer, byteOffset).getUint32(0, true) === this.#crc;
  }
}
