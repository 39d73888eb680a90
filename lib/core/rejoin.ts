// Owns what a plan for the local data (rewind-plan.ts) means for the next step: whose plan it is, what it allows, when to try
// again. Pure.

import { leaderMember } from "../model/cluster.ts";
import type { Effect } from "./decision.ts";
import { clusterOf, isPaused, leaderIsServing, leaderTarget, lockIsOurs, retryAt, runsAsStandby, upstreamKey } from "./facts.ts";
import type { Observation } from "./observation.ts";
import { followsRemote, isStandbyCluster, remoteTarget } from "./replication-source.ts";
import type { RewindPlan } from "./rewind-plan.ts";
import { waitAtMost } from "./rule.ts";

/** A standby that has not streamed for this long beside a serving leader may have diverged: look at the timelines. */
const DIVERGED_AFTER_MS = 2_000;
/** A plan to follow that has not led to streaming within this time is made anew: WAL may have come from elsewhere since. */
const FOLLOW_AGAIN_MS = 15_000;

/** Whose history the local data is measured by: the remote primary's for a standby leader, else the leader's. */
interface Judge {
  readonly name: string;
  readonly session: string | null;
}

function judgeOf(o: Observation): Judge | null {
  if (followsRemote(o)) {
    const remote = remoteTarget(o.config);
    return remote === null ? null : { name: `remote primary ${upstreamKey(remote)}`, session: null };
  }
  return clusterOf(o)?.leader ?? null;
}

/** The plan made for this leader's present lock; another leader needs another one, and so does a server that ran since. */
export function planFor(o: Observation): RewindPlan | null {
  const made = o.lastTask?.plan ?? null;
  const judge = judgeOf(o);
  if (made === null || judge === null) return null;
  return made.leader === judge.name && made.leaderSession === judge.session ? made.plan : null;
}

export function planEffect(o: Observation): Effect {
  const judge = judgeOf(o);
  const target = followsRemote(o) ? remoteTarget(o.config) : leaderTarget(o);
  if (judge === null || target === null) return waitAtMost(o, 1000);
  return { kind: "plan-rejoin", target, leader: judge.name, leaderSession: judge.session };
}

/** The plan says that the running server has diverged, and something may be done about it. */
export function divergedPlan(o: Observation): boolean {
  const plan = planFor(o);
  if (plan === null || plan.kind === "follow") return false;
  return plan.kind === "rewind" ? o.self.usePgRewind || mayRemove(o) : mayRemove(o);
}

export function mayRemove(o: Observation): boolean {
  return o.self.removeDataDirectoryOnDivergedTimelines;
}

/**
 * pg_rewind has failed here, or the start of a standby that was planned as such (a plan to copy anew says so), and the configuration allows a
 * new copy in its stead.
 */
export function replacesInstead(o: Observation): boolean {
  const plan = planFor(o);
  const failed = plan?.kind === "rewind" ? o.local.rewindFailed : plan?.kind === "clone" && plan.unread === true;
  return failed && o.self.removeDataDirectoryOnRewindFailure;
}

/**
 * pg_rewind reads from a primary: in a standby cluster that is the remote one, but where the leader, whose history the plan is made by, has not
 * heard yet that it became one and still leads as a primary.
 */
export function rewindEffect(o: Observation): Effect {
  const view = clusterOf(o);
  const leads = lockIsOurs(o) || view === null ? null : leaderMember(view);
  const remote = isStandbyCluster(o) && leads?.role !== "primary" ? remoteTarget(o.config) : null;
  const target = remote ?? (lockIsOurs(o) ? null : leaderTarget(o));
  return target === null ? waitAtMost(o, 1000) : { kind: "rewind", target };
}

export function firstRetry(o: Observation): ReturnType<typeof retryAt> {
  return retryAt(o, "plan-rejoin") ?? retryAt(o, "start") ?? retryAt(o, "rewind") ?? retryAt(o, "clone");
}

export function followedInVain(o: Observation): boolean {
  return planFor(o)?.kind === "follow" && o.lastTask !== null && o.now - o.lastTask.finishedAt >= FOLLOW_AGAIN_MS;
}

/** Runs as a standby and has not streamed for a while from a source that serves: the remote primary, or a member. */
export function stoppedStreaming(o: Observation): boolean {
  const since = o.local.notStreamingSince;
  if (isPaused(o) || !runsAsStandby(o) || since === null || o.now - since < DIVERGED_AFTER_MS) return false;
  return followsRemote(o) ? remoteTarget(o.config) !== null : leaderTarget(o) !== null && leaderIsServing(o);
}
