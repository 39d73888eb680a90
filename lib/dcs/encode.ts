// Owns how values are written into the DCS: compact JSON with Patroni's field names and order (contract §2).
// Reads nothing; decode.ts is its inverse.

import type { ClusterStatus, LeaseMark } from "../model/cluster.ts";
import type { HistoryLine } from "../model/history.ts";
import type { RestoreRequest } from "../model/restore.ts";
import type { SyncState } from "../model/sync-state.ts";
import type { Lsn } from "../model/units.ts";

declare global {
  interface JSON {
    /** Text that JSON.stringify writes as it is (ECMAScript proposal JSON.parse source text access; Bun has it). */
    rawJSON(text: string): unknown;
  }
}

/** What a request for a switchover or failover is written as; `scheduled_at` is ISO 8601 with its zone. */
export interface FailoverValue {
  readonly leader?: string | null;
  readonly member?: string | null;
  readonly scheduled_at?: string | null;
}

/** The order in which Patroni writes a member's fields; any other follows in the order given. */
const MEMBER_FIELDS = [
  "conn_url",
  "api_url",
  "proxy_url",
  "state",
  "role",
  "version",
  "tags",
  "pending_restart",
  "pending_restart_reason",
  "checkpoint_after_promote",
  "xlog_location",
  "replay_lsn",
  "receive_lsn",
  "replication_state",
  "timeline",
  "scheduled_restart",
  "pause",
] as const;

/** JSON without spaces; a bigint is written as the integer that it is, whatever its size. */
export function encodeJson(value: unknown): string {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return JSON.stringify(value);
  return JSON.stringify(value, (_key, item: unknown) => (typeof item === "bigint" ? JSON.rawJSON(item.toString()) : item));
}

/** A member's record; fields that are null or undefined are left out. */
export function encodeMember(fields: Readonly<Record<string, unknown>>): string {
  const names = Object.keys(fields);
  // Usually they are in order already.
  return (
    encodeInOrder(fields, names) ??
    encodeInOrder(
      fields,
      names.sort((a, b) => rankOf(a) - rankOf(b)),
    ) ??
    "{}"
  );
}

/** Null where the names are not in order. */
function encodeInOrder(fields: Readonly<Record<string, unknown>>, names: readonly string[]): string | null {
  let text = "";
  let last = -1;
  for (const name of names) {
    const field = FIELDS.get(name);
    const rank = field === undefined ? MEMBER_FIELDS.length : field.rank;
    if (rank < last) return null;
    last = rank;
    const value = fields[name];
    if (value === null || value === undefined) continue;
    const label = field === undefined ? `,${JSON.stringify(name)}:` : field.label;
    text = text === "" ? `{${label.slice(1)}${encodeField(value)}` : `${text}${label}${encodeField(value)}`;
  }
  return text === "" ? "{}" : `${text}}`;
}

/** One member's record after another: what did not change since the last one is not written anew. */
export class MemberText {
  #names: readonly string[] = [];
  #values: unknown[] = [];
  /** Of each field, with its label; the first with the brace before it, any other with the comma. */
  #parts: string[] = [];
  /** Whether nobody can have changed the value that a part was made of. */
  #final: boolean[] = [];
  /** What stands around the parts that changed last, usually the positions; null where a part has changed since. */
  #around: { readonly first: number; readonly last: number; readonly head: string; readonly tail: string } | null = null;

  /** As encodeMember. */
  encode(fields: Readonly<Record<string, unknown>>): string {
    const names = Object.keys(fields);
    if (!sameNames(this.#names, names)) {
      this.#names = areInOrder(names) ? names : [];
      this.#values = [];
      this.#parts = [];
      this.#final = [];
      this.#around = null;
    }
    if (this.#names.length === 0) return encodeMember(fields);
    let first = names.length;
    let last = -1;
    for (let index = 0; index < names.length; index += 1) {
      const name = names[index] as string;
      const value = fields[name];
      // A field that is left out would take its comma along.
      if (value === null || value === undefined) {
        this.#around = null;
        return encodeMember(fields);
      }
      if (this.#values[index] === value && this.#final[index] === true) continue;
      this.#values[index] = value;
      this.#final[index] = isFinal(value);
      const label = FIELDS.get(name)?.label ?? `,${JSON.stringify(name)}:`;
      this.#parts[index] = `${index === 0 ? `{${label.slice(1)}` : label}${encodeField(value)}`;
      if (last < 0) first = index;
      last = index;
    }
    return this.#joined(first, last);
  }

  /** With all parts from the first to the last that changed; what stands around them is put together once. */
  #joined(first: number, last: number): string {
    const parts = this.#parts;
    let around = this.#around;
    if (around === null || around.first !== first || around.last !== last) {
      // Where nothing changed, `first` is behind all of them.
      const rest = Math.max(first, last + 1);
      around = { first, last, head: parts.slice(0, first).join(""), tail: `${parts.slice(rest).join("")}}` };
      this.#around = around;
    }
    let text = around.head;
    for (let index = first; index <= last; index += 1) text += parts[index];
    return text + around.tail;
  }
}

/** Nobody can have changed it: the same value is the same text. */
function isFinal(value: unknown): boolean {
  return typeof value !== "object" || value === null || Object.isFrozen(value);
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) return false;
  return true;
}

function areInOrder(names: readonly string[]): boolean {
  return names.every((name, index) => index === 0 || rankOf(names[index - 1] as string) <= rankOf(name));
}

function rankOf(name: string): number {
  return FIELDS.get(name)?.rank ?? MEMBER_FIELDS.length;
}

/** Labels with the comma before them. */
const FIELDS: ReadonlyMap<string, { readonly rank: number; readonly label: string }> = new Map(
  MEMBER_FIELDS.map((name, rank) => [name, { rank, label: `,${JSON.stringify(name)}:` }]),
);

/** Positions are by far the most frequent change; encodeJson would look at every value for the one that is a bigint. */
function encodeField(value: unknown): string {
  if (typeof value === "string") return quoted(value);
  if (typeof value === "bigint" || Number.isSafeInteger(value)) return String(value);
  return typeof value === "object" && value !== null && Object.isFrozen(value) ? frozenText(value) : encodeJson(value);
}

/** Texts and frozen objects that a member writes again and again, as JSON. Frozen: flat, made once, and never another. */
const texts = new Map<string, string>();
const frozen = new WeakMap<object, string>();
/** Bound of the memory above: a member has a handful of words. */
const TEXTS_MAX = 256;

function quoted(text: string): string {
  const known = texts.get(text);
  if (known !== undefined) return known;
  if (texts.size >= TEXTS_MAX) texts.clear();
  const made = JSON.stringify(text);
  texts.set(text, made);
  return made;
}

function frozenText(value: object): string {
  const known = frozen.get(value);
  if (known !== undefined) return known;
  const made = encodeJson(value);
  frozen.set(value, made);
  return made;
}

/** `slots` and `retain_slots` only where there are any; `optime` only where known. */
export function encodeStatus(status: ClusterStatus): string {
  // At every renewal: positions are bigints, names are the same again and again.
  const fields: string[] = [];
  if (status.optime !== null) fields.push(`"optime":${status.optime}`);
  const slots = Object.keys(status.slots).map((name) => `${quoted(name)}:${status.slots[name]}`);
  if (slots.length > 0) fields.push(`"slots":{${slots.join(",")}}`);
  if (status.retainSlots.length > 0) fields.push(`"retain_slots":[${status.retainSlots.map(quoted).join(",")}]`);
  return `{${fields.join(",")}}`;
}

/** `{}` stands for "no request". */
export function encodeFailover(value: FailoverValue | null): string {
  const fields = [
    ["leader", value?.leader],
    ["member", value?.member],
    ["scheduled_at", value?.scheduled_at],
  ] as const;
  return encodeJson(Object.fromEntries(fields.filter(([, text]) => text !== null && text !== undefined && text !== "")));
}

/** `sync_standby`: sorted names, commas without spaces; null when there is none. */
export function encodeSync(state: Pick<SyncState, "leader" | "standbys" | "quorum">, settles?: number): string {
  const standbys = [...state.standbys].sort().join(",");
  const value = { leader: state.leader, sync_standby: standbys === "" ? null : standbys, quorum: state.quorum };
  return encodeJson(settles === undefined ? value : { ...value, settles });
}

/** `[[timeline, lsn, reason, time, new leader], …]`; time and new leader only where known. */
export function encodeHistory(lines: readonly HistoryLine[]): string {
  return encodeJson(
    lines.map((line) => {
      const head: (number | Lsn | string)[] = [line.timeline, line.lsn, line.reason];
      if (line.time !== null) head.push(line.time);
      if (line.time !== null && line.newLeader !== null) head.push(line.newLeader);
      return head;
    }),
  );
}

/** `cycle` differs at each writing: the same text twice would not move the key's revision in every store. */
export function encodeLeaseMark(mark: Omit<LeaseMark, "revision">, cycle: number): string {
  const { session, ttl, released, timeline, unfenced } = mark;
  // As it is at nearly every renewal.
  if (unfenced === null && Number.isFinite(ttl))
    return `{"session":${JSON.stringify(session)},"ttl":${ttl},"released":${released}${timeline === null ? "" : `,"timeline":${timeline}`},"cycle":${cycle}}`;
  // Nothing here is a bigint, which JSON.stringify would not write.
  return JSON.stringify({
    session,
    ttl,
    released,
    ...(timeline === null ? {} : { timeline }),
    ...(unfenced === null ? {} : { unfenced: { name: unfenced.name, api_url: unfenced.apiUrl, conn_url: unfenced.connUrl } }),
    cycle,
  });
}

/** In the order of the model; what is not known is null. */
export function encodeRestore(request: Omit<RestoreRequest, "revision">): string {
  const { id, phase, direction, node, label, target, recoveryTimeline, timeline, cloned, message } = request;
  return encodeJson({ id, phase, direction, node, label, target, recovery_timeline: recoveryTimeline, timeline, cloned, message });
}
