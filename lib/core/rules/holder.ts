// Rules for the node whose session owns the lock. Pure.

import { ms } from "../../model/units.ts";
import type { Effect } from "../decision.ts";
import {
  clusterOf,
  didThisCycle,
  hasData,
  isPaused,
  isRunning,
  leaseIsValid,
  leaseRemaining,
  lockIsForeign,
  lockIsFree,
  lockIsOurs,
  restartsStopped,
  restartsUnaskable,
  retryAt,
  runsAsPrimary,
  runsAsStandby,
  timelineHasEnded,
  wasPrimary,
} from "../facts.ts";
import { hasForeignIdentifier } from "../notices.ts";
import type { Observation } from "../observation.ts";
import { isStandbyCluster } from "../replication-source.ts";
import { inSection, type Rule, wait, waitAtMost, waitCycle } from "../rule.ts";
import { otherNames, overdueSinceCrash, overdueUnserved, releasesAfterCrash, someoneCanTakeOver } from "../takeover.ts";
import { mustRenew } from "./process.ts";
import { namesAtStart, restartEffect } from "./promotion.ts";

export const holderRules: readonly Rule[] = [
  ...inSection(runsAsPrimary, [
    {
      id: "primary-foreign-lock",
      when: (o) => runsAsPrimary(o) && lockIsForeign(o) && !isPaused(o) && !ownNameUnderOldSession(o),
      then: () => ({ kind: "stop", mode: "immediate", within: ms(0) }),
      why: (o) => `demoting self because the lock belongs to ${o.dcs.cluster?.leader?.name}`,
    },
    {
      id: "primary-own-name-old-session",
      when: (o) => runsAsPrimary(o) && ownNameUnderOldSession(o) && (o.lock.held === null || leaseIsValid(o)),
      then: (o) => waitAtMost(o, 1000),
      why: () => "the lock is held by a former session of this node: waiting until it is adopted or ends",
    },
    {
      id: "primary-superseded",
      when: (o) => runsAsPrimary(o) && !lockIsOurs(o) && !isPaused(o) && timelineHasEnded(o, o.local.status?.timeline ?? null),
      then: () => ({ kind: "stop", mode: "immediate", within: ms(0) }),
      why: () => "demoting self because the cluster has gone on to a newer timeline",
    },
    {
      id: "primary-lock-vanished",
      when: (o) => runsAsPrimary(o) && lockIsFree(o) && didThisCycle(o, "acquire-lock") === null,
      then: () => ({ kind: "acquire-lock" }),
      why: () => "the lock is gone while PostgreSQL runs as primary: it is taken again at once",
    },
    {
      id: "primary-no-lock",
      when: (o) => runsAsPrimary(o) && !lockIsOurs(o) && !isPaused(o),
      then: () => ({ kind: "stop", mode: "immediate", within: ms(0) }),
      why: () => "demoting self because the lock could not be taken again",
    },
  ]),
  {
    id: "renew-lock",
    when: mustRenew,
    then: () => ({ kind: "renew-lock" }),
    why: () => "the lock is renewed",
  },
  ...inSection(lockIsOurs, [
    {
      id: "lease-over",
      when: (o) => lockIsOurs(o) && runsAsPrimary(o) && !isPaused(o) && (o.lock.held === null || leaseRemaining(o) <= o.self.stopBudgetMs),
      then: () => ({ kind: "stop", mode: "immediate", within: ms(0) }),
      why: () => "demoting self because the lease is over and was not renewed",
    },
    {
      id: "holder-no-lease",
      when: (o) => lockIsOurs(o) && !leaseIsValid(o) && !(isPaused(o) && runsAsPrimary(o)),
      then: (o) => waitAtMost(o, 300),
      why: () => "the lock is ours, but it was not confirmed in time: nothing is promoted or started before it is",
    },
    {
      id: "holder-initialize",
      when: (o) =>
        lockIsOurs(o) &&
        isRunning(o) &&
        o.local.systemIdentifier !== null &&
        (clusterOf(o)?.initialize ?? "") === "" &&
        didThisCycle(o, "write-initialize") === null,
      then: () => ({ kind: "write-initialize" }),
      why: () => "the cluster's system identifier is published",
    },
    {
      id: "holder-paused-initialize",
      when: (o) =>
        lockIsOurs(o) && isPaused(o) && runsAsPrimary(o) && hasForeignIdentifier(o) && didThisCycle(o, "write-initialize") === null,
      then: () => ({ kind: "write-initialize" }),
      why: (o) => `the system identifier has changed in the pause: ${o.local.systemIdentifier} instead of ${clusterOf(o)?.initialize}`,
    },
    {
      id: "holder-config",
      when: (o) => lockIsOurs(o) && clusterOf(o)?.config === null && didThisCycle(o, "write-config") === null,
      then: () => ({ kind: "write-config" }),
      why: () => "the dynamic configuration is missing and is written",
    },
    {
      id: "holder-paused-release",
      when: (o) =>
        lockIsOurs(o) &&
        isPaused(o) &&
        (!isRunning(o) || (runsAsStandby(o) && !isNamedCandidate(o) && !isStandbyCluster(o))) &&
        !restartsStopped(o) &&
        didThisCycle(o, "release-lock") === null,
      then: () => ({ kind: "release-lock" }),
      why: (o) =>
        isRunning(o)
          ? "the lock is released, because PostgreSQL was made a standby by hand"
          : "removed leader lock because postgres is not running",
    },
    {
      id: "holder-paused-down",
      when: (o) => lockIsOurs(o) && isPaused(o) && !isRunning(o) && (!restartsStopped(o) || controlUnreadable(o)),
      then: waitCycle,
      why: () => "postgres is not running",
    },
  ]),
  ...inSection(holdsStopped, [
    {
      id: "holder-fencing-missing",
      when: (o) => holdsStopped(o) && !isPaused(o) && o.self.fencingMissing && didThisCycle(o, "release-lock") === null,
      then: () => ({ kind: "release-lock" }),
      why: () => "the lock is released, because watchdog could not be activated",
    },
    {
      id: "holder-start-retry",
      when: (o) => holdsStopped(o) && hasData(o) && !releasesAfterCrash(o) && retryAt(o, "start") !== null,
      then: (o) => wait(retryAt(o, "start") ?? o.now),
      why: (o) => `PostgreSQL did not start: ${o.lastTask?.message}`,
    },
    {
      id: "holder-read-control",
      when: (o) => holdsStopped(o) && hasData(o) && o.local.control === null && didThisCycle(o, "read-control") === null,
      then: () => ({ kind: "read-control" }),
      why: () => "was the stopped server a primary or a standby?",
    },
    {
      id: "holder-restart-crashed",
      when: (o) => holdsStopped(o) && hasData(o) && (!releasesAfterCrash(o) || restartsStopped(o)),
      then: startAsItWas,
      why: () => "starting primary after failure",
    },
    {
      id: "holder-crashed-ask",
      when: (o) => holdsStopped(o) && hasData(o) && mayHandOver(o) && didThisCycle(o, "ask-peers") === null,
      then: (o) => ({ kind: "ask-peers", names: otherNames(o) }),
      why: () => "PostgreSQL crashed: is there a replica to take over?",
    },
    {
      id: "holder-crashed-release",
      when: (o) =>
        holdsStopped(o) && hasData(o) && releasesAfterCrash(o) && someoneCanTakeOver(o) && didThisCycle(o, "release-lock") === null,
      then: () => ({ kind: "release-lock" }),
      why: () => "PostgreSQL crashed and primary_start_timeout is over: the lock is released",
    },
    {
      id: "holder-crashed-alone",
      when: (o) => holdsStopped(o) && hasData(o) && didThisCycle(o, "release-lock") === null,
      then: (o) => {
        const retry = retryAt(o, "start");
        return retry === null ? startAsItWas(o) : wait(retry);
      },
      why: () => "PostgreSQL crashed and nobody else can take over: it is started again",
    },
    {
      id: "holder-without-data",
      when: (o) => holdsStopped(o) && didThisCycle(o, "release-lock") === null,
      then: () => ({ kind: "release-lock" }),
      why: () => "the lock is released: there is no data to serve here",
    },
  ]),
  // Before whatever waits for a server that gives no status: it may serve all the same.
  {
    id: "leader-fencing-missing",
    when: (o) => lockIsOurs(o) && runsAsPrimary(o) && !isStandbyCluster(o) && o.self.fencingMissing && !isPaused(o),
    then: () => ({ kind: "stop", mode: "immediate", within: ms(0) }),
    why: () => "Demoting self because watchdog could not be activated",
  },
  ...inSection(failsItsClients, [
    {
      id: "holder-no-service-ask",
      when: (o) => noService(o) !== null && otherNames(o).length > 0 && didThisCycle(o, "ask-peers") === null,
      then: (o) => ({ kind: "ask-peers", names: otherNames(o) }),
      why: (o) => `${noService(o)}: is there a replica to take over?`,
    },
    {
      id: "holder-no-service",
      when: (o) => noService(o) !== null && someoneCanTakeOver(o),
      then: () => ({ kind: "stop", mode: "immediate", within: ms(0) }),
      why: (o) => `${noService(o)}, and a replica can take over: it is stopped`,
    },
  ]),
  ...inSection(holdsUnanswered, [
    {
      id: "holder-restart-unanswered",
      when: (o) => lockIsOurs(o) && restartsUnaskable(o),
      then: restartEffect,
      why: () => "a restart was asked for, of a PostgreSQL that gives no status",
    },
    {
      id: "holder-starting",
      when: (o) => lockIsOurs(o) && isRunning(o) && o.local.status === null,
      then: (o) => waitAtMost(o, 1000),
      why: () => "PostgreSQL does not answer yet",
    },
  ]),
];

function holdsStopped(o: Observation): boolean {
  return lockIsOurs(o) && !isRunning(o) && !isStandbyCluster(o);
}

function holdsUnanswered(o: Observation): boolean {
  return lockIsOurs(o) && isRunning(o) && o.local.status === null;
}

/**
 * PostgreSQL runs and is of no use to clients for longer than primary_start_timeout: it hangs, or somebody has stopped its postmaster,
 * or it has not answered since a crash. Null where it is of use, or where its time is not over.
 */
function noService(o: Observation): string | null {
  if (!lockIsOurs(o) || isPaused(o)) return null;
  if (runsAsPrimary(o) && !isStandbyCluster(o) && overdueUnserved(o))
    return "PostgreSQL runs, but has served nobody for longer than primary_start_timeout";
  if (holdsUnanswered(o) && overdueSinceCrash(o)) return "PostgreSQL has not come back within primary_start_timeout";
  return null;
}

function failsItsClients(o: Observation): boolean {
  return noService(o) !== null;
}

/** Whether it was a primary cannot be told now: it is read again in the next cycle. */
function controlUnreadable(o: Observation): boolean {
  return o.local.control === null && didThisCycle(o, "read-control") !== null;
}

/**
 * A primary comes back as a primary. A standby is started as one and then promoted: without a new timeline its WAL would
 * part from the others' unseen.
 */
function startAsItWas(o: Observation): Effect {
  return wasPrimary(o)
    ? { kind: "start", role: "primary", target: null, syncNames: namesAtStart(o) }
    : { kind: "start", role: "standby", target: null, syncNames: null };
}

/** The lock is under our own name, but under a session that is not the one we have: a former process of this node's. */
function ownNameUnderOldSession(o: Observation): boolean {
  const leader = o.dcs.cluster?.leader ?? null;
  return leader !== null && leader.name === o.self.name && !lockIsOurs(o);
}

function mayHandOver(o: Observation): boolean {
  return releasesAfterCrash(o) && otherNames(o).length > 0;
}

/** A failover request names this node: an operator's word, which counts in pause too. */
function isNamedCandidate(o: Observation): boolean {
  return clusterOf(o)?.failover?.candidate === o.self.name;
}
