// Owns the plan of `ctl restore`: whether a restore of the cluster can be asked for, from which backup, and what it will do, in words.
// Changes nothing.

import { isStandbyCluster } from "../../core/cluster-view.ts";
import { type Overhaul, overhaulOf } from "../../core/overhaul.ts";
import { type Backup, type BackupListing, backupBefore } from "../../model/backup.ts";
import type { Cluster } from "../../model/cluster.ts";
import { leaderMember } from "../../model/cluster.ts";
import { NEWEST_TIMELINE } from "../../model/restore.ts";
import { err, ok, type Result } from "../../model/result.ts";

export interface RestoreWish {
  /** As written, with its zone; null = the end of the archive. */
  readonly target: { readonly text: string; readonly epochMs: number } | null;
  /** A backup by its label; null = the last that fits. */
  readonly label: string | null;
  /** As in the request. */
  readonly recoveryTimeline: string;
}

export interface RestorePlan {
  readonly node: string;
  readonly backup: Backup;
  /** The other members. */
  readonly replaced: readonly string[];
  readonly lines: readonly string[];
}

/** Why nothing can be restored now, one line each; or what is to be done. `wallNow` in epoch milliseconds. */
export function planRestore(
  cluster: Cluster,
  listing: BackupListing,
  wish: RestoreWish,
  given: { readonly wallNow: number; readonly paused: boolean },
): Result<RestorePlan, readonly string[]> {
  const leader = leaderMember(cluster);
  const obstacles = [...overhaulObstacles(cluster, { work: "restore", paused: given.paused }), ...targetObstacles(wish, given.wallNow)];
  const backup = chooseBackup(listing, wish);
  if (!backup.ok) obstacles.push(backup.error);
  else if (cluster.initialize !== null && backup.value.systemIdentifier !== null && backup.value.systemIdentifier !== cluster.initialize)
    obstacles.push(`backup ${backup.value.label} is of another cluster (system identifier ${backup.value.systemIdentifier})`);
  if (obstacles.length > 0 || leader === null || !backup.ok) return err(obstacles);
  const replaced = cluster.members.map(({ name }) => name).filter((name) => name !== leader.name);
  return ok({ node: leader.name, backup: backup.value, replaced, lines: planLines(leader.name, backup.value, replaced, wish) });
}

/** What is left to do for a standby cluster itself: it follows a restored primary site, but none of another version. */
const ANEW: Readonly<Record<Overhaul["of"], string>> = {
  restore: "",
  upgrade: ", and then make this one anew from it, by hand (docs/upgrades.md, A standby cluster)",
};

/** Why neither a restore nor an upgrade of the cluster can be begun. */
export function overhaulObstacles(
  cluster: Cluster,
  { work, paused }: { readonly work: Overhaul["of"]; readonly paused: boolean },
): string[] {
  const leader = leaderMember(cluster);
  const overhaul = overhaulOf(cluster);
  const patronis = cluster.members.filter(({ product }) => product === null).map(({ name }) => name);
  return [
    ...(leader === null ? ["nobody leads: it is done by the leader"] : []),
    ...(leader !== null && leader.state !== "running" ? [`${leader.name} leads, but its PostgreSQL is ${leader.state}`] : []),
    ...(overhaul === null ? [] : [underWay(overhaul)]),
    ...(paused ? ["the cluster is paused: resume it first"] : []),
    ...(isStandbyCluster(cluster.config?.data["standby_cluster"])
      ? [`this is a standby cluster: ${work} its primary site${ANEW[work]}`]
      : []),
    ...(patronis.length > 0
      ? [`a Patroni would know nothing of the ${work} and start its PostgreSQL meanwhile: ${patronis.join(", ")}`]
      : []),
  ];
}

/** Why nothing else is to change the cluster's state in the DCS now; null where no restore or upgrade is under way, nor of a group. */
export function restoreObstacle({ groups, ...keys }: Pick<Cluster, "restore" | "upgrade" | "groups">): string | null {
  const overhaul = overhaulOf(keys);
  if (overhaul !== null) return underWay(overhaul);
  for (const group of Object.values(groups)) {
    const obstacle = restoreObstacle(group);
    if (obstacle !== null) return obstacle;
  }
  return null;
}

/**
 * Why a restore cannot be given up in favour of the data that the others have; null where it can. Once what was made may have served, only where
 * nobody has copied it and nobody leads: the node that made it is the only one that has it. On the way back from a restore it lies there
 * without a mark of something half-made, so that a living node would go on with it.
 */
export function abandonObstacle({ leader, members, ...keys }: Pick<Cluster, "restore" | "upgrade" | "leader" | "members">): string | null {
  const overhaul = overhaulOf(keys);
  if (overhaul === null) return null;
  const { direction, node, phase } = overhaul.request;
  const isAlive = leader?.name === node || members.some(({ name }) => name === node);
  if (overhaul.of === "restore" && direction === "back" && phase !== "clone" && isAlive)
    return `'${node}' is alive: ${phase === "undo" ? "it keeps what was restored, wait for it (ctl restore --status)" : "ctl restore --undo"}`;
  if (phase !== "clone") return null;
  const { cloned } = overhaul.request;
  if (cloned.length > 0) return `${cloned.join(", ")} has copied the new data: the others go on with that`;
  if (leader !== null) return `'${leader.name}' holds the lock, and leads or is about to lead with the new data`;
  return overhaul.of === "restore" && direction === "back" && isAlive ? `'${node}' is alive, and is to lead with the old data` : null;
}

function underWay({ of, request: { id, phase, node } }: Overhaul): string {
  const ways = of === "restore" ? "ctl restore --status, --retry or --undo" : "ctl upgrade --status, --run or --rollback";
  return `${of} ${id} is under way on ${node} (${phase}): ${ways}`;
}

function targetObstacles({ target }: RestoreWish, wallNow: number): string[] {
  if (target === null || target.epochMs <= wallNow) return [];
  return [`${target.text} is in the future`];
}

function chooseBackup({ backups, status }: BackupListing, { label, target }: RestoreWish): Result<Backup, string> {
  if (backups.length === 0) return err(`there is no backup: ${status.message}`);
  if (label === null) {
    const chosen = backupBefore(backups, target?.epochMs ?? null);
    return chosen === null ? err(`no backup was complete at ${target?.text}`) : ok(chosen);
  }
  const named = backups.find((backup) => backup.label === label);
  if (named === undefined) return err(`there is no backup ${label}`);
  if (target !== null && backupBefore([named], target.epochMs) === null) return err(`backup ${label} was not complete at ${target.text}`);
  return ok(named);
}

function planLines(
  node: string,
  backup: Backup,
  replaced: readonly string[],
  { recoveryTimeline, target }: RestoreWish,
): readonly string[] {
  const along =
    recoveryTimeline === NEWEST_TIMELINE
      ? ""
      : `, along ${recoveryTimeline === "current" ? "the timeline of the backup" : `timeline ${recoveryTimeline}`}`;
  const others = replaced.join(", ");
  return [
    `PostgreSQL is stopped on ${[node, ...replaced].join(", ")}; nobody can read or write until step 5`,
    `on ${node} the data directory is put aside, and kept until you remove it`,
    `on ${node} backup ${backup.label} is restored (${Math.ceil(backup.databaseBytes / 1024 ** 2)} MB)`,
    `on ${node} it is recovered ${target === null ? "to the end of the archive" : `to ${target.text}; what was committed later is not in it`}${along}`,
    `${node} leads with it, on a new timeline`,
    ...(replaced.length === 0 ? [] : [`the data of ${others} is deleted and copied from ${node}`]),
  ].map((line, index) => `${index + 1}. ${line}`);
}
