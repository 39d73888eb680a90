// Owns how the core's messages look as bytes. A decoder of a stranger's bytes: it answers null and never throws, whatever
// they are. Knows no frame, no connection, and not what a message means.

import { logIndex, term } from "../../../model/raft.ts";
import { assertNever } from "../../../model/result.ts";
import { decodeConfiguration, encodeConfiguration } from "../core/configuration.ts";
import type { Configuration, EntryKind, LogEntry, Message, SnapshotMeta } from "../core/types.ts";
import { ByteReader, copyOf } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";

// The position of a word is its number on the wire: append, never reorder.
const MESSAGE_KINDS = [
  "vote-request",
  "vote-answer",
  "append",
  "append-answer",
  "snapshot-chunk",
  "snapshot-answer",
  "timeout-now",
] as const satisfies readonly Message["kind"][];
const ENTRY_KINDS = ["no-op", "command", "configuration"] as const satisfies readonly EntryKind[];
const REQUEST_PURPOSES = ["pre", "election", "transfer"] as const;
const ANSWER_PURPOSES = ["pre", "election"] as const;
const VERDICTS = ["granted", "refused"] as const;
const APPEND_OUTCOMES = ["matched", "mismatch", "damaged"] as const;
const SNAPSHOT_OUTCOMES = ["receiving", "installed"] as const;

/** Term, kind, time and length of the payload: what an entry takes at least. An entry's index follows from its place. */
const ENTRY_HEAD_BYTES = 8 + 1 + 8 + 4;

/** The message as bytes of its own. Throws RangeError where its entries are not consecutive behind `previousIndex`. */
export function encodeMessage(message: Message): Uint8Array {
  const writer = new ByteWriter();
  writeMessage(writer, message);
  return copyOf(writer.written());
}

/** Null unless the bytes are exactly one message. */
export function decodeMessage(bytes: Uint8Array): Message | null {
  return readMessage(new ByteReader(bytes));
}

/** As encodeMessage, behind what the writer holds. */
export function writeMessage(writer: ByteWriter, message: Message): void {
  writer.u8(MESSAGE_KINDS.indexOf(message.kind));
  writer.f64(message.term);
  switch (message.kind) {
    case "vote-request":
      writer.u8(REQUEST_PURPOSES.indexOf(message.purpose));
      writer.f64(message.lastIndex);
      writer.f64(message.lastTerm);
      return;
    case "vote-answer":
      writer.u8(ANSWER_PURPOSES.indexOf(message.purpose));
      writer.u8(VERDICTS.indexOf(message.verdict));
      return;
    case "append":
      writeAppend(writer, message);
      return;
    case "append-answer":
      writer.u8(APPEND_OUTCOMES.indexOf(message.outcome));
      writer.u8(message.damage === null ? 0 : 1);
      if (message.damage !== null) writer.u32(message.damage);
      writer.f64(message.index);
      writer.f64(message.round);
      return;
    case "snapshot-chunk":
      writeMeta(writer, message.meta);
      writer.f64(message.size);
      writer.f64(message.offset);
      writer.f64(message.round);
      writer.bytes(message.data);
      return;
    case "snapshot-answer":
      writer.u8(SNAPSHOT_OUTCOMES.indexOf(message.outcome));
      writer.f64(message.index);
      writer.f64(message.offset);
      writer.f64(message.round);
      return;
    case "timeout-now":
      return;
    default:
      assertNever(message);
  }
}

/** Null unless what is left in the reader is exactly one message. */
export function readMessage(reader: ByteReader): Message | null {
  const message = readAny(reader);
  return reader.complete ? message : null;
}

function readAny(reader: ByteReader): Message {
  const kind = reader.word(MESSAGE_KINDS);
  const at = term(reader.whole());
  switch (kind) {
    case "vote-request": {
      const purpose = reader.word(REQUEST_PURPOSES);
      return { kind, purpose, term: at, lastIndex: logIndex(reader.whole()), lastTerm: term(reader.whole()) };
    }
    case "vote-answer":
      return { kind, purpose: reader.word(ANSWER_PURPOSES), term: at, verdict: reader.word(VERDICTS) };
    case "append": {
      const previousIndex = logIndex(reader.whole());
      const previousTerm = term(reader.whole());
      const commit = logIndex(reader.whole());
      const repair = reader.flag() ? { through: logIndex(reader.whole()), damage: reader.u32() } : null;
      const [time, round] = [reader.instant(), reader.whole()];
      return { kind, term: at, previousIndex, previousTerm, entries: readEntries(reader, previousIndex), commit, repair, time, round };
    }
    case "append-answer": {
      const outcome = reader.word(APPEND_OUTCOMES);
      const damage = reader.flag() ? reader.u32() : null;
      return { kind, term: at, outcome, index: logIndex(reader.whole()), damage, round: reader.whole() };
    }
    case "snapshot-chunk": {
      const meta = readMeta(reader);
      const [size, offset, round] = [reader.whole(), reader.whole(), reader.whole()];
      return { kind, term: at, meta, size, offset, round, data: reader.copy(reader.remaining) };
    }
    case "snapshot-answer": {
      const outcome = reader.word(SNAPSHOT_OUTCOMES);
      return { kind, term: at, outcome, index: logIndex(reader.whole()), offset: reader.whole(), round: reader.whole() };
    }
    case "timeout-now":
      return { kind, term: at };
    default:
      return assertNever(kind);
  }
}

function writeAppend(writer: ByteWriter, message: Message & { readonly kind: "append" }): void {
  writer.f64(message.previousIndex);
  writer.f64(message.previousTerm);
  writer.f64(message.commit);
  writer.u8(message.repair === null ? 0 : 1);
  if (message.repair !== null) {
    writer.f64(message.repair.through);
    writer.u32(message.repair.damage);
  }
  writer.f64(message.time);
  writer.f64(message.round);
  writer.u32(message.entries.length);
  let index: number = message.previousIndex;
  for (const entry of message.entries) {
    if (entry.index !== ++index) throw new RangeError(`entry ${entry.index} stands where ${index} belongs`);
    writer.u8(ENTRY_KINDS.indexOf(entry.kind));
    writer.f64(entry.term);
    writer.f64(entry.time);
    writer.u32(entry.payload.length);
    writer.bytes(entry.payload);
  }
}

function readEntries(reader: ByteReader, previousIndex: number): readonly LogEntry[] {
  const count = reader.u32();
  const entries: LogEntry[] = [];
  // Before anything is allocated for them: so many entries cannot be in what is left.
  if (count * ENTRY_HEAD_BYTES > reader.remaining) reader.reject();
  for (let place = 1; place <= count && !reader.failed; place++) {
    const kind = reader.word(ENTRY_KINDS);
    const at = term(reader.whole());
    const time = reader.instant();
    entries.push({ index: logIndex(previousIndex + place), term: at, kind, time, payload: reader.copy(reader.u32()) });
  }
  return entries;
}

function writeMeta(writer: ByteWriter, meta: SnapshotMeta): void {
  writer.f64(meta.index);
  writer.f64(meta.term);
  writer.f64(meta.time);
  writer.f64(meta.configurationIndex);
  const configuration = encodeConfiguration(meta.configuration);
  writer.u32(configuration.length);
  writer.bytes(configuration);
}

function readMeta(reader: ByteReader): SnapshotMeta {
  const [index, at, time, configurationIndex] = [
    logIndex(reader.whole()),
    term(reader.whole()),
    reader.instant(),
    logIndex(reader.whole()),
  ];
  return { index, term: at, time, configuration: readConfiguration(reader), configurationIndex };
}

function readConfiguration(reader: ByteReader): Configuration {
  const bytes = reader.copy(reader.u32());
  try {
    if (!reader.failed) return decodeConfiguration(bytes);
  } catch {
    // A stranger's bytes that are no configuration: the same as any other damage.
    reader.reject();
  }
  return { voters: [], outgoing: null, learners: [] };
}
