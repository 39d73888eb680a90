// Owns the frames: what two sides say to each other once each knows who the other is, and how that looks as bytes.
// Frame: length of the rest (32 bits, little-endian), kind (8 bits), body. Knows no connection and no cryptography.

import { assertNever } from "../../../model/result.ts";
import type { Message } from "../core/types.ts";
import { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";
import { readMessage, writeMessage } from "./message-codec.ts";

/** What members say to each other. A body is JSON text, which its reader checks; a forward and its answer carry the same id. */
export type PeerFrame =
  | { readonly kind: "raft"; readonly message: Message }
  | { readonly kind: "forward"; readonly id: number; readonly body: string }
  | { readonly kind: "forward-answer"; readonly id: number; readonly body: string }
  | { readonly kind: "founding"; readonly body: string };

/** What a client says, and what it is answered. `withinMs`: how much longer the answer is of use, when it was sent. */
export type ClientFrame =
  | { readonly kind: "request"; readonly id: number; readonly withinMs: number; readonly body: string }
  | { readonly kind: "answer"; readonly id: number; readonly body: string };

export type Frame =
  | PeerFrame
  | ClientFrame
  /** Nothing to say, but alive. */
  | { readonly kind: "ping" }
  /** The last frame: this side closes, and why. */
  | { readonly kind: "farewell"; readonly reason: Farewell };

/** Why a side closes on purpose. The position is the number on the wire: append, never reorder. */
export const FAREWELLS = [
  "protocol",
  "version",
  "security",
  "password",
  "full",
  "other-cluster",
  "other-member",
  "superseded",
  "too-much",
  "silent",
] as const;
export type Farewell = (typeof FAREWELLS)[number];

/**
 * Length of a frame at most. Above it stands one transaction of 32 values of 512 KiB in JSON; below it the queue of a
 * connection (QUEUE_MAX_BYTES), so that no frame is too large to be queued.
 */
export const FRAME_MAX_BYTES = 32 * 1024 * 1024;
/** Of a request or an answer in UTF-8: leaves room for what an entry of the log puts around it. */
export const BODY_MAX_BYTES = 24 * 1024 * 1024;
/** Before both sides know each other: HELLO with the longest list of members is about half of it. */
export const HANDSHAKE_FRAME_MAX_BYTES = 8 * 1024;
export const FRAME_HEAD_BYTES = 4;

/** The first byte of a frame. The handshake's own (hello.ts) begin at 1, all others at 16. */
const KIND = { ping: 16, farewell: 17, raft: 18, forward: 19, "forward-answer": 20, founding: 21, request: 22, answer: 23 } as const;

/** Whether a body is short enough for a frame. */
export function fitsFrame(body: string): boolean {
  return body.length * 3 <= BODY_MAX_BYTES || Buffer.byteLength(body) <= BODY_MAX_BYTES;
}

/** Appends one frame. Throws RangeError where it is longer than FRAME_MAX_BYTES (and appends nothing). */
export function writeFrame(writer: ByteWriter, frame: Frame): void {
  const start = writer.length;
  writer.u32(0);
  writer.u8(KIND[frame.kind]);
  writeBody(writer, frame);
  endFrame(writer, start, FRAME_MAX_BYTES);
}

/** Writes the length of a frame whose head was left open at `start`. Throws RangeError where it is too long. */
export function endFrame(writer: ByteWriter, start: number, most: number): void {
  const length = writer.length - start - FRAME_HEAD_BYTES;
  if (length > most) {
    writer.cut(start);
    throw new RangeError(`a frame of ${length} bytes; at most ${most} are allowed`);
  }
  writer.patchU32(start, length);
}

/** Null unless the bytes from `start` to `end` (without the length) are exactly one frame. */
export function readFrame(bytes: Uint8Array, start: number, end: number): Frame | null {
  const reader = new ByteReader(bytes, start, end);
  const frame = readBody(reader);
  return frame !== null && reader.complete ? frame : null;
}

function writeBody(writer: ByteWriter, frame: Frame): void {
  switch (frame.kind) {
    case "ping":
      return;
    case "farewell":
      writer.u8(FAREWELLS.indexOf(frame.reason));
      return;
    case "raft":
      writeMessage(writer, frame.message);
      return;
    case "forward":
    case "forward-answer":
    case "answer":
      writer.u32(frame.id);
      writer.text(frame.body);
      return;
    case "founding":
      writer.text(frame.body);
      return;
    case "request":
      writer.u32(frame.id);
      writer.f64(frame.withinMs);
      writer.text(frame.body);
      return;
    default:
      assertNever(frame);
  }
}

function readBody(reader: ByteReader): Frame | null {
  const kind = reader.u8();
  switch (kind) {
    case KIND.ping:
      return { kind: "ping" };
    case KIND.farewell:
      return { kind: "farewell", reason: reader.word(FAREWELLS) };
    case KIND.raft: {
      const message = readMessage(reader);
      return message === null ? null : { kind: "raft", message };
    }
    case KIND.forward:
      return { kind: "forward", id: reader.u32(), body: reader.text(reader.remaining) };
    case KIND["forward-answer"]:
      return { kind: "forward-answer", id: reader.u32(), body: reader.text(reader.remaining) };
    case KIND.founding:
      return { kind: "founding", body: reader.text(reader.remaining) };
    case KIND.request:
      return { kind: "request", id: reader.u32(), withinMs: reader.instant(), body: reader.text(reader.remaining) };
    case KIND.answer:
      return { kind: "answer", id: reader.u32(), body: reader.text(reader.remaining) };
    default:
      return null;
  }
}
