// Owns the vocabulary of the Raft core: log entries, configurations, messages, what comes in (events) and what has to be
// done (output). Types alone; every instant is a number of milliseconds of the member's boot-time clock, given from outside.

import type { LogIndex, MemberId, RaftMember, Term } from "../../../model/raft.ts";

/**
 * - `no-op`: the first entry of each term. - `command`: for the key-value machine; the core never looks into it.
 * - `configuration`: payload is an encoded Configuration (configuration.ts), in force from the moment it is appended.
 */
export type EntryKind = "no-op" | "command" | "configuration";

export interface LogEntry {
  readonly index: LogIndex;
  readonly term: Term;
  readonly kind: EntryKind;
  /** Cluster time in ms as the leader stamped it; never less than in the entry before. */
  readonly time: number;
  readonly payload: Uint8Array;
}

/** A member that receives the log and does not count. */
export interface Learner extends RaftMember {
  /** The voter whose place it takes once it has caught up; null where it takes nobody's. */
  readonly replaces: MemberId | null;
}

export interface Configuration {
  readonly voters: readonly RaftMember[];
  /** Joint consensus: the voters before the change, whose majority counts as well; null otherwise. */
  readonly outgoing: readonly RaftMember[] | null;
  readonly learners: readonly Learner[];
}

/** What a snapshot stands for: everything up to and including the index. */
export interface SnapshotMeta {
  readonly index: LogIndex;
  readonly term: Term;
  /** Cluster time of the entry at the index. */
  readonly time: number;
  readonly configuration: Configuration;
  /** Index of the entry that brought the configuration; 0 = the founding. */
  readonly configurationIndex: LogIndex;
}

/**
 * Once the log equals the leader's up to `through`, durably, it counts again. For the damage that it names alone: a log that is found
 * corrupt a second time may lack what it acknowledged since this was said.
 */
export interface Repair {
  readonly through: LogIndex;
  readonly damage: number;
}

export interface HardState {
  readonly term: Term;
  readonly votedFor: MemberId | null;
}

export type Message =
  | {
      readonly kind: "vote-request";
      /** `pre`: asks whether it would be elected; changes nobody's term. `transfer`: the leader told it to. */
      readonly purpose: "pre" | "election" | "transfer";
      readonly term: Term;
      readonly lastIndex: LogIndex;
      readonly lastTerm: Term;
    }
  | {
      readonly kind: "vote-answer";
      readonly purpose: "pre" | "election";
      /** For a granted pre-vote the term that was asked for; else the voter's own. */
      readonly term: Term;
      readonly verdict: "granted" | "refused";
    }
  | {
      readonly kind: "append";
      readonly term: Term;
      readonly previousIndex: LogIndex;
      readonly previousTerm: Term;
      /** At most APPEND_ENTRIES_MAX entries and about APPEND_BYTES_MAX bytes; empty = heartbeat. */
      readonly entries: readonly LogEntry[];
      readonly commit: LogIndex;
      /** To a member whose log was found corrupt; null to all others. */
      readonly repair: Repair | null;
      /** The leader's cluster time when it was sent: where nobody writes, a successor goes on from here and not from the newest entry. */
      readonly time: number;
      /** Counts the leader's heartbeat rounds; the answer repeats it (reads and check-quorum count on it). */
      readonly round: number;
    }
  | {
      readonly kind: "append-answer";
      readonly term: Term;
      /**
       * `matched`: everything up to `index` equals the leader's log AND is durable here.
       * `mismatch`: no entry (previousIndex, previousTerm); the leader should try at `index` or before.
       * `damaged`: as matched, but this log was found corrupt and is being made whole: it must not be counted.
       */
      readonly outcome: "matched" | "mismatch" | "damaged";
      readonly index: LogIndex;
      /** Of a member whose log was found corrupt: which finding (CoreState.damage). Null of all others. */
      readonly damage: number | null;
      readonly round: number;
    }
  | {
      readonly kind: "snapshot-chunk";
      readonly term: Term;
      readonly meta: SnapshotMeta;
      /** Length of the whole snapshot in bytes. */
      readonly size: number;
      readonly offset: number;
      readonly data: Uint8Array;
      readonly round: number;
    }
  | {
      readonly kind: "snapshot-answer";
      readonly term: Term;
      readonly index: LogIndex;
      /** `receiving`: go on at `offset`. `installed`: durable and applied. */
      readonly outcome: "receiving" | "installed";
      readonly offset: number;
      readonly round: number;
    }
  /** Leadership transfer: the receiver campaigns at once. */
  | { readonly kind: "timeout-now"; readonly term: Term };

export type MembershipChange =
  | { readonly kind: "add"; readonly member: RaftMember; readonly replaces: MemberId | null }
  | { readonly kind: "remove"; readonly id: MemberId }
  /** The same members are reached at other addresses from now on; those whose address is another one's stay where they were. */
  | { readonly kind: "move"; readonly members: readonly RaftMember[] };

/** One thing that happened. The instant is given to `step` beside the events. */
export type RaftEvent =
  /** The instant alone counts (the timer that the last output asked for). */
  | { readonly kind: "tick" }
  | { readonly kind: "message"; readonly from: MemberId; readonly message: Message }
  /** Every write batch up to this sequence is durable. */
  | { readonly kind: "written"; readonly sequence: number }
  | { readonly kind: "propose"; readonly id: number; readonly payload: Uint8Array }
  /** A linearizable read: `readsReady` says from which applied index on it may be answered. */
  | { readonly kind: "read"; readonly id: number }
  | { readonly kind: "change-members"; readonly id: number; readonly change: MembershipChange }
  /** Hands leadership over; `to` null = to the voter that is furthest. */
  | { readonly kind: "transfer"; readonly to: MemberId | null }
  /** A connection to this peer was reset or refused: its process is gone. Speeds an election up; never decides one. */
  | { readonly kind: "peer-lost"; readonly peer: MemberId }
  /** An own snapshot is durable: entries up to it may be forgotten. */
  | { readonly kind: "snapshot-saved"; readonly meta: SnapshotMeta; readonly size: number }
  /** The received snapshot is durable and loaded into the state machine. */
  | { readonly kind: "snapshot-installed"; readonly meta: SnapshotMeta; readonly size: number }
  /** The received snapshot was unreadable; receive it anew. */
  | { readonly kind: "snapshot-refused"; readonly meta: SnapshotMeta }
  /** No room for another segment: a leader hands over; nobody campaigns until `disk-room`. */
  | { readonly kind: "disk-full" }
  | { readonly kind: "disk-room" };

/** Records for the log, to be made durable in this order. */
export type LogWrite =
  | { readonly kind: "hard-state"; readonly state: HardState }
  /** Truncates what is at or behind the first entry's index, then appends. Indexes are consecutive. */
  | { readonly kind: "append"; readonly entries: readonly LogEntry[] }
  /** After an installed snapshot that the log does not reach: the log is empty and continues after the index. */
  | { readonly kind: "reset"; readonly index: LogIndex; readonly term: Term }
  /**
   * A `damaged` log has been made whole: to be written once, behind what made it so. Until it is durable a restart finds the
   * log damaged again, which is safe; without it the log would stay damaged for ever.
   */
  | { readonly kind: "whole" };

export interface WriteBatch {
  /** Grows by one with each batch. */
  readonly sequence: number;
  readonly writes: readonly LogWrite[];
}

export interface Outgoing {
  readonly to: MemberId;
  readonly message: Message;
}

/** The driver reads `length` bytes of the saved snapshot and sends them as a `snapshot-chunk`. */
export interface ChunkToSend {
  readonly to: MemberId;
  readonly term: Term;
  readonly meta: SnapshotMeta;
  readonly size: number;
  readonly offset: number;
  readonly length: number;
  readonly round: number;
}

/** The driver writes it to the file of the snapshot being received; at the end it verifies, installs and reports. */
export interface ReceivedChunk {
  readonly meta: SnapshotMeta;
  readonly size: number;
  readonly offset: number;
  readonly data: Uint8Array;
}

export type Refusal =
  /** Not the leader (any more); `leader` may be asked instead. Not appended. */
  | { readonly kind: "not-leader"; readonly leader: RaftMember | null }
  /** Too much is uncommitted, a transfer runs, another change is in flight. Not appended; try again. */
  | { readonly kind: "busy"; readonly reason: string }
  | { readonly kind: "invalid"; readonly reason: string };

export type Role = "follower" | "pre-candidate" | "candidate" | "leader";

export interface RoleState {
  readonly role: Role;
  readonly term: Term;
  readonly leader: MemberId | null;
}

/** What has to be done after a step. The order within each list is the order to keep. */
export interface Output {
  /** Null: nothing to write. */
  readonly writes: WriteBatch | null;
  /** May leave at once: whatever promises durability was held back until it was durable. */
  readonly messages: readonly Outgoing[];
  readonly chunksToSend: readonly ChunkToSend[];
  readonly received: readonly ReceivedChunk[];
  /** Newly committed, to be applied in this order; each index exactly once in the life of the process. */
  readonly committed: readonly LogEntry[];
  /** Where each accepted proposal stands in the log; committed with this term, it was applied. */
  readonly accepted: readonly { readonly id: number; readonly index: LogIndex; readonly term: Term }[];
  readonly refused: readonly { readonly id: number; readonly refusal: Refusal }[];
  readonly readsReady: readonly { readonly id: number; readonly index: LogIndex }[];
  /** The configuration in force and the index that brought it, when it changed. */
  readonly configuration: { readonly configuration: Configuration; readonly index: LogIndex } | null;
  /** When role, term or leader changed. */
  readonly role: RoleState | null;
  /** For the log and the metrics: a damaged log has just been made whole (the record of it is among the writes). */
  readonly repaired: "whole" | null;
  /** The next `tick` is wanted at this instant. */
  readonly timerAt: number;
}

export interface RaftTimings {
  /** Between heartbeats. Default 100. */
  readonly heartbeatMs: number;
  /** An election begins after a random time between these without a leader. Defaults 500 and 1000. */
  readonly electionMinMs: number;
  readonly electionMaxMs: number;
}

export interface RaftStart {
  readonly id: MemberId;
  readonly timings: RaftTimings;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly now: number;
  readonly hardState: HardState;
  /** Where the log begins: the newest snapshot, or the founding (index 0, term 0). */
  readonly snapshot: SnapshotMeta;
  readonly snapshotSize: number;
  /** Durable entries behind the snapshot, consecutive. */
  readonly entries: readonly LogEntry[];
  /** `damaged`: storage found corruption; no vote and no acknowledgement until a leader has made the log whole. */
  readonly log: "whole" | "damaged";
}
