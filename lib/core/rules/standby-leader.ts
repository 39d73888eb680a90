// Rules for the leader of a standby cluster: it holds the lock and follows the remote primary; it never takes writes. Pure.

import { ms } from "../../model/units.ts";
import type { Effect } from "../decision.ts";
import {
  clusterOf,
  didThisCycle,
  hasData,
  isPaused,
  isRunning,
  leaseIsValid,
  lockIsOurs,
  retryAt,
  runsAsPrimary,
  runsAsStandby,
  targetOf,
  upstreamKey,
} from "../facts.ts";
import { actionName, candidateNames, fitCandidates, impossibleText, isDue, staleReason, staleText } from "../handover-request.ts";
import type { Observation } from "../observation.ts";
import {
  divergedPlan,
  followedInVain,
  mayRemove,
  planEffect,
  planFor,
  replacesInstead,
  rewindEffect,
  stoppedStreaming,
} from "../rejoin.ts";
import { isStandbyCluster, remoteTarget, sourceTarget } from "../replication-source.ts";
import { inSection, type Rule, wait, waitAtMost, waitCycle } from "../rule.ts";
import { slotsAreDue, slotsEffect } from "../slots-plan.ts";
import { otherNames, releasesAfterCrash, someoneCanTakeOver } from "../takeover.ts";
import { restartEffect } from "./promotion.ts";

/** The demotion of a busy primary; the lock is renewed meanwhile. */
const DEMOTE_LIMIT_MS = 60_000;
/** A standby ends as soon as its clients are gone. */
const STOP_LIMIT_MS = 30_000;

export const standbyLeaderRules: readonly Rule[] = inSection(leadsStandbys, [
  {
    id: "standby-leader-paused-primary",
    when: (o) => leadsStandbys(o) && runsAsPrimary(o) && isPaused(o),
    then: waitCycle,
    why: () => "paused: PostgreSQL runs as primary although this is a standby cluster, nothing is changed",
  },
  {
    id: "standby-leader-demote",
    when: (o) => leadsStandbys(o) && runsAsPrimary(o),
    then: () => ({ kind: "stop", mode: "fast", within: ms(DEMOTE_LIMIT_MS), archive: true }),
    why: () => "cannot be a real primary in standby cluster: demoting self (demote-cluster)",
  },
  ...inSection(isDown, [
    {
      id: "standby-leader-without-data",
      when: (o) => isDown(o) && !hasData(o),
      then: () => ({ kind: "release-lock" }),
      why: () => "the lock is released: there is no data to serve here",
    },
    {
      id: "standby-leader-crashed-ask",
      when: (o) => isDown(o) && releasesAfterCrash(o) && otherNames(o).length > 0 && didThisCycle(o, "ask-peers") === null,
      then: (o) => ({ kind: "ask-peers", names: otherNames(o) }),
      why: () => "PostgreSQL does not come back: is there a replica to take over?",
    },
    {
      id: "standby-leader-crashed-release",
      when: (o) => isDown(o) && releasesAfterCrash(o) && someoneCanTakeOver(o) && didThisCycle(o, "release-lock") === null,
      then: () => ({ kind: "release-lock" }),
      why: () => "PostgreSQL does not come back: the lock is released",
    },
    {
      id: "standby-leader-start-retry",
      when: (o) => isDown(o) && startRetry(o) !== null,
      then: (o) => wait(startRetry(o) ?? o.now),
      why: (o) => `${o.lastTask?.kind} failed: ${o.lastTask?.message}`,
    },
    {
      id: "standby-leader-plan",
      when: (o) => isDown(o) && remoteTarget(o.config) !== null && planFor(o) === null && !couldNotPlan(o),
      then: planEffect,
      why: () => "how can the local data follow the remote primary?",
    },
    {
      id: "standby-leader-rewind",
      when: (o) => isDown(o) && planFor(o)?.kind === "rewind" && !replacesInstead(o),
      then: rewindEffect,
      why: (o) => `running pg_rewind from the remote primary: ${planFor(o)?.why}`,
    },
    {
      id: "standby-leader-clone",
      when: (o) => isDown(o) && remoteTarget(o.config) !== null && (replacesInstead(o) || (planFor(o)?.kind === "clone" && mayRemove(o))),
      then: cloneRemote,
      why: (o) => `the data directory is replaced by a copy of the remote primary: ${planFor(o)?.why}`,
    },
    {
      id: "standby-leader-start",
      when: isDown,
      then: (o) => ({ kind: "start", role: "standby_leader", target: mayStream(o) ? sourceTarget(o) : null, syncNames: null }),
      why: () => "starting as a standby leader because i had the session lock",
    },
  ]),
  ...inSection(isAtWork, [
    {
      id: "standby-leader-sync-key",
      when: (o) => isAtWork(o) && leaseIsValid(o) && clusterOf(o)?.sync.leader != null && didThisCycle(o, "write-sync") === null,
      then: () => ({ kind: "write-sync", leader: null, standbys: [], quorum: 0 }),
      why: () => "nobody is synchronous in a standby cluster: the sync key is deleted",
    },
    {
      id: "standby-leader-failover-stale",
      when: (o) => isAtWork(o) && isDue(o) && staleReason(o) !== null && didThisCycle(o, "clear-failover") === null,
      then: () => ({ kind: "clear-failover" }),
      why: staleText,
    },
    {
      id: "standby-leader-failover-ask",
      when: (o) => isAtWork(o) && isDue(o) && staleReason(o) === null && didThisCycle(o, "ask-peers") === null,
      then: (o) => ({ kind: "ask-peers", names: candidateNames(o) }),
      why: () => "a switchover was asked for: which member can take over?",
    },
    {
      id: "standby-leader-hand-over",
      when: (o) => isAtWork(o) && isDue(o) && fitCandidates(o).length > 0 && didThisCycle(o, "release-lock") === null,
      then: () => ({ kind: "release-lock" }),
      why: (o) => `${actionName(o)}: demoting myself for ${fitCandidates(o).join(" or ")}`,
    },
    {
      id: "standby-leader-failover-impossible",
      when: (o) => isAtWork(o) && isDue(o) && didThisCycle(o, "clear-failover") === null,
      then: () => ({ kind: "clear-failover" }),
      why: impossibleText,
    },
    {
      id: "standby-leader-restart",
      when: (o) => isAtWork(o) && o.requests.restart,
      then: restartEffect,
      why: () => "a restart was asked for",
    },
    {
      id: "standby-leader-follow-plan",
      when: (o) => hasOtherSource(o) && remoteTarget(o.config) !== null && planFor(o) === null && !couldNotPlan(o),
      then: planEffect,
      why: () => "may the local data follow the remote primary?",
    },
    {
      id: "standby-leader-follow",
      when: (o) => mustFollow(o) && mayStream(o) && didThisCycle(o, "follow") === null,
      then: (o) => ({ kind: "follow", target: sourceTarget(o), role: "standby_leader" }),
      why: (o) =>
        followedMemberBefore(o) || isNotYetLeader(o)
          ? "promoted self to a standby leader by acquiring session lock"
          : `following the remote primary ${upstreamKey(sourceTarget(o))}`,
    },
    {
      id: "standby-leader-slots",
      when: (o) => isAtWork(o) && leaseIsValid(o) && slotsAreDue(o) && didThisCycle(o, "sync-slots") === null,
      then: slotsEffect,
      why: () => "the replication slots are brought up to date",
    },
    {
      id: "standby-leader-diverged-plan",
      when: (o) => isAtWork(o) && stoppedStreaming(o) && (planFor(o) === null || followedInVain(o)) && retryAt(o, "plan-rejoin") === null,
      then: planEffect,
      why: () => "not streaming from the remote primary: has the local data diverged?",
    },
    {
      id: "standby-leader-diverged-stop",
      when: (o) => isAtWork(o) && !isPaused(o) && divergedPlan(o) && (stoppedStreaming(o) || mustFollow(o)),
      then: () => ({ kind: "stop", mode: "fast", within: ms(STOP_LIMIT_MS) }),
      why: (o) => `the local data has diverged from the remote primary: ${planFor(o)?.why}`,
    },
  ]),
  {
    id: "standby-leader",
    when: leadsStandbys,
    then: (o) => (o.local.notStreamingSince === null ? waitCycle(o) : waitAtMost(o, 1000)),
    why: (o) => `no action. I am (${o.self.name}), the standby leader with the lock`,
  },
]);

function leadsStandbys(o: Observation): boolean {
  return lockIsOurs(o) && isStandbyCluster(o);
}

function isDown(o: Observation): boolean {
  return leadsStandbys(o) && !isRunning(o);
}

function isAtWork(o: Observation): boolean {
  return leadsStandbys(o) && runsAsStandby(o);
}

function mustFollow(o: Observation): boolean {
  return hasOtherSource(o) || isNotYetLeader(o);
}

/** It was started behind the remote primary while nobody led: it has a replica's settings, and nobody was told that it leads. */
function isNotYetLeader(o: Observation): boolean {
  return isAtWork(o) && o.local.standbyRole !== "standby_leader";
}

/** Follows somebody else than the remote primary: it led nothing a moment ago, or the configuration has another one now. */
function hasOtherSource(o: Observation): boolean {
  if (!isAtWork(o)) return false;
  const source = sourceTarget(o);
  if (o.local.upstream !== upstreamKey(source)) return true;
  return source === null ? o.local.status?.primaryConninfo !== "" : false;
}

/** The remote primary did not answer: as a standby nothing can go wrong before it does, and reads are served meanwhile. */
function couldNotPlan(o: Observation): boolean {
  return o.lastTask?.kind === "plan-rejoin" && !o.lastTask.ok;
}

/** Two timelines of one number stream into each other unseen: not where the plan says that they differ. */
function mayStream(o: Observation): boolean {
  const plan = planFor(o);
  return plan === null || plan.kind === "follow";
}

function followedMemberBefore(o: Observation): boolean {
  const { upstream } = o.local;
  return upstream === "" || (clusterOf(o)?.members ?? []).some((member) => upstreamKey(targetOf(member, null)) === upstream);
}

function startRetry(o: Observation): ReturnType<typeof retryAt> {
  return retryAt(o, "start") ?? retryAt(o, "rewind") ?? retryAt(o, "clone");
}

function cloneRemote(o: Observation): Effect {
  const target = remoteTarget(o.config);
  return { kind: "clone", target, methods: "remote", from: "the remote primary", follow: target, clear: true };
}
