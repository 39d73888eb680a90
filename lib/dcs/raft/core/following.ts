// Owns what a follower does with the leader's log: checks where it fits, truncates only what contradicts, and answers what is
// durable. Source: Ongaro, section 3.5.

import { logIndex, type MemberId } from "../../../model/raft.ts";
import { becomeFollower, type CoreState, resetElection } from "./state.ts";
import type { LogEntry, Message } from "./types.ts";

type Append = Extract<Message, { readonly kind: "append" }>;

/** Follows whoever leads the term; false where a message is of an older one (its sender is told the term). */
export function followLeader(core: CoreState, from: MemberId, message: Message & { readonly round: number }): boolean {
  if (message.term < core.term) {
    const answer = { kind: "append-answer", term: core.term, outcome: "mismatch", index: logIndex(0), damage: null, round: 0 } as const;
    core.send(from, answer);
    return false;
  }
  if (core.role === "leader" && message.term === core.term) throw new Error(`${from} leads term ${core.term} as well`);
  if (core.leader !== from || core.term !== message.term || core.role !== "follower") becomeFollower(core, message.term, from);
  core.leaderContactAt = core.now;
  core.leaderRound = Math.max(core.leaderRound, message.round);
  resetElection(core);
  return true;
}

export function onAppend(core: CoreState, from: MemberId, append: Append): void {
  if (core.heard?.term !== append.term || core.heard.time < append.time) core.heard = { term: append.term, time: append.time };
  core.repairThrough = append.repair !== null && append.repair.damage === core.damage ? append.repair.through : null;
  if (core.receiving?.state === "installing") {
    answerMatched(core);
    return;
  }
  const { log } = core;
  // What the log no longer holds was committed, and so equals the leader's.
  const previousTerm = append.previousIndex < log.baseIndex ? append.previousTerm : log.termAt(append.previousIndex);
  if (previousTerm !== append.previousTerm) {
    answerMismatch(core, from, append);
    return;
  }
  for (const entry of append.entries) takeEntry(core, entry);
  const upTo = Math.max(append.previousIndex, append.entries.at(-1)?.index ?? 0);
  core.matched = logIndex(Math.max(core.matched, Math.min(upTo, log.lastIndex)));
  core.commit = logIndex(Math.max(core.commit, Math.min(append.commit, core.matched)));
  core.answerOwed = core.matched > log.durable;
  if (append.entries.length === 0 || !core.answerOwed) answerMatched(core);
}

/** Entries became durable: what was owed is answered, and a damaged log may have become whole. */
export function onDurable(core: CoreState): void {
  if (core.leader === null || core.leader === core.id) return;
  if (core.answerOwed && core.outbox.hasHardStateDurable) {
    core.answerOwed = core.matched > core.log.durable;
    answerMatched(core);
  }
}

/**
 * The leader has named the index up to which this log can have acknowledged anything, to it or to leaders before it: a log that
 * equals the leader's up to there, durably, misses none of that.
 */
export function mendDamage(core: CoreState): void {
  const { repairThrough } = core;
  if (core.health === "whole" || repairThrough === null || core.leader === null) return;
  if (Math.min(core.matched, core.log.durable) < repairThrough) return;
  core.health = "whole";
  core.outbox.write({ kind: "whole" });
  core.repaired = "whole";
  answerMatched(core);
}

function takeEntry(core: CoreState, entry: LogEntry): void {
  const { log } = core;
  if (entry.index <= log.baseIndex) return;
  if (entry.index <= log.lastIndex) {
    if (log.termAt(entry.index) === entry.term) return;
    truncateFrom(core, entry.index);
  }
  log.append(entry);
  core.outbox.append(entry);
  if (entry.kind === "configuration") core.adoptConfiguration(entry);
}

function truncateFrom(core: CoreState, index: number): void {
  if (index <= core.commit) throw new Error(`entry ${index} is committed and contradicts the leader of term ${core.term}`);
  core.log.truncateFrom(index);
  for (const batch of core.pending) batch.lastIndex = logIndex(Math.min(batch.lastIndex, index - 1));
  while (core.configurations.length > 1 && (core.configurations.at(-1)?.index ?? 0) >= index) core.configurations.pop();
}

/** What equals the leader's log and is durable. */
export function answerMatched(core: CoreState): void {
  if (core.leader === null) return;
  const index = logIndex(Math.min(core.matched, core.log.durable));
  const outcome = core.health === "whole" ? "matched" : "damaged";
  core.send(core.leader, { kind: "append-answer", term: core.term, outcome, index, damage: damageOf(core), round: core.leaderRound });
}

function answerMismatch(core: CoreState, to: MemberId, append: Append): void {
  if (core.health === "damaged") {
    // Known to be equal is only what the own snapshot covers, as that was committed: the leader begins behind it. A leader that knows
    // of this damage must be able to tell this from progress, or an append that was lost on the way would never be repeated.
    const index = logIndex(Math.min(core.snapshot.index, core.log.durable));
    const outcome = append.repair?.damage === core.damage ? "mismatch" : "damaged";
    core.send(to, { kind: "append-answer", term: core.term, outcome, index, damage: core.damage, round: append.round });
    return;
  }
  const { log } = core;
  let hint = Math.min(append.previousIndex - 1, log.lastIndex);
  const conflicting = log.termAt(append.previousIndex);
  // Every entry of a conflicting term may be skipped at once; what is committed never conflicts.
  if (conflicting !== null) while (hint > core.commit && log.termAt(hint) === conflicting) hint--;
  const index = logIndex(Math.max(hint, 0));
  core.send(to, { kind: "append-answer", term: core.term, outcome: "mismatch", index, damage: null, round: append.round });
}

function damageOf(core: CoreState): number | null {
  return core.health === "damaged" ? core.damage : null;
}
