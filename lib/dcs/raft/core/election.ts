// Owns elections: pre-vote, vote, and who is refused. Source: Ongaro, sections 3.4, 3.6 (the log decides), 4.2.3 and 9.6.

import { type MemberId, type Term, term } from "../../../model/raft.ts";
import { everyMember, isQuorum, isVoter } from "./configuration.ts";
import { becomeLeader } from "./leading.ts";
import { becomeFollower, type CoreState, mayCampaign, resetElection, setHardState } from "./state.ts";
import type { Message } from "./types.ts";

type VoteRequest = Extract<Message, { readonly kind: "vote-request" }>;
type VoteAnswer = Extract<Message, { readonly kind: "vote-answer" }>;

/** The leader's time is over, or nobody won: asks first whether an election could be won, so that no term is spent in vain. */
export function startElection(core: CoreState): void {
  resetElection(core);
  if (!mayCampaign(core)) return;
  if (isQuorum(core.configuration, (id) => id === core.id)) {
    campaign(core, "election");
    return;
  }
  becomeFollower(core, core.term, null);
  core.role = "pre-candidate";
  core.votes.set(core.id, "granted");
  requestVotes(core, "pre", term(core.term + 1));
}

/** Enters the next term with the own vote. The requests leave once vote and log are durable: they claim both. */
export function campaign(core: CoreState, purpose: "election" | "transfer"): void {
  becomeFollower(core, core.term, null);
  setHardState(core, term(core.term + 1), core.id);
  core.role = "candidate";
  resetElection(core);
  requestVotes(core, purpose, core.term);
}

/** The own vote counts like another's: once it is durable. */
export function countOwnVote(core: CoreState): void {
  if (core.role !== "candidate" || core.votes.has(core.id) || !core.outbox.hasHardStateDurable) return;
  core.votes.set(core.id, "granted");
  countVotes(core);
}

export function onVoteRequest(core: CoreState, from: MemberId, request: VoteRequest): void {
  if (request.purpose === "pre") {
    const granted = mayGrant(core) && !hearsLeader(core) && isCurrent(core, request) && isFree(core, from, request.term);
    const answer = { kind: "vote-answer", purpose: "pre" } as const;
    if (granted) core.send(from, { ...answer, term: request.term, verdict: "granted" });
    else core.send(from, { ...answer, term: core.term, verdict: "refused" });
    return;
  }
  // Whoever was taken out of the cluster, or came back from a partition, must not disturb a leader that is well.
  if (request.purpose === "election" && hearsLeader(core)) return;
  if (!mayGrant(core)) return;
  if (request.term > core.term) becomeFollower(core, request.term, null);
  const granted = request.term === core.term && isCurrent(core, request) && isFree(core, from, request.term);
  if (granted) {
    setHardState(core, core.term, from);
    resetElection(core);
  }
  const verdict = granted ? "granted" : "refused";
  core.send(from, { kind: "vote-answer", purpose: "election", term: core.term, verdict }, "log");
}

export function onVoteAnswer(core: CoreState, from: MemberId, answer: VoteAnswer): void {
  if (answer.verdict === "refused" && answer.term > core.term) {
    becomeFollower(core, answer.term, null);
    return;
  }
  const awaited = answer.purpose === "pre" ? "pre-candidate" : "candidate";
  if (core.role !== awaited) return;
  // A granted pre-vote repeats the term that was asked for; every other answer speaks of the term that we are in.
  const asked = answer.purpose === "pre" && answer.verdict === "granted" ? core.term + 1 : core.term;
  if (answer.term !== asked) return;
  core.votes.set(from, answer.verdict);
  countVotes(core);
}

/** `timeout-now` from the leader of our term. */
export function onTimeoutNow(core: CoreState, from: MemberId, asked: Term): void {
  if (asked !== core.term || core.leader !== from || !mayCampaign(core)) return;
  campaign(core, "transfer");
}

/**
 * The process is gone (its connection was reset or refused). Where it led there is no reason to wait out the silence; a leader counts on it
 * for no change of the membership before it has answered again: a log that rotted is found at a start.
 */
export function onPeerLost(core: CoreState, peer: MemberId): void {
  const progress = core.leading?.progress.get(peer);
  if (core.leading !== null && progress !== undefined) progress.lostRound = core.leading.round;
  if (core.role === "leader" || core.leader !== peer) return;
  core.leaderContactAt = Number.NEGATIVE_INFINITY;
  // Spread over two heartbeats, so that two members seldom stand at once.
  core.electionAt = Math.min(core.electionAt, core.now + core.random() * 2 * core.timings.heartbeatMs);
}

function countVotes(core: CoreState): void {
  if (!isQuorum(core.configuration, (id) => core.votes.get(id) === "granted")) return;
  if (core.role === "pre-candidate") campaign(core, "election");
  else becomeLeader(core);
}

function requestVotes(core: CoreState, purpose: VoteRequest["purpose"], asked: Term): void {
  const request: VoteRequest = {
    kind: "vote-request",
    purpose,
    term: asked,
    lastIndex: core.log.lastIndex,
    lastTerm: core.log.lastTerm,
  };
  for (const { id } of everyMember(core.configuration)) {
    if (id === core.id || !isVoter(core.configuration, id)) continue;
    core.send(id, request, purpose === "pre" ? "term" : "log");
  }
}

/** A damaged log may have lost what it acknowledged: its vote could elect a leader without it. */
function mayGrant(core: CoreState): boolean {
  return core.health === "whole" && core.receiving?.state !== "installing";
}

function hearsLeader(core: CoreState): boolean {
  if (core.role === "leader") return true;
  return core.leader !== null && core.now - core.leaderContactAt < core.timings.electionMinMs;
}

/** The candidate's log holds at least what ours does. */
function isCurrent(core: CoreState, request: VoteRequest): boolean {
  if (request.lastTerm !== core.log.lastTerm) return request.lastTerm > core.log.lastTerm;
  return request.lastIndex >= core.log.lastIndex;
}

/** The vote of that term is not given to anybody else. */
function isFree(core: CoreState, candidate: MemberId, asked: Term): boolean {
  return asked > core.term || (asked === core.term && (core.votedFor === null || core.votedFor === candidate));
}
