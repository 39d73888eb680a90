// Owns the tests of frames: as bytes, cut out of a stream, and sealed.

import { describe, expect, test } from "bun:test";
import { ByteWriter } from "../../../../../lib/dcs/raft/transport/byte-writer.ts";
import { FRAME_MAX_BYTES, type Frame, readFrame, writeFrame } from "../../../../../lib/dcs/raft/transport/frame.ts";
import { FrameSplitter } from "../../../../../lib/dcs/raft/transport/frame-splitter.ts";
import {
  type HandshakeFrame,
  PROTOCOL_VERSION,
  readHandshakeFrame,
  writeHandshakeFrame,
} from "../../../../../lib/dcs/raft/transport/hello.ts";
import { isProof, Sealing, sessionKeys, TAG_BYTES } from "../../../../../lib/dcs/raft/transport/session-keys.ts";
import { term } from "../../../../../lib/model/raft.ts";
import { fc } from "../../../../harness/properties.ts";

const body = fc.string({ unit: "binary", maxLength: 300 });
const id = fc.nat(2 ** 32 - 1);
const frames: fc.Arbitrary<Frame> = fc.oneof(
  fc.constant<Frame>({ kind: "ping" }),
  fc.constant<Frame>({ kind: "farewell", reason: "password" }),
  fc.constant<Frame>({ kind: "raft", message: { kind: "timeout-now", term: term(3) } }),
  fc.record({ kind: fc.constantFrom("forward", "forward-answer", "answer"), id, body }) as fc.Arbitrary<Frame>,
  fc.record({ kind: fc.constant("founding"), body }) as fc.Arbitrary<Frame>,
  fc.record({ kind: fc.constant("request"), id, withinMs: fc.nat(), body }) as fc.Arbitrary<Frame>,
);

function bytesOf(all: readonly Frame[]): Uint8Array {
  const writer = new ByteWriter();
  for (const frame of all) writeFrame(writer, frame);
  return writer.written().slice();
}

/** The stream in pieces of these lengths, over and over. */
function inPieces(stream: Uint8Array, lengths: readonly number[]): readonly Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0, turn = 0; at < stream.length; turn++) {
    const length = lengths[turn % lengths.length] ?? 1;
    pieces.push(stream.slice(at, at + length));
    at += length;
  }
  return pieces;
}

describe("frames", () => {
  test("come out of the stream as they went in, however it arrives", () => {
    fc.assert(
      fc.property(fc.array(frames, { maxLength: 20 }), fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 }), (all, lengths) => {
        const splitter = new FrameSplitter(FRAME_MAX_BYTES);
        const got: (Frame | null)[] = [];
        for (const piece of inPieces(bytesOf(all), lengths)) {
          const outcome = splitter.push(piece, (bytes, start, end) => got.push(readFrame(bytes, start, end)) > 0);
          expect(outcome).toEqual({ kind: "more" });
          piece.fill(0xff);
        }
        expect(got).toEqual(all);
        expect(splitter.between).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  test("random bytes are frames, too long, or not whole; nothing throws", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 5 }), (pieces) => {
        const splitter = new FrameSplitter(1000);
        for (const piece of pieces) {
          const outcome = splitter.push(piece, (bytes, start, end) => {
            readFrame(bytes, start, end);
            readHandshakeFrame(bytes, start, end);
            return true;
          });
          if (outcome.kind === "too-long") return;
        }
      }),
      { numRuns: 3000 },
    );
  });

  test("a gigabyte that is announced is refused by its head, whatever pieces the head comes in", () => {
    for (const cut of [1, 2, 3, 4, 9]) {
      const splitter = new FrameSplitter(FRAME_MAX_BYTES);
      const outcomes = inPieces(Uint8Array.of(0, 0, 0, 0x40, 1, 2, 3, 4, 5), [cut]).map((piece) => splitter.push(piece, () => true));
      expect(outcomes.find(({ kind }) => kind === "too-long")).toEqual({ kind: "too-long", length: 2 ** 30 });
    }
  });

  test("a frame that is announced long takes no more memory than what arrived of it", () => {
    const splitter = new FrameSplitter(FRAME_MAX_BYTES);
    const before = process.memoryUsage().arrayBuffers;
    const held = Array.from({ length: 100 }, () => {
      const one = new FrameSplitter(FRAME_MAX_BYTES);
      one.push(Uint8Array.of(0xff, 0xff, 0xff, 0x01, 1, 2), () => true);
      return one;
    });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * 1024 * 1024);
    expect(held.length).toBe(100);
    expect(splitter.between).toBe(true);
  });

  test("who stops gets nothing more", () => {
    const splitter = new FrameSplitter(FRAME_MAX_BYTES);
    let count = 0;
    const outcome = splitter.push(bytesOf([{ kind: "ping" }, { kind: "ping" }]), () => {
      count++;
      return false;
    });
    expect([outcome.kind, count]).toEqual(["stopped", 1]);
  });

  test("a frame longer than allowed is not written, and what stood before it stays", () => {
    const writer = new ByteWriter();
    writeFrame(writer, { kind: "ping" });
    expect(() => writeFrame(writer, { kind: "founding", body: "x".repeat(FRAME_MAX_BYTES) })).toThrow(RangeError);
    expect(writer.written()).toEqual(bytesOf([{ kind: "ping" }]));
  });
});

describe("the handshake's frames", () => {
  test("come back as they were", () => {
    const open = {
      kind: "open",
      version: PROTOCOL_VERSION,
      protection: "password",
      role: "ask",
      nonce: new Uint8Array(32).fill(7),
      address: "[::1]:5010",
    } as const;
    const confirm = { kind: "confirm", proof: new Uint8Array(32).fill(9) } as const;
    const hello = {
      memberId: "a".repeat(32),
      clusterId: null,
      address: "db1:5010",
      list: ["db1:5010", "db2:5010"],
      state: "promised",
      run: "0".repeat(32),
    };
    for (const frame of [open, confirm, { kind: "hello", hello }, { kind: "hello", hello: null }]) {
      const writer = new ByteWriter();
      writeHandshakeFrame(writer, frame as Parameters<typeof writeHandshakeFrame>[1]);
      expect(readHandshakeFrame(writer.written(), 4, writer.length)).toEqual(frame as HandshakeFrame);
    }
  });

  test("an address that could forge a log line is refused", () => {
    const writer = new ByteWriter();
    writeHandshakeFrame(writer, {
      kind: "open",
      version: PROTOCOL_VERSION,
      protection: "plain",
      role: "link",
      nonce: new Uint8Array(32),
      address: "a:1\nWARNING: x",
    });
    expect(readHandshakeFrame(writer.written(), 4, writer.length)).toBeNull();
  });

  test("of another version only the version is read", () => {
    const writer = new ByteWriter();
    writeHandshakeFrame(writer, { kind: "open", version: 7, protection: "plain", role: "link", nonce: new Uint8Array(32), address: "a:1" });
    expect(readHandshakeFrame(writer.written(), 4, 4 + 9)).toEqual({ kind: "other-version", version: 7 });
  });
});

describe("sealing", () => {
  const head = Uint8Array.of(1, 2, 3, 4);
  const seal = (sealing: Sealing, text: Uint8Array): Uint8Array => {
    const into = new Uint8Array(text.length + TAG_BYTES);
    sealing.seal(text, head, into);
    return into;
  };
  const key = new Uint8Array(32).fill(5);

  test("what was sealed opens in the same order, over changes of the key as well", () => {
    const [out, into] = [new Sealing(key, 3), new Sealing(key, 3)];
    const records = Array.from({ length: 10 }, (_, number) => seal(out, Uint8Array.of(number)));
    expect(records.map((record) => into.open(record, head)?.[0])).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(new Set(records.map((record) => record.toHex())).size).toBe(10);
  });

  test("a record that is altered, repeated, left out, shortened or under another head does not open", () => {
    const out = new Sealing(key);
    const [first, second] = [seal(out, Uint8Array.of(1, 2, 3)), seal(out, Uint8Array.of(4))];
    for (let bit = 0; bit < first.length * 8; bit++) {
      const altered = first.slice();
      altered[bit >> 3] = (altered[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(new Sealing(key).open(altered, head)).toBeNull();
    }
    const into = new Sealing(key);
    expect(into.open(first, head)).not.toBeNull();
    expect(into.open(first, head)).toBeNull();
    expect(new Sealing(key).open(second, head)).toBeNull();
    expect(new Sealing(key).open(first.subarray(0, TAG_BYTES - 1), head)).toBeNull();
    expect(new Sealing(key).open(first, Uint8Array.of(1, 2, 3, 5))).toBeNull();
  });

  test("keys and proofs differ by direction, by password and by each byte of both OPENs", () => {
    const stretched = new Uint8Array(32).fill(1);
    const open = { initiator: Uint8Array.of(1, 2), responder: Uint8Array.of(3) };
    const all = [
      sessionKeys(stretched, open),
      sessionKeys(new Uint8Array(32).fill(2), open),
      sessionKeys(stretched, { ...open, initiator: Uint8Array.of(1, 4) }),
      sessionKeys(stretched, { ...open, responder: Uint8Array.of(5) }),
      sessionKeys(stretched, { initiator: Uint8Array.of(1), responder: Uint8Array.of(2, 3) }),
      sessionKeys(stretched, { initiator: open.responder, responder: open.initiator }),
    ];
    const secrets = all.flatMap(({ initiator, responder }) => [initiator.sealing, initiator.proof, responder.sealing, responder.proof]);
    expect(new Set(secrets.map((secret) => Buffer.from(secret).toString("hex"))).size).toBe(all.length * 4);
    expect(isProof(all[0]?.initiator.proof ?? head, all[0]?.initiator.proof ?? key)).toBe(true);
    expect(isProof(all[0]?.initiator.proof ?? head, all[0]?.responder.proof ?? key)).toBe(false);
    expect(isProof(key, head)).toBe(false);
  });
});
