// Owns the reading of a member's status document (GET /patroni), ours or a Patroni's: one schema, at the edge. A field of
// an unexpected form counts as absent; without state and role it is no status document.

import * as v from "valibot";
import { parseJson } from "../core/json-text.ts";
import type { PeerStatus } from "../core/observation.ts";
import type { Tags, TagValue } from "../model/member.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Lsn, lsn, type Timeline, timeline } from "../model/units.ts";

export interface PeerDocument {
  readonly name: string | null;
  readonly scope: string | null;
  /** The Patroni version that the member is compatible with. */
  readonly version: string | null;
  /** null on a Patroni. */
  readonly product: { readonly name: string; readonly version: string } | null;
  readonly state: string;
  readonly role: string;
  readonly serverVersion: number | null;
  /** As PostgreSQL writes a time; null where it is not running. */
  readonly postmasterStartTime: string | null;
  readonly systemIdentifier: string | null;
  readonly timeline: Timeline | null;
  /** Written on a primary; null on a replica. */
  readonly walLsn: Lsn | null;
  readonly receivedLsn: Lsn | null;
  readonly replayedLsn: Lsn | null;
  readonly replayPaused: boolean;
  readonly replicationState: string | null;
  readonly tags: Tags;
  readonly pause: boolean;
  readonly clusterUnlocked: boolean;
  readonly failsafeActive: boolean;
  readonly watchdogFailed: boolean;
  readonly pendingRestart: boolean;
  /** Ours only: its own lease is running. */
  readonly leaseHeld: boolean;
  /** Epoch seconds; null when the member has none. */
  readonly dcsLastSeenEpochSeconds: number | null;
}

const text = v.fallback(v.nullable(v.string()), null);
const flag = v.fallback(v.boolean(), false);
const position = v.fallback(
  v.nullable(
    v.pipe(
      v.union([v.bigint(), v.pipe(v.number(), v.integer())]),
      v.check((value) => value >= 0),
      v.transform((value) => lsn(value)),
    ),
  ),
  null,
);
const whole = v.fallback(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(0))), null);
const tags = v.fallback(v.record(v.string(), v.union([v.string(), v.number(), v.boolean(), v.null()])), {});

const xlog = v.object({
  location: v.optional(position, null),
  received_location: v.optional(position, null),
  replayed_location: v.optional(position, null),
  paused: v.optional(flag, false),
});
const identity = v.object({ version: v.optional(text, null), scope: v.optional(text, null), name: v.optional(text, null) });

const schema = v.object({
  state: v.string(),
  role: v.string(),
  server_version: v.optional(whole, null),
  postmaster_start_time: v.optional(text, null),
  database_system_identifier: v.optional(text, null),
  timeline: v.optional(whole, null),
  xlog: v.optional(v.fallback(v.nullable(xlog), null), null),
  replication_state: v.optional(text, null),
  tags: v.optional(tags, {}),
  pause: v.optional(flag, false),
  cluster_unlocked: v.optional(flag, false),
  failsafe_mode_is_active: v.optional(flag, false),
  watchdog_failed: v.optional(flag, false),
  pending_restart: v.optional(flag, false),
  lease_held: v.optional(flag, false),
  dcs_last_seen: v.optional(whole, null),
  patroni: v.optional(v.fallback(v.nullable(identity), null), null),
  product: v.optional(v.fallback(v.nullable(v.object({ name: v.string(), version: v.string() })), null), null),
});

/** Errors: one line that says what the answer is not. */
export function decodePeerDocument(body: string): Result<PeerDocument, string> {
  let value: unknown;
  try {
    value = parseJson(body);
  } catch (error) {
    return err(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  const parsed = v.safeParse(schema, value);
  if (!parsed.success) {
    const [issue] = parsed.issues;
    return err(`not a status document: ${v.getDotPath(issue) ?? "it"}: ${issue.message}`);
  }
  return ok(toDocument(parsed.output));
}

function toDocument(document: v.InferOutput<typeof schema>): PeerDocument {
  const { xlog, patroni } = document;
  return {
    name: patroni?.name ?? null,
    scope: patroni?.scope ?? null,
    version: patroni?.version ?? null,
    product: document.product,
    state: document.state,
    role: document.role === "master" ? "primary" : document.role,
    serverVersion: document.server_version,
    postmasterStartTime: document.postmaster_start_time,
    systemIdentifier: document.database_system_identifier,
    timeline: document.timeline === null || document.timeline === 0 ? null : timeline(document.timeline),
    walLsn: xlog?.location ?? null,
    receivedLsn: xlog?.received_location ?? null,
    replayedLsn: xlog?.replayed_location ?? null,
    replayPaused: xlog?.paused ?? false,
    replicationState: document.replication_state,
    tags: document.tags satisfies Readonly<Record<string, TagValue>>,
    pause: document.pause,
    clusterUnlocked: document.cluster_unlocked,
    failsafeActive: document.failsafe_mode_is_active,
    watchdogFailed: document.watchdog_failed,
    pendingRestart: document.pending_restart,
    leaseHeld: document.lease_held,
    dcsLastSeenEpochSeconds: document.dcs_last_seen,
  };
}

/** The part that the decision sees. Its position is the highest that the member names. */
export function corePeerStatus(document: PeerDocument): PeerStatus {
  const positions = [document.walLsn, document.receivedLsn, document.replayedLsn].filter((value) => value !== null);
  return {
    role: document.role,
    state: document.state,
    timeline: document.timeline,
    lsn: highest(positions),
    tags: document.tags,
    watchdogFailed: document.watchdogFailed,
    paused: document.pause,
    leaseHeld: document.leaseHeld,
  };
}

function highest(positions: readonly Lsn[]): Lsn | null {
  let found: Lsn | null = null;
  for (const position of positions) {
    if (found === null || position > found) found = position;
  }
  return found;
}
