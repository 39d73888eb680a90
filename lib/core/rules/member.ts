// Rules for a node beside somebody else's leader: make a copy, rejoin, follow. Pure.

import { type Cluster, leaderMember } from "../../model/cluster.ts";
import { ms } from "../../model/units.ts";
import type { Effect } from "../decision.ts";
import {
  clusterOf,
  didThisCycle,
  hasData,
  isPaused,
  isRunning,
  leaderIsServing,
  leaderTarget,
  lockIsForeign,
  retryAt,
  runsAsPrimary,
  runsAsStandby,
  targetOf,
  upstreamKey,
} from "../facts.ts";
import type { Observation } from "../observation.ts";
import { inSection, type Rule, wait, waitAtMost, waitCycle } from "../rule.ts";
import { slotsAreDue, slotsEffect, slotsPlan } from "../slots-plan.ts";

/** A standby that has not streamed for this long beside a serving leader may have diverged: look at the timelines. */
const DIVERGED_AFTER_MS = 2_000;
/** A plan to follow that has not led to streaming within this time is made anew: WAL may have come from elsewhere since. */
const FOLLOW_AGAIN_MS = 15_000;

export const memberRules: readonly Rule[] = inSection(lockIsForeign, [
  {
    id: "paused-as-it-is",
    when: (o) => isPaused(o) && lockIsForeign(o) && (!isRunning(o) || runsAsPrimary(o)) && !bringsUp(o),
    then: waitCycle,
    why: (o) =>
      isRunning(o)
        ? "paused: PostgreSQL runs as primary without the lock, nothing is changed"
        : "PostgreSQL is not running, paused: nothing is changed",
  },
  {
    id: "reinitialize-stop",
    when: (o) => lockIsForeign(o) && o.requests.reinitialize !== null && isRunning(o),
    then: () => ({ kind: "stop", mode: "fast", within: ms(30_000) }),
    why: () => "reinitialize: PostgreSQL is stopped",
  },
  {
    id: "reinitialize-clone",
    when: (o) =>
      lockIsForeign(o) &&
      o.requests.reinitialize !== null &&
      retryAt(o, "clone") === null &&
      leaderTarget(o) !== null &&
      leaderIsServing(o),
    then: (o) => cloneEffect(o, true),
    why: (o) => `reinitialize: a new copy is made from ${o.dcs.cluster?.leader?.name}`,
  },
  {
    id: "clone-retry",
    when: (o) => lockIsForeign(o) && !isRunning(o) && (!hasData(o) || o.requests.reinitialize !== null) && retryAt(o, "clone") !== null,
    then: (o) => wait(retryAt(o, "clone") ?? o.now),
    why: (o) => `the copy failed: ${o.lastTask?.message}`,
  },
  {
    id: "clone",
    when: (o) => lockIsForeign(o) && !isRunning(o) && !hasData(o) && leaderTarget(o) !== null && leaderIsServing(o),
    then: (o) => cloneEffect(o, o.local.dataDirectory.kind === "half-made"),
    why: (o) => `trying to bootstrap from leader '${o.dcs.cluster?.leader?.name}'`,
  },
  {
    id: "clone-wait",
    when: (o) => lockIsForeign(o) && !isRunning(o) && !hasData(o),
    then: (o) => waitAtMost(o, 1000),
    why: (o) => `waiting for leader '${o.dcs.cluster?.leader?.name}' to serve before a copy is made`,
  },
  ...inSection(stoppedBesideLeader, [
    {
      id: "rejoin-retry",
      when: (o) => stoppedBesideLeader(o) && firstRetry(o) !== null,
      then: (o) => wait(firstRetry(o) ?? o.now),
      why: (o) => `${o.lastTask?.kind} failed: ${o.lastTask?.message}`,
    },
    {
      id: "rejoin-wait",
      when: (o) => stoppedBesideLeader(o) && planFor(o) === null && (leaderTarget(o) === null || !leaderIsServing(o)),
      then: (o) => waitAtMost(o, 1000),
      why: (o) => `waiting for leader '${o.dcs.cluster?.leader?.name}' to serve before rejoining`,
    },
    {
      id: "rejoin-plan",
      when: (o) => stoppedBesideLeader(o) && planFor(o) === null,
      then: (o) => planEffect(o),
      why: (o) => `how can the local data follow '${o.dcs.cluster?.leader?.name}'?`,
    },
    {
      id: "rejoin-start",
      when: (o) => stoppedBesideLeader(o) && planFor(o)?.kind === "follow",
      then: (o) => ({ kind: "start", role: "standby", target: leaderTarget(o), syncNames: null }),
      why: (o) => `starting as a secondary of '${o.dcs.cluster?.leader?.name}': ${planFor(o)?.why}`,
    },
    {
      id: "rejoin-rewind",
      when: (o) => stoppedBesideLeader(o) && planFor(o)?.kind === "rewind" && !replacesInstead(o) && leaderTarget(o) !== null,
      then: (o) => rewindEffect(o),
      why: (o) => `running pg_rewind from '${o.dcs.cluster?.leader?.name}': ${planFor(o)?.why}`,
    },
    {
      id: "rejoin-clone",
      when: (o) =>
        stoppedBesideLeader(o) && leaderTarget(o) !== null && (replacesInstead(o) || (planFor(o)?.kind === "clone" && mayRemove(o))),
      then: (o) => cloneEffect(o, true),
      why: (o) => `the data directory is replaced by a copy of '${o.dcs.cluster?.leader?.name}': ${planFor(o)?.why}`,
    },
    {
      id: "rejoin-start-diverged",
      when: (o) => stoppedBesideLeader(o),
      then: () => ({ kind: "start", role: "standby", target: null, syncNames: null }),
      why: (o) =>
        `the local data has diverged and nothing allows it to be replaced (${planFor(o)?.why}): started as a standby for an operator to look at`,
    },
  ]),
  {
    id: "standby-starting",
    when: (o) => lockIsForeign(o) && isRunning(o) && o.local.status === null,
    then: (o) => waitAtMost(o, 1000),
    why: () => "PostgreSQL does not answer yet",
  },
  {
    id: "standby-restart",
    when: (o) => lockIsForeign(o) && runsAsStandby(o) && o.requests.restart,
    then: () => ({ kind: "restart" }),
    why: () => "a restart was asked for",
  },
  ...inSection(mustFollow, [
    {
      id: "standby-follow-retry",
      when: (o) => mustFollow(o) && planFor(o) === null && retryAt(o, "plan-rejoin") !== null,
      then: (o) => wait(retryAt(o, "plan-rejoin") ?? o.now),
      why: (o) => `the timelines of '${o.dcs.cluster?.leader?.name}' cannot be read: ${o.lastTask?.message}`,
    },
    {
      id: "standby-follow-plan",
      when: (o) => mustFollow(o) && planFor(o) === null,
      then: planEffect,
      why: (o) => `may the local data follow '${o.dcs.cluster?.leader?.name}'?`,
    },
    {
      id: "standby-follow",
      when: (o) => mustFollow(o) && planFor(o)?.kind === "follow" && didThisCycle(o, "follow") === null,
      then: (o) => ({ kind: "follow", target: leaderTarget(o) }),
      why: (o) => `following new leader '${o.dcs.cluster?.leader?.name}'`,
    },
    {
      id: "standby-follow-diverged-stop",
      when: (o) => mustFollow(o) && divergedPlan(o) && !isPaused(o),
      then: () => ({ kind: "stop", mode: "fast", within: ms(30_000) }),
      why: (o) => `the local data has diverged from '${o.dcs.cluster?.leader?.name}': ${planFor(o)?.why}`,
    },
  ]),
  ...inSection(notStreaming, [
    {
      id: "standby-diverged-retry",
      when: (o) => notStreaming(o) && retryAt(o, "plan-rejoin") !== null,
      then: (o) => waitAtMost(o, 1000),
      why: (o) => `not streaming, and the leader's timelines cannot be read: ${o.lastTask?.message}`,
    },
    {
      id: "standby-diverged-plan",
      when: (o) => notStreaming(o) && (planFor(o) === null || followedInVain(o)),
      then: (o) => planEffect(o),
      why: (o) => `not streaming from '${o.dcs.cluster?.leader?.name}': has the local data diverged?`,
    },
    {
      id: "standby-diverged-stop",
      when: (o) => notStreaming(o) && divergedPlan(o),
      then: () => ({ kind: "stop", mode: "fast", within: ms(30_000) }),
      why: (o) => `the local data has diverged from '${o.dcs.cluster?.leader?.name}': ${planFor(o)?.why}`,
    },
  ]),
  {
    id: "standby-slots",
    when: (o) => lockIsForeign(o) && runsAsStandby(o) && slotsAreDue(o) && didThisCycle(o, "sync-slots") === null,
    then: slotsEffect,
    why: () => "the replication slots are brought up to date",
  },
  {
    id: "standby-copy-slots",
    when: (o) => lockIsForeign(o) && runsAsStandby(o) && !isPaused(o) && copiesSlots(o) && retryAt(o, "copy-slots") === null,
    then: copyEffect,
    why: (o) =>
      `Copying logical slots [${slotsPlan(o)
        .copies.map(({ name }) => `'${name}'`)
        .join(", ")}] from the primary`,
  },
  {
    id: "standby-not-streaming",
    when: (o) => lockIsForeign(o) && runsAsStandby(o) && (o.local.notStreamingSince !== null || behindOnTimeline(o)),
    then: (o) => waitAtMost(o, 1000),
    why: heartbeat,
  },
  {
    id: "standby",
    when: (o) => lockIsForeign(o) && isRunning(o),
    then: waitCycle,
    why: heartbeat,
  },
]);

/** Each copy is a restart: where one was of no use, the next has time. */
const COPY_AGAIN_MS = 60_000;

function copiesSlots(o: Observation): boolean {
  if (slotsPlan(o).copies.length === 0 || o.local.status?.replicationState !== "streaming" || !leaderIsServing(o)) return false;
  const last = o.lastTask;
  return last?.kind !== "copy-slots" || !last.ok || o.now - last.finishedAt >= COPY_AGAIN_MS;
}

function copyEffect(o: Observation): Effect {
  const leader = clusterOf(o) === null ? null : leaderMember(clusterOf(o) as Cluster);
  const source = leader === null ? null : targetOf(leader, null);
  return source === null ? waitAtMost(o, 1000) : { kind: "copy-slots", source, slots: slotsPlan(o).copies };
}

/** Down in pause on our own account (a switchover, an operator's reinitialize), and therefore to be brought up again; a stop by hand is left alone. */
function bringsUp(o: Observation): boolean {
  if (isRunning(o)) return false;
  if (o.requests.reinitialize !== null) return true;
  const last = o.lastTask;
  if (o.local.crashedAt !== null || last === null) return false;
  return last.kind === "start" ? !last.ok : ["hand-over", "stop", "plan-rejoin", "rewind", "clone"].includes(last.kind);
}

function heartbeat(o: Observation): string {
  return `no action. I am (${o.self.name}), a secondary, and following a leader (${o.dcs.cluster?.leader?.name})`;
}

/** Streaming, but the server does not show the leader's timeline yet: what is published would be old for a whole loop_wait. */
function behindOnTimeline(o: Observation): boolean {
  const cluster = clusterOf(o);
  const timeline = cluster === null ? null : (leaderMember(cluster)?.timeline ?? null);
  return timeline !== null && leaderIsServing(o) && o.local.status !== null && o.local.status.timeline !== timeline;
}

function stoppedBesideLeader(o: Observation): boolean {
  return lockIsForeign(o) && !isRunning(o) && hasData(o);
}

/** Runs as a standby of somebody else than the serving leader. Two timelines of one number stream into each other unseen, so it is never followed unasked. */
function mustFollow(o: Observation): boolean {
  if (!lockIsForeign(o) || !runsAsStandby(o) || !leaderIsServing(o)) return false;
  const target = leaderTarget(o);
  return target !== null && o.local.upstream !== upstreamKey(target);
}

function followedInVain(o: Observation): boolean {
  return planFor(o)?.kind === "follow" && o.lastTask !== null && o.now - o.lastTask.finishedAt >= FOLLOW_AGAIN_MS;
}

function notStreaming(o: Observation): boolean {
  const since = o.local.notStreamingSince;
  return (
    !isPaused(o) &&
    lockIsForeign(o) &&
    runsAsStandby(o) &&
    since !== null &&
    o.now - since >= DIVERGED_AFTER_MS &&
    leaderTarget(o) !== null &&
    leaderIsServing(o)
  );
}

/** The plan made for this leader's present lock; another leader needs another one, and so does a server that ran since. */
function planFor(o: Observation): { readonly kind: "follow" | "rewind" | "clone"; readonly why: string } | null {
  const made = o.lastTask?.plan ?? null;
  const leader = clusterOf(o)?.leader ?? null;
  if (made === null || leader === null) return null;
  return made.leader === leader.name && made.leaderSession === leader.session ? made.plan : null;
}

function divergedPlan(o: Observation): boolean {
  const plan = planFor(o);
  if (plan === null || plan.kind === "follow") return false;
  return plan.kind === "rewind" ? o.self.usePgRewind || mayRemove(o) : mayRemove(o);
}

function mayRemove(o: Observation): boolean {
  return o.self.removeDataDirectoryOnDivergedTimelines;
}

/** pg_rewind has failed here, and the configuration allows a new copy in its stead. */
function replacesInstead(o: Observation): boolean {
  return planFor(o)?.kind === "rewind" && o.local.rewindFailed && o.self.removeDataDirectoryOnRewindFailure;
}

function firstRetry(o: Observation): ReturnType<typeof retryAt> {
  return retryAt(o, "plan-rejoin") ?? retryAt(o, "start") ?? retryAt(o, "rewind") ?? retryAt(o, "clone");
}

function planEffect(o: Observation): Effect {
  const leader = clusterOf(o)?.leader;
  const target = leaderTarget(o);
  if (leader === undefined || leader === null || target === null) return waitAtMost(o, 1000);
  return { kind: "plan-rejoin", target, leader: leader.name, leaderSession: leader.session };
}

function cloneEffect(o: Observation, clear: boolean): Effect {
  const target = leaderTarget(o);
  return target === null ? waitAtMost(o, 1000) : { kind: "clone", target, clear };
}

function rewindEffect(o: Observation): Effect {
  const target = leaderTarget(o);
  return target === null ? waitAtMost(o, 1000) : { kind: "rewind", target };
}
