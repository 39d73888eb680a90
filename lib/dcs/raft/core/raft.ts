// Owns one member's step: events in, what has to be done out. Pure and deterministic: time and randomness are given, nothing
// waits. The rules are in the files beside it. Throws where an invariant is broken; the member must then stop.

import { type LogIndex, logIndex, type MemberId } from "../../../model/raft.ts";
import { isQuorum } from "./configuration.ts";
import { countOwnVote, onPeerLost, onTimeoutNow, onVoteAnswer, onVoteRequest, startElection } from "./election.ts";
import { followLeader, mendDamage, onAppend, onDurable } from "./following.ts";
import { advanceCommit, clusterTime, leaderTimers, onAppendAnswer, onPropose, onTransfer, replicate } from "./leading.ts";
import { continueChange, onChangeMembers } from "./membership.ts";
import { confirmReads, onRead, startReads } from "./reads.ts";
import { onSnapshotAnswer, onSnapshotChunk, onSnapshotInstalled, onSnapshotRefused, onSnapshotSaved, snapshotsInUse } from "./snapshots.ts";
import { becomeFollower, CoreState } from "./state.ts";
import type { Configuration, LogEntry, Message, Output, RaftEvent, RaftStart, RoleState, SnapshotMeta } from "./types.ts";

/** What people and metrics want to know of a member; no decision may rest on it. */
export interface CoreStatus extends RoleState {
  readonly id: MemberId;
  /** In this term; null where it has not voted. */
  readonly votedFor: MemberId | null;
  readonly commit: LogIndex;
  readonly applied: LogIndex;
  readonly firstIndex: LogIndex;
  readonly lastIndex: LogIndex;
  readonly durable: LogIndex;
  readonly clusterTime: number;
  readonly health: "whole" | "damaged";
  readonly configuration: Configuration;
  readonly configurationIndex: LogIndex;
  readonly snapshotIndex: LogIndex;
  /** Of the newest snapshot's file. */
  readonly snapshotBytes: number;
  /** Payloads of the entries held in memory. */
  readonly logBytes: number;
  /** Of a leader alone: how far the others are. */
  readonly followers: readonly {
    readonly id: MemberId;
    readonly match: number;
    readonly mode: "probe" | "replicate" | "snapshot";
    readonly trust: "counted" | "doubted";
    /** Milliseconds since it last answered. */
    readonly silentMs: number;
  }[];
}

/** The first election begins one to four heartbeats after the start. */
const FIRST_ELECTION_HEARTBEATS = 3;

export class Raft {
  readonly #core: CoreState;
  #reported: RoleState;
  #reportedConfiguration: Configuration;

  constructor(start: RaftStart) {
    const core = new CoreState(start);
    this.#core = core;
    // Nobody was ever heard: where a leader lives, the pre-vote is refused and it will be heard soon; where none does, as after
    // all have been stopped, a full timeout would be lost. Spread, so that two members seldom stand at once.
    core.electionAt = core.now + core.timings.heartbeatMs * (1 + FIRST_ELECTION_HEARTBEATS * core.random());
    // Nobody else could lead: no reason to wait.
    if (isQuorum(core.configuration, (id) => id === core.id)) core.electionAt = core.now;
    this.#reported = core.roleState;
    this.#reportedConfiguration = core.configuration;
  }

  /** Role, term and leader as the last step left them. */
  get role(): RoleState {
    return this.#core.roleState;
  }

  /** Everything up to it survives a crash of this member. */
  get durable(): LogIndex {
    return this.#core.log.durable;
  }

  /** What a snapshot of the applied state at the index stands for. Throws Error where the log no longer knows the index. */
  snapshotMeta(index: LogIndex): SnapshotMeta {
    const { log, configurations, applied } = this.#core;
    const term = log.termAt(index);
    const time = log.timeAt(index);
    const at = configurations.findLast((entry) => entry.index <= index);
    if (index > applied || term === null || time === null || at === undefined) throw new Error(`no snapshot can be taken at ${index}`);
    return { index, term, time, configuration: at.configuration, configurationIndex: at.index };
  }

  /** Snapshots that are being sent to others: their files must stay readable. */
  get snapshotsInUse(): readonly SnapshotMeta[] {
    return snapshotsInUse(this.#core);
  }

  /** Takes the events in their order, at one instant (ms of the boot-time clock; an earlier one than before counts as the same). */
  step(now: number, events: readonly RaftEvent[]): Output {
    const core = this.#core;
    if (now > core.now) core.now = now;
    for (const event of events) handle(core, event);
    this.#timers();
    if (core.leading !== null) {
      advanceCommit(core, core.leading);
      continueChange(core, core.leading);
    }
    // A change may have taken this member out of the lead.
    if (core.leading !== null) {
      startReads(core, core.leading);
      replicate(core, core.leading);
      confirmReads(core, core.leading);
    }
    mendDamage(core);
    return this.#output();
  }

  status(): CoreStatus {
    const core = this.#core;
    const followers = [...(core.leading?.progress.values() ?? [])].map(({ id, match, mode, trust, contactAt }) => ({
      id,
      match,
      mode,
      trust,
      silentMs: core.now - contactAt,
    }));
    return {
      ...core.roleState,
      id: core.id,
      votedFor: core.votedFor,
      commit: core.commit,
      applied: core.applied,
      firstIndex: logIndex(core.log.baseIndex + 1),
      lastIndex: core.log.lastIndex,
      durable: core.log.durable,
      clusterTime: clusterTime(core),
      health: core.health,
      configuration: core.configuration,
      configurationIndex: core.configurationIndex,
      snapshotIndex: core.snapshot.index,
      snapshotBytes: core.snapshotSize,
      logBytes: core.log.bytesBetween(core.log.baseIndex, core.log.lastIndex),
      followers,
    };
  }

  #timers(): void {
    const core = this.#core;
    if (core.leading !== null) leaderTimers(core, core.leading);
    else if (core.now >= core.electionAt) startElection(core);
  }

  #output(): Output {
    const core = this.#core;
    const writes = core.outbox.takeWrites();
    if (writes !== null) core.pending.push({ sequence: writes.sequence, lastIndex: core.log.lastIndex, since: core.now });
    // Field by field: to spread an object in every step costs more than the step.
    const messages = core.outbox.takeMessages();
    const committed = this.#takeCommitted();
    const configuration = this.#takeConfiguration();
    const role = this.#takeRole();
    const timerAt = core.leading === null ? core.electionAt : core.leading.heartbeatAt;
    const { accepted, refused, readsReady, chunksToSend, received, repaired } = core.takeGathered();
    return { writes, messages, chunksToSend, received, committed, accepted, refused, readsReady, configuration, role, repaired, timerAt };
  }

  /**
   * Also what is durable on a majority of others alone: nobody has to wait for a disk that is slower than theirs (Ongaro, section
   * 10.2.1). Whoever takes a snapshot of the applied state waits until the own log is durable as far.
   */
  #takeCommitted(): readonly LogEntry[] {
    const core = this.#core;
    const upTo = core.commit;
    if (upTo <= core.applied || core.receiving?.state === "installing") return NO_ENTRIES;
    const entries: LogEntry[] = [];
    for (let index = core.applied + 1; index <= upTo; index++) entries.push(core.log.entry(index));
    core.applied = upTo;
    core.log.settle(upTo);
    return entries;
  }

  #takeConfiguration(): Output["configuration"] {
    const core = this.#core;
    // Not by its index: another leader's may have taken the same place in the log.
    if (core.configuration === this.#reportedConfiguration) return null;
    this.#reportedConfiguration = core.configuration;
    return { configuration: core.configuration, index: core.configurationIndex };
  }

  #takeRole(): RoleState | null {
    const { role, term, leader } = this.#core;
    const before = this.#reported;
    if (before.role === role && before.term === term && before.leader === leader) return null;
    this.#reported = { role, term, leader };
    return this.#reported;
  }
}

function handle(core: CoreState, event: RaftEvent): void {
  switch (event.kind) {
    case "tick":
      break;
    case "message":
      onMessage(core, event.from, event.message);
      break;
    case "written":
      onWritten(core, event.sequence);
      break;
    case "propose":
      onPropose(core, event.id, event.payload);
      break;
    case "read":
      onRead(core, event.id);
      break;
    case "change-members":
      onChangeMembers(core, event.id, event.change);
      break;
    case "transfer":
      if (core.leading !== null) onTransfer(core, core.leading, event.to);
      break;
    case "peer-lost":
      onPeerLost(core, event.peer);
      break;
    case "snapshot-saved":
      onSnapshotSaved(core, event.meta, event.size);
      break;
    case "snapshot-installed":
      onSnapshotInstalled(core, event.meta, event.size);
      break;
    case "snapshot-refused":
      onSnapshotRefused(core, event.meta);
      break;
    case "disk-full":
      core.disk = "full";
      if (core.leading !== null) onTransfer(core, core.leading, null);
      break;
    case "disk-room":
      core.disk = "room";
      break;
  }
}

function onMessage(core: CoreState, from: MemberId, message: Message): void {
  switch (message.kind) {
    case "vote-request":
      onVoteRequest(core, from, message);
      return;
    case "vote-answer":
      onVoteAnswer(core, from, message);
      return;
    case "append":
      if (followLeader(core, from, message)) onAppend(core, from, message);
      return;
    case "snapshot-chunk":
      if (followLeader(core, from, message)) onSnapshotChunk(core, from, message);
      return;
    case "append-answer":
    case "snapshot-answer":
      if (message.term > core.term) {
        becomeFollower(core, message.term, null);
        return;
      }
      // An answer of an older term speaks of another leader's log.
      if (message.term < core.term || core.leading === null) return;
      if (message.kind === "append-answer") onAppendAnswer(core, core.leading, from, message);
      else onSnapshotAnswer(core, core.leading, from, message);
      return;
    case "timeout-now":
      onTimeoutNow(core, from, message.term);
      return;
  }
}

function onWritten(core: CoreState, sequence: number): void {
  while (core.pending.length > 0 && (core.pending[0]?.sequence ?? 0) <= sequence) {
    core.log.madeDurable(core.pending.shift()?.lastIndex ?? 0);
  }
  core.outbox.durableUpTo(sequence, core.term);
  countOwnVote(core);
  onDurable(core);
}

const NO_ENTRIES: readonly LogEntry[] = [];
