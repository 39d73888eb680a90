// Owns what a leader publishes along with its lock: the position that members are measured by, the slots that are kept, and the history
// of its timeline. It writes none of it (perform-lock.ts does).

import { changedStatus, type RetainedSlots, slotsStatus } from "../core/slots-status.ts";
import type { ClusterStatus } from "../model/cluster.ts";
import type { HistoryLine } from "../model/history.ts";
import { type Lsn, lsn, type Timeline } from "../model/units.ts";
import type { NodeContext } from "./node-context.ts";
import type { NodeState } from "./node-state.ts";
import { observe } from "./observe.ts";

const NOTHING_RETAINED: RetainedSlots = new Map();

/** The `status` key where it is to change; null where it may stay. */
export function currentStatus(context: NodeContext): ClusterStatus | null {
  const { log, state } = context;
  const optime = publishedPosition(state);
  const session = state.held?.session;
  if (optime === null || session === undefined) return null;
  const known = state.retained?.session === session ? state.retained.slots : NOTHING_RETAINED;
  const slots = slotsStatus(observe(context), known);
  state.retained = { session, slots: slots.retained };
  const seconds = Math.round(state.settings.dynamic.memberSlotsTtlMs / 1000);
  for (const name of slots.expired) log.info(`Replication slot '${name}' for absent cluster member is expired after ${seconds} sec.`);
  return changedStatus(state.cluster?.status ?? null, optime, slots);
}

/** What the members are measured by: written by a primary, received or replayed by a standby leader. */
function publishedPosition({ local, settings }: NodeState): Lsn | null {
  const { status } = local;
  if (status === null || !status.inRecovery) return status?.walLsn ?? null;
  if (settings.dynamic.standbyCluster === null) return null;
  const [received, replayed] = [status.receivedLsn ?? 0n, status.replayedLsn ?? 0n];
  const position = received > replayed ? received : replayed;
  return position === 0n ? null : lsn(position);
}

/** The history of this primary's timeline is published, as it is but once in its life. */
export function historyStands({ local }: NodeState): boolean {
  const { status } = local;
  return status !== null && !status.inRecovery && status.timeline !== null && status.timeline === local.historyPublished;
}

/**
 * The history of this primary's timeline, where it is not published yet. It goes with the first position on that timeline, in one
 * transaction: a position alone would let a node with WAL of an abandoned timeline look near enough to lead.
 */
export async function pendingHistory(
  context: NodeContext,
): Promise<{ readonly timeline: Timeline; readonly lines: readonly HistoryLine[] } | "unreadable" | null> {
  const { clock, log, state, postgres } = context;
  const status = state.local.status;
  if (status?.inRecovery === true) return abandonedHistory(state);
  if (status === null || status.timeline === null || status.timeline === 1) return null;
  const { timeline } = status;
  const switches = await postgres.timelineSwitches(timeline);
  if (!switches.ok) {
    log.warning(`the history of timeline ${timeline} is not published: ${switches.error.message}`);
    return "unreadable";
  }
  const known = state.cluster?.history ?? [];
  const lines: HistoryLine[] = switches.value.map(({ timeline: old, switchpoint, reason }, index) => {
    const published = known.find((line) => line.timeline === old && line.lsn === switchpoint);
    if (published !== undefined) return published;
    // Promoted here, or restored to a point in time: whoever founds a cluster leads its first timeline.
    const newest = index === switches.value.length - 1 && (state.local.promotedAt !== null || known.length === 0);
    const time = newest ? new Date(clock.wallNow()).toISOString().replace("Z", "+00:00") : null;
    return { timeline: old, lsn: switchpoint, reason, time, newLeader: newest ? state.settings.node.name : null };
  });
  const limit = state.settings.dynamic.maxTimelinesHistory;
  return { timeline, lines: limit > 0 ? lines.slice(-limit) : lines };
}

/**
 * A standby leader that was rewound to a timeline of the remote primary's: what the cluster published of its own, before it was
 * demoted, is no measure for the members any more.
 */
function abandonedHistory({ cluster, local, settings }: NodeState) {
  const own = local.status?.timeline ?? null;
  const known = cluster?.history ?? [];
  if (settings.dynamic.standbyCluster === null || own === null || known.every((line) => line.timeline < own)) return null;
  return { timeline: own, lines: known.filter((line) => line.timeline < own) };
}

/** Null on a standby: which timeline it will take is not known yet. */
export function primaryTimeline({ state }: NodeContext): Timeline | null {
  const { status } = state.local;
  return status === null || status.inRecovery ? null : status.timeline;
}
