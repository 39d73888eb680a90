// Owns what a leader concludes from a member's answers about how far it is. Sends nothing.

import type { LogIndex, MemberId, RaftMember } from "../../../model/raft.ts";
import { everyMember, findMember, isVoter } from "./configuration.ts";
import type { CoreState, Leading, Progress, Tracked } from "./state.ts";

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

/** One progress for each other member of the configuration in force; who left is forgotten. */
export function trackMembers(core: CoreState, leading: Leading): void {
  leading.tracked = tracked(core, leading.progress);
}

/** As the configuration in force has them; the map holds exactly these from then on. */
export function tracked(core: CoreState, progress: Map<MemberId, Progress>): Tracked {
  const { configuration } = core;
  for (const id of [...progress.keys()]) if (findMember(configuration, id) === null) progress.delete(id);
  const progressOf = ({ id }: RaftMember): Progress | null => {
    if (id === core.id) return null;
    const known = progress.get(id) ?? newProgress(core, id);
    progress.set(id, known);
    return known;
  };
  for (const member of everyMember(configuration)) progressOf(member);
  const voters = configuration.voters.map(progressOf);
  const outgoing = configuration.outgoing?.map(progressOf) ?? null;
  return { others: [...progress.values()], voters, outgoing, self: isVoter(configuration, core.id) ? "counts" : "leaves" };
}

function newProgress(core: CoreState, id: MemberId): Progress {
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
    lostRound: -1,
    sentRound: -1,
    sentCommit: -1,
    sending: null,
  };
}
