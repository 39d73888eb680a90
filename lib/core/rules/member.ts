// Rules for a node beside somebody else's leader: make a copy, rejoin, follow. Pure.

import { type Cluster, leaderMember } from "../../model/cluster.ts";
import { tagEnabled } from "../../model/member.ts";
import { ms } from "../../model/units.ts";
import type { Effect } from "../decision.ts";
import {
  clusterOf,
  didThisCycle,
  hasData,
  isPaused,
  isRunning,
  leaderIsKnown,
  leaderIsServing,
  leaderTarget,
  lockIsForeign,
  restartsUnaskable,
  retryAt,
  runsAsPrimary,
  runsAsStandby,
  targetOf,
  upstreamKey,
} from "../facts.ts";
import type { Observation } from "../observation.ts";
import {
  divergedPlan,
  firstRetry,
  followedInVain,
  mayRemove,
  planEffect,
  planFor,
  replacesInstead,
  rewindEffect,
  stoppedStreaming,
} from "../rejoin.ts";
import { cloneSource, isStandbyCluster, sourceTarget } from "../replication-source.ts";
import { inSection, type Rule, wait, waitAtMost, waitCycle } from "../rule.ts";
import { slotsAreDue, slotsEffect, slotsPlan } from "../slots-plan.ts";
import { restartEffect } from "./promotion.ts";

export const memberRules: readonly Rule[] = inSection(lockIsForeign, [
  {
    id: "paused-as-it-is",
    when: (o) => isPaused(o) && lockIsForeign(o) && (!isRunning(o) || runsAsPrimary(o)) && !bringsUp(o),
    then: waitCycle,
    why: (o) => (isRunning(o) ? "continue to run as primary without lock" : "postgres is not running"),
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
    why: (o) => `reinitialize: a new copy is made from ${cloneSource(o)?.words}`,
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
    why: (o) => `trying to bootstrap from ${cloneSource(o)?.words}`,
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
      then: planEffect,
      why: (o) => `how can the local data follow '${o.dcs.cluster?.leader?.name}'?`,
    },
    {
      id: "rejoin-start",
      when: (o) => stoppedBesideLeader(o) && planFor(o)?.kind === "follow",
      then: (o) => ({ kind: "start", role: "standby", target: sourceTarget(o), syncNames: null }),
      why: (o) => `starting as a secondary of '${o.dcs.cluster?.leader?.name}': ${planFor(o)?.why}`,
    },
    {
      id: "rejoin-rewind",
      when: (o) => stoppedBesideLeader(o) && planFor(o)?.kind === "rewind" && !replacesInstead(o) && leaderTarget(o) !== null,
      then: rewindEffect,
      why: (o) => `running pg_rewind from '${o.dcs.cluster?.leader?.name}': ${planFor(o)?.why}`,
    },
    {
      id: "rejoin-clone",
      when: (o) =>
        stoppedBesideLeader(o) && leaderTarget(o) !== null && (replacesInstead(o) || (planFor(o)?.kind === "clone" && mayRemove(o))),
      then: (o) => cloneEffect(o, true),
      why: (o) => `the data directory is replaced by a copy of ${cloneSource(o)?.words}: ${planFor(o)?.why}`,
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
    when: (o) => lockIsForeign(o) && isRunning(o) && o.local.status === null && !restartsUnaskable(o),
    then: (o) => waitAtMost(o, 1000),
    why: () => "PostgreSQL does not answer yet",
  },
  {
    id: "standby-restart",
    when: (o) => lockIsForeign(o) && ((runsAsStandby(o) && o.requests.restart) || restartsUnaskable(o)),
    then: restartEffect,
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
      then: (o) => ({ kind: "follow", target: sourceTarget(o), role: "standby" }),
      why: followWhy,
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
      then: planEffect,
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
    id: "standby-resume-replay",
    when: (o) => lockIsForeign(o) && runsAsStandby(o) && replayStands(o) && didThisCycle(o, "resume-replay") === null,
    then: () => ({ kind: "resume-replay" }),
    why: () => "Resuming paused WAL replay for PostgreSQL 14+",
  },
  {
    id: "standby-slots",
    when: (o) => lockIsForeign(o) && runsAsStandby(o) && didThisCycle(o, "sync-slots") === null && slotsAreDue(o),
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
    when: (o) =>
      lockIsForeign(o) &&
      runsAsStandby(o) &&
      !tagEnabled(o.self.tags, "nostream") &&
      (o.local.notStreamingSince !== null || behindOnTimeline(o)),
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

/** The first version that pauses where the primary has more connections than this server can take, instead of ending at once. */
const PAUSES_REPLAY_FROM = 140_000;

/**
 * Nobody but a pause of the cluster keeps a standby behind. Where its settings are too small it ends with the resumption, and is started
 * with what the primary has.
 */
function replayStands(o: Observation): boolean {
  const status = o.local.status;
  return !isPaused(o) && status !== null && status.replayPaused && status.serverVersion >= PAUSES_REPLAY_FROM;
}

/** Each copy is a restart: where one was of no use, the next has time. */
const COPY_AGAIN_MS = 60_000;

function copiesSlots(o: Observation): boolean {
  // Only permanent slots are copied.
  if (
    o.config.slots.length === 0 ||
    slotsPlan(o).copies.length === 0 ||
    o.local.status?.replicationState !== "streaming" ||
    !leaderIsServing(o)
  )
    return false;
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
  if (o.requests.reinitialize !== null || o.requests.restart) return true;
  const last = o.lastTask;
  if (o.local.crashedAt !== null || last === null) return false;
  return last.kind === "start" ? !last.ok : ["hand-over", "stop", "plan-rejoin", "rewind", "clone"].includes(last.kind);
}

function heartbeat(o: Observation): string {
  const leader = isStandbyCluster(o) ? "standby leader" : "leader";
  return `no action. I am (${o.self.name}), a secondary, and following a ${leader} (${o.dcs.cluster?.leader?.name})`;
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

/**
 * Runs as a standby of somebody else than it should. Two timelines of one number stream into each other unseen, so nobody is
 * followed before the local data was measured by the serving leader's history.
 */
function mustFollow(o: Observation): boolean {
  if (!lockIsForeign(o) || !runsAsStandby(o) || !leaderIsServing(o) || !leaderIsKnown(o)) return false;
  const source = sourceTarget(o);
  // A supervisor that has just come back does not know what the server follows.
  return o.local.upstream !== upstreamKey(source) || (source === null && o.local.status?.primaryConninfo !== "");
}

function notStreaming(o: Observation): boolean {
  return lockIsForeign(o) && stoppedStreaming(o) && !tagEnabled(o.self.tags, "nostream");
}

function followWhy(o: Observation): string {
  const source = sourceTarget(o);
  const leader = o.dcs.cluster?.leader?.name;
  if (source === null) return `following the archive of '${leader}', without streaming`;
  return source.name === leader ? `following new leader '${leader}'` : `following '${source.name}', as replicatefrom says`;
}

/** For a cluster that was restored: whatever else could be copied from may still be of the old one. */
export function copyOfLeader(o: Observation, restore: string | null): Effect {
  const target = leaderTarget(o);
  if (target === null || restore === null) return waitAtMost(o, 1000);
  const from = `leader '${target.name}'`;
  return { kind: "clone", target, methods: "basebackup", from, follow: sourceTarget(o), clear: true, restore };
}

function cloneEffect(o: Observation, clear: boolean): Effect {
  const source = cloneSource(o);
  if (source === null) return waitAtMost(o, 1000);
  return { kind: "clone", target: source.target, methods: "members", from: source.words, follow: sourceTarget(o), clear };
}
