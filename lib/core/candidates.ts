// Owns who is the healthiest node: may this one take the lock, and which replica may a leader hand over to. Pure.

import type { Cluster, LeaseMark } from "../model/cluster.ts";
import type { DynamicConfig } from "../model/dynamic-config.ts";
import type { HistoryLine } from "../model/history.ts";
import { isNofailover, type Member, priorityOf } from "../model/member.ts";
import type { ReplicationConnection } from "../model/postgres.ts";
import { isSyncStandby, type SyncState } from "../model/sync-state.ts";
import { type Lsn, lsn, type Timeline, timeline } from "../model/units.ts";
import type { PeerAnswer } from "./observation.ts";

/** `why` is null where the node may go ahead. */
export interface Fitness {
  readonly fit: boolean;
  readonly why: string;
}

const FIT: Fitness = { fit: true, why: "" };

function unfit(why: string): Fitness {
  return { fit: false, why };
}

/** In synchronous mode only the former leader and the standbys of the sync key may take over without an operator's word. */
export function syncAllows(options: { readonly config: DynamicConfig; readonly sync: SyncState; readonly name: string }): boolean {
  const { config, sync, name } = options;
  if (config.synchronousMode === "off" || sync.leader === null) return true;
  return sync.leader === name || isSyncStandby(sync, name);
}

/** The timelines that the cluster has gone through, as far as they are published. */
export interface Lineage {
  readonly history: readonly HistoryLine[];
  readonly newest: Timeline;
}

/** From the published history, and from the lease mark where its holder says more. */
export function lineageOf(cluster: Cluster, mark: LeaseMark | null, config: DynamicConfig): Lineage {
  // What a standby cluster published is of a time when it led a life of its own; its timelines now are the remote primary's.
  if (config.standbyCluster !== null) return { history: [], newest: timeline(1) };
  const ended = cluster.history.at(-1)?.timeline ?? 0;
  return { history: cluster.history, newest: timeline(Math.max(ended + 1, mark?.timeline ?? 1)) };
}

/**
 * Is the position too far behind the last one that the leader published? WAL that a node wrote or received after the cluster had
 * left its timeline is nobody else's, and does not count.
 */
export function lagsTooMuch(options: {
  readonly config: DynamicConfig;
  readonly optime: Lsn | null;
  readonly lineage: Lineage;
  readonly timeline: Timeline | null;
  readonly lsn: Lsn;
}): boolean {
  const { config, optime, lineage } = options;
  return optime !== null && Number(optime - sharedPosition(lineage, options.timeline, options.lsn)) > config.maximumLagOnFailoverBytes;
}

/**
 * Up to where the WAL is part of the cluster's published history. An older timeline than the newest that the history does not
 * name is a branch that the cluster never went along: where it left is not known, so nothing of it counts.
 */
export function sharedPosition(lineage: Lineage, own: Timeline | null, position: Lsn): Lsn {
  const ended = lineage.history.find((line) => line.timeline === own);
  if (ended !== undefined) return ended.lsn < position ? ended.lsn : position;
  return own !== null && own < lineage.newest ? lsn(0) : position;
}

export interface Contender {
  readonly name: string;
  readonly lsn: Lsn;
  readonly timeline: Timeline | null;
  readonly priority: number;
}

/**
 * Is this contender the healthiest of those that answered? Members that may not take over still count where they are
 * primary; of the others the one with more WAL wins, then the one with the higher failover_priority. Equals race for the lock.
 * The former leader does not go first by its priority: it has given the lock up, or lost it. Where the sync key vouches for this contender,
 * neither does it by more WAL, which nobody was promised.
 */
export function healthiest(options: {
  readonly self: Contender;
  readonly answers: readonly PeerAnswer[];
  readonly lineage: Lineage;
  readonly eligible: (name: string) => boolean;
  readonly formerLeader: string | null;
  /** Might one with the same WAL be elected? Its priority counts only then. */
  readonly electable: (name: string) => boolean;
  /** The leader that the sync key names, where it vouches for `self`. */
  readonly syncLeader: string | null;
}): Fitness {
  const { lineage, self } = options;
  const own = sharedPosition(lineage, self.timeline, self.lsn);
  for (const { name, status } of options.answers) {
    if (status === null || name === self.name) continue;
    if (status.role === "primary" && status.state === "running") return unfit(`Primary (${name}) is still alive`);
    if (status.state !== "running" || status.lsn === null) continue;
    if (isNofailover(status.tags) || status.watchdogFailed || !options.eligible(name)) continue;
    const theirs = sharedPosition(lineage, status.timeline, status.lsn);
    if (status.timeline !== null && self.timeline !== null && status.timeline > self.timeline && theirs >= own) {
      return unfit(`${name} is on a newer timeline`);
    }
    if (theirs > own && name !== options.syncLeader) return unfit(`Wal position of ${name} is ahead of my wal position`);
    const priority = priorityOf(status.tags, "failover_priority");
    if (theirs === own && priority > self.priority && name !== options.formerLeader && options.electable(name)) {
      return unfit(`${name} has equally tolerable WAL position and priority ${priority}, while this node has priority ${self.priority}`);
    }
  }
  return FIT;
}

/** May the leader hand over to this member, as it answered? `wal`, `timeline`: the leader's own. */
export function handoverFitness(options: {
  readonly answer: PeerAnswer;
  readonly config: DynamicConfig;
  readonly sync: SyncState;
  readonly wal: Lsn | null;
  readonly replication: readonly ReplicationConnection[];
  readonly timeline: Timeline | null;
  /** A switchover: nothing that was acknowledged may be lost. A failover is an operator's word: it goes beyond lag, timeline and sync key. */
  readonly planned: boolean;
}): Fitness {
  const { answer, config, sync, wal } = options;
  const status = answer.status;
  if (status === null) return unfit(`${answer.name} does not answer`);
  if (status.state !== "running") return unfit(`${answer.name} is ${status.state}`);
  if (isNofailover(status.tags)) return unfit(`${answer.name} is tagged nofailover`);
  if (status.watchdogFailed) return unfit(`${answer.name} has no working watchdog`);
  if (config.synchronousMode !== "off" && options.planned && sync.leader !== null && !isSyncStandby(sync, answer.name)) {
    return unfit(`${answer.name} is not a synchronous standby`);
  }
  if (options.planned && config.checkTimeline && options.timeline !== null && (status.timeline ?? 0) < options.timeline) {
    return unfit(`${answer.name} is on an older timeline`);
  }
  if (options.planned && wal !== null && status.lsn !== null && Number(wal - status.lsn) > config.maximumLagOnFailoverBytes) {
    return unfit(`Member ${answer.name} exceeds maximum replication lag`);
  }
  if (status.lsn === null) return unfit(`${answer.name} shows no WAL position`);
  // Only a server that streams gets the last records before the stop is over. One that cascades gets them from another.
  const row = options.replication.find(({ applicationName }) => applicationName.toLowerCase() === answer.name.toLowerCase());
  const cascades = typeof status.tags["replicatefrom"] === "string";
  if (options.planned && !cascades && row?.state !== "streaming") return unfit(`${answer.name} does not stream from the leader`);
  return FIT;
}

/** The other members, in the order of the snapshot. */
export function otherMembers(cluster: Cluster, self: string): readonly Member[] {
  return cluster.members.filter((member) => member.name !== self);
}
