// Owns what a member publishes about itself (contract §1, §2): roles, states, tags, the member record.
// Its JSON form is read and written in lib/dcs/decode.ts.

import type { Lsn, Revision, Timeline } from "./units.ts";

export const ROLES = ["primary", "replica", "standby_leader", "demoted", "promoted", "uninitialized"] as const;
export type Role = (typeof ROLES)[number];

/** Words as written into JSON, in the order of their metric value (0 … 14). */
export const POSTGRES_STATES = [
  "initializing new cluster",
  "initdb failed",
  "running custom bootstrap script",
  "custom bootstrap failed",
  "creating replica",
  "running",
  "starting",
  "starting after custom bootstrap",
  "start failed",
  "restarting",
  "restart failed",
  "stopping",
  "stopped",
  "stop failed",
  "crashed",
] as const;
export type PostgresState = (typeof POSTGRES_STATES)[number];

/** The number that `patroni_postgres_state` shows. */
export function stateNumber(state: PostgresState): number {
  return POSTGRES_STATES.indexOf(state);
}

export type TagValue = string | number | boolean | null;
/** Tags in the order of the file, values with the type they were written in. */
export type Tags = Readonly<Record<string, TagValue>>;

export interface PendingRestartReason {
  readonly [parameter: string]: { readonly old_value: string; readonly new_value: string };
}

/** A member's key as a struct; everything beyond the urls may be missing in what a peer wrote. */
export interface Member {
  readonly name: string;
  readonly revision: Revision;
  /** The session that owns the key; null when the store shows none. */
  readonly session: string | null;
  readonly connUrl: string | null;
  readonly apiUrl: string | null;
  readonly state: string;
  readonly role: string;
  readonly version: string | null;
  /** Position a replica has received and replayed, or the primary has written. */
  readonly xlogLocation: Lsn | null;
  readonly receiveLsn: Lsn | null;
  readonly replayLsn: Lsn | null;
  readonly replicationState: string | null;
  readonly timeline: Timeline | null;
  readonly tags: Tags;
  readonly proxyUrl: string | null;
  readonly pendingRestart: boolean;
  readonly pendingRestartReason: PendingRestartReason | null;
  /** `false` until the primary has run its first checkpoint after a promotion; null when not published. */
  readonly checkpointAfterPromote: boolean | null;
  readonly scheduledRestart: Readonly<Record<string, unknown>> | null;
  readonly pause: boolean;
  /** What wrote the key; null on a Patroni, which does not say. */
  readonly product: { readonly name: string; readonly version: string } | null;
  /** Fields that we do not know, kept as they were. */
  readonly extra: Readonly<Record<string, unknown>>;
}

/** A tag read as a boolean: true, "true", "on", "yes", "1" and 1 count as set. */
export function tagEnabled(tags: Tags, name: string): boolean {
  const value = tags[name];
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return value !== 0;
  if (typeof value === "string") return ["true", "on", "yes", "1"].includes(value.toLowerCase());
  return false;
}

/** True where the member may never become primary by itself (nofailover, or failover_priority of 0 or less). */
export function isNofailover(tags: Tags): boolean {
  return isExcluded(tags, "nofailover", "failover_priority");
}

/** True where the member may never be a synchronous standby (nosync, or sync_priority of 0 or less). */
export function isNosync(tags: Tags): boolean {
  return isExcluded(tags, "nosync", "sync_priority");
}

/** Where both are given and contradict each other, the boolean counts. */
function isExcluded(tags: Tags, flag: string, priority: string): boolean {
  if (tags[flag] !== undefined && tags[flag] !== null) return tagEnabled(tags, flag);
  const value = tags[priority];
  if (value === undefined || value === null) return false;
  const number = Number(value);
  return Number.isFinite(number) && number <= 0;
}

/** The value of a priority tag, 1 where it is not set, or where it says no although the flag beside it says yes. */
export function priorityOf(tags: Tags, priority: "failover_priority" | "sync_priority"): number {
  const value = Number(tags[priority] ?? 1);
  const flag = priority === "failover_priority" ? "nofailover" : "nosync";
  if (!Number.isFinite(value) || (value <= 0 && tags[flag] !== undefined && tags[flag] !== null && !tagEnabled(tags, flag))) return 1;
  return value;
}
