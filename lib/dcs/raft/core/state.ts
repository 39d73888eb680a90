// Owns the state that the rules of the core share, and the two changes that all of them use: term with vote, and role.
// Decides nothing by itself.

import { type LogIndex, logIndex, type MemberId, type Term } from "../../../model/raft.ts";
import { type Counted, decodeConfiguration, findMember, isVoter } from "./configuration.ts";
import { RaftLog } from "./log.ts";
import { Outbox } from "./outbox.ts";
import type {
  ChunkToSend,
  Configuration,
  LogEntry,
  Message,
  Output,
  RaftStart,
  RaftTimings,
  ReceivedChunk,
  Refusal,
  Repair,
  Role,
  RoleState,
  SnapshotMeta,
} from "./types.ts";

/** What a leader knows of one other member. */
export interface Progress {
  readonly id: MemberId;
  /** Durable there and equal to our log. */
  match: number;
  /** The next entry to send. */
  next: number;
  /** `probe`: one message at a time until both agree. `replicate`: a window in flight. `snapshot`: it needs what we no longer hold. */
  mode: "probe" | "replicate" | "snapshot";
  /** `doubted`: its log was found corrupt; its answers move `next`, and count for nothing. */
  trust: "counted" | "doubted";
  /**
   * Set when its log was found corrupt: what it acknowledged in an earlier round is void, and everything that it can have
   * acknowledged to us or to leaders before us stands at or before `through`. Another `damage` needs a fence of its own.
   */
  fence: (Repair & { readonly round: number }) | null;
  probe: "free" | "sent";
  /** When it last answered in this term. */
  contactAt: number;
  answeredRound: number;
  /** The newest round when its process was last known to be gone: what it said before that tells nothing of the next one. */
  lostRound: number;
  sentRound: number;
  sentCommit: number;
  sending: Sending | null;
}

/** A snapshot on its way to a member. */
export interface Sending {
  readonly meta: SnapshotMeta;
  readonly size: number;
  offset: number;
  sentAt: number;
  state: "free" | "sent";
  /** How often in a row a chunk was sent again because nothing came back. */
  unanswered: number;
}

export interface PendingRead {
  readonly id: number;
  readonly index: LogIndex;
  /** A majority that answered this round or a later one confirms it. */
  readonly round: number;
}

/** A leader looks at the others in each step: made once for each configuration. Null among those that count is the leader itself. */
export interface Tracked extends Counted<Progress | null> {
  readonly others: readonly Progress[];
  /** Whether the leader counts at all: it may be on its way out. */
  readonly self: "counts" | "leaves";
}

/** What only a leader has; made anew in each term. */
export interface Leading {
  readonly progress: Map<MemberId, Progress>;
  /** The same, as the configuration in force orders and counts them. */
  tracked: Tracked;
  /** Index of this term's no-op: an index from here on may be committed by counting. */
  readonly firstIndex: LogIndex;
  /** Cluster time when the term began, and our own clock then. */
  readonly timeBase: number;
  readonly timeSince: number;
  round: number;
  heartbeatAt: number;
  /** The rounds that heartbeats began within the longest election timeout, and when: the oldest first. */
  beats: readonly { readonly round: number; readonly at: number }[];
  reads: PendingRead[];
  /** Reads that came before the first commit of this term. */
  earlyReads: number[];
  transfer: { readonly to: MemberId; readonly deadline: number; sent: boolean } | null;
  /** Until when a majority of those that count is heard, if nobody were heard any more: looked at anew only then. */
  heard: { readonly tracked: Tracked; readonly until: number } | null;
}

/** A snapshot that is arriving from the leader. */
export interface Receiving {
  readonly meta: SnapshotMeta;
  readonly from: MemberId;
  offset: number;
  state: "receiving" | "installing";
}

export interface ConfigurationAt {
  readonly index: LogIndex;
  readonly configuration: Configuration;
}

export class CoreState {
  readonly id: MemberId;
  readonly timings: RaftTimings;
  readonly random: () => number;
  readonly outbox = new Outbox();
  readonly log: RaftLog;

  now: number;
  term: Term;
  votedFor: MemberId | null;
  role: Role = "follower";
  leader: MemberId | null = null;
  commit: LogIndex;
  applied: LogIndex;
  /** The newest last; the first is in force at or before the log's base. */
  configurations: ConfigurationAt[];
  snapshot: SnapshotMeta;
  snapshotSize: number;
  /** `damaged`: no vote, no acknowledgement, no campaign. */
  health: "whole" | "damaged";
  /** Drawn at a start that found the log corrupt, so that no other finding is taken for it; null where it was whole. */
  readonly damage: number | null;
  disk: "room" | "full" = "room";

  electionAt: number;
  /** When the leader was last heard; minus infinity where its process is known to be gone. */
  leaderContactAt = Number.NEGATIVE_INFINITY;
  /** The highest cluster time that the leader of a term has sent; a restart forgets it, which ends nothing early. */
  heard: { readonly term: Term; readonly time: number } | null = null;
  /** What the voters answered in this candidacy. */
  votes = new Map<MemberId, "granted" | "refused">();
  leading: Leading | null = null;
  receiving: Receiving | null = null;
  /** Up to here the log is known to equal the current leader's. */
  matched: LogIndex;
  /** The newest round of the current leader; the answer that is owed once entries are durable repeats it. */
  leaderRound = 0;
  answerOwed = false;
  /** From the current leader: where a damaged log is whole again. */
  repairThrough: LogIndex | null = null;
  /** Batches on their way to the disk: what they make durable, and since when. */
  pending: { readonly sequence: number; lastIndex: LogIndex; readonly since: number }[] = [];

  accepted: { readonly id: number; readonly index: LogIndex; readonly term: Term }[] = [];
  refused: { readonly id: number; readonly refusal: Refusal }[] = [];
  readsReady: { readonly id: number; readonly index: LogIndex }[] = [];
  chunksToSend: ChunkToSend[] = [];
  received: ReceivedChunk[] = [];
  repaired: "whole" | null = null;

  constructor(start: RaftStart) {
    this.id = start.id;
    this.timings = start.timings;
    this.random = start.random;
    this.now = start.now;
    this.term = start.hardState.term;
    this.votedFor = start.hardState.votedFor;
    this.log = new RaftLog(start.snapshot, start.entries);
    this.commit = start.snapshot.index;
    this.applied = start.snapshot.index;
    this.matched = logIndex(0);
    this.snapshot = start.snapshot;
    this.snapshotSize = start.snapshotSize;
    this.health = start.log;
    this.damage = start.log === "damaged" ? Math.floor(start.random() * DAMAGES) : null;
    this.configurations = [{ index: start.snapshot.configurationIndex, configuration: start.snapshot.configuration }];
    this.electionAt = start.now;
    for (const entry of start.entries) if (entry.kind === "configuration") this.adoptConfiguration(entry);
  }

  get configuration(): Configuration {
    return (this.configurations[this.configurations.length - 1] as ConfigurationAt).configuration;
  }

  get configurationIndex(): LogIndex {
    return (this.configurations[this.configurations.length - 1] as ConfigurationAt).index;
  }

  get roleState(): RoleState {
    return { role: this.role, term: this.term, leader: this.leader };
  }

  /** A configuration counts from the moment it stands in the log. */
  adoptConfiguration(entry: LogEntry): void {
    this.configurations.push({ index: entry.index, configuration: decodeConfiguration(entry.payload) });
  }

  /** What has gathered since the last step; an output never shares a list that later steps fill. */
  takeGathered(): Pick<Output, "accepted" | "refused" | "readsReady" | "chunksToSend" | "received" | "repaired"> {
    const { accepted, refused, readsReady, chunksToSend, received, repaired } = this;
    const none = accepted.length + refused.length + readsReady.length + chunksToSend.length + received.length === 0;
    if (none && repaired === null) return NOTHING_GATHERED;
    // A list that has nothing stays here: nearly always only one of them is handed out.
    if (accepted.length > 0) this.accepted = [];
    if (refused.length > 0) this.refused = [];
    if (readsReady.length > 0) this.readsReady = [];
    if (chunksToSend.length > 0) this.chunksToSend = [];
    if (received.length > 0) this.received = [];
    this.repaired = null;
    return {
      accepted: accepted.length > 0 ? accepted : NOTHING_GATHERED.accepted,
      refused: refused.length > 0 ? refused : NOTHING_GATHERED.refused,
      readsReady: readsReady.length > 0 ? readsReady : NOTHING_GATHERED.readsReady,
      chunksToSend: chunksToSend.length > 0 ? chunksToSend : NOTHING_GATHERED.chunksToSend,
      received: received.length > 0 ? received : NOTHING_GATHERED.received,
      repaired,
    };
  }

  send(to: MemberId, message: Message, promised: "term" | "log" = "term"): void {
    this.outbox.send(to, message, promised, this.term);
  }
}

/** Whether the member may stand for election at all. */
export function mayCampaign(core: CoreState): boolean {
  return core.health === "whole" && core.disk === "room" && core.receiving?.state !== "installing" && mayLead(core);
}

/**
 * Who is to leave by a change that is not known to be committed may be the only one that has it: the others, whose logs are shorter, could
 * never be elected. It leads without counting itself until the change is done. Source: Ongaro, section 4.2.2.
 */
function mayLead(core: CoreState): boolean {
  if (isVoter(core.configuration, core.id)) return true;
  const before = core.configurations.at(-2);
  return before !== undefined && core.configurationIndex > core.commit && isVoter(before.configuration, core.id);
}

/** A new term or a vote: written before anything that speaks for it may leave. */
export function setHardState(core: CoreState, term: Term, votedFor: MemberId | null): void {
  if (term < core.term) throw new Error(`the term went back from ${core.term} to ${term}`);
  if (term === core.term && core.votedFor !== null && votedFor !== core.votedFor) {
    throw new Error(`a second vote in term ${term}`);
  }
  if (term === core.term && votedFor === core.votedFor) return;
  core.term = term;
  core.votedFor = votedFor;
  core.outbox.write({ kind: "hard-state", state: { term, votedFor } });
}

/** Enters the term if it is newer, gives up whatever role there was, and waits for a leader (or follows the given one). */
export function becomeFollower(core: CoreState, term: Term, leader: MemberId | null): void {
  // One that leads again in a later term is another leader: its log may have lost what it once sent, and its rounds begin anew.
  const sameLeader = leader !== null && leader === core.leader && term === core.term;
  if (term > core.term) setHardState(core, term, null);
  if (core.role === "candidate") core.outbox.withdrawVoteRequests();
  if (core.leading !== null) endLeading(core, leader);
  if (core.role !== "follower" || core.leader !== leader) resetElection(core);
  core.role = "follower";
  if (!sameLeader) {
    core.matched = logIndex(0);
    core.leaderRound = 0;
    core.answerOwed = false;
    core.repairThrough = null;
    core.leaderContactAt = Number.NEGATIVE_INFINITY;
    if (core.receiving?.state === "receiving") core.receiving = null;
  }
  core.leader = leader;
  core.votes.clear();
}

/** The next election begins after a random time from now. */
export function resetElection(core: CoreState): void {
  const { electionMinMs, electionMaxMs } = core.timings;
  core.electionAt = core.now + electionMinMs + core.random() * (electionMaxMs - electionMinMs);
}

/** Reads that were promised a majority will not get one from us any more. */
function endLeading(core: CoreState, leader: MemberId | null): void {
  const { leading } = core;
  if (leading === null) return;
  core.leading = null;
  const known = leader === null ? null : findMember(core.configuration, leader);
  for (const id of [...leading.earlyReads, ...leading.reads.map((read) => read.id)]) {
    core.refused.push({ id, refusal: { kind: "not-leader", leader: known } });
  }
}

const DAMAGES = 2 ** 32;
const NOTHING_GATHERED = { accepted: [], refused: [], readsReady: [], chunksToSend: [], received: [], repaired: null } as const;
