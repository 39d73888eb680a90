// Owns the question whether a holder whose PostgreSQL does not come back should let somebody else lead. Pure.

import type { Tags } from "../model/member.ts";
import { isNofailover } from "../model/member.ts";
import { lagsTooMuch, lineageOf, otherMembers, syncAllows } from "./candidates.ts";
import type { Observation, PeerStatus } from "./observation.ts";
import { votersSuffice } from "./votes.ts";

/** A start as primary that fails once may succeed a moment later; one that fails this often is a reason to let go. */
const START_FAILURES_MAX = 2;

/** Has primary_start_timeout run out since the crash, or has the start failed again and again? */
export function releasesAfterCrash(o: Observation): boolean {
  if (failedToStart(o)) return true;
  const crashedAt = o.local.crashedAt;
  return crashedAt !== null && o.now - crashedAt >= o.config.primaryStartTimeoutMs;
}

/** The server crashed, has not answered since, and its time is over. */
export function overdueSinceCrash(o: Observation): boolean {
  return o.local.crashedAt !== null && releasesAfterCrash(o);
}

/** The server runs and has served nobody for as long as a crashed one may take, and no shorter than a lease: one late answer is no hang. */
export function overdueUnserved(o: Observation): boolean {
  const since = o.local.unservedSince;
  return since !== null && o.now - since >= Math.max(o.config.primaryStartTimeoutMs, o.config.leaseTtlMs);
}

export function otherNames(o: Observation): readonly string[] {
  const { cluster } = o.dcs;
  return cluster === null ? [] : otherMembers(cluster, o.self.name).map((member) => member.name);
}

/** Judged from the answers of this cycle. */
export function someoneCanTakeOver(o: Observation): boolean {
  const sync = o.dcs.cluster?.sync;
  if (o.config.synchronousMode !== "off" && sync !== undefined && !votersSuffice(sync, o.peers.answers)) return false;
  return o.peers.answers.some(({ name, status }) => status !== null && canTakeOver(o, name, status));
}

function failedToStart(o: Observation): boolean {
  const last = o.lastTask;
  return last !== null && last.kind === "start" && !last.ok && last.failures >= START_FAILURES_MAX;
}

function canTakeOver(o: Observation, name: string, status: PeerStatus): boolean {
  const { cluster } = o.dcs;
  if (cluster === null || status.state !== "running" || status.watchdogFailed || isNofailover(status.tags satisfies Tags)) return false;
  if (!syncAllows({ config: o.config, sync: cluster.sync, name })) return false;
  if (o.config.checkTimeline && (status.timeline ?? 0) < lineageOf(cluster, o.trace.mark, o.config).newest) return false;
  const decidedByKey = o.config.synchronousMode !== "off" && cluster.sync.leader !== null;
  if (decidedByKey || status.lsn === null) return true;
  const lineage = lineageOf(cluster, o.trace.mark, o.config);
  return !lagsTooMuch({ config: o.config, optime: cluster.status.optime, lineage, timeline: status.timeline, lsn: status.lsn });
}
