// Owns the decision how a stopped server gets behind an upstream again (follow it, rewind, or copy anew), and whether the recovery that
// pg_rewind begins with may be ended here. Pure: decided from timelines and WAL positions alone; who runs pg_rewind or deletes anything is
// not its business.

import type { TimelineSwitch } from "../model/history.ts";
import { formatLsn } from "../model/lsn.ts";
import type { ControlData, UpstreamHistory } from "../model/postgres.ts";
import type { Lsn, Timeline } from "../model/units.ts";

export interface LocalWal {
  /** Newest timeline that the directory has WAL of. */
  readonly timeline: Timeline;
  /** First byte after its last valid record. */
  readonly lsn: Lsn;
  /** pg_control's word, e.g. "shut down". */
  readonly state: string;
  readonly walLogHints: boolean;
  readonly dataChecksums: boolean;
  /** The directory's own history of `timeline`, where known: tells two timelines of one number apart. */
  readonly switches?: readonly TimelineSwitch[];
}

export interface RewindQuestion {
  readonly local: LocalWal;
  readonly upstream: UpstreamHistory;
  readonly usePgRewind: boolean;
  /** May a diverged directory be deleted and copied anew where it cannot be rewound? */
  readonly removeOnDivergedTimelines: boolean;
}

export type RewindPlan =
  /**
   * Its WAL is a prefix of the upstream's history (or nothing better can be done: `why` says so). `unread`: of a standby whose WAL cannot be
   * read, so that nothing is known of it, or that has to be started before it can be rewound.
   */
  | { readonly kind: "follow"; readonly why: string; readonly unread?: true }
  /** It has WAL that the upstream does not have. */
  | { readonly kind: "rewind"; readonly why: string }
  /** It has diverged, and only a new copy helps. `allowed` by the configuration, else an operator has to decide. */
  | { readonly kind: "clone"; readonly allowed: boolean; readonly why: string; readonly unread?: true };

/** States of pg_control in which only a primary leaves its directory. */
const PRIMARY_STATES: ReadonlySet<string> = new Set(["in production", "shutting down", "shut down"]);

/** States in which only a standby leaves it: nothing was written there that some primary has not written. */
const STANDBY_STATES: ReadonlySet<string> = new Set(["in archive recovery", "shut down in recovery"]);

/** Compares the local end of WAL with the upstream's history and chooses the cheapest way that is safe. */
export function rewindPlan(question: RewindQuestion): RewindPlan {
  const { local } = question;
  const judged = divergence(local, question.upstream);
  if (!judged.diverged) return { kind: "follow", why: judged.why };
  if (!question.usePgRewind) return clone(question, judged.why, "use_pg_rewind is off");
  if (local.timeline === question.upstream.timeline) return clone(question, judged.why, "pg_rewind sees no difference within one timeline");
  if (!local.walLogHints && !local.dataChecksums) return clone(question, judged.why, "neither data checksums nor wal_log_hints are on");
  return { kind: "rewind", why: judged.why };
}

export interface EndlessQuestion extends Pick<RewindQuestion, "usePgRewind" | "removeOnDivergedTimelines"> {
  /** pg_control's word, e.g. "in production". */
  readonly state: string;
  /** The start of this standby has failed here, and pg_rewind was not tried since. */
  readonly startFailed: boolean;
  /** pg_rewind has failed here. */
  readonly rewindFailed: boolean;
  /** Why pg_rewind was refused until the standby has been started; null where it was not. */
  readonly refused: string | null;
  /** May the directory be deleted and copied anew after that? */
  readonly removeOnRewindFailure: boolean;
}

/**
 * For a directory whose WAL does not tell where it ends, as a part of it is lost or the disk or a program fails. Of a former primary pg_rewind
 * finds out what can be done; where it fails too, the configuration or an operator has the word. A standby is started first: what it has may
 * well be whole, and once it streams its timelines can be compared. Where that fails it may be a former primary that was started as a standby
 * once and has diverged, which no start mends: pg_rewind has a try, too, before the data is given up, and where neither helps and nothing may
 * be deleted they take turns.
 */
export function planWithoutEnd(question: EndlessQuestion): RewindPlan {
  const why = "the local end of WAL cannot be read";
  const { startFailed, rewindFailed, refused, removeOnRewindFailure, usePgRewind } = question;
  if (!STANDBY_STATES.has(question.state)) return usePgRewind ? { kind: "rewind", why } : clone(question, why, "use_pg_rewind is off");
  const failure = `${why}, and the server does not start`;
  if (removeOnRewindFailure && (rewindFailed || (startFailed && !usePgRewind)))
    return { kind: "clone", allowed: true, why: failure, unread: true };
  if (!startFailed || !usePgRewind) return { kind: "follow", why, unread: true };
  const rewind: RewindPlan = { kind: "rewind", why: failure };
  return refused === null ? rewind : planOfRefused(rewind, { refused, failed: startFailed, removeOnRewindFailure });
}

export interface RefusedRewind {
  /** Why pg_rewind was refused: it would end this crashed standby's recovery where it must not. */
  readonly refused: string;
  /** The start that has to come first has failed here. */
  readonly failed: boolean;
  /** May the directory be deleted and copied anew after that? */
  readonly removeOnRewindFailure: boolean;
}

/**
 * In place of a rewind that was refused: started, the standby gets where it can be shut down in recovery, is found to have diverged, is stopped
 * and rewound. Where it does not start, the configuration or an operator has the word.
 */
export function planOfRefused(plan: RewindPlan, { refused, failed, removeOnRewindFailure }: RefusedRewind): RewindPlan {
  if (plan.kind !== "rewind") return plan;
  const why = `${plan.why}; ${refused}`;
  if (!failed) return { kind: "follow", why, unread: true };
  if (removeOnRewindFailure) return { kind: "clone", allowed: true, why: `${why}, and it does not start`, unread: true };
  return { kind: "follow", why: `${why}, and it did not start: reinitialize this node where that goes on`, unread: true };
}

export interface CrashedStandby {
  readonly control: Pick<ControlData, "timeline" | "checkpointLsn" | "minRecoveryTimeline" | "minRecoveryEnd">;
  /** First byte after the last valid record on the newest timeline of the directory; null where that cannot be read. */
  readonly end: { readonly timeline: Timeline; readonly lsn: Lsn } | null;
  readonly upstream: Pick<UpstreamHistory, "timeline" | "switches">;
}

/**
 * Why the recovery must not be ended; null where it may. Without a standby.signal PostgreSQL recovers along the timeline that pg_control names
 * and writes a shutdown checkpoint of its own behind the last record there. On a timeline that the upstream writes, or left only later, that
 * is where the upstream has other records: pg_rewind sees one timeline and finds nothing to do, and the standby can never stream past it.
 * Behind the point where the upstream left the timeline, pg_rewind takes the checkpoint away with the rest.
 */
export function whyNotEndRecovery({ control, end, upstream }: CrashedStandby): string | null {
  const recovered = Math.max(control.timeline, control.minRecoveryTimeline ?? 0);
  const reason = `the recovery of this standby would end on timeline ${recovered}`;
  if (recovered === upstream.timeline) return `${reason}, which the upstream is on`;
  const left = upstream.switches.find((entry) => entry.timeline === recovered);
  if (left === undefined) return null;
  const reached = [
    control.timeline === recovered ? control.checkpointLsn : null,
    control.minRecoveryTimeline === recovered ? control.minRecoveryEnd : null,
    end?.timeline === recovered ? end.lsn : null,
  ];
  if (reached.some((position) => position !== null && position > left.switchpoint)) return null;
  return `${reason}, as far as is known before ${formatLsn(left.switchpoint)}, where the upstream left it`;
}

function clone(question: Pick<RewindQuestion, "removeOnDivergedTimelines">, diverged: string, obstacle: string): RewindPlan {
  return { kind: "clone", allowed: question.removeOnDivergedTimelines, why: `${diverged}; it cannot be rewound: ${obstacle}` };
}

interface Divergence {
  readonly diverged: boolean;
  readonly why: string;
}

function divergence(local: LocalWal, upstream: UpstreamHistory): Divergence {
  const lineage = differentLineage(local, upstream);
  if (lineage !== null) return { diverged: true, why: lineage };
  if (local.timeline === upstream.timeline) {
    // It writes nothing itself, and has nothing of this timeline that this server has not: it may have been its primary.
    if (upstream.inRecovery && upstream.walLsn <= local.lsn)
      return { diverged: false, why: `both are on timeline ${local.timeline}, and the upstream is a standby` };
    // Promoted apart from each other, two servers give their timelines the same number, and even the same beginning.
    if (PRIMARY_STATES.has(local.state))
      return { diverged: true, why: `this server and the upstream were both primary on timeline ${local.timeline}` };
    return { diverged: false, why: `both are on timeline ${local.timeline}` };
  }
  const end = upstream.switches.find((entry) => entry.timeline === local.timeline);
  if (end === undefined) {
    return {
      diverged: true,
      why: `local timeline ${local.timeline} is not in the history of the upstream's timeline ${upstream.timeline}`,
    };
  }
  const positions = `local WAL ends at ${formatLsn(local.lsn)}, the upstream left timeline ${local.timeline} at ${formatLsn(end.switchpoint)}`;
  return { diverged: local.lsn > end.switchpoint, why: positions };
}

/** Where two histories of the local timeline part, in words; null where they are one, or where the local one is not known. */
function differentLineage(local: LocalWal, upstream: UpstreamHistory): string | null {
  if (local.switches === undefined) return null;
  const end = upstream.switches.findIndex((entry) => entry.timeline === local.timeline);
  const theirs = end < 0 ? upstream.switches : upstream.switches.slice(0, end);
  for (let index = 0; index < Math.max(theirs.length, local.switches.length); index += 1) {
    const [mine, other] = [local.switches[index], theirs[index]];
    if (mine?.timeline === other?.timeline && mine?.switchpoint === other?.switchpoint) continue;
    return `timeline ${local.timeline} has another history here (${describe(mine)}) than at the upstream (${describe(other)})`;
  }
  return null;
}

function describe(entry: TimelineSwitch | undefined): string {
  return entry === undefined ? "no further switch" : `timeline ${entry.timeline} ended at ${formatLsn(entry.switchpoint)}`;
}
