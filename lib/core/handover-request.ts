// Owns what the `failover` key asks of the leader: is it due, is it stale, which members may take over, and why others may not. Pure.

import type { FailoverRequest } from "../model/failover-request.ts";
import { lsn } from "../model/units.ts";
import { isStale } from "./appointment.ts";
import { handoverFitness, otherMembers } from "./candidates.ts";
import { clusterOf, isPaused, ownLsn } from "./facts.ts";
import type { Observation, PeerAnswer } from "./observation.ts";
import { isStandbyCluster } from "./replication-source.ts";
import { votersSuffice } from "./votes.ts";

/** A failover request stands, and its time has come. */
export function isDue(o: Observation): boolean {
  const request = clusterOf(o)?.failover ?? null;
  if (request === null || (request.leader === null && request.candidate === null)) return false;
  if (request.scheduledAt === null) return !isPaused(o) || request.candidate !== null;
  return !isPaused(o) && o.wallNow >= request.scheduledAt;
}

/** As Patroni's log calls what was asked for: one that names the leader is a switchover. */
export function actionName(o: Observation): "switchover" | "manual failover" {
  const leader = clusterOf(o)?.failover?.leader ?? null;
  return leader === null ? "manual failover" : "switchover";
}

export function staleReason(o: Observation): string | null {
  const request = clusterOf(o)?.failover ?? null;
  if (request === null) return null;
  if (request.leader !== null && request.leader !== o.self.name) return `leader name does not match: ${request.leader} != ${o.self.name}`;
  if (request.candidate === o.self.name) return `I am already the leader, no need to ${shortName(o)}`;
  if (isFromBefore(o, request)) return `it was made before this node ${isStandbyCluster(o) ? "took the lead" : "was promoted"}`;
  if (isMissed(o)) return "its time is past";
  return null;
}

/** Nobody has kept the appointment: the leader was away, or the cluster paused. */
export function isMissed(o: Observation): boolean {
  const at = clusterOf(o)?.failover?.scheduledAt ?? null;
  return at !== null && isStale(o.wallNow - at, o.config.loopWaitMs);
}

/**
 * A request that an earlier leadership left behind: it was tried and nobody took over, or its leader crashed first. Obeyed
 * again, it would send the lead round and round, or surprise an operator hours later.
 */
function isFromBefore(o: Observation, request: FailoverRequest): boolean {
  const { promotedAt } = o.local;
  const held = o.lock.held;
  if (held === null || request.revision >= held.revision) return false;
  // The leader of a standby cluster is not promoted: it leads from its lock on.
  if (isStandbyCluster(o)) return request.scheduledAt === null;
  if (promotedAt === null) return false;
  return request.scheduledAt === null || request.scheduledAt <= o.wallNow - (o.now - promotedAt);
}

/** What is said of a request that is dropped, in Patroni's words. */
export function staleText(o: Observation): string {
  const request = clusterOf(o)?.failover ?? null;
  if (isMissed(o)) return `Found a stale switchover value, cleaning up: ${request?.scheduledAtText}`;
  const fulfilled = request !== null && isFromBefore(o, request) && request.leader !== o.self.name;
  return fulfilled ? "Cleaning up failover key after acquiring leader lock..." : `${actionName(o)}: ${staleReason(o)}`;
}

export function candidateNames(o: Observation): readonly string[] {
  const cluster = clusterOf(o);
  if (cluster === null) return [];
  const candidate = cluster.failover?.candidate ?? null;
  const names = otherMembers(cluster, o.self.name).map((member) => member.name);
  return candidate === null ? names : names.filter((name) => name === candidate);
}

function fitness(o: Observation, answer: PeerAnswer): { readonly fit: boolean; readonly why: string } {
  const cluster = clusterOf(o);
  if (cluster === null) return { fit: false, why: "the cluster is unknown" };
  const position = ownLsn(o);
  return handoverFitness({
    answer,
    config: o.config,
    sync: cluster.sync,
    wal: position === null ? null : lsn(position),
    timeline: o.local.status?.timeline ?? null,
    replication: o.local.status?.replication ?? [],
    planned: cluster.failover?.leader !== null,
  });
}

export function fitCandidates(o: Observation): readonly string[] {
  const asked = candidateNames(o);
  return o.peers.answers.filter((answer) => asked.includes(answer.name) && fitness(o, answer).fit).map((answer) => answer.name);
}

/** Whoever takes over in quorum mode needs votes. Where a candidate is named, only he was asked: his own look decides. */
export function lacksVoters(o: Observation): boolean {
  const cluster = clusterOf(o);
  if (cluster === null || o.config.synchronousMode === "off" || cluster.failover?.candidate !== null) return false;
  return !votersSuffice(cluster.sync, o.peers.answers);
}

/** Why nobody is handed the lead, in Patroni's words, and then each member's own reason. */
export function impossibleText(o: Observation): string {
  return `${actionName(o)}: no healthy members found, ${shortName(o)} is not possible: ${unfitReasons(o)}`;
}

function shortName(o: Observation): string {
  return actionName(o) === "switchover" ? "switchover" : "failover";
}

function unfitReasons(o: Observation): string {
  const asked = candidateNames(o);
  if (asked.length === 0) return "there is no such member";
  if (lacksVoters(o)) return "too few voters answer for the quorum";
  return o.peers.answers
    .filter((answer) => asked.includes(answer.name))
    .map((answer) => fitness(o, answer).why)
    .filter((why) => why !== "")
    .join("; ");
}
