// Owns answers as bytes: a snapshot carries those that clients may still ask for. Reading is total (bytes.ts).

import { assertNever } from "../../../model/result.ts";
import { ms, revision } from "../../../model/units.ts";
import type { ByteReader, ByteWriter } from "./bytes.ts";
import type { CommandAnswer, CommandError, CommandValue } from "./command.ts";

const VALUES = ["revisions", "session", "client", "done"] as const satisfies readonly CommandValue["kind"][];
const ERRORS = [
  "unavailable",
  "unknown-outcome",
  "condition-failed",
  "session-gone",
  "compacted",
  "rejected",
  "unknown-client",
] as const satisfies readonly CommandError["kind"][];
/** Errors stand behind the values. */
const ERROR_BASE = 100;
const REVISIONS_READ_MAX = 65_536;

export function writeAnswer(writer: ByteWriter, answer: CommandAnswer): void {
  if (answer.ok) writeValue(writer, answer.value);
  else writeError(writer, answer.error);
}

/** Null where the bytes are no answer. */
export function readAnswer(reader: ByteReader): CommandAnswer | null {
  const kind = reader.byte();
  if (kind >= ERROR_BASE) {
    const error = readError(reader, ERRORS[kind - ERROR_BASE]);
    return error === null ? null : { ok: false, error };
  }
  const value = readValue(reader, VALUES[kind]);
  return value === null ? null : { ok: true, value };
}

function writeValue(writer: ByteWriter, value: CommandValue): void {
  writer.byte(VALUES.indexOf(value.kind));
  switch (value.kind) {
    case "revisions":
      writer.whole(value.revisions.length);
      for (const each of value.revisions) writer.whole(each);
      return;
    case "session":
      writer.text(value.session.id);
      writer.float(value.session.promisedMs);
      writer.maybeText(value.session.place);
      return;
    case "client":
      writer.text(value.id);
      return;
    case "done":
      return;
    default:
      assertNever(value);
  }
}

function readValue(reader: ByteReader, kind: CommandValue["kind"] | undefined): CommandValue | null {
  switch (kind) {
    case undefined:
      return null;
    case "revisions": {
      const count = reader.whole(REVISIONS_READ_MAX);
      const revisions = [];
      for (let each = 0; each < count && !reader.broken; each++) revisions.push(revision(reader.whole()));
      return { kind, revisions };
    }
    case "session":
      return { kind, session: { id: reader.text(), promisedMs: ms(reader.float()), place: reader.maybeText() } };
    case "client":
      return { kind, id: reader.text() };
    case "done":
      return { kind };
  }
}

function writeError(writer: ByteWriter, error: CommandError): void {
  writer.byte(ERROR_BASE + ERRORS.indexOf(error.kind));
  switch (error.kind) {
    case "unavailable":
    case "unknown-outcome":
    case "rejected":
      writer.text(error.reason);
      return;
    case "session-gone":
      writer.text(error.session);
      return;
    case "condition-failed":
    case "compacted":
    case "unknown-client":
      return;
    default:
      assertNever(error);
  }
}

function readError(reader: ByteReader, kind: CommandError["kind"] | undefined): CommandError | null {
  switch (kind) {
    case undefined:
      return null;
    case "unavailable":
    case "unknown-outcome":
    case "rejected":
      return { kind, reason: reader.text() };
    case "session-gone":
      return { kind, session: reader.text() };
    case "condition-failed":
    case "compacted":
    case "unknown-client":
      return { kind };
  }
}
