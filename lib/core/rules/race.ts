// Rules for a standby while nobody holds the lock: whether it may race, whom it asks before, and when it waits for somebody else. Pure.

import { isNofailover } from "../../model/member.ts";
import { lsn, ms } from "../../model/units.ts";
import { healthiest, lagsTooMuch, lineageOf, syncAllows } from "../candidates.ts";
import { clusterOf, didThisCycle, isPaused, lockIsFree, ownLsn, runsAsPrimary, runsAsStandby } from "../facts.ts";
import { isUnknownToFailsafe } from "../failsafe.ts";
import { primaryThatWaitsFor, raceVerdict } from "../leader-trace.ts";
import type { Observation } from "../observation.ts";
import { isStandbyCluster } from "../replication-source.ts";
import { type Rule, wait, waitAtMost, waitCycle } from "../rule.ts";
import { otherNames } from "../takeover.ts";
import { lacksVotes, mightBeElected, ownContender, votesOf, votesText } from "../votes.ts";
import { raceFailsafeRules } from "./failsafe.ts";

export const raceRules: readonly Rule[] = [
  {
    id: "race-paused",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && isPaused(o) && !namedCandidate(o),
    then: waitCycle,
    why: (o) => `no action. I am (${o.self.name})`,
  },
  ...raceFailsafeRules,
  {
    id: "race-nofailover",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && isNofailover(o.self.tags),
    then: waitCycle,
    why: () => "following a different leader because I am not allowed to promote",
  },
  {
    id: "race-fencing-missing",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && o.self.fencingMissing,
    then: waitCycle,
    why: () => "following a different leader because i am not the healthiest node: Watchdog device is not usable",
  },
  {
    id: "race-not-synchronous",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && !namedFailover(o) && !allowedBySync(o),
    then: waitCycle,
    why: () => "following a different leader because i am not the healthiest node: I am not a synchronous standby",
  },
  {
    id: "race-lagging",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && !namedFailover(o) && tooFarBehind(o),
    then: (o) => waitAtMost(o, 1000),
    why: () => "following a different leader because i am not the healthiest node: My wal position exceeds maximum replication lag",
  },
  {
    id: "race-handed-over",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && handedOver(o),
    then: (o) => waitAtMost(o, 300),
    why: () => "the lock was handed over on request: the others go first",
  },
  {
    id: "race-failed-candidate",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && promotionFailed(o) && namedCandidate(o) && didThisCycle(o, "clear-failover") === null,
    then: () => ({ kind: "clear-failover" }),
    why: (o) => `the failover request is dropped: the promotion failed here (${o.lastTask?.message}), and nobody else may wait for it`,
  },
  {
    id: "race-promotion-failed",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && promotionFailed(o) && otherNames(o).length > 0,
    then: (o) => waitAtMost(o, 500),
    why: (o) => `the promotion failed here (${o.lastTask?.message}): the others go first`,
  },
  {
    id: "race-backoff",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && !namedCandidate(o) && backsOff(o) && otherNames(o).length > 0,
    then: (o) => waitAtMost(o, 500),
    why: (o) => `this node led before: the others go first for primary_race_backoff (${o.config.primaryRaceBackoffMs / 1000} s)`,
  },
  {
    id: "race-ask-old-leader",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && verdict(o).kind === "ask" && didThisCycle(o, "ask-old-leader") === null,
    then: () => ({ kind: "ask-old-leader" }),
    why: (o) => `is ${o.trace.mark?.unfenced?.name ?? o.trace.name} still primary?`,
  },
  {
    id: "race-wait",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && verdict(o).kind !== "go",
    then: (o) => {
      const judged = verdict(o);
      return wait(ms(judged.kind === "wait" ? Math.max(judged.until, o.now + 1) : o.now + 100));
    },
    why: (o) => {
      const judged = verdict(o);
      return judged.kind === "wait" ? judged.why : "the old leader was asked";
    },
  },
  {
    id: "race-ask-peers",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && didThisCycle(o, "ask-peers") === null,
    then: (o) => ({ kind: "ask-peers", names: otherNames(o) }),
    why: () => "who is the healthiest node?",
  },
  {
    id: "race-other-candidate",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && otherCandidateAnswers(o),
    then: (o) => waitAtMost(o, 1000),
    why: (o) => `waiting for ${clusterOf(o)?.failover?.candidate}, the candidate of the failover request`,
  },
  {
    id: "race-not-healthiest",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && !namedCandidate(o) && !standing(o).fit,
    then: (o) => waitAtMost(o, 500),
    why: (o) => `following a different leader because i am not the healthiest node: ${standing(o).why}`,
  },
  {
    id: "race-without-quorum",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && !namedFailover(o) && lacksVotes(o),
    then: (o) => waitAtMost(o, 500),
    why: (o) => `following a different leader because i am not the healthiest node: the quorum is not reached: ${votesText(o)}`,
  },
  {
    id: "race-primary-alive",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && namedCandidate(o) && somePrimary(o) !== null,
    then: (o) => waitAtMost(o, 500),
    why: (o) => `Primary (${somePrimary(o)}) is still alive`,
  },
  {
    id: "race",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && didThisCycle(o, "acquire-lock") === null,
    then: () => ({ kind: "acquire-lock" }),
    why: (o) => {
      const votes = votesOf(o);
      return `${votes.length === 0 ? "" : `Got quorum vote from ${votes.join(", ")}; `}I am the healthiest node: acquiring the lock`;
    },
  },
  {
    id: "race-lost",
    when: (o) => lockIsFree(o),
    then: (o) => waitAtMost(o, 500),
    why: (o) => (runsAsPrimary(o) ? "running as primary without a lock" : "the lock was not acquired"),
  },
];

function verdict(o: Observation): ReturnType<typeof raceVerdict> {
  const cluster = clusterOf(o);
  const waitedForBy = cluster === null ? null : primaryThatWaitsFor(o.self.name, cluster.sync, o.config);
  return raceVerdict(o.trace, { now: o.now, ttl: o.config.ttlMs, self: o.self.name, waitedForBy });
}

/** How long everybody leaves the free lock to the candidate that an operator named. */
const CANDIDATE_PATIENCE_MS = 15_000;

/** How long the former leader of a switchover leaves the lock to the others. */
const HAND_OVER_PATIENCE_MS = 5_000;

/** This node gave the lock away for a switchover, and somebody still has time to take it. */
function handedOver(o: Observation): boolean {
  const request = clusterOf(o)?.failover ?? null;
  const vanishedAt = o.trace.vanishedAt;
  if (request === null || !isNow(o) || request.candidate === o.self.name || o.trace.name !== o.self.name || vanishedAt === null)
    return false;
  return o.now - vanishedAt < HAND_OVER_PATIENCE_MS;
}

/** Somebody else gets time to take the lock that this node has given up because it could not be promoted. */
function promotionFailed(o: Observation): boolean {
  const last = o.lastTask;
  return (last?.kind === "promote" || last?.kind === "pre-promote") && !last.ok && o.now - last.finishedAt < HAND_OVER_PATIENCE_MS;
}

/** It led until a moment ago: whoever it left behind gets a head start. */
function backsOff(o: Observation): boolean {
  const { trace, config } = o;
  return trace.name === o.self.name && trace.vanishedAt !== null && o.now - trace.vanishedAt < config.primaryRaceBackoffMs;
}

/** The failover request names this node. */
function namedCandidate(o: Observation): boolean {
  return clusterOf(o)?.failover?.candidate === o.self.name && isNow(o);
}

/** A failover (not a switchover) to this node: an operator's word goes beyond lag and sync key. */
function namedFailover(o: Observation): boolean {
  return namedCandidate(o) && clusterOf(o)?.failover?.leader === null;
}

function isNow(o: Observation): boolean {
  const at = clusterOf(o)?.failover?.scheduledAt ?? null;
  return at === null || o.wallNow >= at;
}

function allowedBySync(o: Observation): boolean {
  const cluster = clusterOf(o);
  return cluster !== null && syncAllows({ config: o.config, sync: cluster.sync, name: o.self.name });
}

/** In synchronous mode the sync key decides, not the lag. */
function tooFarBehind(o: Observation): boolean {
  const cluster = clusterOf(o);
  const position = ownLsn(o);
  if (cluster === null || position === null) return true;
  if (o.config.synchronousMode !== "off" && cluster.sync.leader !== null) return false;
  return lagsTooMuch({
    config: o.config,
    optime: cluster.status.optime,
    lineage: lineageOf(cluster, o.trace.mark, o.config),
    timeline: o.local.status?.timeline ?? null,
    lsn: lsn(position),
  });
}

function otherCandidateAnswers(o: Observation): boolean {
  const candidate = clusterOf(o)?.failover?.candidate ?? null;
  if (candidate === null || candidate === o.self.name || !isNow(o)) return false;
  // One that answers and does not take the lock (it may not reach the DCS, or may not lead) must not leave the cluster without a leader.
  if (o.trace.vanishedAt === null || o.now - o.trace.vanishedAt >= CANDIDATE_PATIENCE_MS) return false;
  const answer = o.peers.answers.find(({ name }) => name === candidate)?.status ?? null;
  return answer !== null && answer.state === "running" && !isNofailover(answer.tags) && !answer.watchdogFailed;
}

function standing(o: Observation): { readonly fit: boolean; readonly why: string } {
  const cluster = clusterOf(o);
  const self = ownContender(o);
  if (cluster === null || self === null) return { fit: false, why: "the own WAL position is unknown" };
  const behind = o.config.checkTimeline ? behindOnTimeline(o) : null;
  if (behind !== null) return { fit: false, why: `My timeline ${behind.own} is behind last known cluster timeline ${behind.newest}` };
  return healthiest({
    self,
    answers: o.peers.answers,
    lineage: lineageOf(cluster, o.trace.mark, o.config),
    eligible: (name) => syncAllows({ config: o.config, sync: cluster.sync, name }) && !isUnknownToFailsafe(o, name),
    formerLeader: o.trace.name,
    electable: (name) => mightBeElected(o, name),
    syncLeader: o.config.synchronousMode === "off" ? null : cluster.sync.leader,
  });
}

/** Null where it is not, or where that is not known. */
function behindOnTimeline(o: Observation): { readonly own: number; readonly newest: number } | null {
  const ended = isStandbyCluster(o) ? 0 : (clusterOf(o)?.history.at(-1)?.timeline ?? 0);
  const own = o.local.status?.timeline ?? null;
  return own !== null && ended > 0 && own <= ended ? { own, newest: ended + 1 } : null;
}

function somePrimary(o: Observation): string | null {
  return o.peers.answers.find(({ status }) => status?.role === "primary" && status.state === "running")?.name ?? null;
}
