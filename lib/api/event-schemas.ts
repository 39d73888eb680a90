// Owns the form of what GET /events and GET /explain tell, as data, for GET /openapi.json. A test holds the answers to it.

import * as v from "valibot";
import { BACKUP_TYPES } from "../model/backup-run.ts";
import { EVENT_KINDS, type EventKind } from "../model/event.ts";

const text = v.string();
const textOrNull = v.nullable(v.string());
const whole = v.pipe(v.number(), v.integer());
const wholeOrNull = v.nullable(whole);
const wal = v.pipe(textOrNull, v.description("position in the WAL, such as 0/5000060"));

const REQUEST = v.nullable(v.strictObject({ leader: textOrNull, candidate: textOrNull, scheduled_at: textOrNull }));
const SYNC = { leader: textOrNull, standbys: v.array(text), quorum: whole };
const ANSWER = v.strictObject({ state: text, role: text, timeline: wholeOrNull, wal });

const FACTS = v.strictObject({
  dcs: v.picklist(["reachable", "unreachable"]),
  leader: textOrNull,
  lock: v.picklist(["ours", "foreign", "free", "unknown"]),
  lease_remaining_ms: v.nullable(v.number()),
  paused: v.boolean(),
  state: text,
  role: v.nullable(v.picklist(["primary", "replica"])),
  timeline: wholeOrNull,
  wal,
  published_wal: wal,
  task: textOrNull,
  request: REQUEST,
  sync: v.nullable(v.strictObject(SYNC)),
  answers: v.pipe(v.record(text, v.nullable(ANSWER)), v.description("by member; null where one did not answer")),
});

const BODIES = {
  supervisor: { what: v.picklist(["started", "stopping"]), version: text },
  decision: { effect: text, facts: FACTS },
  effect: { effect: text, ok: v.literal(false) },
  task: { task: text, ok: v.boolean(), seconds: v.number() },
  leader: { leader: textOrNull, former: textOrNull },
  role: { role: text, former: textOrNull },
  state: { state: text, former: textOrNull },
  failover: {
    phase: v.picklist(["detected", "lock", "promoted", "writable"]),
    cause: v.picklist(["automatic", "switchover", "manual"]),
    former: textOrNull,
    seconds: v.nullable(v.number()),
  },
  request: { request: REQUEST },
  dcs: { reachable: v.boolean() },
  pause: { paused: v.boolean() },
  sync: SYNC,
  members: { joined: v.array(text), left: v.array(text) },
  fencing: { fencing: v.picklist(["armed", "off", "lost"]) },
  raft: { role: text, term: whole },
  backup: {
    what: v.picklist(["started", "done", "failed", "lost", "overdue"]),
    type: v.picklist(BACKUP_TYPES),
    node: textOrNull,
    label: textOrNull,
  },
} satisfies Readonly<Record<EventKind, v.ObjectEntries>>;

const COMMON = {
  id: v.pipe(text, v.description("unique for ever; what after= and Last-Event-ID take")),
  time: v.pipe(text, v.description("ISO 8601 in UTC")),
  scope: text,
  name: v.pipe(text, v.description("the node that tells of it")),
  text: v.pipe(text, v.description("for people")),
  rule: v.pipe(textOrNull, v.description("that decided, or had decided when it happened")),
};

export const EVENT_DOCUMENT = v.union(EVENT_KINDS.map((kind) => v.strictObject({ ...COMMON, kind: v.literal(kind), ...BODIES[kind] })));

export const EVENTS_DOCUMENT = v.strictObject({
  events: v.pipe(v.array(EVENT_DOCUMENT), v.description("oldest first")),
  missed: v.pipe(v.boolean(), v.description("some that came after the one asked for are no longer kept")),
  kept_max: whole,
});

const MEMBER = v.strictObject({
  name: text,
  role: v.pipe(textOrNull, v.description("as it says itself; null where it did not answer")),
  state: textOrNull,
  timeline: wholeOrNull,
  wal,
  leads: v.boolean(),
  promotable: v.pipe(v.boolean(), v.description("it could be promoted now if nobody led")),
  obstacles: v.pipe(v.array(v.strictObject({ rule: text, reason: text })), v.description("each of them alone would be enough")),
  switchover: v.strictObject({ possible: v.boolean(), obstacles: v.array(text) }),
});

export const EXPLANATION_DOCUMENT = v.strictObject({
  scope: text,
  name: v.pipe(text, v.description("the node that says so")),
  time: text,
  dcs: v.picklist(["reachable", "unreachable"]),
  leader: textOrNull,
  paused: v.boolean(),
  synchronous_mode: text,
  members: v.array(MEMBER),
  decision: v.nullable(v.strictObject({ rule: text, why: text })),
  last_race: v.pipe(v.nullable(EVENT_DOCUMENT), v.description("the last thing that this node decided about a free lock")),
});
