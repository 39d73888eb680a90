// Owns promotion by votes: in quorum mode a voter has every acknowledged commit only if enough other voters have no more WAL than it. Pure.

import { priorityOf } from "../model/member.ts";
import { isSyncStandby, type SyncState } from "../model/sync-state.ts";
import { lsn } from "../model/units.ts";
import { type Contender, type Lineage, lineageOf, sharedPosition } from "./candidates.ts";
import { ownLsn } from "./facts.ts";
import type { Observation, PeerAnswer } from "./observation.ts";

/**
 * How many voters have to be compared with `name` before it may lead; 0 where its place in the key says enough: the last leader wrote every
 * commit itself, and without a quorum each name in the key has them all.
 */
export function votesNeeded(sync: SyncState, name: string): number {
  return sync.leader === name ? 0 : sync.quorum;
}

/**
 * The voters that answered as standbys and have no more WAL than `self`. One on a newer timeline follows, or followed, somebody who led
 * since, and whose timeline is not known may do so: neither is a vote.
 */
export function quorumVotes(options: {
  readonly self: Contender;
  readonly sync: SyncState;
  readonly answers: readonly PeerAnswer[];
  readonly lineage: Lineage;
}): readonly string[] {
  const { self, sync, answers, lineage } = options;
  if (self.timeline === null) return [];
  const own = sharedPosition(lineage, self.timeline, self.lsn);
  const votes: string[] = [];
  for (const { name, status } of answers) {
    if (name === self.name || status === null || !isSyncStandby(sync, name)) continue;
    if (status.state !== "running" || status.role === "primary" || status.lsn === null || status.timeline === null) continue;
    if (status.timeline > self.timeline || sharedPosition(lineage, status.timeline, status.lsn) > own) continue;
    votes.push(name);
  }
  return votes;
}

/** Do enough voters answer as running standbys that one of them can be promoted? */
export function votersSuffice(sync: SyncState, answers: readonly PeerAnswer[]): boolean {
  if (sync.quorum === 0) return true;
  const running = answers.filter(
    ({ name, status }) => isSyncStandby(sync, name) && status !== null && status.state === "running" && status.lsn !== null,
  );
  return running.length > sync.quorum;
}

/** This node as a candidate; null while its position is not known. */
export function ownContender(o: Observation): Contender | null {
  const position = ownLsn(o);
  if (position === null) return null;
  const { name, tags } = o.self;
  return { name, lsn: lsn(position), timeline: o.local.status?.timeline ?? null, priority: priorityOf(tags, "failover_priority") };
}

/** The votes that this node got in this cycle's round. */
export function votesOf(o: Observation): readonly string[] {
  const { cluster } = o.dcs;
  const self = ownContender(o);
  if (cluster === null || self === null || o.config.synchronousMode === "off") return [];
  return quorumVotes({ self, sync: cluster.sync, answers: o.peers.answers, lineage: lineageOf(cluster, o.trace.mark, o.config) });
}

/** The sync key lets this node lead only with more votes than it got. */
export function lacksVotes(o: Observation): boolean {
  const sync = o.dcs.cluster?.sync;
  if (sync === undefined || o.config.synchronousMode === "off" || sync.leader === null) return false;
  return votesOf(o).length < votesNeeded(sync, o.self.name);
}

/**
 * Might this member, whose WAL ends where the own does, get the votes that it needs, by what is known here? Its own round decides; who goes
 * first for its priority but cannot be elected must not leave the cluster without a leader.
 */
export function mightBeElected(o: Observation, name: string): boolean {
  const cluster = o.dcs.cluster;
  const status = o.peers.answers.find((answer) => answer.name === name)?.status ?? null;
  if (cluster === null || status === null || status.lsn === null || o.config.synchronousMode === "off") return true;
  const { sync } = cluster;
  if (sync.leader === null) return true;
  const self = { name, lsn: status.lsn, timeline: status.timeline, priority: 0 };
  const votes = quorumVotes({ self, sync, answers: o.peers.answers, lineage: lineageOf(cluster, o.trace.mark, o.config) });
  const own = isSyncStandby(sync, o.self.name) ? 1 : 0;
  return votes.length + own >= votesNeeded(sync, name);
}

export function votesText(o: Observation): string {
  const sync = o.dcs.cluster?.sync;
  const needed = sync === undefined ? 0 : votesNeeded(sync, o.self.name);
  const votes = votesOf(o);
  return `${needed} votes are needed, ${votes.length} came${votes.length === 0 ? "" : ` (${votes.join(", ")})`}`;
}
