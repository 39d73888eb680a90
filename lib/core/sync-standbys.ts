// Owns which standbys the leader of a synchronous cluster wants to wait for, and what a node waits for from its first write on. The way
// there is sync-step.ts. Pure.

import type { DynamicConfig } from "../model/dynamic-config.ts";
import { isNofailover, isNosync, type Member, priorityOf } from "../model/member.ts";
import type { PostgresStatus, ReplicationConnection } from "../model/postgres.ts";
import type { SyncState } from "../model/sync-state.ts";
import type { Observation } from "./observation.ts";
import { formatFirstNames, formatQuorumNames, formatSyncNames, includesName, parseSyncNames, STRICT_PLACEHOLDER } from "./sync-names.ts";

/** By which position of a standby its lag is measured: that for which synchronous_commit makes commits wait. */
export type SyncPosition = "write" | "flush" | "replay";

export function syncPositionOf(synchronousCommit: string): SyncPosition {
  if (synchronousCommit === "remote_apply") return "replay";
  return synchronousCommit === "remote_write" ? "write" : "flush";
}

/** What key and setting are to become. */
export interface SyncTarget {
  /** Sorted; all of them are voters. */
  readonly names: readonly string[];
  /** How many of them have to confirm each commit. */
  readonly count: number;
  /** How many other voters a candidate has to be compared with: `count + quorum = names`. */
  readonly quorum: number;
  /** synchronous_standby_names. */
  readonly setting: string;
}

export interface SyncChoice {
  readonly self: string;
  readonly config: DynamicConfig;
  readonly members: readonly Member[];
  readonly sync: SyncState;
  readonly status: PostgresStatus;
  readonly position: SyncPosition;
}

interface Standby {
  readonly member: Member;
  readonly row: ReplicationConnection;
}

/** Not for mode off. */
export function syncTarget(choice: SyncChoice): SyncTarget {
  const { config } = choice;
  const wanted = Math.max(1, config.synchronousNodeCount);
  const ranked = rankedStandbys(choice);
  if (ranked.length === 0) return nobody(config);
  if (config.synchronousMode !== "quorum") {
    const names = namesOf(ranked.slice(0, wanted));
    return { names, count: names.length, quorum: 0, setting: formatSyncNames(names) };
  }
  const leading = ranked.filter(({ member }) => !isNofailover(member.tags));
  // Who may not lead is a voter only where each commit has to be on all of them: else it alone might have the newest.
  const names = namesOf(leading.length >= wanted ? leading : ranked.slice(0, wanted));
  const count = Math.min(wanted, names.length);
  return { names, count, quorum: names.length - count, setting: formatQuorumNames(count, names) };
}

function nobody(config: DynamicConfig): SyncTarget {
  const quorum = config.synchronousMode === "quorum";
  const placeholder = quorum ? formatQuorumNames(1, [STRICT_PLACEHOLDER]) : STRICT_PLACEHOLDER;
  return { names: [], count: 0, quorum: 0, setting: config.synchronousModeStrict ? placeholder : "" };
}

function namesOf(standbys: readonly Standby[]): readonly string[] {
  const names = standbys.map(({ member }) => member.name);
  return names.length < 2 ? names : names.sort();
}

/**
 * Streaming members that lag little enough, the best first: who may lead, then by sync_priority (not in quorum mode), then who is
 * synchronous already, so that nobody is replaced without need, then by position.
 */
function rankedStandbys(choice: SyncChoice): readonly Standby[] {
  const { config, sync, status, position } = choice;
  const near = withoutLaggards(choice, streamingStandbys(choice));
  if (near.length < 2) return near;
  const current = parseSyncNames(status.synchronousStandbyNames);
  const rank = ({ member: { name } }: Standby): number => (includesName(sync.standbys, name) ? 0 : includesName(current, name) ? 1 : 2);
  const priority = ({ member }: Standby): number => (config.synchronousMode === "quorum" ? 0 : priorityOf(member.tags, "sync_priority"));
  const mayNotLead = ({ member }: Standby): number => (isNofailover(member.tags) ? 1 : 0);
  return near.sort(
    (a, b) =>
      mayNotLead(a) - mayNotLead(b) ||
      priority(b) - priority(a) ||
      rank(a) - rank(b) ||
      comparePositions(positionOf(b.row, position), positionOf(a.row, position)) ||
      (a.member.name < b.member.name ? -1 : 1),
  );
}

function streamingStandbys({ self, members, status }: SyncChoice): Standby[] {
  const found: Standby[] = [];
  for (const member of members) {
    if (member.name === self || isNosync(member.tags)) continue;
    const row = connectionOf(status, member.name);
    if (row?.state === "streaming") found.push({ member, row });
  }
  return found;
}

/** maximum_lag_on_syncnode, against the standby that is furthest ahead; one alone against the primary itself. 0 and below: no limit. */
function withoutLaggards({ config, status, position }: SyncChoice, standbys: Standby[]): Standby[] {
  const limit = config.maximumLagOnSyncnodeBytes;
  if (limit <= 0) return standbys;
  const positions = standbys.map(({ row }) => positionOf(row, position));
  const reference = standbys.length > 1 ? highest(positions) : (status.walLsn ?? 0n);
  return standbys.filter((_, index) => Number(reference - (positions[index] ?? 0n)) <= limit);
}

/**
 * Whom maximum_lag_on_syncnode leaves to be waited for, as a status shows it: equal texts are equal choices. Null where no limit is set:
 * positions then say nothing.
 */
export function nearStandbys(o: Observation): ((status: PostgresStatus) => string) | null {
  const { config, self } = o;
  const { cluster } = o.dcs;
  if (cluster === null || config.maximumLagOnSyncnodeBytes <= 0) return null;
  const { members, sync } = cluster;
  return (status) => {
    const choice = { self: self.name, config, members, sync, status, position: self.syncPosition };
    return namesOf(withoutLaggards(choice, streamingStandbys(choice))).join("\n");
  };
}

function positionOf(row: ReplicationConnection, position: SyncPosition): bigint {
  switch (position) {
    case "write":
      return row.writeLsn ?? 0n;
    case "flush":
      return row.flushLsn ?? 0n;
    case "replay":
      return row.replayLsn ?? 0n;
  }
}

function highest(positions: readonly bigint[]): bigint {
  let found = 0n;
  for (const each of positions) if (each > found) found = each;
  return found;
}

function comparePositions(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The walsender of a member, by its application_name. */
export function connectionOf(status: PostgresStatus, name: string): ReplicationConnection | null {
  let lower: string | null = null;
  for (const row of status.replication) {
    // Usually they are written alike.
    if (row.applicationName === name) return row;
    lower ??= name.toLowerCase();
    if (row.applicationName.toLowerCase() === lower) return row;
  }
  return null;
}

/** What a primary has to wait for from its first write on, so that what the key says of it holds; null where it names nobody. */
export function namesForKey(config: DynamicConfig, sync: SyncState): string | null {
  if (sync.standbys.length === 0) return null;
  if (config.synchronousMode !== "quorum" && sync.quorum === 0) return formatSyncNames(sync.standbys);
  return formatQuorumNames(Math.max(1, sync.standbys.length - sync.quorum), sync.standbys);
}

/** What a node puts into synchronous_standby_names before it promotes: every reachable member but the former leader. */
export function namesBeforePromotion(options: {
  readonly config: DynamicConfig;
  readonly self: string;
  readonly formerLeader: string | null;
  readonly members: readonly Member[];
}): string {
  const { config, self, formerLeader, members } = options;
  if (config.synchronousMode === "off") return "";
  const names = members
    .filter((member) => member.name !== self && member.name !== formerLeader && !isNosync(member.tags))
    .map((member) => member.name);
  if (names.length === 0) return nobody(config).setting;
  // Any one of them suffices: several standbys would otherwise all be waited for.
  return config.synchronousMode === "quorum" ? formatQuorumNames(1, names) : formatFirstNames(1, names);
}
