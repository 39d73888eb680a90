// Owns what a node does now about the scheduled backups: nothing, take one, or note that one has died. Pure: the claim in the DCS
// makes sure that only one node does it.

import {
  BACKUP_TYPES,
  type BackupFailure,
  type BackupRecord,
  type BackupSchedule,
  type BackupState,
  type BackupType,
  isNobodys,
  scheduledTypes,
} from "../model/backup-run.ts";
import { type Cluster, leaderMember } from "../model/cluster.ts";
import { nextAfter } from "../model/cron.ts";
import { overhaulOf } from "./overhaul.ts";

/** Of one that was due; then it is left until the next time. */
export const BACKUP_ATTEMPTS_MAX = 3;
/** Replicas look once a cycle; longer than this, and something is wrong with all of them. */
const OVERDUE_MS = 600_000;
/** Clocks that differ by less than this are left alone: their time comes. */
const AHEAD_MAX_MS = 600_000;

export interface BackupFacts {
  readonly self: string;
  /** Epoch milliseconds. */
  readonly now: number;
  readonly schedule: BackupSchedule;
  readonly cluster: Cluster;
  /** Of the own server; null where it does not run. */
  readonly role: "primary" | "replica" | null;
  /** Whether times of the record that are ahead may be set back: not again and again, for it may be the own clock that is wrong. */
  readonly maySetBack: boolean;
}

export type BackupStep =
  | { readonly kind: "none" }
  /** The record lacks types: nothing that was due before now is made up. */
  | { readonly kind: "found"; readonly types: readonly BackupType[] }
  /** The run that the record names has died, or is not ours any more. */
  | { readonly kind: "lost" }
  /** A claim that no run stands for any more: of this node, which runs none, or of nobody. While it is there, nobody begins one. */
  | { readonly kind: "disclaim" }
  /** A clock that was ahead has written times of these types down; until then none of them would be due, nor tried again. */
  | { readonly kind: "set-back"; readonly types: readonly BackupType[] }
  | { readonly kind: "begin"; readonly type: BackupType; readonly attempt: number; readonly from: "standby" | "primary" }
  /** It should run, and nobody takes it. Told by the leader alone. */
  | { readonly kind: "overdue"; readonly type: BackupType; readonly due: number; readonly why: string };

const NONE: BackupStep = { kind: "none" };

/** For a node that takes no backup at the moment, with the DCS in reach. */
export function backupStep(facts: BackupFacts): BackupStep {
  const { cluster, now, schedule, self } = facts;
  const { backup, backupClaim } = cluster;
  const missing = scheduledTypes(schedule).filter((type) => backup?.types[type] === undefined);
  if (backup === null || missing.length > 0) return { kind: "found", types: missing };
  if (backup.run !== null) return backup.run.node === self || backupClaim?.id !== backup.run.id ? { kind: "lost" } : NONE;
  if (backupClaim !== null) return backupClaim.node === self || isNobodys(backupClaim) ? { kind: "disclaim" } : NONE;
  if (overhaulOf(cluster) !== null) return NONE;
  const ahead = facts.maySetBack ? scheduledTypes(schedule).filter((type) => isAhead(backup.types[type], now)) : [];
  if (ahead.length > 0) return { kind: "set-back", types: ahead };
  const wanted = wantedBackup(backup, schedule, now);
  if (wanted === null) return NONE;
  const leader = leaderMember(cluster);
  if (leader === null || leader.state !== "running" || leader.role !== "primary") return NONE;
  const replicas = cluster.members.filter(({ name, state, role }) => name !== leader.name && state === "running" && role === "replica");
  const { type, attempt, due } = wanted;
  if (leader.name !== self) {
    const { failed } = wanted;
    // Whoever failed leaves the next attempt to the others, where there are any.
    const waits = failed?.node === self && replicas.some(({ name }) => name !== self) ? 2 : 1;
    if (facts.role !== "replica" || (failed !== null && now < failed.at + waits * schedule.retryAfterMs)) return NONE;
    return { kind: "begin", type, attempt, from: "standby" };
  }
  if (facts.role !== "primary") return NONE;
  // A replica that restarts at that moment is not passed over.
  if (replicas.length === 0 && schedule.onLeader === "without-replica")
    return now - due < schedule.retryAfterMs ? NONE : { kind: "begin", type, attempt, from: "primary" };
  if (replicas.length === 0) return { kind: "overdue", type, due, why: "no replica runs that could take it" };
  return now - due < OVERDUE_MS ? NONE : { kind: "overdue", type, due, why: "no replica has taken it: which of them have the schedule?" };
}

function isAhead(state: BackupState | undefined, now: number): boolean {
  return state !== undefined && Math.max(state.covered, state.failed?.at ?? 0) > now + AHEAD_MAX_MS;
}

interface Wanted {
  readonly type: BackupType;
  readonly attempt: number;
  /** Since when. */
  readonly due: number;
  readonly failed: BackupFailure | null;
}

/** The one that is due, or to be tried again; of several the one that stands for the others. Null where none is. */
export function wantedBackup(record: BackupRecord, schedule: BackupSchedule, now: number): Wanted | null {
  for (const type of scheduledTypes(schedule)) {
    const state = record.types[type];
    if (state === undefined) continue;
    const due = dueTime(record, schedule, type, now);
    if (due !== null && due <= now) return { type, attempt: 1, due, failed: null };
    const { failed } = state;
    if (failed !== null && failed.attempt < BACKUP_ATTEMPTS_MAX && now >= failed.at + schedule.retryAfterMs)
      return { type, attempt: failed.attempt + 1, due: failed.at + schedule.retryAfterMs, failed };
  }
  return null;
}

/** When the next one of the type is due, or since when it is; null where that is not known yet, or never. */
export function dueTime(record: BackupRecord | null, schedule: BackupSchedule, type: BackupType, now: number): number | null {
  const [time, state] = [schedule.times[type], record?.types[type]];
  // Of one that a clock wrote which was ahead it is told what comes next by ours.
  return time === undefined || state === undefined ? null : nextAfter(time, schedule.timezone, Math.min(state.covered, now));
}

/** The type, and those that one of it stands for. */
export function standsFor(type: BackupType): readonly BackupType[] {
  return BACKUP_TYPES.slice(BACKUP_TYPES.indexOf(type));
}
