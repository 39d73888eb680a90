// Owns the quick way to read the values that change all the time: members, the status and the lease mark. What looks in any way
// unusual is left to the schemas (decode.ts), and a test holds both to the same result. Asks no store.

import type { ClusterStatus, LeaseMark } from "../model/cluster.ts";
import type { Member, Tags } from "../model/member.ts";
import type { SyncState } from "../model/sync-state.ts";
import { type Lsn, lsn, ms, type Timeline, timeline } from "../model/units.ts";
import { type Decoded, decodeLeaseMark, decodeMember, decodeStatus, decodeSync } from "./decode.ts";
import type { Entry } from "./store.ts";

/** What stands around the positions of a member's text, and what that text was read as. */
interface MemberShape {
  readonly head: string;
  readonly tail: string;
  readonly member: Member;
}

/** Positions as we write them, side by side; JSON has no leading zeros. */
const POSITIONS = /"xlog_location":(0|[1-9]\d{0,14})(?:,"replay_lsn":(0|[1-9]\d{0,14}))?(?:,"receive_lsn":(0|[1-9]\d{0,14}))?/;
const ONLY_POSITIONS = new RegExp(`^${POSITIONS.source}$`);
const A_POSITION = /"(?:xlog_location|replay_lsn|receive_lsn)"/;
/** Shapes remembered; beyond it all are forgotten and found anew. */
const SHAPES_MAX = 1024;

/** Reads one text of a member after another: where nothing but its positions differs from the last one, nothing else is read again. */
export class MemberReader {
  readonly #shapes = new Map<string, MemberShape>();

  /** As decodeMember: null where the value is not a JSON object. */
  read(name: string, entry: Entry): Decoded<Member | null> {
    const shape = this.#shapes.get(name);
    const moved = shape === undefined ? null : memberMoved(shape, entry);
    if (moved !== null) return { value: moved, faults: NO_FAULTS };
    const member = plainMember(name, entry);
    const found = member === null ? null : shapeOf(member, entry.value);
    if (this.#shapes.size >= SHAPES_MAX) this.#shapes.clear();
    if (found === null) this.#shapes.delete(name);
    else this.#shapes.set(name, found);
    return member === null ? decodeMember(name, entry) : { value: member, faults: NO_FAULTS };
  }
}

/** Null where the text differs in more than its positions. */
function memberMoved({ head, tail, member }: MemberShape, { value, revision, session }: Entry): Member | null {
  const end = value.length - tail.length;
  if (end <= head.length || !value.startsWith(head) || !value.endsWith(tail)) return null;
  const found = ONLY_POSITIONS.exec(value.slice(head.length, end));
  if (found === null) return null;
  const [, written, replayed, received] = found;
  return {
    ...member,
    revision,
    session,
    xlogLocation: lsn(Number(written)),
    replayLsn: replayed === undefined ? null : lsn(Number(replayed)),
    receiveLsn: received === undefined ? null : lsn(Number(received)),
  };
}

/** Null where its positions do not stand side by side, or might be somebody else's: a tag's, or those of a name that is written twice. */
function shapeOf(member: Member, text: string): MemberShape | null {
  const found = POSITIONS.exec(text);
  if (found === null || text.includes("\\")) return null;
  const [all, written, replayed, received] = found;
  const [head, tail] = [text.slice(0, found.index), text.slice(found.index + all.length)];
  // A longer number would be another one.
  if (/^\d/.test(tail) || A_POSITION.test(head) || A_POSITION.test(tail)) return null;
  const same = isAt(member.xlogLocation, written) && isAt(member.replayLsn, replayed) && isAt(member.receiveLsn, received);
  return same ? { head, tail, member } : null;
}

function isAt(at: Lsn | null, digits: string | undefined): boolean {
  return digits === undefined ? at === null : at === lsn(Number(digits));
}

/** As decodeStatus. */
export function readStatus(entry: Entry): Decoded<ClusterStatus> {
  const status = plainStatus(entry.value);
  return status === null ? decodeStatus(entry) : { value: status, faults: NO_FAULTS };
}

/** Null where anything is not a position or a name as they are usually written. */
function plainStatus(text: string): ClusterStatus | null {
  const fields = LONG_NUMBER.test(text) ? null : objectIn(text);
  if (fields === null) return null;
  let optime: Lsn | null = null;
  let slots: Readonly<Record<string, Lsn>> = {};
  let retainSlots: readonly string[] = [];
  for (const field of Object.keys(fields)) {
    const value = fields[field];
    if (field === "optime") {
      optime = position(value);
      if (optime === null) return null;
    } else if (field === "slots") {
      const read = positionsOf(value);
      if (read === null) return null;
      slots = read;
    } else if (field === "retain_slots" && Array.isArray(value) && value.every((name) => typeof name === "string")) retainSlots = value;
    else return null;
  }
  return { optime, slots, retainSlots };
}

/** Null where one of them is no plain position. */
function positionsOf(value: unknown): Readonly<Record<string, Lsn>> | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const read: Record<string, Lsn> = {};
  for (const [name, each] of Object.entries(value)) {
    const at = position(each);
    // No field that an assignment would not make.
    if (at === null || name === "__proto__") return null;
    read[name] = at;
  }
  return read;
}

/** As decodeSync. */
export function readSync(entry: Entry): Decoded<SyncState> {
  const fields = LONG_NUMBER.test(entry.value) ? null : objectIn(entry.value);
  const { leader, sync_standby: names, quorum } = fields ?? NO_FIELDS;
  const plain = typeof leader === "string" && leader !== "" && (names === null || (typeof names === "string" && PLAIN_NAMES.test(names)));
  if (!plain || typeof quorum !== "number" || !Number.isSafeInteger(quorum) || quorum < 0) return decodeSync(entry);
  const standbys = names === null ? [] : [...new Set(names.split(","))].sort();
  // Of two zeros the one without a sign.
  return { value: { revision: entry.revision, leader, standbys, quorum: Math.abs(quorum) }, faults: NO_FAULTS };
}

/** One or more, with nothing to be trimmed. */
const PLAIN_NAMES = /^[^\s,]+(?:,[^\s,]+)*$/;

/** As decodeLeaseMark: null where it cannot be read. */
export function readLeaseMark(entry: Entry): LeaseMark | null {
  const fields = objectIn(entry.value);
  const { session, ttl, released, timeline: number, unfenced } = fields ?? NO_FIELDS;
  const newest = number === undefined || number === null ? null : timelineOf(number);
  const plain = typeof session === "string" && typeof ttl === "number" && ttl >= 0 && ttl < Number.POSITIVE_INFINITY;
  if (!plain || typeof released !== "boolean" || unfenced !== undefined || (newest === null && number !== undefined && number !== null))
    return decodeLeaseMark(entry);
  return { session, ttl: ms(ttl), released, timeline: newest, unfenced: null, revision: entry.revision };
}

const NO_FAULTS: readonly string[] = [];
const NO_TAGS: Tags = Object.freeze({});
const NO_FIELDS: Readonly<Record<string, unknown>> = Object.freeze({});

/** A number of so many digits may not be exact as JSON.parse reads it. */
const LONG_NUMBER = /\d{16}/;

/** Null where a field is unknown, of another type than usual, or needs more than a look. */
function plainMember(name: string, entry: Entry): Member | null {
  if (LONG_NUMBER.test(entry.value)) return null;
  const fields = objectIn(entry.value);
  if (fields === null) return null;
  const found: { -readonly [K in keyof Member]: Member[K] } = {
    name,
    revision: entry.revision,
    session: entry.session,
    connUrl: null,
    apiUrl: null,
    state: "unknown",
    role: "uninitialized",
    version: null,
    xlogLocation: null,
    receiveLsn: null,
    replayLsn: null,
    replicationState: null,
    timeline: null,
    tags: NO_TAGS,
    proxyUrl: null,
    pendingRestart: false,
    pendingRestartReason: null,
    checkpointAfterPromote: null,
    scheduledRestart: null,
    pause: false,
    product: null,
    extra: NO_FIELDS,
  };
  for (const field of Object.keys(fields)) if (!take(found, field, fields[field])) return null;
  return found;
}

/** False where the field is not plain. */
function take(found: { -readonly [K in keyof Member]: Member[K] }, field: string, value: unknown): boolean {
  switch (field) {
    case "conn_url":
      if (typeof value !== "string") return false;
      found.connUrl = value;
      return true;
    case "api_url":
      if (typeof value !== "string") return false;
      found.apiUrl = value;
      return true;
    case "state":
      if (typeof value !== "string") return false;
      found.state = value;
      return true;
    case "role":
      if (typeof value !== "string") return false;
      found.role = value;
      return true;
    case "version":
      if (typeof value !== "string") return false;
      found.version = value;
      return true;
    case "replication_state":
      if (typeof value !== "string") return false;
      found.replicationState = value;
      return true;
    case "xlog_location":
      found.xlogLocation = position(value);
      return found.xlogLocation !== null;
    case "receive_lsn":
      found.receiveLsn = position(value);
      return found.receiveLsn !== null;
    case "replay_lsn":
      found.replayLsn = position(value);
      return found.replayLsn !== null;
    case "timeline":
      found.timeline = timelineOf(value);
      return found.timeline !== null;
    case "checkpoint_after_promote":
      if (typeof value !== "boolean") return false;
      found.checkpointAfterPromote = value;
      return true;
    case "pause":
      if (typeof value !== "boolean") return false;
      found.pause = value;
      return true;
    case "product":
      found.product = productOf(value);
      return found.product !== null;
    case "tags":
      if (!areScalars(value)) return false;
      found.tags = value;
      return true;
    default: // A pending restart, somebody else's field: seldom enough for the schema.
      return false;
  }
}

function areScalars(value: unknown): value is Tags {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((each) => each === null || typeof each !== "object");
}

function position(value: unknown): Lsn | null {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? lsn(value) : null;
}

function productOf(value: unknown): Member["product"] {
  if (typeof value !== "object" || value === null) return null;
  const { name, version } = value as Readonly<Record<string, unknown>>;
  return typeof name === "string" && typeof version === "string" ? { name, version } : null;
}

const TIMELINE_MAX = 0xffff_ffff;

function timelineOf(value: unknown): Timeline | null {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= TIMELINE_MAX ? timeline(value) : null;
}

function objectIn(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
