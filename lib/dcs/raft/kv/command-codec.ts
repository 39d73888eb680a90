// Owns commands as bytes of a log entry. Encoding trusts its caller (client-protocol.ts checked what came from outside);
// decoding trusts nobody: it is total, and the same bytes mean the same on every member, whatever the size of its stack.

import { assertNever, err } from "../../../model/result.ts";
import { ms, revision } from "../../../model/units.ts";
import { KEY_VALUE_BOUNDS, type KeyValueBounds } from "./bounds.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";
import type { Command, CommandAnswer, Envelope, RaftChange, RaftCondition } from "./command.ts";

/** First byte of each payload; another layout takes another number, and is refused by who does not know it. */
const LAYOUT = 1;
/** More changes than any bound allows are not worth reading: the payload counts as malformed. */
const CHANGES_READ_MAX = 65_536;

const COMMANDS = [
  "change",
  "delete-prefix",
  "open-session",
  "renew-session",
  "close-session",
  "expire-session",
  "open-client",
] as const satisfies readonly Command["kind"][];
const CHANGES = ["put", "delete", "check-owner"] as const satisfies readonly RaftChange["kind"][];
const CONDITIONS = ["none", "absent", "revision", "value"] as const satisfies readonly RaftCondition["kind"][];
const NO_CONDITION: RaftCondition = { kind: "none" };

/** Used again and again: a buffer of its own for each command would cost more than all that is written into it. */
const writer = new ByteWriter();

/** Throws RangeError where a number is not what its type says. */
export function encodeEnvelope(envelope: Envelope): Uint8Array {
  // Whatever a throw left behind does not belong here.
  writer.clear();
  writer.byte(LAYOUT);
  writer.maybeText(envelope.client);
  writer.whole(envelope.sequence);
  writer.whole(envelope.acknowledged);
  writeCommand(writer, envelope.command);
  return writer.take();
}

/**
 * The answer that every member would give to a payload of this size, null where it may go into the log. Ask before proposing: a
 * record has to fit a frame and a log segment. The machine asks as well, so that nobody depends on it.
 */
export function refuseSize(payload: Uint8Array, bounds: KeyValueBounds = KEY_VALUE_BOUNDS): CommandAnswer | null {
  if (payload.length <= bounds.payloadBytesMax) return null;
  return err({ kind: "rejected", reason: `a command is at most ${bounds.payloadBytesMax} bytes` });
}

/** Null where the payload is malformed. */
export function decodeEnvelope(payload: Uint8Array): Envelope | null {
  const reader = new ByteReader(payload);
  if (reader.byte() !== LAYOUT) return null;
  const client = reader.maybeText();
  const sequence = reader.whole();
  const acknowledged = reader.whole();
  const command = readCommand(reader, COMMANDS[reader.byte()]);
  return command === null || !reader.atEnd ? null : { client, sequence, acknowledged, command };
}

function writeCommand(writer: ByteWriter, command: Command): void {
  writer.byte(COMMANDS.indexOf(command.kind));
  switch (command.kind) {
    case "change":
      writer.whole(command.changes.length);
      for (const change of command.changes) writeChange(writer, change);
      return;
    case "delete-prefix":
      writer.text(command.prefix);
      return;
    case "open-session":
      writer.text(command.id);
      writer.text(command.name);
      writer.float(command.ttl);
      writer.maybeText(command.place);
      return;
    case "expire-session":
      writer.text(command.id);
      writer.whole(command.renewal);
      return;
    case "renew-session":
    case "close-session":
    case "open-client":
      writer.text(command.id);
      return;
    default:
      assertNever(command);
  }
}

function readCommand(reader: ByteReader, kind: Command["kind"] | undefined): Command | null {
  switch (kind) {
    case undefined:
      return null;
    case "change":
      return { kind, changes: readChanges(reader) };
    case "delete-prefix":
      return { kind, prefix: reader.text() };
    case "open-session":
      return { kind, id: reader.text(), name: reader.text(), ttl: ms(reader.float()), place: reader.maybeText() };
    case "expire-session":
      return { kind, id: reader.text(), renewal: reader.whole() };
    case "renew-session":
    case "close-session":
    case "open-client":
      return { kind, id: reader.text() };
  }
}

function writeChange(writer: ByteWriter, change: RaftChange): void {
  writer.byte(CHANGES.indexOf(change.kind));
  writer.text(change.key);
  switch (change.kind) {
    case "put":
      writer.text(change.value);
      writer.maybeText(change.session ?? null);
      writeCondition(writer, change.condition ?? NO_CONDITION);
      return;
    case "delete":
      writeCondition(writer, change.condition ?? NO_CONDITION);
      return;
    case "check-owner":
      writer.text(change.session);
      return;
    default:
      assertNever(change);
  }
}

function readChanges(reader: ByteReader): readonly RaftChange[] {
  const count = reader.whole(CHANGES_READ_MAX);
  const changes: RaftChange[] = [];
  for (let index = 0; index < count && !reader.broken; index++) {
    const change = readChange(reader, CHANGES[reader.byte()]);
    if (change === null) reader.fail();
    else changes.push(change);
  }
  return changes;
}

function readChange(reader: ByteReader, kind: RaftChange["kind"] | undefined): RaftChange | null {
  const key = reader.text();
  switch (kind) {
    case undefined:
      return null;
    case "put": {
      const value = reader.text();
      const session = reader.maybeText();
      const condition = readCondition(reader, CONDITIONS[reader.byte()]);
      if (session === null) return condition === NO_CONDITION ? { kind, key, value } : { kind, key, value, condition };
      return condition === NO_CONDITION ? { kind, key, value, session } : { kind, key, value, condition, session };
    }
    case "delete": {
      const condition = readCondition(reader, CONDITIONS[reader.byte()]);
      return condition === NO_CONDITION ? { kind, key } : { kind, key, condition };
    }
    case "check-owner":
      return { kind, key, session: reader.text() };
  }
}

function writeCondition(writer: ByteWriter, condition: RaftCondition): void {
  writer.byte(CONDITIONS.indexOf(condition.kind));
  if (condition.kind === "revision") writer.whole(condition.revision);
  else if (condition.kind === "value") writer.text(condition.value);
}

function readCondition(reader: ByteReader, kind: RaftCondition["kind"] | undefined): RaftCondition {
  switch (kind) {
    case undefined:
      reader.fail();
      return NO_CONDITION;
    case "none":
      return NO_CONDITION;
    case "absent":
      return ABSENT;
    case "revision":
      return { kind, revision: revision(reader.whole()) };
    case "value":
      return { kind, value: reader.text() };
  }
}

const ABSENT: RaftCondition = { kind: "absent" };
