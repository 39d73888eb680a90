// Owns the claims on commands and answers as bytes: they come back as they were, and reading never throws.

import { describe, expect, test } from "bun:test";
import { readAnswer, writeAnswer } from "../../../../../lib/dcs/raft/kv/answer-codec.ts";
import { ByteReader, ByteWriter } from "../../../../../lib/dcs/raft/kv/bytes.ts";
import type { Command, CommandAnswer, Envelope, RaftChange, RaftCondition } from "../../../../../lib/dcs/raft/kv/command.ts";
import { decodeEnvelope, encodeEnvelope } from "../../../../../lib/dcs/raft/kv/command-codec.ts";
import { KeyValueMachine } from "../../../../../lib/dcs/raft/kv/machine.ts";
import { logIndex } from "../../../../../lib/model/raft.ts";
import { ms, revision } from "../../../../../lib/model/units.ts";
import { fc } from "../../../../harness/properties.ts";

const text = fc.oneof(fc.string({ unit: "binary" }), fc.constant("\ufeffbyte order mark"), fc.string({ minLength: 130, maxLength: 400 }));
const whole = fc.oneof(fc.nat(300), fc.maxSafeNat());
const condition: fc.Arbitrary<RaftCondition> = fc.oneof(
  fc.constant<RaftCondition>({ kind: "absent" }),
  whole.map((n): RaftCondition => ({ kind: "revision", revision: revision(n) })),
  text.map((value): RaftCondition => ({ kind: "value", value })),
);
const change: fc.Arbitrary<RaftChange> = fc.oneof(
  fc.record(
    { kind: fc.constant("put" as const), key: text, value: text, condition, session: text },
    { requiredKeys: ["kind", "key", "value"] },
  ) as fc.Arbitrary<RaftChange>,
  fc.record({ kind: fc.constant("delete" as const), key: text, condition }, { requiredKeys: ["kind", "key"] }) as fc.Arbitrary<RaftChange>,
  fc.record({ kind: fc.constant("check-owner" as const), key: text, session: text }),
);
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ kind: fc.constant("change" as const), changes: fc.array(change, { maxLength: 33 }) }),
  fc.record({ kind: fc.constant("delete-prefix" as const), prefix: text }),
  fc.record({
    kind: fc.constant("open-session" as const),
    id: text,
    name: text,
    ttl: fc.double({ noNaN: true, noDefaultInfinity: true }).map(ms),
    place: fc.option(text),
  }),
  fc.record({ kind: fc.constantFrom("renew-session" as const, "close-session" as const, "open-client" as const), id: text }),
  fc.record({ kind: fc.constant("expire-session" as const), id: text, renewal: whole }),
);
const envelope: fc.Arbitrary<Envelope> = fc.record({ client: fc.option(text), sequence: whole, acknowledged: whole, command });
const answer: fc.Arbitrary<CommandAnswer> = fc.oneof(
  fc.array(whole.map(revision)).map((revisions): CommandAnswer => ({ ok: true, value: { kind: "revisions", revisions } })),
  fc
    .record({ id: text, promisedMs: fc.double({ noNaN: true, noDefaultInfinity: true }).map(ms), place: fc.option(text) })
    .map((session): CommandAnswer => ({ ok: true, value: { kind: "session", session } })),
  text.map((id): CommandAnswer => ({ ok: true, value: { kind: "client", id } })),
  fc.constant<CommandAnswer>({ ok: true, value: { kind: "done" } }),
  fc
    .tuple(fc.constantFrom("unavailable" as const, "unknown-outcome" as const, "rejected" as const), text)
    .map(([kind, reason]): CommandAnswer => ({ ok: false, error: { kind, reason } })),
  text.map((session): CommandAnswer => ({ ok: false, error: { kind: "session-gone", session } })),
  fc
    .constantFrom("condition-failed" as const, "compacted" as const, "unknown-client" as const)
    .map((kind): CommandAnswer => ({ ok: false, error: { kind } })),
);

describe("a command as bytes", () => {
  test("comes back as it was", () => {
    fc.assert(
      fc.property(envelope, (each) => expect(decodeEnvelope(encodeEnvelope(each))).toEqual(each)),
      { numRuns: 500 },
    );
  });

  test("is not read from any part of it, nor with anything behind it", () => {
    fc.assert(
      fc.property(envelope, fc.double({ min: 0, max: 1, maxExcluded: true }), (each, at) => {
        const bytes = encodeEnvelope(each);
        expect(decodeEnvelope(bytes.subarray(0, Math.floor(bytes.length * at)))).toBeNull();
        expect(decodeEnvelope(Buffer.concat([bytes, Buffer.of(0)]))).toBeNull();
      }),
      { numRuns: 300 },
    );
  });

  test("with other bytes in it is refused or means one thing; the machine answers and goes on", () => {
    const machine = new KeyValueMachine();
    const twin = new KeyValueMachine();
    let index = 0;
    const noise = fc.tuple(envelope, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 })).map(([each, flips]) => {
      const bytes = encodeEnvelope(each);
      for (const [at, byte] of flips) bytes[at % bytes.length] = byte;
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(noise, fc.uint8Array({ maxLength: 60 })), (bytes) => {
        const read = decodeEnvelope(bytes);
        if (read !== null) expect(decodeEnvelope(encodeEnvelope(read))).toEqual(read);
        const entry = { index: logIndex(++index), time: index, payload: bytes };
        const given = machine.apply(entry);
        if (read === null) expect(given).toEqual({ ok: false, error: { kind: "rejected", reason: "the command is malformed" } });
        expect(twin.apply(entry)).toEqual(given);
        expect(twin.digest()).toBe(machine.digest());
      }),
      { numRuns: 2_000 },
    );
  });

  test("of another layout is refused", () => {
    const bytes = encodeEnvelope({ client: "c", sequence: 1, acknowledged: 0, command: { kind: "close-session", id: "s" } });
    bytes[0] = 2;
    expect(decodeEnvelope(bytes)).toBeNull();
  });

  test("is not made of numbers that are none, and the next one is not harmed by the attempt", () => {
    const good: Envelope = { client: "c", sequence: 1, acknowledged: 0, command: { kind: "close-session", id: "s" } };
    for (const sequence of [-1, 0.5, Number.NaN, 2 ** 53]) expect(() => encodeEnvelope({ ...good, sequence })).toThrow(RangeError);
    expect(decodeEnvelope(encodeEnvelope(good))).toEqual(good);
  });

  test("a text that is not UTF-8 is read alike everywhere, and a lone surrogate is not kept", () => {
    const lone = encodeEnvelope({ client: null, sequence: 0, acknowledged: 0, command: { kind: "close-session", id: "a\ud800b" } });
    expect(decodeEnvelope(lone)?.command).toEqual({ kind: "close-session", id: "a\ufffdb" });
    const broken = encodeEnvelope({ client: null, sequence: 0, acknowledged: 0, command: { kind: "close-session", id: "abc" } });
    broken[broken.length - 2] = 0xff;
    expect(decodeEnvelope(broken)?.command).toEqual({ kind: "close-session", id: "a\ufffdc" });
  });
});

describe("an answer as bytes", () => {
  test("comes back as it was", () => {
    fc.assert(
      fc.property(answer, (each) => {
        const writer = new ByteWriter();
        writeAnswer(writer, each);
        const reader = new ByteReader(writer.take());
        expect(readAnswer(reader)).toEqual(each);
        expect(reader.atEnd).toBe(true);
      }),
      { numRuns: 300 },
    );
  });
});

describe("whole numbers", () => {
  test("have exactly one form, the largest is 2^53 - 1, and a bound is kept", () => {
    const writer = new ByteWriter();
    writer.whole(Number.MAX_SAFE_INTEGER);
    expect(new ByteReader(writer.take()).whole()).toBe(Number.MAX_SAFE_INTEGER);
    for (const bytes of [[0x80, 0x00], [0x81, 0x80, 0x00], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x10], [0x80]]) {
      const reader = new ByteReader(Uint8Array.from(bytes));
      expect([reader.whole(), reader.broken]).toEqual([0, true]);
    }
    const bounded = new ByteReader(Uint8Array.of(6));
    expect([bounded.whole(5), bounded.broken]).toEqual([0, true]);
  });
});
