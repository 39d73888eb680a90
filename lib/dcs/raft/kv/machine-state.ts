// Owns the whole replicated state as one value, and its form as bytes: the body of a snapshot. Equal states give equal
// bytes; bytes that are not a state are refused with a reason, never half loaded. Whether the bytes are those that were
// written is the storage's business (checksum).

import { type LogIndex, logIndex } from "../../../model/raft.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import { ms, type Revision, revision } from "../../../model/units.ts";
import { readAnswer, writeAnswer } from "./answer-codec.ts";
import type { KeyValueBounds } from "./bounds.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";
import { ChangeHistory } from "./change-history.ts";
import { Clients } from "./clients.ts";
import type { CommandAnswer } from "./command.ts";
import { Sessions } from "./sessions.ts";
import { SortedKeys } from "./sorted-keys.ts";

export interface MachineState {
  index: LogIndex;
  /** Cluster time in ms. */
  time: number;
  revision: Revision;
  readonly keys: SortedKeys;
  readonly sessions: Sessions;
  readonly clients: Clients;
  readonly history: ChangeHistory;
}

/** First byte of a snapshot's body. */
const LAYOUT = 1;

export function emptyState(bounds: KeyValueBounds): MachineState {
  return {
    index: logIndex(0),
    time: 0,
    revision: revision(0),
    keys: new SortedKeys(),
    sessions: new Sessions(),
    clients: new Clients(bounds),
    history: new ChangeHistory(bounds.historyMax, 0),
  };
}

export function encodeState(state: MachineState): Uint8Array {
  const steps = encodeStateInSteps(state);
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  return step.value;
}

/** Of one step: about a quarter of a millisecond. */
const STEP_ITEMS = 1000;
const STEP_BYTES = 64 * 1024;

/**
 * The same in steps, so that whoever has something else to do can do it in between. What the first step saw is what is written: the state
 * may go on after it.
 */
export function* encodeStateInSteps(state: MachineState): Generator<undefined, Uint8Array> {
  const writer = new ByteWriter();
  writeHead(writer, state);
  // Entries and answers never change; everything else is copied.
  const keys = state.keys.below("");
  const clients = [...state.clients.all()].map((client) => ({ ...client, answers: [...client.answers] }));
  const changes = state.history.copy();
  let [items, ended] = [0, 0];
  const isStepOver = (): boolean => {
    if (++items < STEP_ITEMS && writer.length - ended < STEP_BYTES) return false;
    [items, ended] = [0, writer.length];
    return true;
  };
  writer.whole(keys.length);
  for (const entry of keys) {
    if (isStepOver()) yield;
    writer.text(entry.key);
    writer.text(entry.value);
    writer.whole(entry.revision);
    writer.maybeText(entry.session);
  }
  writer.whole(clients.length);
  for (const client of clients) {
    if (isStepOver()) yield;
    writer.text(client.id);
    writer.whole(client.acknowledged);
    writer.float(client.usedAt);
    writer.whole(client.answers.length);
    for (const [sequence, answer] of client.answers.sort(([a], [b]) => a - b)) {
      if (isStepOver()) yield;
      writer.whole(sequence);
      writeAnswer(writer, answer);
    }
  }
  writer.whole(changes.floor);
  writer.whole(changes.size);
  for (let place = 0; place < changes.size; place++) {
    if (isStepOver()) yield;
    writer.text(changes.key(place));
    writer.whole(changes.at(place));
  }
  return writer.take();
}

function writeHead(writer: ByteWriter, state: MachineState): void {
  writer.byte(LAYOUT);
  writer.whole(state.index);
  writer.float(state.time);
  writer.whole(state.revision);
  writer.whole(state.sessions.size);
  for (const { session, name, renewal, deadline } of state.sessions.sorted()) {
    writer.text(session.id);
    writer.text(name);
    writer.maybeText(session.place);
    writer.float(session.promisedMs);
    writer.whole(renewal);
    writer.float(deadline);
  }
}

export function decodeState(bytes: Uint8Array, bounds: KeyValueBounds): Result<MachineState, string> {
  const reader = new ByteReader(bytes);
  const layout = reader.byte();
  if (layout !== LAYOUT) return err(`the snapshot has layout ${layout}; this program knows ${LAYOUT}`);
  const index = logIndex(reader.whole());
  const time = reader.float();
  const newest = revision(reader.whole());
  const sessions = new Sessions();
  readSessions(reader, sessions);
  const keys = new SortedKeys();
  readKeys(reader, keys, sessions, newest);
  const clients = new Clients(bounds);
  readClients(reader, clients);
  const history = readHistory(reader, bounds.historyMax, newest);
  if (!reader.atEnd || history === null) return err("the snapshot is damaged");
  return ok({ index, time, revision: newest, keys, sessions, clients, history });
}

function readSessions(reader: ByteReader, sessions: Sessions): void {
  const count = reader.whole();
  for (let each = 0; each < count && !reader.broken; each++) {
    const id = reader.text();
    const name = reader.text();
    const place = reader.maybeText();
    const promisedMs = ms(reader.float());
    const renewal = reader.whole();
    const deadline = reader.float();
    if (sessions.get(id) === undefined) sessions.add({ session: { id, promisedMs, place }, name, renewal, deadline });
    else reader.fail();
  }
}

function readKeys(reader: ByteReader, keys: SortedKeys, sessions: Sessions, newest: Revision): void {
  const count = reader.whole();
  let before = "";
  for (let each = 0; each < count && !reader.broken; each++) {
    const entry = { key: reader.text(), value: reader.text(), revision: revision(reader.whole(newest)), session: reader.maybeText() };
    if (entry.key <= before || (entry.session !== null && sessions.get(entry.session) === undefined)) {
      reader.fail();
      return;
    }
    before = entry.key;
    keys.set(entry);
    sessions.own(entry.key, null, entry.session);
  }
}

function readClients(reader: ByteReader, clients: Clients): void {
  const count = reader.whole();
  for (let each = 0; each < count && !reader.broken; each++) {
    const id = reader.text();
    const acknowledged = reader.whole();
    const usedAt = reader.float();
    const answers = new Map<number, CommandAnswer>();
    const answersCount = reader.whole();
    let before = acknowledged;
    for (let other = 0; other < answersCount && !reader.broken; other++) {
      const sequence = reader.whole();
      const answer = readAnswer(reader);
      if (sequence <= before || answer === null) reader.fail();
      else answers.set(sequence, answer);
      before = sequence;
    }
    clients.restore({ id, acknowledged, usedAt, answers });
  }
}

function readHistory(reader: ByteReader, max: number, newest: Revision): ChangeHistory | null {
  const history = new ChangeHistory(max, reader.whole(newest));
  const count = reader.whole();
  let before = 0;
  for (let each = 0; each < count && !reader.broken; each++) {
    const key = reader.text();
    const at = reader.whole(newest);
    if (at < before) return null;
    before = at;
    history.push(key, at);
  }
  return history;
}
