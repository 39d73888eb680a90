// Owns what a leader does: proposals, replication with a window in flight, commit by counting, check-quorum and transfer.
// Source: Ongaro, sections 3.5, 3.6.2 (only entries of the own term are counted), 3.10, 6.2 and 10.2.1.

import { type LogIndex, logIndex, type MemberId, type Term } from "../../../model/raft.ts";
import { findMember, quorumValue } from "./configuration.ts";
import { isVoid, noteDoubt, noteMatch, noteRound, tracked } from "./progress.ts";
import { newestToSend, sendSnapshot } from "./snapshots.ts";
import { becomeFollower, type CoreState, type Leading, type Progress } from "./state.ts";
import type { EntryKind, Message, Refusal } from "./types.ts";

export const APPEND_ENTRIES_MAX = 1024;
export const APPEND_BYTES_MAX = 256 * 1024;
/** In flight to one member: a few round trips of a busy log. */
const WINDOW_ENTRIES = 8192;
const WINDOW_BYTES = 4 * 1024 * 1024;
/** Beyond it proposals are refused: the followers, or the disks, do not keep up. */
const UNCOMMITTED_ENTRIES_MAX = 16_384;
const UNCOMMITTED_BYTES_MAX = 8 * 1024 * 1024;

type AppendAnswer = Extract<Message, { readonly kind: "append-answer" }>;

export function becomeLeader(core: CoreState): void {
  const first = logIndex(core.log.lastIndex + 1);
  core.role = "leader";
  core.leader = core.id;
  core.votes.clear();
  core.receiving = null;
  const progress = new Map();
  core.leading = {
    progress,
    tracked: tracked(core, progress),
    firstIndex: first,
    timeBase: timeFound(core),
    timeSince: core.now,
    round: 0,
    heartbeatAt: core.now,
    beats: [],
    reads: [],
    earlyReads: [],
    transfer: null,
    heard: null,
  };
  appendEntry(core, "no-op", EMPTY);
}

export function onPropose(core: CoreState, id: number, payload: Uint8Array): void {
  const refusal = proposalRefusal(core);
  if (refusal !== null) {
    core.refused.push({ id, refusal });
    return;
  }
  core.accepted.push({ id, index: appendEntry(core, "command", payload), term: core.term });
}

/** The new entry's index. Its cluster time advances with our own clock from where the term found it. */
export function appendEntry(core: CoreState, kind: EntryKind, payload: Uint8Array): LogIndex {
  const index = logIndex(core.log.lastIndex + 1);
  const entry = { index, term: core.term, kind, time: clusterTime(core), payload };
  core.log.append(entry);
  core.outbox.append(entry);
  return index;
}

/**
 * From where a new term's time begins: the newest entry's, or what the leader who wrote that entry has said since. Another leader's word
 * does not count: his time may have been ahead of whoever stamped this log, and a session renewed there would end early.
 */
function timeFound(core: CoreState): number {
  const { heard, log } = core;
  return heard !== null && heard.term === log.lastTerm ? Math.max(log.lastTime, heard.time) : log.lastTime;
}

/** Never runs faster than real time: it starts from a time that was stamped, or said, before the term began. */
export function clusterTime(core: CoreState): number {
  const { leading } = core;
  if (leading === null) return core.log.lastTime;
  return Math.max(core.log.lastTime, leading.timeBase + (core.now - leading.timeSince));
}

export function onAppendAnswer(core: CoreState, leading: Leading, from: MemberId, answer: AppendAnswer): void {
  const progress = leading.progress.get(from);
  if (progress === undefined) return;
  progress.contactAt = core.now;
  switch (answer.outcome) {
    case "matched":
      if (isVoid(progress, answer.round)) return;
      progress.trust = "counted";
      noteRound(progress, answer.round);
      noteMatch(core, progress, answer.index);
      return;
    case "damaged":
      // Who says so without naming the finding says nothing that could be mended.
      if (answer.damage !== null) noteDoubt(core, leading, progress, { index: answer.index, damage: answer.damage });
      return;
    case "mismatch":
      if (progress.trust === "counted") noteRound(progress, answer.round);
      if (progress.mode === "snapshot") return;
      progress.next = Math.max(progress.match + 1, Math.min(answer.index + 1, progress.next - 1, core.log.lastIndex + 1));
      progress.mode = "probe";
      progress.probe = "free";
  }
}

/** A majority that is durable, of an entry of this term: everything before it is committed with it. */
export function advanceCommit(core: CoreState, leading: Leading): void {
  if (core.commit === core.log.lastIndex) return;
  const reached = quorumValue(leading.tracked, core.log.durable, durableAt);
  if (reached <= core.commit || reached < leading.firstIndex) return;
  core.commit = logIndex(reached);
}

function durableAt({ trust, match }: Progress): number {
  return trust === "doubted" ? 0 : match;
}

/** Heartbeats, check-quorum, a transfer that takes too long, an own disk that hangs. */
export function leaderTimers(core: CoreState, leading: Leading): void {
  const { heartbeatMs, electionMaxMs } = core.timings;
  const heard = core.now <= heardUntil(core, leading);
  const oldest = core.pending[0];
  const hangs = oldest !== undefined && core.now - oldest.since > electionMaxMs && core.configuration.voters.length > 1;
  if (!heard || hangs) {
    becomeFollower(core, core.term, null);
    return;
  }
  if (leading.transfer !== null && core.now >= leading.transfer.deadline) leading.transfer = null;
  if (core.now < leading.heartbeatAt) return;
  leading.heartbeatAt = core.now + heartbeatMs;
  leading.round++;
  leading.beats = [...leading.beats.filter(({ at }) => core.now - at <= electionMaxMs), { round: leading.round, at: core.now }];
  for (const progress of leading.tracked.others) progress.probe = "free";
}

/** As long as a majority has been in contact: members that are heard meanwhile only make it later. */
function heardUntil(core: CoreState, leading: Leading): number {
  const { heard, tracked } = leading;
  if (heard !== null && heard.tracked === tracked && core.now <= heard.until) return heard.until;
  const until = quorumValue(tracked, Number.POSITIVE_INFINITY, contactOf) + core.timings.electionMaxMs;
  leading.heard = { tracked, until };
  return until;
}

function contactOf({ contactAt }: Progress): number {
  return contactAt;
}

/** Whether the member has answered in this term within the longest election timeout. */
export function inContact(core: CoreState, leading: Leading, id: MemberId): boolean {
  const progress = leading.progress.get(id);
  return progress !== undefined && core.now - progress.contactAt <= core.timings.electionMaxMs;
}

/**
 * Whether the member has answered to what this leader sent within the longest election timeout. Stricter than contact: an answer may have
 * waited where this process was held up, and says nothing of the member now.
 */
export function hasAnsweredLately(core: CoreState, leading: Leading, { answeredRound }: Progress): boolean {
  const since = leading.beats.find(({ at }) => core.now - at <= core.timings.electionMaxMs);
  return since !== undefined && answeredRound >= since.round;
}

/** Sends each member what it lacks, and a heartbeat where it has to hear of a round or of a commit. */
export function replicate(core: CoreState, leading: Leading): void {
  for (const progress of leading.tracked.others) {
    if (progress.mode !== "snapshot" && progress.next <= core.log.baseIndex) startSnapshot(core, progress);
    if (progress.mode === "snapshot") sendSnapshot(core, leading, progress);
    else sendEntries(core, leading, progress);
    const caughtUp = progress.match >= core.commit && progress.sentCommit < core.commit;
    if (progress.sentRound < leading.round || caughtUp) sendAppend(core, leading, progress, "heartbeat");
  }
  sendTransfer(core, leading);
}

export function onTransfer(core: CoreState, leading: Leading, wanted: MemberId | null): void {
  if (leading.transfer !== null) return;
  const to = wanted ?? bestSuccessor(core, leading);
  if (to === null || to === core.id || !core.configuration.voters.some(({ id }) => id === to)) return;
  leading.transfer = { to, deadline: core.now + core.timings.electionMaxMs, sent: false };
}

/** The voter that is in contact and furthest; null where there is none. */
function bestSuccessor(core: CoreState, leading: Leading): MemberId | null {
  let best: Progress | null = null;
  for (const { id } of core.configuration.voters) {
    const progress = leading.progress.get(id);
    if (progress === undefined || progress.trust === "doubted" || !inContact(core, leading, id)) continue;
    if (best === null || progress.match > best.match) best = progress;
  }
  return best?.id ?? null;
}

function sendTransfer(core: CoreState, leading: Leading): void {
  const { transfer } = leading;
  if (transfer === null || transfer.sent) return;
  const progress = leading.progress.get(transfer.to);
  if (progress === undefined || progress.match < core.log.lastIndex) return;
  transfer.sent = true;
  core.send(transfer.to, { kind: "timeout-now", term: core.term });
}

function sendEntries(core: CoreState, leading: Leading, progress: Progress): void {
  if (progress.mode === "probe") {
    if (progress.probe === "sent") return;
    progress.probe = "sent";
    sendAppend(core, leading, progress, "entries");
    return;
  }
  while (progress.next <= core.log.lastIndex && hasWindow(core, progress)) sendAppend(core, leading, progress, "entries");
}

function hasWindow(core: CoreState, progress: Progress): boolean {
  const after = Math.max(progress.match, core.log.baseIndex);
  const inFlight = progress.next - 1 - after;
  return inFlight < WINDOW_ENTRIES && (inFlight <= 0 || core.log.bytesBetween(after, progress.next - 1) < WINDOW_BYTES);
}

/** A member that gets the snapshot is only asked whether it is there: from where both logs are known to be equal. */
function sendAppend(core: CoreState, leading: Leading, progress: Progress, what: "entries" | "heartbeat"): void {
  const previous = progress.mode === "snapshot" ? 0 : progress.next - 1;
  const previousTerm = previous === 0 ? (0 as Term) : core.log.termAt(previous);
  if (previousTerm === null) throw new Error(`the log has no term for ${previous}, before what is sent next`);
  const entries =
    what === "heartbeat" ? NO_ENTRIES : core.log.slice(progress.next, { entriesMax: APPEND_ENTRIES_MAX, bytesMax: APPEND_BYTES_MAX });
  if (progress.mode === "replicate") progress.next += entries.length;
  progress.sentRound = leading.round;
  progress.sentCommit = core.commit;
  core.send(progress.id, {
    kind: "append",
    term: core.term,
    previousIndex: logIndex(previous),
    previousTerm,
    entries,
    commit: core.commit,
    repair:
      progress.trust === "doubted" && progress.fence !== null ? { through: progress.fence.through, damage: progress.fence.damage } : null,
    time: clusterTime(core),
    round: leading.round,
  });
}

function startSnapshot(core: CoreState, progress: Progress): void {
  progress.mode = "snapshot";
  progress.sending = newestToSend(core);
}

function proposalRefusal(core: CoreState): Refusal | null {
  const { leading, log } = core;
  if (leading === null) return notLeader(core);
  if (leading.transfer !== null) return { kind: "busy", reason: "leadership is being handed over" };
  const from = Math.max(core.commit, log.baseIndex);
  const tooMany = log.lastIndex - from >= UNCOMMITTED_ENTRIES_MAX || log.bytesBetween(from, log.lastIndex) >= UNCOMMITTED_BYTES_MAX;
  return tooMany ? { kind: "busy", reason: "too much waits to be committed" } : null;
}

export function notLeader(core: CoreState): Refusal {
  return { kind: "not-leader", leader: core.leader === null ? null : findMember(core.configuration, core.leader) };
}

const EMPTY = new Uint8Array(0);
const NO_ENTRIES: readonly [] = [];
