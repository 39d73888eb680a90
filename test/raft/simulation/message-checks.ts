// Owns what a message promises and whether its sender may promise it: the checks on everything that leaves a core.

import type { Message } from "../../../lib/dcs/raft/core/types.ts";
import type { MemberId } from "../../../lib/model/raft.ts";
import { COVERED } from "./ledger.ts";
import type { Seat } from "./seat.ts";
import { Violation } from "./trace.ts";

/** Throws Violation where the sender promises what is not durable, or claims what is not true. */
export function checkMessage(seat: Seat, to: MemberId, message: Message): void {
  const { ledger } = seat.world;
  switch (message.kind) {
    case "vote-request":
      if (message.purpose === "pre") return;
      seat.highestTermSent = Math.max(seat.highestTermSent, message.term);
      requireVote(seat, message.term, seat.member.id, "asks for votes");
      if (message.lastIndex > durableEnd(seat))
        throw new Violation(`${seat.name} claims a log up to ${message.lastIndex} that is not durable`);
      requireWhole(seat, "campaigns");
      return;
    case "vote-answer":
      if (message.verdict !== "granted") return;
      requireWhole(seat, "votes");
      if (message.purpose === "pre") return;
      seat.highestTermSent = Math.max(seat.highestTermSent, message.term);
      requireVote(seat, message.term, to, "grants a vote");
      return;
    case "append":
      if (ledger.leaderOf(message.term) !== seat.name)
        throw new Violation(`${seat.name} appends in term ${message.term}, which is not its own`);
      if (message.commit > ledger.committed) learnCommit(seat, message.commit);
      return;
    case "append-answer":
      seat.highestTermSent = Math.max(seat.highestTermSent, message.term);
      if (message.outcome === "matched") requireMatch(seat, to, message.term, message.index);
      return;
    case "snapshot-answer":
      if (message.outcome === "installed" && durableEnd(seat) < message.index)
        throw new Violation(`${seat.name} says that snapshot ${message.index} is installed; ${durableEnd(seat)} is durable`);
      return;
    case "snapshot-chunk":
    case "timeout-now":
      if (ledger.leaderOf(message.term) !== seat.name)
        throw new Violation(`${seat.name} sends ${message.kind} in a foreign term ${message.term}`);
  }
}

/** A vote is given once in a term, and is on the disk before anybody hears of it. */
function requireVote(seat: Seat, term: number, candidate: MemberId, what: string): void {
  const { hardState } = seat.disk;
  const before = seat.votes.get(term);
  if (before !== undefined && before !== candidate) throw new Violation(`${seat.name} votes twice in term ${term}`);
  seat.votes.set(term, candidate);
  if (hardState.term < term || (hardState.term === term && hardState.votedFor !== candidate))
    throw new Violation(`${seat.name} ${what} in term ${term} before that is durable (term ${hardState.term} is)`);
}

function requireWhole(seat: Seat, what: string): void {
  if (seat.health === "damaged") throw new Violation(`${seat.name} ${what} although its log is damaged`);
}

/** A leader may know that entries are committed before its own disk has them. */
function learnCommit(seat: Seat, commit: number): void {
  const { ledger } = seat.world;
  for (let index = ledger.committed + 1; index <= commit; index++) {
    const entry = seat.written.entry(index);
    if (entry === null) throw new Violation(`${seat.name} says that ${commit} is committed; its log ends at ${seat.written.last}`);
    ledger.commits(seat.name, entry);
  }
  const last = seat.written.termAt(commit);
  if (last !== seat.role.term)
    throw new Violation(`${seat.name} leads term ${seat.role.term} and commits ${commit} of term ${last} by counting`);
  ledger.checkDurable(() => `committed by ${seat.name}`, seat.counting ?? [seat.configuration]);
}

/** Matched: durable here up to the index, and equal to the leader's log there. */
function requireMatch(seat: Seat, to: MemberId, term: number, index: number): void {
  requireWhole(seat, "acknowledges");
  if (index > durableEnd(seat)) throw new Violation(`${seat.name} acknowledges ${index} before it is durable (${durableEnd(seat)} is)`);
  const leader = seat.world.seatOf(to);
  if (leader === null || leader.role.role !== "leader" || leader.role.term !== term || index === 0) return;
  const own = seat.disk.newest.meta.index >= index ? COVERED : seat.disk.log.termAt(index);
  const there = leader.written.termAt(index);
  if (own !== COVERED && there !== COVERED && own !== there)
    throw new Violation(`${seat.name} acknowledges ${index} of term ${own}, where the leader ${leader.name} has term ${there}`);
}

function durableEnd(seat: Seat): number {
  return Math.max(seat.disk.log.last, seat.disk.newest.meta.index);
}
