// Rules for the leader at work: PostgreSQL runs as primary under a valid lock. Pure.

import { ms } from "../../model/units.ts";
import type { Effect } from "../decision.ts";
import { clusterOf, didThisCycle, leaseIsValid, lockIsOurs, nextCycle, runsAsPrimary } from "../facts.ts";
import {
  actionName,
  candidateNames,
  fitCandidates,
  impossibleText,
  isDue,
  lacksVoters,
  staleReason,
  staleText,
} from "../handover-request.ts";
import type { Observation } from "../observation.ts";
import { perObservation } from "../per-observation.ts";
import { isStandbyCluster } from "../replication-source.ts";
import { inSection, type Rule, waitAtMost, waitCycle } from "../rule.ts";
import { slotsAreDue, slotsEffect } from "../slots-plan.ts";
import { type SyncInput, type SyncStep, syncStep } from "../sync-step.ts";
import { restartEffect } from "./promotion.ts";

/** Bound of a planned stop; the lock is renewed meanwhile. */
const HAND_OVER_LIMIT_MS = 60_000;
/** After a promotion: how long a switchover waits for the standbys to stream from here. */
const CONNECTING_MS = 10_000;
/** After a promotion in synchronous mode: how long no standby may stream before the setting is cleared. */
const GRACE_LIMIT_MS = 2_000;

export const leaderRules: readonly Rule[] = inSection(leads, [
  {
    id: "failover-stale",
    when: (o) => leads(o) && isDue(o) && staleReason(o) !== null && didThisCycle(o, "clear-failover") === null,
    then: () => ({ kind: "clear-failover" }),
    why: staleText,
  },
  {
    id: "failover-ask",
    when: (o) => leads(o) && isDue(o) && staleReason(o) === null && didThisCycle(o, "ask-peers") === null,
    then: (o) => ({ kind: "ask-peers", names: candidateNames(o) }),
    why: (o) => {
      const at = clusterOf(o)?.failover?.scheduledAtText ?? null;
      return `${at === null ? "a switchover was asked for" : `Manual scheduled switchover at ${at}`}: which member can take over?`;
    },
  },
  {
    id: "failover-hand-over",
    when: (o) => leads(o) && isDue(o) && staleReason(o) === null && fitCandidates(o).length > 0 && !lacksVoters(o),
    then: () => ({ kind: "hand-over", within: ms(HAND_OVER_LIMIT_MS) }),
    why: (o) => `${actionName(o)}: demoting myself for ${fitCandidates(o).join(" or ")}`,
  },
  {
    id: "failover-impossible",
    when: (o) => leads(o) && isDue(o) && !justPromoted(o) && didThisCycle(o, "clear-failover") === null,
    then: () => ({ kind: "clear-failover" }),
    why: impossibleText,
  },
  {
    id: "leader-restart",
    when: (o) => leads(o) && o.requests.restart,
    then: restartEffect,
    why: () => "a restart was asked for",
  },
  {
    id: "leader-sync-key",
    when: (o) => leads(o) && changesKey(nextSyncStep(o)) && count(o, "write-sync") < 2,
    then: (o) => syncEffect(o, nextSyncStep(o)),
    why: (o) => syncWhy(nextSyncStep(o)),
  },
  {
    id: "leader-sync-names",
    when: (o) => leads(o) && nextSyncStep(o).kind === "set-names" && count(o, "set-sync-names") < 2,
    then: (o) => syncEffect(o, nextSyncStep(o)),
    why: (o) => syncWhy(nextSyncStep(o)),
  },
  {
    id: "leader-slots",
    when: (o) => leads(o) && leaseIsValid(o) && didThisCycle(o, "sync-slots") === null && slotsAreDue(o),
    then: slotsEffect,
    why: () => "the replication slots are brought up to date",
  },
  {
    id: "leader-history",
    when: (o) => leads(o) && leaseIsValid(o) && needsHistory(o) && didThisCycle(o, "write-history") === null,
    then: () => ({ kind: "write-history" }),
    why: () => "the timeline's history is published",
  },
  {
    id: "failover-pending",
    when: (o) => leads(o) && isDue(o) && justPromoted(o),
    then: (o) => waitAtMost(o, 300),
    why: (o) => `a switchover was asked for, and the standbys are still connecting: ${impossibleText(o)}`,
  },
  {
    id: "leader-grace",
    when: (o) => leads(o) && inGrace(o),
    then: (o) => waitAtMost(o, 100),
    why: () => "just promoted: waiting for a standby to stream",
  },
  {
    id: "leader-sync-pending",
    when: (o) => leads(o) && nextSyncStep(o).kind === "await",
    then: (o) => waitAtMost(o, 250),
    why: () => "waiting for the new synchronous standbys to catch up",
  },
  {
    id: "leader",
    when: leads,
    then: (o) => {
      if (o.config.synchronousMode === "off") return waitCycle(o);
      // Commits wait for a standby that has died, or lags too far, until another one is named.
      return { kind: "wait", until: nextCycle(o), watch: "standbys" };
    },
    why: (o) => `no action. I am (${o.self.name}), the leader with the lock`,
  },
]);

function leads(o: Observation): boolean {
  return lockIsOurs(o) && runsAsPrimary(o) && !isStandbyCluster(o);
}

function count(o: Observation, kind: Effect["kind"]): number {
  return o.done.filter((outcome) => outcome.kind === kind).length;
}

function changesKey(step: SyncStep): boolean {
  return step.kind === "write-key" || step.kind === "delete-key";
}

function inGrace(o: Observation): boolean {
  if (o.config.synchronousMode === "off" || o.local.promotedAt === null) return false;
  const grace = Math.min(o.config.loopWaitMs, GRACE_LIMIT_MS);
  return o.now - o.local.promotedAt < grace && !(o.local.status?.replication.some((row) => row.state === "streaming") ?? false);
}

function justPromoted(o: Observation): boolean {
  return o.local.promotedAt !== null && o.now - o.local.promotedAt < CONNECTING_MS;
}

/** Asked by several rules of one decision. */
const nextSyncStep: (o: Observation) => SyncStep = perObservation((o) => {
  const input = syncInput(o);
  return input === null ? { kind: "done" } : syncStep(input);
});

function syncInput(o: Observation): SyncInput | null {
  const cluster = clusterOf(o);
  const status = o.local.status;
  if (cluster === null || status === null) return null;
  return {
    self: o.self.name,
    config: o.config,
    members: cluster.members,
    sync: cluster.sync,
    status,
    position: o.self.syncPosition,
    since: o.local.syncNamesSince,
    managed: o.local.syncNamesManaged,
    grace: inGrace(o),
  };
}

function syncEffect(o: Observation, step: SyncStep): Effect {
  if (step.kind === "delete-key") return { kind: "write-sync", leader: null, standbys: [], quorum: 0 };
  if (step.kind === "write-key") return { kind: "write-sync", leader: o.self.name, standbys: step.standbys, quorum: step.quorum };
  if (step.kind === "set-names") return { kind: "set-sync-names", value: step.value };
  return waitCycle(o);
}

function syncWhy(step: SyncStep): string {
  return step.kind === "done" || step.kind === "await" ? "" : step.why;
}

function needsHistory(o: Observation): boolean {
  const timeline = o.local.status?.timeline ?? null;
  return timeline !== null && timeline > 1 && o.local.historyPublished !== timeline;
}
