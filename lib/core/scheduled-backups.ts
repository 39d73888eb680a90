// Owns what is told of the scheduled backups, by `GET /backups`, the metrics and the worker alone. Pure.

import {
  type BackupFailure,
  type BackupRecord,
  type BackupRun,
  type BackupSchedule,
  type BackupSuccess,
  type BackupType,
  scheduledTypes,
} from "../model/backup-run.ts";
import { BACKUP_ATTEMPTS_MAX, dueTime } from "./backup-plan.ts";

/** Times are epoch seconds, whole. */
export interface ScheduledBackup {
  readonly type: BackupType;
  /** The cron expression. */
  readonly time: string;
  /** When it is due next, or since when it is; null where the cluster does not know of the schedule yet. */
  readonly due: number | null;
  readonly done: (Omit<BackupSuccess, "at"> & { readonly at: number }) | null;
  readonly failed: (BackupFailure & { readonly final: boolean }) | null;
}

export interface ScheduledBackups {
  readonly timezone: string;
  readonly types: readonly ScheduledBackup[];
  readonly running: Pick<BackupRun, "type" | "node" | "beganAt" | "attempt"> | null;
}

/** `now` in epoch milliseconds. */
export function scheduledBackups(schedule: BackupSchedule, record: BackupRecord | null, now: number): ScheduledBackups {
  const types = scheduledTypes(schedule).map((type): ScheduledBackup => {
    const state = record?.types[type] ?? null;
    const due = dueTime(record, schedule, type, now);
    const [done, failed] = [state?.done ?? null, state?.failed ?? null];
    return {
      type,
      time: schedule.times[type] ?? "",
      due: due === null ? null : seconds(due),
      done: done === null ? null : { ...done, at: seconds(done.at) },
      failed: failed === null ? null : { ...failed, at: seconds(failed.at), final: failed.attempt >= BACKUP_ATTEMPTS_MAX },
    };
  });
  const run = record?.run ?? null;
  const running = run === null ? null : { type: run.type, node: run.node, beganAt: seconds(run.beganAt), attempt: run.attempt };
  return { timezone: schedule.timezone, types, running };
}

function seconds(epochMs: number): number {
  return Math.floor(epochMs / 1000);
}
