// Owns what a leader concludes from a member's answers about how far it is. Sends nothing.

import type { LogIndex, MemberId } from "../../../model/raft.ts";
import type { CoreState, Leading, Progress } from "./state.ts";

export function noteMatch(core: CoreState, progress: Progress, index: LogIndex): void {
  if (index > progress.match) progress.match = index;
  if (progress.mode === "snapshot") {
    // Once our log goes on where the member's ends, entries will do: it may have got an older snapshot than the one that is being sent.
    if (progress.match < core.log.baseIndex) return;
    progress.sending = null;
  }
  progress.next = progress.mode === "replicate" ? Math.max(progress.next, progress.match + 1) : progress.match + 1;
  progress.mode = "replicate";
}

/**
 * What a corrupt log says to have may be less than it once said: everything is sent again from there. So it is with each new finding,
 * also where nothing was heard since the one before: that may have been repaired, with acknowledgements that are still on their way.
 */
export function noteDoubt(core: CoreState, leading: Leading, progress: Progress, answer: Doubt): void {
  const { index, damage } = answer;
  if (progress.trust === "counted" || progress.fence?.damage !== damage) {
    progress.trust = "doubted";
    leading.round++;
    progress.fence = { round: leading.round, through: core.log.lastIndex, damage };
  } else if (index >= progress.match) {
    noteMatch(core, progress, index);
    return;
  }
  progress.match = index;
  if (progress.mode === "snapshot") return;
  progress.next = index + 1;
  progress.mode = "probe";
  progress.probe = "free";
}

/** What a member says of a log that was found corrupt. */
export interface Doubt {
  readonly index: LogIndex;
  readonly damage: number;
}

/** Whether an acknowledgement was given before the member's log was found corrupt. */
export function isVoid(progress: Progress, round: number): boolean {
  return progress.fence !== null && round < progress.fence.round;
}

export function noteRound(progress: Progress, round: number): void {
  if (round > progress.answeredRound) progress.answeredRound = round;
}

export function newProgress(core: CoreState, id: MemberId): Progress {
  return {
    id,
    match: 0,
    next: core.log.lastIndex + 1,
    mode: "probe",
    trust: "counted",
    fence: null,
    probe: "free",
    contactAt: core.now,
    answeredRound: -1,
    sentRound: -1,
    sentCommit: -1,
    sending: null,
  };
}
