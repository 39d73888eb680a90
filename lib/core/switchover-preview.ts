// Owns what a change of the leader would come to, told beforehand: whether it would be refused, who would lead, and each reason why a
// member could not. Holds to the same rules as the request itself (switchover-check.ts, candidates.ts). Pure; promises nothing.

import { type Cluster, leaderMember } from "../model/cluster.ts";
import type { SynchronousMode } from "../model/dynamic-config.ts";
import { isNofailover, type Member, priorityOf } from "../model/member.ts";
import { isSyncStandby } from "../model/sync-state.ts";
import type { Lsn } from "../model/units.ts";
import { otherMembers } from "./candidates.ts";
import type { PeerAnswer, PeerStatus } from "./observation.ts";
import { requestRefusal, type SwitchoverPlan, switchoverCandidates } from "./switchover-check.ts";
import { votersSuffice } from "./votes.ts";

/** What of the dynamic configuration counts. */
export interface PreviewLimits {
  readonly synchronousMode: SynchronousMode;
  readonly maximumLagOnFailoverBytes: number;
  readonly checkTimeline: boolean;
  readonly paused: boolean;
}

export interface CandidatePreview {
  readonly name: string;
  /** As it answered; null where it did not, or shows none. */
  readonly position: Lsn | null;
  /** How far that is behind the leader, in bytes; null where either is not known. */
  readonly behindBytes: bigint | null;
  readonly priority: number;
  /** Each reason why it could not lead now; empty where it could. */
  readonly reasons: readonly string[];
}

export interface SwitchoverPreview {
  /** Why nothing would be done; null where it would. */
  readonly refusal: string | null;
  readonly candidates: readonly CandidatePreview[];
  /** Who would lead: where there are several, whichever takes the lock first. Empty where it would be refused. */
  readonly wouldLead: readonly string[];
}

/** `answers`: of the leader and of everybody else, as far as they answered. */
export function previewSwitchover(options: {
  readonly plan: SwitchoverPlan;
  readonly cluster: Cluster;
  readonly limits: PreviewLimits;
  readonly scheduled: boolean;
  readonly answers: readonly PeerAnswer[];
}): SwitchoverPreview {
  const { plan, cluster, limits } = options;
  const statusOf = (name: string): PeerStatus | null => options.answers.find((answer) => answer.name === name)?.status ?? null;
  const leader = leaderMember(cluster);
  const leaderStatus = leader === null ? null : statusOf(leader.name);
  const goal: Goal = {
    planned: plan.action === "switchover",
    position: leaderStatus?.lsn ?? cluster.status.optime,
    timeline: leaderStatus?.timeline ?? leader?.timeline ?? null,
    // A Patroni asks for no more than an answer.
    streaming: leader?.product != null,
  };
  const candidates = otherMembers(cluster, cluster.leader?.name ?? "").map((member): CandidatePreview => {
    const status = statusOf(member.name);
    return {
      name: member.name,
      position: status?.lsn ?? null,
      behindBytes: behind(goal.position, status?.lsn ?? null),
      priority: priorityOf(member.tags, "failover_priority"),
      reasons: reasonsAgainst(member, status, { cluster, limits, goal }),
    };
  });
  const refusal = refusalOf(options, candidates);
  return { refusal, candidates, wouldLead: refusal === null ? firstOf(plan, candidates) : [] };
}

/** What a candidate is measured against. */
interface Goal {
  readonly planned: boolean;
  readonly position: Lsn | null;
  readonly timeline: number | null;
  readonly streaming: boolean;
}

function reasonsAgainst(
  member: Member,
  status: PeerStatus | null,
  { cluster, limits, goal }: { readonly cluster: Cluster; readonly limits: PreviewLimits; readonly goal: Goal },
): readonly string[] {
  const reasons: string[] = [];
  if (isNofailover(member.tags) || (status !== null && isNofailover(status.tags))) reasons.push("it is tagged nofailover");
  if (goal.planned && limits.synchronousMode !== "off" && !isSyncStandby(cluster.sync, member.name)) {
    reasons.push("it is not a synchronous standby: it may lack commits that were acknowledged");
  }
  if (status === null) return [...reasons, "its REST API does not answer"];
  if (status.state !== "running") reasons.push(`its PostgreSQL is not running (${status.state})`);
  else if (status.role === "primary") reasons.push("it runs as a primary");
  if (status.watchdogFailed) reasons.push("its watchdog does not work");
  if (status.lsn === null) reasons.push("it shows no WAL position");
  if (!goal.planned) return reasons;
  if (limits.checkTimeline && goal.timeline !== null && (status.timeline ?? 0) < goal.timeline) {
    reasons.push(`it is on timeline ${status.timeline ?? "unknown"}, the leader on ${goal.timeline}`);
  }
  const behindBytes = behind(goal.position, status.lsn);
  if (behindBytes !== null && behindBytes > BigInt(limits.maximumLagOnFailoverBytes)) {
    reasons.push(`it is ${behindBytes} bytes behind, more than maximum_lag_on_failover (${limits.maximumLagOnFailoverBytes})`);
  }
  const cascades = typeof member.tags["replicatefrom"] === "string";
  if (goal.streaming && !cascades && member.replicationState !== "streaming") {
    reasons.push(`it does not stream from the leader (${member.replicationState ?? "no replication"})`);
  }
  return reasons;
}

function refusalOf(options: Parameters<typeof previewSwitchover>[0], candidates: readonly CandidatePreview[]): string | null {
  const { plan, cluster, limits, answers } = options;
  const early = requestRefusal(plan.action, plan, { scheduled: options.scheduled, paused: limits.paused });
  if (early !== null) return early.text;
  const found = switchoverCandidates(plan, cluster, limits.synchronousMode);
  if (found.kind === "refused") return found.refusal.text;
  const asked = candidates.filter(({ name }) => found.members.some((member) => member.name === name));
  if (!asked.some(({ reasons }) => reasons.length === 0)) return `${plan.action} is not possible: no good candidates have been found`;
  if (plan.candidate === null && limits.synchronousMode !== "off" && !votersSuffice(cluster.sync, answers)) {
    return "too few voters answer for the quorum";
  }
  return null;
}

/** All that stream have the same WAL once the leader has stopped: then the priority decides, and among equals the race. */
function firstOf(plan: SwitchoverPlan, candidates: readonly CandidatePreview[]): readonly string[] {
  const fit = candidates.filter(({ name, reasons }) => reasons.length === 0 && (plan.candidate === null || plan.candidate === name));
  const highest = Math.max(...fit.map(({ priority }) => priority));
  return fit.filter(({ priority }) => priority === highest).map(({ name }) => name);
}

function behind(leader: Lsn | null, own: Lsn | null): bigint | null {
  if (leader === null || own === null) return null;
  return leader > own ? leader - own : 0n;
}
