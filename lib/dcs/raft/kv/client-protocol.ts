// Owns what a client and a member say to each other: JSON texts, checked here once, at the edge, in both directions. How the
// texts travel (frames, ids, a MessagePort) is not known here, and nothing here waits.

import * as v from "valibot";
import type { Distribution } from "../../../model/metric.ts";
import type { LogIndex, MemberId, RaftClusterId, RaftMember, Term } from "../../../model/raft.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import { type Ms, ms, type Revision, revision } from "../../../model/units.ts";
import type { Snapshot } from "../../store.ts";
import type { Command, CommandAnswer, Envelope, Query, QueryValue, RaftChange, RaftCondition } from "./command.ts";

/** One question. Who asks repeats a `command` under the same (client, sequence); all others are harmless to repeat. */
export type ClientRequest =
  | { readonly kind: "command"; readonly envelope: Envelope }
  | { readonly kind: "query"; readonly query: Query }
  /** Waits for a change below the prefix after the revision, at most `waitMs`; then the snapshot as it is. */
  | { readonly kind: "watch"; readonly prefix: string; readonly after: Revision; readonly waitMs: Ms }
  | { readonly kind: "status" }
  | { readonly kind: "members" }
  /** Whoever listens at the address joins: learner, then voter; in the place of the member `replaces` (id), if one is named. */
  | { readonly kind: "add"; readonly address: string; readonly replaces: MemberId | null }
  /** By id or by address. */
  | { readonly kind: "remove"; readonly member: string }
  /** By id or by address; null: to the member that is furthest. */
  | { readonly kind: "transfer"; readonly to: string | null }
  | { readonly kind: "snapshot" };

export interface MemberStatus extends RaftMember {
  readonly part: "voter" | "outgoing" | "learner";
  /** As the asked member sees it; null for itself. */
  readonly link: "up" | "down" | null;
  /** Durable up to here as the leader knows it; null where the asked member does not lead. */
  readonly matched: LogIndex | null;
  /** Milliseconds since the leader heard from it; null where the asked member does not lead, and for itself. */
  readonly silentMs: number | null;
}

/** A member as it sees itself: for people and tools, never for decisions. */
export interface RaftStatus {
  readonly member: RaftMember;
  readonly cluster: RaftClusterId | null;
  /** `waiting`: for the founding; `joining`: knows its cluster and is not in its configuration yet. */
  readonly state: "waiting" | "joining" | "serving";
  /** What it waits for, in words; null where it serves. */
  readonly detail: string | null;
  readonly role: "follower" | "pre-candidate" | "candidate" | "leader";
  readonly term: Term;
  readonly leader: RaftMember | null;
  readonly members: readonly MemberStatus[];
  readonly commit: LogIndex;
  readonly applied: LogIndex;
  readonly lastIndex: LogIndex;
  readonly snapshotIndex: LogIndex;
  readonly log: "whole" | "damaged";
  readonly disk: "room" | "full";
  readonly revision: Revision;
  readonly clusterTimeMs: number;
  readonly keys: number;
  readonly sessions: number;
  readonly clients: number;
  readonly watches: number;
  /** Bytes of the newest snapshot; 0 where there is none. */
  readonly snapshotBytes: number;
  /** Bytes of the entries held behind it. */
  readonly logBytes: number;
  /** Mean time in ms from handing a write to the disk until it is durable; null before the first. */
  readonly syncMs: number | null;
  /** Seconds that each sync of the log took since the member started; those of a member that does not tell are empty. */
  readonly fsyncs: Distribution;
  /** How often this member stood for election since it started. */
  readonly elections: number;
}

export type ClientAnswer =
  | { readonly kind: "command"; readonly answer: CommandAnswer }
  | { readonly kind: "query"; readonly value: QueryValue }
  | { readonly kind: "watch"; readonly snapshot: Snapshot }
  /** Of a watch: its revision is older than the kept history. */
  | { readonly kind: "compacted" }
  | { readonly kind: "status"; readonly status: RaftStatus }
  | { readonly kind: "members"; readonly members: readonly MemberStatus[]; readonly leader: RaftMember | null }
  /** Of add, remove, transfer, snapshot. */
  | { readonly kind: "done" }
  /** Certainly not applied; ask the leader, if one is named. */
  | { readonly kind: "not-leader"; readonly leader: RaftMember | null }
  /** Certainly not applied; ask again, here or elsewhere. */
  | { readonly kind: "unavailable"; readonly reason: string }
  /** May or may not have been applied: a command may be repeated under the same (client, sequence). */
  | { readonly kind: "unknown-outcome"; readonly reason: string }
  /** Asking again will not help. */
  | { readonly kind: "refused"; readonly reason: string };

/** The longest watch; who wants to wait longer asks again. */
export const WATCH_WAIT_MAX_MS = 600_000;

/** The error says what is wrong with the text. */
export function readClientRequest(text: string): Result<ClientRequest, string> {
  return read(requestSchema, text);
}

/** The error says what is wrong with the text. */
export function readClientAnswer(text: string): Result<ClientAnswer, string> {
  return read(answerSchema, text);
}

export function writeClientRequest(request: ClientRequest): string {
  return JSON.stringify(request);
}

export function writeClientAnswer(answer: ClientAnswer): string {
  return JSON.stringify(answer);
}

function read<T>(schema: v.GenericSchema<unknown, T>, text: string): Result<T, string> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return err("not JSON");
  }
  const parsed = v.safeParse(schema, json, { abortEarly: true });
  if (parsed.success) return ok(parsed.output);
  const [issue] = parsed.issues;
  // The value itself may be a secret: only where it stands and what was expected is told.
  return err(`${v.getDotPath(issue) ?? "(root)"}: expected ${issue.expected ?? issue.type}`);
}

// Lengths and numbers of changes are the machine's business: it answers `rejected`, which the caller understands.
/** What the machine stores comes back as it was sent: a lone surrogate would not. */
const text = v.pipe(
  v.string(),
  v.check((value) => value.isWellFormed()),
);
const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const instant = v.pipe(v.number(), v.finite(), v.minValue(0));
const revisionSchema = v.pipe(
  whole,
  v.transform((value): Revision => revision(value)),
);
const msSchema = v.pipe(
  instant,
  v.transform((value): Ms => ms(value)),
);
const indexSchema = v.pipe(
  whole,
  v.transform((value) => value as LogIndex),
);
const memberIdSchema = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{32}$/),
  v.transform((value) => value as MemberId),
);
const memberSchema = v.object({ id: memberIdSchema, address: v.string() });

const conditionSchema: v.GenericSchema<unknown, RaftCondition> = v.variant("kind", [
  v.object({ kind: v.literal("none") }),
  v.object({ kind: v.literal("absent") }),
  v.object({ kind: v.literal("revision"), revision: revisionSchema }),
  v.object({ kind: v.literal("value"), value: text }),
]);
const changeSchema: v.GenericSchema<unknown, RaftChange> = v.variant("kind", [
  v.object({
    kind: v.literal("put"),
    key: text,
    value: text,
    condition: v.exactOptional(conditionSchema),
    session: v.exactOptional(text),
  }),
  v.object({ kind: v.literal("delete"), key: text, condition: v.exactOptional(conditionSchema) }),
  v.object({ kind: v.literal("check-owner"), key: text, session: text }),
]);
const sessionSchema = v.object({ id: v.string(), promisedMs: msSchema, place: v.nullable(v.string()) });

/** All that a client may ask for: an expiry is the leader's to propose, so nothing from outside can look like one. */
const commandSchema: v.GenericSchema<unknown, Exclude<Command, { kind: "expire-session" }>> = v.variant("kind", [
  v.object({ kind: v.literal("change"), changes: v.array(changeSchema) }),
  v.object({ kind: v.literal("delete-prefix"), prefix: text }),
  v.object({ kind: v.literal("open-session"), id: text, name: text, ttl: msSchema, place: v.nullable(text) }),
  v.object({ kind: v.literal("renew-session"), id: text }),
  v.object({ kind: v.literal("close-session"), id: text }),
  v.object({ kind: v.literal("open-client"), id: text }),
]);
const envelopeSchema = v.object({ client: v.nullable(text), sequence: whole, acknowledged: whole, command: commandSchema });
const querySchema = v.variant("kind", [
  v.object({ kind: v.literal("snapshot"), prefix: text, consistency: v.picklist(["linearizable", "stale"]) }),
  v.object({ kind: v.literal("session-info"), id: text }),
]);

const requestSchema: v.GenericSchema<unknown, ClientRequest> = v.variant("kind", [
  v.object({ kind: v.literal("command"), envelope: envelopeSchema }),
  v.object({ kind: v.literal("query"), query: querySchema }),
  v.object({
    kind: v.literal("watch"),
    prefix: text,
    after: revisionSchema,
    waitMs: v.pipe(
      instant,
      v.maxValue(WATCH_WAIT_MAX_MS),
      v.transform((value): Ms => ms(value)),
    ),
  }),
  v.object({ kind: v.literal("status") }),
  v.object({ kind: v.literal("members") }),
  v.object({ kind: v.literal("add"), address: v.string(), replaces: v.nullable(memberIdSchema) }),
  v.object({ kind: v.literal("remove"), member: v.string() }),
  v.object({ kind: v.literal("transfer"), to: v.nullable(v.string()) }),
  v.object({ kind: v.literal("snapshot") }),
]);

const valueSchema = v.variant("kind", [
  v.object({ kind: v.literal("revisions"), revisions: v.array(revisionSchema) }),
  v.object({ kind: v.literal("session"), session: sessionSchema }),
  v.object({ kind: v.literal("client"), id: v.string() }),
  v.object({ kind: v.literal("done") }),
]);
const errorSchema = v.variant("kind", [
  v.object({ kind: v.literal("unavailable"), reason: v.string() }),
  v.object({ kind: v.literal("unknown-outcome"), reason: v.string() }),
  v.object({ kind: v.literal("condition-failed") }),
  v.object({ kind: v.literal("session-gone"), session: v.string() }),
  v.object({ kind: v.literal("compacted") }),
  v.object({ kind: v.literal("rejected"), reason: v.string() }),
  v.object({ kind: v.literal("unknown-client") }),
]);
const commandAnswerSchema: v.GenericSchema<unknown, CommandAnswer> = v.variant("ok", [
  v.object({ ok: v.literal(true), value: valueSchema }),
  v.object({ ok: v.literal(false), error: errorSchema }),
]);
const snapshotSchema = v.object({
  entries: v.array(v.object({ key: v.string(), value: v.string(), revision: revisionSchema, session: v.nullable(v.string()) })),
  revision: revisionSchema,
});
const memberStatusSchema = v.object({
  ...memberSchema.entries,
  part: v.picklist(["voter", "outgoing", "learner"]),
  link: v.nullable(v.picklist(["up", "down"])),
  matched: v.nullable(indexSchema),
  silentMs: v.nullable(instant),
});
const distributionSchema: v.GenericSchema<unknown, Distribution> = v.object({
  buckets: v.array(v.tuple([instant, whole])),
  sum: instant,
  count: whole,
});
const statusSchema: v.GenericSchema<unknown, RaftStatus> = v.object({
  member: memberSchema,
  cluster: v.nullable(
    v.pipe(
      v.string(),
      v.regex(/^[0-9a-f]{32}$/),
      v.transform((value) => value as RaftClusterId),
    ),
  ),
  state: v.picklist(["waiting", "joining", "serving"]),
  detail: v.nullable(v.string()),
  role: v.picklist(["follower", "pre-candidate", "candidate", "leader"]),
  term: v.pipe(
    whole,
    v.transform((value) => value as Term),
  ),
  leader: v.nullable(memberSchema),
  members: v.array(memberStatusSchema),
  commit: indexSchema,
  applied: indexSchema,
  lastIndex: indexSchema,
  snapshotIndex: indexSchema,
  log: v.picklist(["whole", "damaged"]),
  disk: v.picklist(["room", "full"]),
  revision: revisionSchema,
  clusterTimeMs: instant,
  keys: whole,
  sessions: whole,
  clients: whole,
  watches: whole,
  snapshotBytes: whole,
  logBytes: whole,
  syncMs: v.nullable(instant),
  fsyncs: v.optional(distributionSchema, { buckets: [], sum: 0, count: 0 }),
  elections: whole,
});

const answerSchema: v.GenericSchema<unknown, ClientAnswer> = v.variant("kind", [
  v.object({ kind: v.literal("command"), answer: commandAnswerSchema }),
  v.object({
    kind: v.literal("query"),
    value: v.variant("kind", [
      v.object({ kind: v.literal("snapshot"), snapshot: snapshotSchema }),
      v.object({ kind: v.literal("session-info"), session: v.nullable(sessionSchema) }),
    ]),
  }),
  v.object({ kind: v.literal("watch"), snapshot: snapshotSchema }),
  v.object({ kind: v.literal("compacted") }),
  v.object({ kind: v.literal("status"), status: statusSchema }),
  v.object({ kind: v.literal("members"), members: v.array(memberStatusSchema), leader: v.nullable(memberSchema) }),
  v.object({ kind: v.literal("done") }),
  v.object({ kind: v.literal("not-leader"), leader: v.nullable(memberSchema) }),
  v.object({ kind: v.literal("unavailable"), reason: v.string() }),
  v.object({ kind: v.literal("unknown-outcome"), reason: v.string() }),
  v.object({ kind: v.literal("refused"), reason: v.string() }),
]);
