// Owns the `restore` key: a restore of the whole cluster that an operator asked for, and how far it has come (docs/adr/0009). Plain data.

import type { Revision } from "./units.ts";

/**
 * - `stop`: every server is to be stopped; the lock is kept.
 * - `restore`: the node puts its directory aside, restores and recovers another in its place, which nobody can connect to yet.
 * - `clone`: the node leads with what was restored; every other member replaces its data with a copy of it.
 * - `failed`: the node could not do it; everything waits for an operator's `retry` or `undo`.
 * - `undo`: the node puts its old directory back.
 * - `done`: over; nobody looks at it any more.
 */
export const RESTORE_PHASES = ["stop", "restore", "clone", "failed", "undo", "done"] as const;
export type RestorePhase = (typeof RESTORE_PHASES)[number];

export interface RestoreRequest {
  readonly revision: Revision;
  /** Names the directories that are put aside; letters, digits and dashes. */
  readonly id: string;
  readonly phase: RestorePhase;
  /** `back`: the data from before the restore takes the place of what was restored again, after that has led. */
  readonly direction: "forward" | "back";
  /** The member that restores, and then leads. */
  readonly node: string;
  /** The backup to restore. */
  readonly label: string;
  /** As PostgreSQL reads it (recovery_target_time); null = to the end of the archive. */
  readonly target: string | null;
  /** recovery_target_timeline: `latest` in the archive, `current` (the backup's own), or a number. */
  readonly recoveryTimeline: string;
  /** Of the restored cluster; null until it is recovered. */
  readonly timeline: number | null;
  /** Members whose data is a copy of the restored. */
  readonly cloned: readonly string[];
  /** Why it failed, or how it ended; null where there is nothing to say. */
  readonly message: string | null;
}

/** Nothing that depends on it is over yet. */
export function isUnderWay(request: RestoreRequest | null): request is RestoreRequest {
  return request !== null && request.phase !== "done";
}

/** What stands for a request that cannot be read: nobody knows how far it is, so that it waits for an operator as one that failed. */
export function unreadableRestore(revision: Revision): RestoreRequest {
  const message =
    "the request of a restore cannot be read; ctl restore --abandon ends it, and the members go on with the data that they have";
  return {
    revision,
    id: "unreadable",
    phase: "failed",
    direction: "forward",
    node: "",
    label: "unknown",
    target: null,
    recoveryTimeline: NEWEST_TIMELINE,
    timeline: null,
    cloned: [],
    message,
  };
}

/**
 * Of the way back that the mark beside a data directory names: whether the data from before is there, was taken into use, or was given up for
 * what had been restored.
 */
export type WayBackStanding = "under-way" | "in-force" | "given-up";

/** `id`: of the mark. Nobody knows of a request that cannot be read how far it is, so that it waits for an operator. */
export function wayBackStanding(request: RestoreRequest | null, id: string): WayBackStanding {
  if (request !== null && isUnreadable(request)) return "under-way";
  if (request === null || request.id !== id || request.direction !== "back") return "given-up";
  if (request.phase === "clone") return "in-force";
  if (request.phase === "done") return request.message === null ? "in-force" : "given-up";
  return "under-way";
}

/** It tells of no restore that anybody could go on with. */
export function isUnreadable({ phase, node }: RestoreRequest): boolean {
  return phase === "failed" && node === "";
}

export const NEWEST_TIMELINE = "latest";
/** What a recovery can follow, as PostgreSQL reads it. */
export const RECOVERY_TIMELINE = /^(latest|current|[1-9]\d{0,8})$/;

/** What is in an id: it becomes a part of a path. */
export const RESTORE_ID = /^[a-z0-9-]{1,40}$/;
