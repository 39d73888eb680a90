// Owns how values are read from the DCS (contract §2): one Valibot schema for each key. What cannot be read is absent
// and named in `faults`; it never throws. Unknown fields of a member are kept; a field of a wrong type counts as missing.

import * as v from "valibot";
import { type ClusterStatus, type ConfigKey, EMPTY_STATUS, type LeaseMark, type UnfencedPrimary } from "../model/cluster.ts";
import type { FailoverRequest } from "../model/failover-request.ts";
import type { HistoryLine } from "../model/history.ts";
import type { Member, PendingRestartReason, Tags } from "../model/member.ts";
import {
  NEWEST_TIMELINE,
  RECOVERY_TIMELINE,
  RESTORE_ID,
  RESTORE_PHASES,
  type RestoreRequest,
  unreadableRestore,
} from "../model/restore.ts";
import type { SyncState } from "../model/sync-state.ts";
import { type Lsn, lsn, ms, type Timeline, timeline } from "../model/units.ts";
import type { Entry } from "./store.ts";

/** A value with what was wrong in its text. */
export interface Decoded<T> {
  readonly value: T;
  /** `key: reason` */
  readonly faults: readonly string[];
}

/** An integer that a number cannot hold exactly is a bigint. */
type Exact = string | number | bigint | boolean | null | readonly Exact[] | { readonly [name: string]: Exact };

const LONG_NUMBER = /\d{16}/;

/** JSON.parse that loses no digit of a large integer; undefined where the text is not JSON. */
export function parseExactJson(text: string): unknown {
  try {
    if (!LONG_NUMBER.test(text)) return JSON.parse(text);
    return JSON.parse(text, (_name, value: Exact, context?: { readonly source?: string }) => {
      const source = context?.source;
      if (typeof value !== "number" || Number.isSafeInteger(value) || source === undefined) return value;
      return /^-?\d+$/.test(source) ? BigInt(source) : value;
    });
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

const whole = v.union([
  v.bigint(),
  v.pipe(
    v.number(),
    v.safeInteger(),
    v.transform((number) => BigInt(number)),
  ),
  v.pipe(
    v.string(),
    v.regex(/^\s*\d{1,20}\s*$/),
    v.transform((text) => BigInt(text.trim())),
  ),
]);
const lsnSchema = v.pipe(
  whole,
  v.check((value) => value >= 0n && value <= 0xffff_ffff_ffff_ffffn),
  v.transform((value): Lsn => lsn(value)),
);
const timelineSchema = v.pipe(
  whole,
  v.check((value) => value >= 1n && value <= 0xffff_ffffn),
  v.transform((value): Timeline => timeline(Number(value))),
);
const scalar = v.union([v.string(), v.number(), v.boolean(), v.null()]);
/** Checked by hand: v.record would take an array for an object. */
const anyObject = v.custom<Record<string, unknown>>((value) => typeof value === "object" && value !== null && !Array.isArray(value));

/** A field that counts as missing when its value has another type. */
function optional<const S extends v.GenericSchema>(schema: S) {
  return v.fallback(v.nullable(schema), null);
}

const tagsSchema = v.pipe(
  anyObject,
  v.transform(
    (tags): Tags => Object.fromEntries(Object.entries(tags).filter((pair): pair is [string, Tags[string]] => v.is(scalar, pair[1]))),
  ),
);
const reasonSchema = v.pipe(
  anyObject,
  v.record(v.string(), v.object({ old_value: scalar, new_value: scalar })),
  v.transform(
    (reasons): PendingRestartReason =>
      Object.fromEntries(
        Object.entries(reasons).map(([name, reason]) => [
          name,
          { old_value: String(reason.old_value ?? ""), new_value: String(reason.new_value ?? "") },
        ]),
      ),
  ),
);
const memberFields = {
  conn_url: optional(v.string()),
  api_url: optional(v.string()),
  proxy_url: optional(v.string()),
  state: optional(v.string()),
  role: optional(v.string()),
  version: optional(v.string()),
  xlog_location: optional(lsnSchema),
  receive_lsn: optional(lsnSchema),
  replay_lsn: optional(lsnSchema),
  replication_state: optional(v.string()),
  timeline: optional(timelineSchema),
  tags: optional(tagsSchema),
  pending_restart: optional(v.boolean()),
  pending_restart_reason: optional(reasonSchema),
  checkpoint_after_promote: optional(v.boolean()),
  scheduled_restart: optional(anyObject),
  pause: optional(v.boolean()),
  product: optional(v.object({ name: v.string(), version: v.string() })),
};
const memberSchema = v.looseObject(memberFields);
const failoverSchema = v.object({
  leader: v.optional(v.nullable(v.string())),
  member: v.optional(v.nullable(v.string())),
  scheduled_at: v.optional(v.nullable(v.string())),
});
const syncSchema = v.object({
  leader: v.optional(v.nullable(v.string())),
  sync_standby: v.optional(v.nullable(v.string())),
  quorum: v.fallback(v.optional(whole, 0), 0n),
});
const statusSchema = v.object({
  optime: optional(lsnSchema),
  slots: optional(anyObject),
  retain_slots: optional(v.array(v.string())),
});
const historyLineSchema = v.pipe(
  v.array(v.unknown()),
  v.minLength(3),
  v.transform((line) => line.slice(0, 5)),
);
/** `timeline` and `unfenced` came later than the rest; what cannot be read says nothing. */
const leaseMarkSchema = v.object({
  session: v.string(),
  ttl: v.pipe(v.number(), v.finite(), v.minValue(0)),
  released: v.boolean(),
  timeline: optional(timelineSchema),
  unfenced: optional(
    v.pipe(
      v.object({ name: v.string(), api_url: optional(v.string()), conn_url: optional(v.string()) }),
      v.transform((place): UnfencedPrimary => ({ name: place.name, apiUrl: place.api_url, connUrl: place.conn_url })),
    ),
  ),
});
const restoreSchema = v.object({
  id: v.pipe(v.string(), v.regex(RESTORE_ID)),
  phase: v.picklist(RESTORE_PHASES),
  direction: v.optional(v.picklist(["forward", "back"]), "forward"),
  node: v.string(),
  label: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{1,64}$/)),
  target: v.nullable(v.string()),
  recovery_timeline: v.optional(v.pipe(v.string(), v.regex(RECOVERY_TIMELINE)), NEWEST_TIMELINE),
  timeline: v.nullish(v.pipe(v.union([v.number(), v.bigint()]), v.transform(Number)), null),
  cloned: v.optional(v.array(v.string()), []),
  message: v.nullish(v.string(), null),
});
const failsafeSchema = v.pipe(anyObject, v.record(v.string(), v.string()));

/** Null where the value is not a JSON object: such a member is as good as absent. */
export function decodeMember(name: string, entry: Entry): Decoded<Member | null> {
  const parsed = v.safeParse(memberSchema, objectOf(entry.value));
  if (!parsed.success) return unreadable(entry, null);
  const fields = parsed.output;
  const member: Member = {
    name,
    revision: entry.revision,
    session: entry.session,
    connUrl: fields.conn_url,
    apiUrl: fields.api_url,
    state: fields.state ?? "unknown",
    role: fields.role ?? "uninitialized",
    version: fields.version,
    xlogLocation: fields.xlog_location,
    receiveLsn: fields.receive_lsn,
    replayLsn: fields.replay_lsn,
    replicationState: fields.replication_state,
    timeline: fields.timeline,
    tags: fields.tags ?? {},
    proxyUrl: fields.proxy_url,
    pendingRestart: fields.pending_restart === true,
    pendingRestartReason: fields.pending_restart_reason,
    checkpointAfterPromote: fields.checkpoint_after_promote,
    scheduledRestart: fields.scheduled_restart,
    pause: fields.pause === true,
    product: fields.product,
    extra: unknownFields(fields, entry.value),
  };
  return { value: member, faults: [] };
}

/** Null where the text is not a JSON object: nobody may act on a configuration that he cannot read. */
export function decodeConfig(entry: Entry): Decoded<ConfigKey | null> {
  // Plain JSON.parse: the configuration is handed on as JSON, where a bigint would not do.
  const parsed = v.safeParse(anyObject, plainJson(entry.value));
  if (!parsed.success) return unreadable(entry, null);
  return { value: { revision: entry.revision, data: parsed.output }, faults: [] };
}

/** Null where there is no request: empty text, `{}`, or nothing that names a leader or a candidate. */
export function decodeFailover(entry: Entry): Decoded<FailoverRequest | null> {
  if (entry.value.trim() === "") return { value: null, faults: [] };
  const parsed = v.safeParse(failoverSchema, objectOf(entry.value));
  if (!parsed.success) return unreadable(entry, null);
  const leader = parsed.output.leader || null;
  const candidate = parsed.output.member || null;
  const text = parsed.output.scheduled_at || null;
  if (leader === null && candidate === null) return { value: null, faults: [] };
  const scheduledAt = text === null ? null : parseInstant(text);
  // An appointment that cannot be read must not become "now".
  if (text !== null && scheduledAt === null) return unreadable(entry, null, `scheduled_at is not ISO 8601 with a zone: ${text}`);
  return { value: { revision: entry.revision, leader, candidate, scheduledAt, scheduledAtText: text }, faults: [] };
}

/** Null where it is empty. What cannot be read may be in the middle of a restore: it counts as one that failed. */
export function decodeRestore(entry: Entry): Decoded<RestoreRequest | null> {
  if (entry.value.trim() === "") return { value: null, faults: [] };
  const parsed = v.safeParse(restoreSchema, objectOf(entry.value));
  if (!parsed.success) return unreadable(entry, unreadableRestore(entry.revision));
  const { recovery_timeline: recoveryTimeline, ...request } = parsed.output;
  return { value: { revision: entry.revision, ...request, recoveryTimeline }, faults: [] };
}

/** Keeps the revision also where the value cannot be read, so that it can be replaced. */
export function decodeSync(entry: Entry): Decoded<SyncState> {
  const nobody: SyncState = { revision: entry.revision, leader: null, standbys: [], quorum: 0 };
  if (entry.value.trim() === "") return { value: nobody, faults: [] };
  const parsed = v.safeParse(syncSchema, objectOf(entry.value));
  if (!parsed.success) return unreadable(entry, nobody);
  const names = (parsed.output.sync_standby ?? "").split(",").map((name) => name.trim());
  const standbys = [...new Set(names.filter((name) => name !== ""))].sort();
  return { value: { ...nobody, leader: parsed.output.leader || null, standbys, quorum: Number(parsed.output.quorum) }, faults: [] };
}

/** A line that cannot be read is left out. */
export function decodeHistory(entry: Entry): Decoded<readonly HistoryLine[]> {
  const parsed = v.safeParse(v.array(v.unknown()), parseExactJson(entry.value));
  if (!parsed.success) return unreadable(entry, []);
  const lines: HistoryLine[] = [];
  const faults: string[] = [];
  for (const [index, raw] of parsed.output.entries()) {
    const line = historyLine(raw);
    if (line === null) faults.push(`${entry.key}: line ${index + 1} is not [timeline, lsn, reason, …]`);
    else lines.push(line);
  }
  return { value: lines, faults };
}

export function decodeStatus(entry: Entry): Decoded<ClusterStatus> {
  const parsed = v.safeParse(statusSchema, objectOf(entry.value));
  if (!parsed.success) return unreadable(entry, EMPTY_STATUS);
  const slots: [string, Lsn][] = [];
  for (const [name, position] of Object.entries(parsed.output.slots ?? {})) {
    const read = v.safeParse(lsnSchema, position);
    if (read.success) slots.push([name, read.output]);
  }
  return {
    value: { optime: parsed.output.optime, slots: Object.fromEntries(slots), retainSlots: parsed.output.retain_slots ?? [] },
    faults: [],
  };
}

/** `optime/leader`: decimal text. */
export function decodeOptime(entry: Entry): Decoded<ClusterStatus> {
  const parsed = v.safeParse(lsnSchema, entry.value);
  if (!parsed.success) return unreadable(entry, EMPTY_STATUS, "not a decimal WAL position");
  return { value: { ...EMPTY_STATUS, optime: parsed.output }, faults: [] };
}

export function decodeFailsafe(entry: Entry): Decoded<Readonly<Record<string, string>> | null> {
  const parsed = v.safeParse(failsafeSchema, objectOf(entry.value));
  if (!parsed.success) return unreadable(entry, null);
  return { value: parsed.output, faults: [] };
}

/** Null where it cannot be read: no evidence. */
export function decodeLeaseMark(entry: Entry): LeaseMark | null {
  const parsed = v.safeParse(leaseMarkSchema, plainJson(entry.value));
  return parsed.success ? { ...parsed.output, ttl: ms(parsed.output.ttl), revision: entry.revision } : null;
}

/** Epoch milliseconds of an ISO 8601 text that names its zone; null otherwise. A blank instead of T is accepted. */
export function parseInstant(text: string): number | null {
  const match = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d+))?\s*(Z|z|[+-]\d{2}(?::?\d{2})?)$/.exec(text.trim());
  if (match === null) return null;
  const [, day, time, fraction, zone] = match as unknown as readonly [string, string, string, string | undefined, string];
  const offset = /^[zZ]$/.test(zone) ? "Z" : `${zone.slice(0, 3)}:${zone.slice(3).replace(":", "") || "00"}`;
  const instant = Date.parse(`${day}T${time}${fraction === undefined ? "" : `.${fraction.slice(0, 3).padEnd(3, "0")}`}${offset}`);
  return Number.isNaN(instant) ? null : instant;
}

function historyLine(raw: unknown): HistoryLine | null {
  const parsed = v.safeParse(historyLineSchema, raw);
  if (!parsed.success) return null;
  const [number, position, reason, time, newLeader] = parsed.output;
  const ended = v.safeParse(timelineSchema, number);
  const at = v.safeParse(lsnSchema, position);
  if (!ended.success || !at.success || typeof reason !== "string") return null;
  return {
    timeline: ended.output,
    lsn: at.output,
    reason,
    time: typeof time === "string" ? time : null,
    newLeader: typeof newLeader === "string" ? newLeader : null,
  };
}

/** The value if the text is a JSON object; undefined otherwise (arrays and scalars included). */
function objectOf(text: string): unknown {
  const parsed = parseExactJson(text);
  return Array.isArray(parsed) ? undefined : parsed;
}

function plainJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Read from the plain text where there are any: what is handed on as it was must not hold a bigint. */
function unknownFields(known: Readonly<Record<string, unknown>>, text: string): Readonly<Record<string, unknown>> {
  const names = Object.keys(known).filter((name) => !Object.hasOwn(memberFields, name));
  if (names.length === 0) return NO_FIELDS;
  const fields = plainJson(text) as Record<string, unknown>;
  return Object.fromEntries(names.map((name) => [name, fields[name]]));
}

const NO_FIELDS: Readonly<Record<string, unknown>> = Object.freeze({});

function unreadable<T>(entry: Entry, value: T, reason = "not the JSON that is expected there"): Decoded<T> {
  return { value, faults: [`${entry.key}: ${reason}`] };
}
