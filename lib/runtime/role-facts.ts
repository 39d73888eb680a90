// Owns what a node's facts say of its role: the word that is shown, its standing among the synchronous standbys, and what health checks
// are judged by. Pure; for the REST API, its metrics and Consul's catalogue alike.

import type { HealthFacts } from "../core/role-health.ts";
import { isSyncStandby } from "../model/sync-state.ts";
import { ms } from "../model/units.ts";
import type { NodeFacts } from "./node-service.ts";

/** How this node stands in the `sync` key. */
export function synchronousStanding(facts: NodeFacts): "sync" | "quorum" | "none" {
  const mode = facts.dynamic.synchronousMode;
  if (mode === "off" || facts.cluster === null || shownRole(facts) !== "replica") return "none";
  if (!isSyncStandby(facts.cluster.sync, facts.config.name)) return "none";
  return mode === "quorum" ? "quorum" : "sync";
}

/** PostgreSQL's own word where it answers (at most 250 ms old), else the role that the loop last gave it. */
export function shownRole(facts: NodeFacts): string {
  if (facts.postgres === null) return facts.role;
  if (!facts.postgres.inRecovery) return "primary";
  return facts.dynamic.standbyCluster !== null && facts.holdsLock ? "standby_leader" : "replica";
}

export function healthFacts(facts: NodeFacts): HealthFacts {
  const postgres = facts.postgres;
  return {
    running: facts.state === "running" && postgres !== null,
    inRecovery: postgres?.inRecovery ?? true,
    holdsLock: facts.holdsLock,
    leaderRole: facts.role === "primary" || facts.role === "standby_leader",
    standbyCluster: facts.dynamic.standbyCluster !== null,
    synchronous: synchronousStanding(facts),
    dcsReachable: facts.dcsReachable,
    paused: facts.paused,
    tags: facts.tags,
    replicationState: postgres?.replicationState ?? null,
    receivedLsn: postgres?.receivedLsn ?? null,
    replayedLsn: postgres?.replayedLsn ?? null,
    leaderLsn: facts.cluster?.status.optime ?? null,
    sinceLastCycleMs: ms(facts.now - facts.lastCycleAt),
    ttlMs: facts.dynamic.ttlMs,
    maximumLagOnFailoverBytes: facts.dynamic.maximumLagOnFailoverBytes,
  };
}
