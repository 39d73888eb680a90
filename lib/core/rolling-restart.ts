// Owns the order and the conditions of a rolling restart: who is restarted next, who is well, and whether a member has been
// restarted since. Pure; asking and waiting are the command's.

import type { PendingRestartReason } from "../model/member.ts";

/** What a member says of its PostgreSQL. */
export interface RollingStatus {
  readonly state: string;
  readonly role: string;
  readonly timeline: number | null;
  readonly replicationState: string | null;
  /** As PostgreSQL writes the time. Null where it is not running. */
  readonly startedAt: string | null;
  /** e.g. 150018. */
  readonly serverVersion: number | null;
  readonly pendingRestart: boolean;
}

export interface RollingNode {
  readonly name: string;
  /** It holds the lock. */
  readonly leads: boolean;
  /** Commits wait for it. */
  readonly synchronous: boolean;
  /** False for a member that lives from the archive on purpose. */
  readonly streams: boolean;
  /** Null where it does not answer. */
  readonly status: RollingStatus | null;
}

/** Which members are meant. */
export interface RollingFilters {
  /** Empty: all. */
  readonly names: readonly string[];
  readonly pending: boolean;
  /** Only where PostgreSQL is older than this; null: whatever runs. */
  readonly olderThan: number | null;
}

export type RollingStep =
  | { readonly kind: "restart"; readonly member: string }
  /** PostgreSQL stops and starts again as a standby: that is the restart of the member that led. */
  | { readonly kind: "switchover"; readonly from: string };

/** Why a member is not well; null where it is. */
export function troubleOf(node: RollingNode, nodes: readonly RollingNode[]): string | null {
  const { status } = node;
  if (status === null) return "its REST API does not answer";
  if (status.state !== "running") return `its PostgreSQL is not running (${status.state})`;
  if (node.leads) return leadingRole(status) ? null : `it holds the lock and is ${status.role}`;
  if (leadingRole(status)) return `it runs as ${status.role} without the lock`;
  const timeline = nodes.find(({ leads }) => leads)?.status?.timeline ?? null;
  if (timeline === null) return "nobody leads";
  if (status.timeline !== timeline) return `it is on timeline ${status.timeline ?? "unknown"}, the leader on ${timeline}`;
  if (node.streams && status.replicationState !== "streaming") return `it does not stream (${status.replicationState ?? "no replication"})`;
  return null;
}

/** Every member that is not well, with the reason; empty where all are. */
export function troubles(nodes: readonly RollingNode[]): readonly string[] {
  const words = nodes.flatMap((node) => {
    const trouble = troubleOf(node, nodes);
    return trouble === null ? [] : [`${node.name}: ${trouble}`];
  });
  return nodes.some(({ leads }) => leads) ? words : ["nobody leads", ...words];
}

/** The members that are meant, in no order. */
export function chosenNodes(nodes: readonly RollingNode[], { names, pending, olderThan }: RollingFilters): readonly RollingNode[] {
  return nodes.filter(({ name, status }) => {
    if (names.length > 0 && !names.includes(name)) return false;
    if (pending && status?.pendingRestart !== true) return false;
    return (
      olderThan === null || (status?.serverVersion !== null && status?.serverVersion !== undefined && status.serverVersion < olderThan)
    );
  });
}

/** Its server is another than the one that ran `before`. */
export function isRestarted(node: RollingNode, before: string): boolean {
  const startedAt = node.status?.startedAt ?? null;
  return startedAt !== null && instantOf(startedAt) !== instantOf(before);
}

/** PostgreSQL writes the time in its `timezone`, and that changes with a reload. */
function instantOf(time: string): number | string {
  const at = Date.parse(time.replace(" ", "T"));
  return Number.isNaN(at) ? time : at;
}

/** Answers with 503 of a member, ours or a Patroni's, whose PostgreSQL was still being restarted when the time for it was over. */
export const RESTART_STILL_RUNNING = "restart is still running";
const STILL_RUNNING: ReadonlySet<string> = new Set([RESTART_STILL_RUNNING, "postgres is still starting"]);

/** What is known after an answer to POST /restart. */
export function restartOutcome(answer: { readonly status: number; readonly text: string }): "restarted" | "unknown" | "refused" {
  if (answer.status === 200) return "restarted";
  return answer.status === 503 && STILL_RUNNING.has(answer.text.trim()) ? "unknown" : "refused";
}

/** The body of POST /restart. A standby that has been promoted since it was looked at is not to be restarted as the primary. */
export function restartBody(options: { readonly leads: boolean; readonly timeout: string | null }): Readonly<Record<string, string>> {
  return { ...(options.leads ? {} : { role: "replica" }), ...(options.timeout === null ? {} : { timeout: options.timeout }) };
}

/**
 * What is still to be done, in order: standbys for which no commit waits, then those for which commits do, then whoever leads.
 * `inPlace`: the leader is restarted where it leads, nobody takes over.
 */
export function remainingSteps(
  nodes: readonly RollingNode[],
  options: { readonly left: readonly string[]; readonly inPlace: boolean },
): readonly RollingStep[] {
  const left = nodes.filter(({ name }) => options.left.includes(name));
  const standbys = left.filter(({ leads }) => !leads).sort(gentleFirst);
  const leaders = left.filter(({ leads }) => leads);
  return [
    ...standbys.map(({ name }) => ({ kind: "restart" as const, member: name })),
    ...leaders.map(({ name }): RollingStep => (options.inPlace ? { kind: "restart", member: name } : { kind: "switchover", from: name })),
  ];
}

/** Settings that a standby may not have lower than its primary: a lower value is restarted on the primary first, where it leads. */
const PRIMARY_FIRST = [
  "max_connections",
  "max_locks_per_transaction",
  "max_worker_processes",
  "max_prepared_transactions",
  "max_wal_senders",
];

/** Settings of those that wait for a restart with a lower value: they come into force in no rolling restart. */
export function shrinkingSettings(reason: PendingRestartReason): readonly string[] {
  return PRIMARY_FIRST.filter((name) => {
    const change = reason[name];
    return change !== undefined && Number(change.new_value) < Number(change.old_value);
  });
}

function leadingRole({ role }: RollingStatus): boolean {
  return role === "primary" || role === "standby_leader";
}

function gentleFirst(a: RollingNode, b: RollingNode): number {
  if (a.synchronous !== b.synchronous) return a.synchronous ? 1 : -1;
  return a.name < b.name ? -1 : 1;
}
