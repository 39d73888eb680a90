// Rules for the holder of the lock whose PostgreSQL is still a standby: may it be promoted, and what comes before. Pure.

import { syncAllows } from "../candidates.ts";
import type { Effect } from "../decision.ts";
import { clusterOf, didThisCycle, lockIsOurs, retryAt, runsAsStandby } from "../facts.ts";
import type { Observation } from "../observation.ts";
import { isStandbyCluster } from "../replication-source.ts";
import { inSection, type Rule, wait } from "../rule.ts";
import { STRICT_PLACEHOLDER } from "../sync-names.ts";
import { namesBeforePromotion, namesForKey } from "../sync-standbys.ts";
import { lacksVotes, votesText } from "../votes.ts";
import { promoteFailsafeRules } from "./failsafe.ts";

export const promotionRules: readonly Rule[] = inSection(holdsAsStandby, [
  ...promoteFailsafeRules,
  {
    id: "promote-fencing-missing",
    when: (o) => holdsAsStandby(o) && o.self.fencingMissing,
    then: () => ({ kind: "release-lock" }),
    why: () => "Not promoting self because watchdog could not be activated",
  },
  {
    id: "promote-ask-voters",
    when: (o) => holdsAsStandby(o) && !isChosen(o) && allowedByKey(o) && lacksVotes(o) && didThisCycle(o, "ask-peers") === null,
    then: (o) => ({ kind: "ask-peers", names: voters(o) }),
    why: () => "do enough voters have no more WAL than this node?",
  },
  {
    id: "promote-not-allowed",
    when: (o) => holdsAsStandby(o) && !mayPromote(o) && didThisCycle(o, "release-lock") === null,
    then: () => ({ kind: "release-lock" }),
    why: (o) =>
      allowedByKey(o)
        ? `the lock is released: the quorum is not reached: ${votesText(o)}`
        : "the lock is released: the sync key does not allow this node to be promoted",
  },
  {
    id: "promote-hook",
    when: (o) => holdsAsStandby(o) && o.self.prePromote === "due",
    then: () => ({ kind: "pre-promote" }),
    why: () => "pre_promote decides whether this node is promoted",
  },
  {
    id: "promote-sync-key",
    when: (o) => holdsAsStandby(o) && needsSyncKey(o) && didThisCycle(o, "write-sync") === null,
    then: takeSyncKey,
    why: (o) => `before the promotion the sync key is ${o.config.synchronousMode === "off" ? "deleted, as the mode is off" : "taken over"}`,
  },
  {
    id: "promote-sync-key-failed",
    when: (o) => holdsAsStandby(o) && needsSyncKey(o),
    then: () => ({ kind: "release-lock" }),
    why: () => "the lock is released: the sync key could not be taken over",
  },
  {
    id: "promote-retry",
    when: (o) => holdsAsStandby(o) && retryAt(o, "promote") !== null && (o.lastTask?.failures ?? 0) > 2,
    then: () => ({ kind: "release-lock" }),
    why: (o) => `the lock is released: the promotion failed: ${o.lastTask?.message}`,
  },
  {
    id: "promote-wait",
    when: (o) => holdsAsStandby(o) && retryAt(o, "promote") !== null,
    then: (o) => wait(retryAt(o, "promote") ?? o.now),
    why: (o) => `the promotion failed and is tried again: ${o.lastTask?.message}`,
  },
  {
    id: "promote",
    when: holdsAsStandby,
    then: (o) => ({ kind: "promote", syncNames: namesAtStart(o) }),
    why: (o) =>
      o.local.standbyRole === "standby_leader"
        ? "promoted self to leader because I had the session lock"
        : "promoted self to leader by acquiring session lock",
  },
]);

function holdsAsStandby(o: Observation): boolean {
  return lockIsOurs(o) && runsAsStandby(o) && !isStandbyCluster(o);
}

/** Names that the server must wait for from its first commit on; null outside synchronous mode. */
export function namesAtStart(o: Observation): string | null {
  const cluster = clusterOf(o);
  if (cluster === null) return null;
  // Whoever the key names may be promoted by what it says, so that has to hold from the first commit on; also where the mode is off and the key is
  // still to go: it may be on again before the start is over (simulation, seed 2295).
  const kept = cluster.sync.leader === o.self.name ? namesForKey(o.config, cluster.sync) : null;
  if (kept !== null) return kept;
  if (o.config.synchronousMode === "off") return null;
  const leader = cluster.sync.leader;
  const formerLeader = leader === o.self.name ? null : leader;
  return namesBeforePromotion({ config: o.config, self: o.self.name, formerLeader, members: cluster.members });
}

/** A standby comes back as one, whatever the names are. */
export function restartEffect(o: Observation): Effect {
  return { kind: "restart", syncNames: namesAtRestart(o) };
}

/**
 * In a pause a former primary without the lock may be restarted too. The sync key then tells whom others' commits wait for: what this
 * one acknowledged would be lost with it, so it acknowledges nothing.
 */
function namesAtRestart(o: Observation): string | null {
  const known = o.config.synchronousMode === "off" || lockIsOurs(o) || clusterOf(o)?.sync.leader === o.self.name;
  return known ? namesAtStart(o) : STRICT_PLACEHOLDER;
}

/** An operator's failover to this node goes beyond the sync key. */
function isChosen(o: Observation): boolean {
  const request = clusterOf(o)?.failover ?? null;
  return request !== null && request.leader === null && request.candidate === o.self.name;
}

function allowedByKey(o: Observation): boolean {
  const cluster = clusterOf(o);
  return cluster !== null && syncAllows({ config: o.config, sync: cluster.sync, name: o.self.name });
}

function mayPromote(o: Observation): boolean {
  return isChosen(o) || (allowedByKey(o) && !lacksVotes(o));
}

function voters(o: Observation): readonly string[] {
  const cluster = clusterOf(o);
  return cluster === null ? [] : cluster.sync.standbys.filter((name) => name !== o.self.name);
}

function needsSyncKey(o: Observation): boolean {
  const sync = clusterOf(o)?.sync;
  if (sync === undefined || sync.leader === o.self.name) return false;
  // What a former leader promised is over with its key: it may have died before it could take that away.
  return o.config.synchronousMode === "off" ? sync.leader !== null : true;
}

/**
 * Strict keeps the other names, as Patroni does; otherwise nobody is confirmed yet. This node has every commit, so of the others no more
 * than before may lack one: the quorum stays. In mode `on` a name has to stand for itself.
 */
function takeSyncKey(o: Observation): Effect {
  if (o.config.synchronousMode === "off") return { kind: "write-sync", leader: null, standbys: [], quorum: 0 };
  const sync = clusterOf(o)?.sync;
  const keeps =
    sync !== undefined && o.config.synchronousModeStrict && !isChosen(o) && (o.config.synchronousMode === "quorum" || sync.quorum === 0);
  const standbys = keeps ? sync.standbys.filter((name) => name !== o.self.name) : [];
  return { kind: "write-sync", leader: o.self.name, standbys, quorum: standbys.length === 0 ? 0 : (sync?.quorum ?? 0) };
}
