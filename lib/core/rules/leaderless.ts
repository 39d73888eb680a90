// Rules for a cluster whose lock is free: found it, and come up as a standby; the race itself is in race.ts. Pure.

import { isNofailover } from "../../model/member.ts";
import {
  clusterOf,
  didThisCycle,
  hasData,
  isPaused,
  isRunning,
  lockIsFree,
  restartsStopped,
  retryAt,
  runsAsStandby,
  timelineHasEnded,
  wasPrimary,
} from "../facts.ts";
import type { Observation } from "../observation.ts";
import { followsRemote, isStandbyCluster, remoteTarget, sourceTarget } from "../replication-source.ts";
import { inSection, type Rule, wait, waitAtMost, waitCycle } from "../rule.ts";
import { promisedSource } from "./failsafe.ts";
import { restartEffect } from "./promotion.ts";
import { raceRules } from "./race.ts";

export const leaderlessRules: readonly Rule[] = inSection(lockIsFree, [
  {
    id: "bootstrap-claim",
    when: (o) =>
      lockIsFree(o) &&
      withoutData(o) &&
      clusterOf(o)?.initialize === null &&
      !isNofailover(o.self.tags) &&
      !isPaused(o) &&
      bootstrapRetry(o) === null &&
      didThisCycle(o, "claim-initialize") === null,
    then: () => ({ kind: "claim-initialize" }),
    why: (o) => (isStandbyCluster(o) ? "trying to bootstrap a new standby leader" : "trying to bootstrap a new cluster"),
  },
  {
    id: "bootstrap",
    when: (o) => lockIsFree(o) && withoutData(o) && bootstrapRetry(o) === null && didThisCycle(o, "claim-initialize")?.ok === true,
    then: (o) => (isStandbyCluster(o) ? { kind: "bootstrap-standby", target: remoteTarget(o.config) } : { kind: "bootstrap" }),
    why: (o) => `this node won the initialize race: bootstrapping ${isStandbyCluster(o) ? "from the remote primary" : "a new cluster"}`,
  },
  {
    id: "bootstrap-failed",
    when: (o) =>
      lockIsFree(o) &&
      withoutData(o) &&
      bootstrapFailed(o) &&
      clusterOf(o)?.initialize === "" &&
      didThisCycle(o, "cancel-initialize") === null,
    then: () => ({ kind: "cancel-initialize" }),
    why: (o) => `removing initialize key after failed attempt to bootstrap the cluster: ${o.lastTask?.message}`,
  },
  {
    id: "bootstrap-wait",
    when: (o) => lockIsFree(o) && withoutData(o) && (clusterOf(o)?.initialize ?? "") === "",
    then: (o) => waitAtMost(o, 1000),
    why: (o) => `waiting for ${isStandbyCluster(o) ? "standby_leader" : "leader"} to bootstrap`,
  },
  {
    id: "leaderless-clone",
    when: (o) => lockIsFree(o) && withoutData(o) && clonesAlone(o) && !isPaused(o) && retryAt(o, "clone") === null,
    then: (o) => ({ ...aloneClone(o), clear: o.local.dataDirectory.kind === "half-made" }),
    why: (o) => (remoteTarget(o.config) === null ? "trying to bootstrap (without leader)" : "trying to bootstrap from the remote primary"),
  },
  {
    id: "leaderless-without-data",
    when: (o) => lockIsFree(o) && withoutData(o),
    then: (o) => waitAtMost(o, 1000),
    why: (o) => (isPaused(o) ? "running with empty data directory" : "waiting for a leader to copy from"),
  },
  {
    id: "leaderless-paused-read-control",
    when: (o) => lockIsFree(o) && restartsStopped(o) && o.local.control === null && didThisCycle(o, "read-control") === null,
    then: () => ({ kind: "read-control" }),
    why: () => "a restart was asked for: was the stopped server a primary or a standby?",
  },
  {
    id: "leaderless-paused-restart",
    when: (o) => lockIsFree(o) && leadsAgain(o) && didThisCycle(o, "acquire-lock") === null,
    then: () => ({ kind: "acquire-lock" }),
    why: () => "a restart of the stopped primary was asked for: the lock comes first",
  },
  {
    id: "leaderless-paused-down",
    when: (o) => lockIsFree(o) && isPaused(o) && !isRunning(o) && (!restartsStopped(o) || leadsAgain(o) || o.local.control === null),
    then: waitCycle,
    why: () => "postgres is not running",
  },
  {
    id: "leaderless-start-retry",
    when: (o) => lockIsFree(o) && !isRunning(o) && retryAt(o, "start") !== null,
    then: (o) => wait(retryAt(o, "start") ?? o.now),
    why: (o) => `PostgreSQL did not start: ${o.lastTask?.message}`,
  },
  {
    id: "leaderless-start",
    when: (o) => lockIsFree(o) && !isRunning(o),
    then: (o) => ({ kind: "start", role: "standby", target: followsRemote(o) ? sourceTarget(o) : promisedSource(o), syncNames: null }),
    why: () => "starting as a secondary: there is no leader",
  },
  {
    id: "leaderless-starting",
    when: (o) => lockIsFree(o) && isRunning(o) && o.local.status === null,
    then: (o) => waitAtMost(o, 1000),
    why: () => "PostgreSQL does not answer yet",
  },
  {
    id: "leaderless-restart",
    when: (o) => lockIsFree(o) && runsAsStandby(o) && o.requests.restart,
    then: restartEffect,
    why: () => "a restart was asked for",
  },
  ...raceRules,
]);

/** It was the primary, nobody has led since, and it is wanted back. */
function leadsAgain(o: Observation): boolean {
  const { control } = o.local;
  return restartsStopped(o) && control !== null && wasPrimary(o) && !isStandbyCluster(o) && !timelineHasEnded(o, control.timeline);
}

function withoutData(o: Observation): boolean {
  return !hasData(o) && !isRunning(o);
}

function bootstrapRetry(o: Observation): ReturnType<typeof retryAt> {
  return retryAt(o, "bootstrap") ?? retryAt(o, "bootstrap-standby");
}

function bootstrapFailed(o: Observation): boolean {
  return (o.lastTask?.kind === "bootstrap" || o.lastTask?.kind === "bootstrap-standby") && !o.lastTask.ok;
}

/** A copy can be made although nobody leads: from an archive, or from the remote primary of a standby cluster. */
function clonesAlone(o: Observation): boolean {
  return o.self.clonesWithoutLeader || (isStandbyCluster(o) && remoteTarget(o.config) !== null);
}

function aloneClone(o: Observation) {
  const target = remoteTarget(o.config);
  const methods = isStandbyCluster(o) ? ("remote" as const) : ("members" as const);
  return { kind: "clone" as const, target, methods, from: target === null ? null : "the remote primary", follow: sourceTarget(o) };
}
