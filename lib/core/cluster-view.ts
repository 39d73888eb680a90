// Owns the cluster as people and tools see it: the document of GET /cluster, which ctl's list shows as a table.
// Pure; field names and order are Patroni's (contract §4).

import type { Cluster } from "../model/cluster.ts";
import type { SynchronousMode } from "../model/dynamic-config.ts";
import { formatLsn } from "../model/lsn.ts";
import type { Member, PendingRestartReason, Tags } from "../model/member.ts";
import { isSyncStandby } from "../model/sync-state.ts";
import type { Lsn } from "../model/units.ts";

export type MemberRole = "leader" | "standby_leader" | "sync_standby" | "quorum_standby" | "replica";

/** Lags are bytes; a position is text (`0/5000060`); `unknown` where the member publishes none. The leader has neither. */
export interface MemberView {
  readonly name: string;
  readonly role: MemberRole;
  readonly state: string;
  readonly api_url?: string;
  readonly host?: string;
  readonly port?: number;
  readonly timeline?: number;
  readonly pending_restart?: true;
  readonly pending_restart_reason?: PendingRestartReason;
  readonly scheduled_restart?: Readonly<Record<string, unknown>>;
  readonly tags?: Tags;
  readonly receive_lag?: bigint | "unknown";
  readonly receive_lsn?: string;
  readonly replay_lag?: bigint | "unknown";
  readonly replay_lsn?: string;
  readonly lag?: bigint | "unknown";
  readonly lsn?: string;
}

export interface ClusterView {
  readonly members: readonly MemberView[];
  readonly scope: string;
  readonly pause?: true;
  readonly scheduled_switchover?: { readonly at: string; readonly from?: string; readonly to?: string };
}

/** The document, its fields in the order in which they are written. */
export function clusterView(cluster: Cluster, scope: string): ClusterView {
  const config = cluster.config?.data ?? {};
  const standbyCluster = isStandbyCluster(config["standby_cluster"]);
  const context: MemberContext = { cluster, synchronousMode: synchronousModeOf(config), standbyCluster };
  return {
    members: cluster.members.map((member) => memberView(member, context)).sort((a, b) => compareText(a.name, b.name)),
    scope,
    ...(readFlag(config["pause"]) ? { pause: true as const } : {}),
    ...scheduledSwitchover(cluster),
  };
}

interface MemberContext {
  readonly cluster: Cluster;
  readonly synchronousMode: SynchronousMode;
  readonly standbyCluster: boolean;
}

function memberView(member: Member, context: MemberContext): MemberView {
  const role = memberRole(member, context);
  const leads = role === "leader" || role === "standby_leader";
  return {
    name: member.name,
    role,
    state: role !== "leader" && member.state === "running" && member.replicationState !== null ? member.replicationState : member.state,
    ...(member.apiUrl === null ? {} : { api_url: member.apiUrl }),
    ...hostAndPort(member.connUrl),
    ...(member.timeline === null ? {} : { timeline: member.timeline }),
    ...(member.pendingRestart ? { pending_restart: true as const } : {}),
    ...(member.pendingRestartReason === null || isEmpty(member.pendingRestartReason)
      ? {}
      : { pending_restart_reason: member.pendingRestartReason }),
    ...(member.scheduledRestart === null || isEmpty(member.scheduledRestart) ? {} : { scheduled_restart: member.scheduledRestart }),
    ...(isEmpty(member.tags) ? {} : { tags: member.tags }),
    ...(leads ? {} : positions(member, context.cluster.status.optime)),
  };
}

function memberRole(member: Member, { cluster, synchronousMode, standbyCluster }: MemberContext): MemberRole {
  if (cluster.leader?.name === member.name) return standbyCluster ? "standby_leader" : "leader";
  if (synchronousMode !== "off" && isSyncStandby(cluster.sync, member.name)) {
    return synchronousMode === "quorum" ? "quorum_standby" : "sync_standby";
  }
  return "replica";
}

function positions(member: Member, leaderLsn: Lsn | null): Partial<MemberView> {
  const [receiveLag, receiveLsn] = lagAndLsn(member.receiveLsn, leaderLsn);
  // Before 4.1 a Patroni publishes one position only, the one that it has replayed.
  const [replayLag, replayLsn] = lagAndLsn(member.replayLsn ?? member.xlogLocation, leaderLsn);
  const [lag, lsn] = lagAndLsn(member.xlogLocation, leaderLsn);
  return {
    receive_lag: receiveLag,
    receive_lsn: receiveLsn,
    replay_lag: replayLag,
    replay_lsn: replayLsn,
    lag,
    lsn,
  };
}

function lagAndLsn(position: Lsn | null, leaderLsn: Lsn | null): [bigint | "unknown", string] {
  if (position === null) return ["unknown", "unknown"];
  if (leaderLsn === null) return ["unknown", formatLsn(position)];
  return [leaderLsn > position ? leaderLsn - position : 0n, formatLsn(position)];
}

function scheduledSwitchover(cluster: Cluster): Pick<ClusterView, "scheduled_switchover"> {
  const request = cluster.failover;
  if (request === null || request.scheduledAt === null) return {};
  return {
    scheduled_switchover: {
      at: request.scheduledAtText ?? new Date(request.scheduledAt).toISOString(),
      ...(request.leader === null ? {} : { from: request.leader }),
      ...(request.candidate === null ? {} : { to: request.candidate }),
    },
  };
}

/** `postgres://host:port/postgres`, also with an IPv6 host in brackets or several hosts; {} when it is no such url. */
function hostAndPort(connUrl: string | null): { host?: string; port?: number } {
  const match = connUrl === null ? null : /^postgres(?:ql)?:\/\/(?:[^@/]*@)?(\[[^\]]+\]|[^:/?]+)(?::(\d+))?/.exec(connUrl);
  if (match?.[1] === undefined) return {};
  return { host: match[1].replace(/^\[|\]$/g, ""), port: match[2] === undefined ? 5432 : Number(match[2]) };
}

function isEmpty(value: object): boolean {
  return Object.keys(value).length === 0;
}

/** A boolean of the dynamic configuration as written: true, "on", "yes", "true", "1", 1. */
export function readFlag(value: unknown): boolean {
  if (typeof value === "string") return ["true", "on", "yes", "1"].includes(value.toLowerCase());
  return value === true || value === 1;
}

/** Of a cluster's dynamic configuration, as it stands in the store. A standby cluster acknowledges no commits: nobody in it is synchronous. */
export function synchronousModeOf(config: Readonly<Record<string, unknown>>): SynchronousMode {
  const value = config["synchronous_mode"];
  if (isStandbyCluster(config["standby_cluster"])) return "off";
  if (typeof value === "string" && value.toLowerCase() === "quorum") return "quorum";
  return readFlag(value) ? "on" : "off";
}

/** The value of `standby_cluster` names a source: without one it says nothing. */
export function isStandbyCluster(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return ["host", "port", "restore_command"].some((name) => Boolean((value as Record<string, unknown>)[name]));
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
