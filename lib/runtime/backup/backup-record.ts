// Owns how the record of the scheduled backups changes: founded, begun, ended, lost, set back. Pure; who writes it is backup-runner.ts.

import { standsFor } from "../../core/backup-plan.ts";
import type { BackupRecord, BackupRun, BackupState, BackupType } from "../../model/backup-run.ts";

type Written = Omit<BackupRecord, "revision">;

/** How a run of this node ended; `failure` null: well. */
export interface EndedRun {
  readonly run: BackupRun;
  readonly at: number;
  readonly label: string | null;
  readonly failure: string | null;
}

/** With types that it lacks: what was due before now is not made up. */
export function withFounded(record: BackupRecord | null, types: readonly BackupType[], now: number): Written {
  const founded = types.map((type): [BackupType, BackupState] => [type, { covered: now, done: null, failed: null }]);
  return { types: { ...record?.types, ...Object.fromEntries(founded) }, run: record?.run ?? null };
}

/** Times of these types that a clock wrote which was ahead are now; what is due from now on is due again. */
export function withSetBack(record: BackupRecord, types: readonly BackupType[], now: number): Written {
  const states = types.flatMap((type): [BackupType, BackupState][] => {
    const state = record.types[type];
    if (state === undefined) return [];
    const failed = state.failed === null ? null : { ...state.failed, at: Math.min(state.failed.at, now) };
    return [[type, { ...state, covered: Math.min(state.covered, now), failed }]];
  });
  return { types: { ...record.types, ...Object.fromEntries(states) }, run: record.run };
}

/** The run stands for everything of its type, and of those below, that was due when it began. */
export function withRun(record: BackupRecord, run: BackupRun): BackupRecord {
  const covered = standsFor(run.type).flatMap((type): [BackupType, BackupState][] => {
    const state = record.types[type];
    return state === undefined ? [] : [[type, { ...state, covered: run.beganAt }]];
  });
  return { ...record, types: { ...record.types, ...Object.fromEntries(covered) }, run };
}

/** Null where there is nothing to write: it failed, and somebody has said so already. */
export function withEnded(record: BackupRecord, { run, at, label, failure }: EndedRun): Written | null {
  const isOurs = record.run?.id === run.id;
  if (failure !== null) return isOurs ? withLost(record, run, at, failure) : null;
  const done = { node: run.node, at, seconds: Math.round((at - run.beganAt) / 1000), label };
  const states = standsFor(run.type).flatMap((type): [BackupType, BackupState][] => {
    const state = record.types[type];
    if (state === undefined) return [];
    return [[type, { ...state, failed: null, ...(type === run.type ? { done } : {}) }]];
  });
  return { types: { ...record.types, ...Object.fromEntries(states) }, run: isOurs ? null : record.run };
}

/** The run is over without a backup. */
export function withLost(record: BackupRecord, run: BackupRun, at: number, message = "it died"): Written {
  const state = record.types[run.type];
  if (state === undefined) return { types: record.types, run: null };
  const failed = { node: run.node, at, attempt: run.attempt, message };
  return { types: { ...record.types, [run.type]: { ...state, failed } }, run: null };
}
