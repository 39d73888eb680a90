// Owns the judgement whether a requested switchover or failover has come to its end, from one view of the cluster. Pure.

import { type Cluster, findMember, type LeaderLock } from "../model/cluster.ts";

export interface SwitchoverRequest {
  /** The leader to replace; null for a manual failover. */
  readonly leader: string | null;
  readonly candidate: string | null;
}

export type SwitchoverOutcome =
  | { readonly kind: "pending" }
  /** A new leader holds the lock and runs as primary (or standby leader). */
  | { readonly kind: "done"; readonly leader: string }
  /** The request is gone and the old leader still leads. */
  | { readonly kind: "failed" };

/**
 * `before`: the lock when the request was made (null: there was none). `cluster` is not older than the request's own write,
 * so a missing request means that it was taken away again.
 */
export function switchoverOutcome(request: SwitchoverRequest, before: LeaderLock | null, cluster: Cluster): SwitchoverOutcome {
  const lock = cluster.leader;
  if (lock === null) return { kind: "pending" };
  if (before === null || lock.name !== before.name) {
    return leads(cluster, lock.name) ? { kind: "done", leader: lock.name } : { kind: "pending" };
  }
  return isPending(request, cluster) ? { kind: "pending" } : { kind: "failed" };
}

function leads(cluster: Cluster, name: string): boolean {
  const member = findMember(cluster, name);
  return member !== null && member.state === "running" && (member.role === "primary" || member.role === "standby_leader");
}

function isPending(request: SwitchoverRequest, cluster: Cluster): boolean {
  const found = cluster.failover;
  return found !== null && found.scheduledAt === null && found.leader === request.leader && found.candidate === request.candidate;
}
