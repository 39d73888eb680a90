// Owns the answer to a health check: facts and a path give 200 or 503 (contract §4). Pure: no clock, no I/O; the caller
// judges the lease and the age of the facts and passes the outcome in.

import { type Tags, type TagValue, tagEnabled } from "../model/member.ts";
import type { Lsn, Ms } from "../model/units.ts";

export type HealthCheck =
  | "primary"
  | "leader"
  | "standby-leader"
  | "replica"
  | "read-only"
  | "sync"
  | "read-only-sync"
  | "quorum"
  | "read-only-quorum"
  | "async"
  | "health"
  | "liveness"
  | "readiness";

/** Path (without trailing slash; "/" is the root) → check. */
export const HEALTH_PATHS: ReadonlyMap<string, HealthCheck> = new Map([
  ["/", "primary"],
  ["/primary", "primary"],
  ["/master", "primary"],
  ["/read-write", "primary"],
  ["/leader", "leader"],
  ["/standby-leader", "standby-leader"],
  ["/standby_leader", "standby-leader"],
  ["/replica", "replica"],
  ["/read-only", "read-only"],
  ["/sync", "sync"],
  ["/synchronous", "sync"],
  ["/read-only-sync", "read-only-sync"],
  ["/read-only-synchronous", "read-only-sync"],
  ["/quorum", "quorum"],
  ["/read-only-quorum", "read-only-quorum"],
  ["/async", "async"],
  ["/asynchronous", "async"],
  ["/health", "health"],
  ["/liveness", "liveness"],
  ["/readiness", "readiness"],
]);

export interface HealthFacts {
  /** PostgreSQL accepts connections: its state is `running`, and it answered within the freshness demanded. */
  readonly running: boolean;
  readonly inRecovery: boolean;
  /** This node's own lease is valid at the moment of the answer. */
  readonly holdsLock: boolean;
  /** The role that the HA loop last gave this node: primary or standby_leader. */
  readonly leaderRole: boolean;
  readonly standbyCluster: boolean;
  /** How this node stands in the `sync` key. */
  readonly synchronous: "sync" | "quorum" | "none";
  readonly dcsReachable: boolean;
  readonly paused: boolean;
  readonly tags: Tags;
  readonly replicationState: string | null;
  readonly receivedLsn: Lsn | null;
  readonly replayedLsn: Lsn | null;
  /** The leader's position as last published in the DCS; null when never published. */
  readonly leaderLsn: Lsn | null;
  /** Time since the HA loop last finished a cycle. */
  readonly sinceLastCycleMs: Ms;
  readonly ttlMs: Ms;
  readonly maximumLagOnFailoverBytes: number;
}

export interface HealthQuery {
  /** Bytes; null: no limit named. */
  readonly lagBytes: number | null;
  readonly replicationState: string | null;
  /** Without the prefix `tag_`. */
  readonly tags: readonly (readonly [string, string])[];
  /** `write`: received positions count instead of replayed ones. */
  readonly mode: "apply" | "write";
}

export const NO_QUERY: HealthQuery = { lagBytes: null, replicationState: null, tags: [], mode: "apply" };

export function judgeHealth(check: HealthCheck, facts: HealthFacts, query: HealthQuery): 200 | 503 {
  return holds(check, facts, query) ? 200 : 503;
}

function holds(check: HealthCheck, facts: HealthFacts, query: HealthQuery): boolean {
  switch (check) {
    case "primary":
      return isPrimary(facts);
    case "leader":
      return facts.running && facts.holdsLock;
    case "standby-leader":
      return isStandbyLeader(facts);
    case "health":
      return facts.running;
    case "replica":
      return servesAsReplica(facts, query);
    case "read-only":
      return leads(facts) ? tagsMatch(facts.tags, query) : servesAsReplica(facts, query);
    case "sync":
      return facts.dcsReachable && facts.synchronous === "sync" && servesAsReplica(facts, query);
    case "read-only-sync":
      return facts.dcsReachable && leadsOr("sync", facts, query);
    case "quorum":
      return facts.dcsReachable && facts.synchronous === "quorum" && servesAsReplica(facts, query);
    case "read-only-quorum":
      return facts.dcsReachable && leadsOr("quorum", facts, query);
    case "async":
      return facts.dcsReachable && facts.synchronous === "none" && servesAsReplica(facts, query);
    case "liveness":
      return facts.paused || facts.sinceLastCycleMs <= (facts.leaderRole ? facts.ttlMs : 2 * facts.ttlMs);
    case "readiness":
      return isReady(facts, query);
  }
}

function isPrimary(facts: HealthFacts): boolean {
  return facts.running && !facts.inRecovery && facts.holdsLock;
}

function isStandbyLeader(facts: HealthFacts): boolean {
  return facts.running && facts.inRecovery && facts.holdsLock && facts.standbyCluster;
}

function leads(facts: HealthFacts): boolean {
  return isPrimary(facts) || isStandbyLeader(facts);
}

function leadsOr(synchronous: "sync" | "quorum", facts: HealthFacts, query: HealthQuery): boolean {
  if (leads(facts)) return tagsMatch(facts.tags, query);
  return facts.synchronous === synchronous && servesAsReplica(facts, query);
}

function servesAsReplica(facts: HealthFacts, query: HealthQuery): boolean {
  return (
    facts.running &&
    facts.inRecovery &&
    !isStandbyLeader(facts) &&
    !tagEnabled(facts.tags, "noloadbalance") &&
    (query.replicationState === null || query.replicationState === facts.replicationState) &&
    (query.lagBytes === null || isWithin(query.lagBytes, facts.replayedLsn, facts.leaderLsn)) &&
    tagsMatch(facts.tags, query)
  );
}

function isReady(facts: HealthFacts, query: HealthQuery): boolean {
  if (!facts.running) return false;
  if (leads(facts)) return true;
  if (!facts.inRecovery || facts.replicationState !== "streaming") return false;
  const position = query.mode === "write" ? facts.receivedLsn : facts.replayedLsn;
  return isWithin(query.lagBytes ?? facts.maximumLagOnFailoverBytes, position, facts.leaderLsn);
}

/** A leader that has published no position yet gives no evidence of a lag; a replica without a position has no claim to be near. */
function isWithin(lagBytes: number, position: Lsn | null, leaderLsn: Lsn | null): boolean {
  if (leaderLsn === null) return lagBytes >= 0;
  if (position === null) return false;
  const lag = leaderLsn > position ? leaderLsn - position : 0n;
  return Number(lag) <= lagBytes;
}

function tagsMatch(tags: Tags, query: HealthQuery): boolean {
  return query.tags.every(([name, wanted]) => {
    const value = tags[name];
    return value !== undefined && tagMatches(value, wanted);
  });
}

/** Words match exactly; a YAML `true` also matches `True` and `TRUE`. */
function tagMatches(value: TagValue, wanted: string): boolean {
  return String(value) === (typeof value === "boolean" ? wanted.toLowerCase() : wanted);
}

const LAG_UNITS: Readonly<Record<string, number>> = { "": 1, B: 1, kB: 1024, MB: 1024 ** 2, GB: 1024 ** 3, TB: 1024 ** 4 };

/** Reads `1048576`, `16kB`, `1.5 MB` into bytes; null when it is neither. */
export function parseLag(text: string): number | null {
  const match = /^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)\s*$/.exec(text);
  const unit = match === null ? undefined : LAG_UNITS[match[2] ?? ""];
  if (match === null || unit === undefined) return null;
  const bytes = Math.round(Number(match[1]) * unit);
  return Number.isFinite(bytes) ? bytes : null;
}

/** Reads the query string (without `?`). A lag that cannot be read counts as not given, as Patroni has it. */
export function parseHealthQuery(search: string): HealthQuery {
  if (search === "") return NO_QUERY;
  const parameters = new URLSearchParams(search);
  const lag = parameters.get("lag");
  const tags: [string, string][] = [];
  for (const [name, value] of parameters) {
    if (name.startsWith("tag_")) tags.push([name.slice("tag_".length), value]);
  }
  return {
    lagBytes: lag === null ? null : parseLag(lag),
    replicationState: parameters.get("replication_state"),
    tags,
    mode: parameters.get("mode") === "write" ? "write" : "apply",
  };
}
