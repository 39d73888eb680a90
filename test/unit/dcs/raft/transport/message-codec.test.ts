// Owns the tests of the core's messages as bytes.

import { describe, expect, test } from "bun:test";
import type { Configuration, EntryKind, Message, SnapshotMeta } from "../../../../../lib/dcs/raft/core/types.ts";
import { decodeMessage, encodeMessage } from "../../../../../lib/dcs/raft/transport/message-codec.ts";
import { logIndex, type MemberId, term } from "../../../../../lib/model/raft.ts";
import { fc } from "../../../../harness/properties.ts";

const whole = fc.maxSafeNat();
const terms = whole.map(term);
const indexes = fc.nat(2 ** 50).map(logIndex);
const bytes = fc.uint8Array({ maxLength: 200 });
const times = fc.double({ min: 0, noNaN: true, noDefaultInfinity: true });
const ids = fc.array(fc.constantFrom(..."0123456789abcdef"), { minLength: 32, maxLength: 32 }).map((digits) => digits.join("") as MemberId);
const member = fc.record({ id: ids, address: fc.constantFrom("a:1", "[::1]:5010", "10.0.0.1:5010") });
const members = fc.uniqueArray(member, { minLength: 1, maxLength: 9, selector: ({ id }) => id });
const configuration: fc.Arbitrary<Configuration> = fc.record({
  voters: members,
  outgoing: fc.option(members),
  learners: fc.array(member, { maxLength: 1 }).map((all) => all.map((one) => ({ ...one, replaces: null }))),
});
const meta: fc.Arbitrary<SnapshotMeta> = fc.record({
  index: indexes,
  term: terms,
  time: times,
  configuration,
  configurationIndex: indexes,
});
const entry = fc.record({
  term: terms,
  kind: fc.constantFrom<EntryKind>("no-op", "command", "configuration"),
  time: times,
  payload: bytes,
});

function kind<K extends Message["kind"]>(value: K): fc.Arbitrary<K> {
  return fc.constant(value);
}

const append = fc
  .record({
    kind: kind("append"),
    term: terms,
    previousIndex: indexes,
    previousTerm: terms,
    entries: fc.array(entry, { maxLength: 8 }),
    commit: indexes,
    repair: fc.option(fc.record({ through: indexes, damage: fc.nat(0xffffffff) })),
    time: whole,
    round: whole,
  })
  .map((message) => ({
    ...message,
    entries: message.entries.map((one, place) => ({ ...one, index: logIndex(message.previousIndex + 1 + place) })),
  }));

const messages: fc.Arbitrary<Message> = fc.oneof(
  fc.record({
    kind: kind("vote-request"),
    purpose: fc.constantFrom("pre", "election", "transfer"),
    term: terms,
    lastIndex: indexes,
    lastTerm: terms,
  }),
  fc.record({
    kind: kind("vote-answer"),
    purpose: fc.constantFrom("pre", "election"),
    term: terms,
    verdict: fc.constantFrom("granted", "refused"),
  }),
  append,
  fc.record({
    kind: kind("append-answer"),
    term: terms,
    outcome: fc.constantFrom("matched", "mismatch", "damaged"),
    damage: fc.option(fc.nat(0xffffffff)),
    index: indexes,
    round: whole,
  }),
  fc.record({ kind: kind("snapshot-chunk"), term: terms, meta, size: whole, offset: whole, data: bytes, round: whole }),
  fc.record({
    kind: kind("snapshot-answer"),
    term: terms,
    index: indexes,
    outcome: fc.constantFrom("receiving", "installed"),
    offset: whole,
    round: whole,
  }),
  fc.record({ kind: kind("timeout-now"), term: terms }),
);

describe("the core's messages as bytes", () => {
  test("every message comes back as it was", () => {
    fc.assert(
      fc.property(messages, (message) => {
        expect(decodeMessage(encodeMessage(message))).toEqual(message);
      }),
      { numRuns: 2000 },
    );
  });

  test("a message that lost or gained bytes at its end is none", () => {
    fc.assert(
      fc.property(messages, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 9 }), (message, cut, more) => {
        // Data of a chunk reaches to the end of the message, so only its own offset and size can tell.
        if (message.kind === "snapshot-chunk") return;
        const whole = encodeMessage(message);
        expect(decodeMessage(whole.subarray(0, cut % whole.length))).toBeNull();
        expect(decodeMessage(Buffer.concat([whole, more]))).toBeNull();
      }),
    );
  });

  test("random bytes, and messages with a byte changed, are a message or null, and never throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (random) => {
        const message = decodeMessage(random);
        if (message !== null) expect(decodeMessage(encodeMessage(message))).toEqual(message);
      }),
      { numRuns: 5000 },
    );
    fc.assert(
      fc.property(messages, fc.nat(), fc.nat(255), (message, at, value) => {
        const changed = encodeMessage(message);
        changed[at % changed.length] = value;
        const read = decodeMessage(changed);
        if (read !== null) expect(decodeMessage(encodeMessage(read))).toEqual(read);
      }),
      { numRuns: 5000 },
    );
  });

  test("a message that announces four billion entries is refused before anything is made for them", () => {
    const message = encodeMessage({
      kind: "append",
      term: term(1),
      previousIndex: logIndex(0),
      previousTerm: term(0),
      entries: [],
      commit: logIndex(0),
      repair: null,
      time: 5,
      round: 1,
    });
    message.set([0xff, 0xff, 0xff, 0xff], message.length - 4);
    expect(decodeMessage(message)).toBeNull();
  });

  test("entries that are not consecutive are not sent", () => {
    const one = { index: logIndex(7), term: term(1), kind: "no-op", time: 0, payload: new Uint8Array(0) } as const;
    const message = {
      kind: "append",
      term: term(1),
      previousIndex: logIndex(5),
      previousTerm: term(1),
      entries: [one],
      commit: logIndex(0),
    } as const;
    expect(() => encodeMessage({ ...message, repair: null, time: 5, round: 1 })).toThrow(RangeError);
  });

  test("payloads of a decoded message do not keep the bytes they came in", () => {
    const one = { index: logIndex(1), term: term(1), kind: "command", time: 0, payload: Uint8Array.of(1, 2, 3) } as const;
    const message = {
      kind: "append",
      term: term(1),
      previousIndex: logIndex(0),
      previousTerm: term(0),
      entries: [one],
      commit: logIndex(0),
    } as const;
    // As a socket hands them out.
    const encoded = Buffer.from(encodeMessage({ ...message, repair: null, time: 5, round: 1 }));
    const decoded = decodeMessage(encoded);
    encoded.fill(0);
    const payload = decoded?.kind === "append" ? decoded.entries[0]?.payload : undefined;
    expect(payload).toEqual(Uint8Array.of(1, 2, 3));
    expect(payload?.buffer.byteLength).toBe(3);
  });
});
