// Owns changes of the membership: learners first, joint consensus for voters, one change in flight. Pure.
// Source: Ongaro, sections 4.1 to 4.3; the bug of the single-server algorithm (2015) is avoided by the own-term commit.

import type { MemberId, RaftMember } from "../../../model/raft.ts";
import { contains, encodeConfiguration, everyMember, findMember, isQuorum, LEARNERS_MAX, VOTERS_MAX } from "./configuration.ts";
import { appendEntry, hasAnsweredLately, inContact, notLeader, onTransfer } from "./leading.ts";
import { trackMembers } from "./progress.ts";
import { becomeFollower, type CoreState, type Leading } from "./state.ts";
import type { Configuration, Learner, MembershipChange, Refusal } from "./types.ts";

/** A learner this near to the end of the log is made a voter: the rest is a few round trips. */
const CAUGHT_UP_ENTRIES = 64;

export function onChangeMembers(core: CoreState, id: number, change: MembershipChange): void {
  const { leading } = core;
  const refusal = leading === null ? notLeader(core) : whyNotNow(core, leading);
  if (leading === null || refusal !== null) {
    core.refused.push({ id, refusal: refusal ?? notLeader(core) });
    return;
  }
  const wanted = changed(core, leading, change);
  if ("kind" in wanted) {
    core.refused.push({ id, refusal: wanted });
    return;
  }
  core.accepted.push({ id, index: putInForce(core, leading, wanted), term: core.term });
}

/** Once in a step: takes the change that is under way a step further. */
export function continueChange(core: CoreState, leading: Leading): void {
  if (whyNotNow(core, leading) !== null) {
    if (core.configuration.outgoing === null || core.configurationIndex > core.commit || core.commit < leading.firstIndex) return;
    // The joint configuration is committed: the new one alone takes over.
    putInForce(core, leading, { ...core.configuration, outgoing: null });
    return;
  }
  if (leading.tracked.self === "leaves") {
    leave(core, leading);
    return;
  }
  if (core.configuration.learners.length === 0) return;
  const learner = core.configuration.learners.find((candidate) => mayVote(core, leading, candidate));
  if (learner !== undefined) putInForce(core, leading, promoted(core.configuration, learner));
}

function putInForce(core: CoreState, leading: Leading, configuration: Configuration) {
  const index = appendEntry(core, "configuration", encodeConfiguration(configuration));
  core.configurations.push({ index, configuration });
  trackMembers(core, leading);
  return index;
}

function whyNotNow(core: CoreState, leading: Leading): Refusal | null {
  if (core.commit < leading.firstIndex) return { kind: "busy", reason: "the leader has just been elected" };
  if (leading.transfer !== null) return { kind: "busy", reason: "leadership is being handed over" };
  if (core.configuration.outgoing !== null || core.configurationIndex > core.commit) {
    return { kind: "busy", reason: "another change of the membership is under way" };
  }
  return null;
}

function changed(core: CoreState, leading: Leading, change: MembershipChange): Configuration | Refusal {
  switch (change.kind) {
    case "add":
      return withLearner(core, leading, change.member, change.replaces);
    case "remove":
      return withoutMember(core, leading, change.id);
    case "move":
      return withAddresses(core, leading, change.members);
  }
}

/**
 * Who counts stays the same, so the new configuration needs no joint one before it. All at once, because one may take the address that
 * another one leaves; who would then share an address with somebody stays where it was.
 */
function withAddresses(core: CoreState, leading: Leading, moving: readonly RaftMember[]): Configuration | Refusal {
  const { configuration } = core;
  const entered = new Map<MemberId, string>();
  const reasons: string[] = [];
  for (const { id, address } of moving) {
    if (findMember(configuration, id) === null) reasons.push(`${id} is not a member`);
    else entered.set(id, address);
  }
  // A learner that nobody hears must not keep an address for ever.
  const givesWay = ({ id }: RaftMember): boolean => !entered.has(id) && !contains(configuration.voters, id) && !isLive(core, leading, id);
  const staying = everyMember(configuration).filter((member) => !givesWay(member));
  const holderOf = (id: MemberId, address: string): RaftMember | undefined =>
    staying.find((other) => other.id !== id && (entered.get(other.id) ?? other.address) === address);
  for (;;) {
    // Of two that name the same address the first one gets it.
    const [id, address] = [...entered].findLast(([one, wanted]) => holderOf(one, wanted) !== undefined) ?? [];
    if (id === undefined || address === undefined) break;
    reasons.push(`${address} is the address of the member ${holderOf(id, address)?.id}`);
    entered.delete(id);
  }
  if (entered.size === 0) return { kind: "invalid", reason: reasons.join("; ") };
  const taken = [...entered.values()];
  const learners = configuration.learners.filter((learner) => !(givesWay(learner) && taken.includes(learner.address)));
  const at = <T extends RaftMember>(member: T): T => ({ ...member, address: entered.get(member.id) ?? member.address });
  return {
    ...configuration,
    voters: configuration.voters.map(at),
    learners: learners.map((learner) => at(freed(configuration, learner, entered))),
  };
}

/** Who came to the address that a member has left was to replace one that was gone: that one has its own place elsewhere now. */
function freed(configuration: Configuration, learner: Learner, entered: ReadonlyMap<MemberId, string>): Learner {
  const replaced = configuration.voters.find(({ id }) => id === learner.replaces);
  if (replaced === undefined || replaced.address !== learner.address) return learner;
  return (entered.get(replaced.id) ?? replaced.address) === replaced.address ? learner : { ...learner, replaces: null };
}

function withLearner(core: CoreState, leading: Leading, member: RaftMember, replaces: MemberId | null): Configuration | Refusal {
  const { configuration } = core;
  if (findMember(configuration, member.id) !== null) return { kind: "invalid", reason: `${member.id} is a member already` };
  const replaced = configuration.voters.find(({ id, address }) => (replaces === null ? address === member.address : id === replaces));
  if (replaces !== null && replaced === undefined) return { kind: "invalid", reason: `${replaces}, to be replaced, is no voter` };
  if (configuration.voters.some(({ id, address }) => address === member.address && id !== replaced?.id)) {
    return { kind: "invalid", reason: `${member.address} is the address of another voter` };
  }
  if (replaced !== undefined && isLive(core, leading, replaced.id)) {
    return { kind: "invalid", reason: `the voter ${replaced.id} at ${replaced.address} is alive; remove it first` };
  }
  // A learner of an earlier attempt at the same address gave way to this one: its folder is gone.
  const learners = configuration.learners.filter(({ address }) => address !== member.address);
  const coming = learners.filter((learner) => placeOf(configuration, learner) === "new").length;
  if (replaced === undefined && configuration.voters.length + coming >= VOTERS_MAX) {
    return { kind: "invalid", reason: `there are ${VOTERS_MAX} voters already, with those that are about to become one` };
  }
  if (learners.length >= LEARNERS_MAX) return { kind: "invalid", reason: `there are ${LEARNERS_MAX} learners already` };
  const learner: Learner = { id: member.id, address: member.address, replaces: replaced?.id ?? null };
  return { ...configuration, learners: [...learners, learner] };
}

function withoutMember(core: CoreState, leading: Leading, id: MemberId): Configuration | Refusal {
  const { configuration } = core;
  if (findMember(configuration, id) === null) return { kind: "invalid", reason: `${id} is not a member` };
  const learners = configuration.learners.filter((learner) => learner.id !== id);
  if (!contains(configuration.voters, id)) return { ...configuration, learners };
  const voters = configuration.voters.filter((voter) => voter.id !== id);
  if (voters.length === 0) return { kind: "invalid", reason: "the last voter cannot be removed" };
  const wanted = { voters, outgoing: configuration.voters, learners };
  return isQuorum(wanted, (voter) => canCount(core, leading, voter)) ? wanted : tooFewLeft(core, leading, voters);
}

/** Answers at present, in this term, in this life of its process and with a log that is whole: a majority may be made of it. */
function canCount(core: CoreState, leading: Leading, id: MemberId): boolean {
  if (id === core.id) return true;
  const progress = leading.progress.get(id);
  if (progress === undefined || progress.trust === "doubted" || progress.answeredRound <= progress.lostRound) return false;
  return hasAnsweredLately(core, leading, progress);
}

/** Such a change could never be completed, nor a leader be elected once this one is gone. */
function tooFewLeft(core: CoreState, leading: Leading, voters: readonly RaftMember[]): Refusal {
  const missing = voters
    .filter(({ id }) => !canCount(core, leading, id))
    .map(({ id, address }) => `${address} ${leading.progress.get(id)?.trust === "doubted" ? "has a damaged log" : "does not answer"}`);
  const needed = Math.floor(voters.length / 2) + 1;
  const reason = `without it ${voters.length} voters would be left, of which ${needed} must be well, and ${missing.join(", ")}; mend or remove that first`;
  return { kind: "invalid", reason };
}

/** Whether the learner takes a voter's place or needs one of its own. */
function placeOf(configuration: Configuration, { replaces }: Learner): "taken-over" | "new" {
  return replaces !== null && contains(configuration.voters, replaces) ? "taken-over" : "new";
}

/** Joint: the old voters, and the new ones with the learner (in the place of whom it replaces). */
function promoted(configuration: Configuration, learner: Learner): Configuration {
  const staying = configuration.voters.filter(({ id }) => id !== learner.replaces);
  return {
    voters: [...staying, { id: learner.id, address: learner.address }],
    outgoing: configuration.voters,
    learners: configuration.learners.filter(({ id }) => id !== learner.id),
  };
}

function mayVote(core: CoreState, leading: Leading, learner: Learner): boolean {
  const progress = leading.progress.get(learner.id);
  if (progress === undefined || !canCount(core, leading, learner.id)) return false;
  // Whom it was to replace may have been removed, and others have come meanwhile.
  if (placeOf(core.configuration, learner) === "new" && core.configuration.voters.length >= VOTERS_MAX) return false;
  if (progress.match === 0 || progress.match + CAUGHT_UP_ENTRIES < core.log.lastIndex) return false;
  // Whom it should replace has come back: two members must not answer for one address.
  return learner.replaces === null || !isLive(core, leading, learner.replaces);
}

function isLive(core: CoreState, leading: Leading, id: MemberId): boolean {
  return id === core.id || inContact(core, leading, id);
}

/** The committed configuration is without this leader: another one takes over. */
function leave(core: CoreState, leading: Leading): void {
  onTransfer(core, leading, null);
  if (leading.transfer === null) becomeFollower(core, core.term, null);
}
