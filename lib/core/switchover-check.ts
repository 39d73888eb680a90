// Owns what can be said about a switchover or failover from the cluster alone, before any member is asked: the refusals
// of contract §4, and which members are to be asked. Pure.

import type { Cluster } from "../model/cluster.ts";
import type { SynchronousMode } from "../model/dynamic-config.ts";
import { isNofailover, type Member } from "../model/member.ts";
import { isSyncStandby } from "../model/sync-state.ts";
import type { Lsn } from "../model/units.ts";

export type SwitchoverAction = "switchover" | "failover";

export interface Refusal {
  readonly status: 400 | 412;
  readonly text: string;
}

export interface SwitchoverPlan {
  readonly action: SwitchoverAction;
  readonly leader: string | null;
  readonly candidate: string | null;
}

/** Refusals that need no look at the cluster; null when there is none. `path`: the endpoint that was called. */
export function requestRefusal(
  path: SwitchoverAction,
  plan: SwitchoverPlan,
  options: { readonly scheduled: boolean; readonly paused: boolean },
): Refusal | null {
  if (path === "switchover" && plan.leader === null) return bad("Switchover could be performed only from a specific leader");
  if (path === "failover" && plan.candidate === null) return bad("Failover could be performed only to a specific candidate");
  if (path === "failover" && options.scheduled) return bad("Failover can't be scheduled");
  if (plan.candidate !== null && plan.candidate === plan.leader) return bad("Switchover target and source are the same");
  if (!options.paused || plan.action === "failover") return null;
  if (options.scheduled) return bad("Can't schedule switchover in the paused state");
  return plan.candidate === null ? bad("Switchover is possible only to a specific candidate in a paused state") : null;
}

/** The members of which one must be fit, or why there can be none. */
export function switchoverCandidates(
  plan: SwitchoverPlan,
  cluster: Cluster,
  synchronousMode: SynchronousMode,
): { readonly kind: "ask"; readonly members: readonly Member[] } | { readonly kind: "refused"; readonly refusal: Refusal } {
  if (plan.leader !== null && cluster.leader?.name !== plan.leader) return refuse("leader name does not match");
  const synchronous = plan.action === "switchover" && synchronousMode !== "off";
  const others = cluster.members.filter((member) => member.name !== cluster.leader?.name);
  if (plan.candidate !== null) {
    if (synchronous && !isSyncStandby(cluster.sync, plan.candidate)) return refuse("candidate name does not match with sync_standby");
    if (cluster.leader?.name === plan.candidate) return refuse(`${plan.action} is not possible: ${plan.candidate} is the leader already`);
    const members = others.filter((member) => member.name === plan.candidate);
    return members.length === 0 ? refuse("candidate does not exists") : { kind: "ask", members };
  }
  if (others.length === 0) return refuse(`${plan.action} is not possible: cluster does not have members except leader`);
  const members = synchronous ? others.filter((member) => isSyncStandby(cluster.sync, member.name)) : others;
  return members.length === 0 ? refuse(`${plan.action} is not possible: can not find sync_standby`) : { kind: "ask", members };
}

export interface MemberAnswer {
  readonly timeline: number | null;
  readonly lsn: Lsn | null;
  /** By its tags, or because it lacks the watchdog that it requires. */
  readonly nofailover: boolean;
}

/** A member is fit that answers, may fail over and, where a healthy leader hands over, is near enough to it. */
export function isFitCandidate(
  member: Member,
  answer: MemberAnswer | null,
  limits: {
    readonly action: SwitchoverAction;
    readonly leaderLsn: Lsn | null;
    readonly leaderTimeline: number | null;
    readonly maximumLagBytes: number;
    readonly checkTimeline: boolean;
  },
): boolean {
  if (answer === null || answer.nofailover || isNofailover(member.tags)) return false;
  if (limits.action === "failover") return true;
  if (limits.checkTimeline && limits.leaderTimeline !== null && (answer.timeline ?? 0) < limits.leaderTimeline) return false;
  if (limits.leaderLsn === null || answer.lsn === null) return true;
  return limits.leaderLsn - answer.lsn <= BigInt(limits.maximumLagBytes);
}

function bad(text: string): Refusal {
  return { status: 400, text };
}

function refuse(text: string): { readonly kind: "refused"; readonly refusal: Refusal } {
  return { kind: "refused", refusal: { status: 412, text } };
}
