// Owns snapshots on their way: chunks to a member that needs what the log no longer holds, and chunks that arrive here.
// The bytes are the driver's business. Source: Ongaro, section 5.1 to 5.3.

import { type LogIndex, logIndex, type MemberId } from "../../../model/raft.ts";
import { answerMatched } from "./following.ts";
import { inContact } from "./leading.ts";
import { noteMatch } from "./progress.ts";
import type { CoreState, Leading, Progress, Sending } from "./state.ts";
import type { Message, SnapshotMeta } from "./types.ts";

export const CHUNK_BYTES_MAX = 64 * 1024;
/** Entries kept behind a snapshot, so that a member that was away for a moment needs no snapshot. */
const TRAILING_ENTRIES = 1024;
/** Entries are kept for a member that gets a snapshot, or what follows it, up to here: beyond it that member begins anew. */
const HELD_ENTRIES_MAX = 262_144;
const HELD_BYTES_MAX = 64 * 1024 * 1024;
/** A snapshot of which so many chunks in a row were sent again in vain is given up for the newest one. */
const UNANSWERED_MAX = 4;

type SnapshotChunk = Extract<Message, { readonly kind: "snapshot-chunk" }>;
type SnapshotAnswer = Extract<Message, { readonly kind: "snapshot-answer" }>;

/** The newest snapshot, from its beginning. */
export function newestToSend(core: CoreState): Sending {
  return { meta: core.snapshot, size: core.snapshotSize, offset: 0, sentAt: core.now, state: "free", unanswered: 0 };
}

/**
 * One chunk at a time; one that stays unanswered for an election timeout is sent again. It stays the same snapshot while anything comes
 * back: where snapshots are taken faster than one is sent, a member that was given the newest each time would never have a whole one.
 */
export function sendSnapshot(core: CoreState, leading: Leading, progress: Progress): void {
  const { sending } = progress;
  if (sending === null) throw new Error("a member gets a snapshot that is not named");
  if (sending.state === "sent") {
    if (core.now - sending.sentAt < core.timings.electionMinMs) return;
    sending.unanswered++;
    if (isGivenUp(sending) && sending.meta !== core.snapshot) {
      progress.sending = newestToSend(core);
      sendSnapshot(core, leading, progress);
      return;
    }
  }
  sending.state = "sent";
  sending.sentAt = core.now;
  progress.sentRound = leading.round;
  const { meta, size, offset } = sending;
  const length = Math.min(CHUNK_BYTES_MAX, size - offset);
  core.chunksToSend.push({ to: progress.id, term: core.term, meta, size, offset, length, round: leading.round });
}

export function onSnapshotAnswer(core: CoreState, leading: Leading, from: MemberId, answer: SnapshotAnswer): void {
  const progress = leading.progress.get(from);
  if (progress === undefined) return;
  progress.contactAt = core.now;
  const { sending } = progress;
  if (progress.mode !== "snapshot" || sending === null || sending.meta.index !== answer.index) return;
  if (answer.outcome === "installed") {
    noteMatch(core, progress, answer.index);
    return;
  }
  if (answer.offset > sending.size) return;
  sending.unanswered = 0;
  // It has nothing of this one (any more): then the newest spares it the entries behind this one.
  if (answer.offset === 0 && sending.offset > 0 && sending.meta !== core.snapshot) {
    progress.sending = { ...newestToSend(core), state: "sent" };
    return;
  }
  // Only an answer beyond what is in flight lets the next chunk leave at once. If every answer did, messages that come twice would
  // multiply without end; what is lost is sent again after a while.
  const goesOn = answer.offset > sending.offset;
  sending.offset = answer.offset;
  if (!goesOn) return;
  // At the end of the last chunk the member installs; the next word is its own, or the repetition above.
  sending.state = answer.offset === sending.size ? "sent" : "free";
  sending.sentAt = core.now;
}

/** From the leader of our term, whose contact has been noted. */
export function onSnapshotChunk(core: CoreState, from: MemberId, chunk: SnapshotChunk): void {
  const { meta } = chunk;
  if (core.health === "whole" && meta.index <= core.log.durable && meta.index <= core.commit) {
    answerChunk(core, from, chunk, "installed", chunk.size);
    return;
  }
  const { receiving } = core;
  if (receiving?.state === "installing") {
    if (isSame(receiving.meta, meta)) answerChunk(core, from, chunk, "receiving", receiving.offset);
    return;
  }
  const continues = receiving !== null && receiving.from === from && isSame(receiving.meta, meta);
  const expected = continues ? receiving.offset : 0;
  if (chunk.offset !== expected) {
    answerChunk(core, from, chunk, "receiving", expected);
    return;
  }
  const offset = expected + chunk.data.length;
  core.receiving = { meta, from, offset, state: offset >= chunk.size ? "installing" : "receiving" };
  core.received.push({ meta, size: chunk.size, offset: chunk.offset, data: chunk.data });
  answerChunk(core, from, chunk, "receiving", offset);
}

/** The state machine holds the snapshot, durably: the log goes on behind it. */
export function onSnapshotInstalled(core: CoreState, meta: SnapshotMeta, size: number): void {
  core.receiving = null;
  if (meta.index > core.snapshot.index) {
    core.snapshot = meta;
    core.snapshotSize = size;
  }
  // What a leader's snapshot covers was committed: up to there this log equals that leader's.
  core.matched = logIndex(Math.max(core.matched, Math.min(meta.index, core.log.lastIndex)));
  if (meta.index > core.applied) goOnBehind(core, meta);
  answerMatched(core);
}

function goOnBehind(core: CoreState, meta: SnapshotMeta): void {
  const { log } = core;
  if (log.termAt(meta.index) === meta.term) {
    log.compact(meta.index);
    log.madeDurable(meta.index);
    core.configurations = core.configurations.filter(({ index }) => index > meta.index);
  } else {
    log.reset(meta.index, meta.term, meta.time);
    core.outbox.write({ kind: "reset", index: meta.index, term: meta.term });
    for (const batch of core.pending) batch.lastIndex = logIndex(Math.min(batch.lastIndex, meta.index));
    core.configurations = [];
  }
  core.configurations.unshift({ index: meta.configurationIndex, configuration: meta.configuration });
  core.applied = meta.index;
  core.commit = logIndex(Math.max(core.commit, meta.index));
  core.matched = logIndex(Math.max(core.matched, meta.index));
}

export function onSnapshotRefused(core: CoreState, meta: SnapshotMeta): void {
  if (core.receiving !== null && isSame(core.receiving.meta, meta)) core.receiving = null;
}

/** An own snapshot is durable: entries well behind it may go. */
export function onSnapshotSaved(core: CoreState, meta: SnapshotMeta, size: number): void {
  if (meta.index > core.applied) throw new Error(`a snapshot of ${meta.index} before it was applied`);
  // One of the same index has replaced a file that could not be read: it may be of another length.
  if (meta.index < core.snapshot.index) return;
  core.snapshot = meta;
  core.snapshotSize = size;
  const through = Math.min(Math.min(meta.index, core.log.lastIndex) - TRAILING_ENTRIES, wantedBehind(core));
  if (through > core.log.baseIndex) compact(core, logIndex(through));
}

/** Snapshots that are being sent: the driver keeps their files. */
export function snapshotsInUse(core: CoreState): readonly SnapshotMeta[] {
  const metas: SnapshotMeta[] = [];
  for (const { sending } of core.leading?.tracked.others ?? []) if (sending !== null && !isGivenUp(sending)) metas.push(sending.meta);
  return metas;
}

/** Behind it somebody who can be heard still needs entries: who has got a snapshot must find what follows it here. */
function wantedBehind(core: CoreState): number {
  const { leading, log } = core;
  let least = Number.POSITIVE_INFINITY;
  if (leading === null || log.heldEntries > HELD_ENTRIES_MAX || log.bytesBetween(log.baseIndex, log.lastIndex) > HELD_BYTES_MAX)
    return least;
  for (const progress of leading.tracked.others) {
    const { sending, match } = progress;
    if (sending !== null) {
      if (!isGivenUp(sending)) least = Math.min(least, sending.meta.index);
    } else if (match >= log.baseIndex && inContact(core, leading, progress.id)) least = Math.min(least, match);
  }
  return least;
}

function isGivenUp({ unanswered }: Sending): boolean {
  return unanswered > UNANSWERED_MAX;
}

function compact(core: CoreState, through: LogIndex): void {
  core.log.compact(through);
  // The last configuration at or before the base stays.
  while (core.configurations.length > 1 && (core.configurations[1]?.index ?? 0) <= through) core.configurations.shift();
}

function answerChunk(core: CoreState, to: MemberId, chunk: SnapshotChunk, outcome: SnapshotAnswer["outcome"], offset: number): void {
  core.send(to, { kind: "snapshot-answer", term: core.term, index: chunk.meta.index, outcome, offset, round: chunk.round });
}

function isSame(a: SnapshotMeta, b: SnapshotMeta): boolean {
  return a.index === b.index && a.term === b.term;
}
