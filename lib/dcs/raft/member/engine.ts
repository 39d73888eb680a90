// Owns one member's turn: it gathers what happened, lets the core take a step, and does what the core says: log writes,
// messages, chunks, applying, answers to whoever waits. It answers a proposal only once it is applied. What is asked, and by
// whom, is not known here.

import type { Clock } from "../../../model/clock.ts";
import type { Log } from "../../../model/log.ts";
import type { LogIndex, MemberId, Term } from "../../../model/raft.ts";
import { ms } from "../../../model/units.ts";
import type { CoreStatus, Raft } from "../core/raft.ts";
import type { Configuration, LogEntry, MembershipChange, Message, Output, RaftEvent, Refusal, RoleState } from "../core/types.ts";
import type { CommandAnswer } from "../kv/command.ts";
import type { KeyValueMachine } from "../kv/machine.ts";
import { DiskError } from "../storage/disk.ts";
import type { RaftStorage } from "../storage/raft-storage.ts";
import type { PeerFrame } from "../transport/frame.ts";
import { SnapshotKeeper, type SnapshotLimits } from "./snapshots.ts";
import { SyncTimes } from "./sync-times.ts";

/**
 * What became of a proposal. `lost`: certainly never applied. `unknown`: it stood in the log when this member stopped being
 * able to tell; it may be applied yet.
 */
export type ProposalOutcome =
  | { readonly kind: "applied"; readonly answer: CommandAnswer | null }
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "lost" }
  | { readonly kind: "unknown"; readonly reason: string };

export type ReadOutcome = { readonly kind: "index"; readonly index: LogIndex } | { readonly kind: "refused"; readonly refusal: Refusal };

/** A full disk is looked at again this often. */
const SEEK_ROOM_MS = 1000;

export interface EngineOptions {
  readonly raft: Raft;
  readonly storage: RaftStorage;
  readonly machine: KeyValueMachine;
  readonly clock: Clock;
  readonly log: Log;
  /** Runs later, once, after what has already arrived in this turn of the event loop was handed over. */
  readonly defer: (run: () => void) => void;
  readonly send: (to: MemberId, frame: PeerFrame) => void;
  readonly snapshots: SnapshotLimits;
  readonly onRole: (role: RoleState) => void;
  readonly onConfiguration: (configuration: Configuration, index: LogIndex) => void;
  /** After entries were applied. */
  readonly onApplied: () => void;
  /** An invariant is broken or the disk failed: the member must stop at once. */
  readonly onFault: (reason: string) => void;
}

interface Proposal {
  readonly settle: (outcome: ProposalOutcome) => void;
  readonly term: Term;
}

export class Engine {
  readonly #options: EngineOptions;
  readonly #snapshots: SnapshotKeeper;
  readonly syncs: SyncTimes;
  #events: RaftEvent[] = [];
  #scheduled = false;
  readonly #ended = new AbortController();
  #lastId = 0;
  readonly #asked = new Map<number, (outcome: ProposalOutcome) => void>();
  readonly #reads = new Map<number, (outcome: ReadOutcome) => void>();
  /** Accepted, by index. */
  readonly #accepted = new Map<LogIndex, Proposal>();
  readonly #applyWaiters = new Set<{ readonly index: LogIndex; readonly run: () => void }>();
  /** Of the one snapshot that is taken at a time. */
  #durableWaiter: { readonly index: LogIndex; readonly settle: (error: DiskError | null) => void } | null = null;
  #timer: { readonly at: number; readonly stop: AbortController } | null = null;
  #timerAt = 0;

  constructor(options: EngineOptions) {
    this.#options = options;
    const { storage, clock } = options;
    this.syncs = new SyncTimes(clock);
    this.#snapshots = new SnapshotKeeper({
      ...options,
      limits: options.snapshots,
      ended: this.#ended.signal,
      push: (event) => this.push(event),
      durable: (index) => this.#durable(index),
      onFault: (reason) => this.#fault(reason),
    });
    storage.onDurable = (sequence) => {
      this.syncs.durable(sequence);
      this.push({ kind: "written", sequence });
    };
    storage.onSync = (phase) => this.syncs.fsync(phase);
    storage.onRoom = (room) => this.#changeRoom(room);
    storage.onFailure = (error) => this.#fault(`the disk failed: ${error.message}`);
    if (storage.room === "full") this.#changeRoom("full");
  }

  get role(): RoleState {
    return this.#options.raft.role;
  }

  status(): CoreStatus {
    return this.#options.raft.status();
  }

  /** Waits for the next turn; nothing happens after `stop`. */
  push(event: RaftEvent): void {
    if (this.#ended.signal.aborted) return;
    this.#events.push(event);
    this.#schedule();
  }

  message(from: MemberId, message: Message): void {
    this.push({ kind: "message", from, message });
  }

  propose(payload: Uint8Array, settle: (outcome: ProposalOutcome) => void): void {
    const id = ++this.#lastId;
    this.#asked.set(id, settle);
    this.push({ kind: "propose", id, payload });
  }

  changeMembers(change: MembershipChange, settle: (outcome: ProposalOutcome) => void): void {
    const id = ++this.#lastId;
    this.#asked.set(id, settle);
    this.push({ kind: "change-members", id, change });
  }

  /** From which applied index on a linearizable read may be answered. Refused unless this member leads. */
  readIndex(settle: (outcome: ReadOutcome) => void): void {
    const id = ++this.#lastId;
    this.#reads.set(id, settle);
    this.push({ kind: "read", id });
  }

  /** At once where the index is applied already. The answer takes it back: whoever gave up must not wait here for ever. */
  whenApplied(index: LogIndex, run: () => void): () => void {
    if (this.#options.machine.appliedIndex >= index) {
      run();
      return () => {};
    }
    const waiter = { index, run };
    this.#applyWaiters.add(waiter);
    return () => void this.#applyWaiters.delete(waiter);
  }

  /** Resolves once a snapshot of what is applied now, or later, is durable. Rejects with DiskError. */
  takeSnapshot(): Promise<void> {
    return this.#snapshots.take();
  }

  /** Whoever waits is told at once. A turn that broke off may have sent what was proposed in it: nothing is certain of that either. */
  stop(reason: string): void {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort();
    this.#timer?.stop.abort();
    this.#timer = null;
    const refusal: Refusal = { kind: "busy", reason };
    for (const settle of [...this.#asked.values()]) settle({ kind: "unknown", reason });
    for (const settle of [...this.#reads.values()]) settle({ kind: "refused", refusal });
    this.#asked.clear();
    this.#reads.clear();
    this.#releaseAccepted(reason);
    this.#applyWaiters.clear();
    this.#durableWaiter?.settle(new DiskError("failed", "the log", reason));
    this.#durableWaiter = null;
  }

  /** Resolves once the own log is durable up to the index. Rejects with DiskError when this member stops before. */
  #durable(index: LogIndex): Promise<void> {
    if (this.#ended.signal.aborted) return Promise.reject(new DiskError("failed", "the log", "this member has stopped"));
    return new Promise((resolve, reject) => {
      this.#durableWaiter = { index, settle: (error) => (error === null ? resolve() : reject(error)) };
      this.#releaseDurable();
    });
  }

  #releaseDurable(): void {
    const waiter = this.#durableWaiter;
    if (waiter === null || this.#options.raft.durable < waiter.index) return;
    this.#durableWaiter = null;
    waiter.settle(null);
  }

  #changeRoom(room: "full" | "room"): void {
    const { log } = this.#options;
    this.push({ kind: room === "full" ? "disk-full" : "disk-room" });
    if (room === "room") log.info("raft: there is room on the disk again");
    else {
      log.error("raft: the disk is full: this member does not lead until there is room");
      void this.#seekRoom();
    }
  }

  async #seekRoom(): Promise<void> {
    const { clock, storage } = this.#options;
    while (!this.#ended.signal.aborted && storage.room === "full") {
      await clock.sleepUntil(ms(clock.now() + SEEK_ROOM_MS), this.#ended.signal);
      if (!this.#ended.signal.aborted) storage.retryRoom();
    }
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#options.defer(() => {
      this.#scheduled = false;
      this.#turn();
    });
  }

  #turn(): void {
    if (this.#ended.signal.aborted) return;
    const events = this.#events;
    this.#events = [];
    try {
      this.#perform(this.#options.raft.step(this.#options.clock.now(), events));
    } catch (thrown) {
      if (thrown instanceof Error) this.#options.log.error(`raft: ${thrown.stack ?? thrown.message}`);
      this.#fault(thrown instanceof Error ? thrown.message : String(thrown));
    }
  }

  #perform(output: Output): void {
    const { send, storage } = this.#options;
    // Messages first: whatever promises durability is not among them, and the others' disks work while ours does.
    for (const { to, message } of output.messages) send(to, { kind: "raft", message });
    if (output.writes !== null) {
      this.syncs.begun(output.writes.sequence);
      storage.write(output.writes);
    }
    for (const chunk of output.chunksToSend) this.#snapshots.send(chunk);
    for (const chunk of output.received) this.#snapshots.receive(chunk, (index) => this.#installed(index));
    for (const { id, index, term } of output.accepted) this.#accept(id, index, term);
    for (const { id, refusal } of output.refused) this.#refuse(id, refusal);
    if (output.configuration !== null) this.#options.onConfiguration(output.configuration.configuration, output.configuration.index);
    if (output.committed.length > 0) this.#apply(output.committed);
    for (const { id, index } of output.readsReady) {
      const settle = this.#reads.get(id);
      this.#reads.delete(id);
      settle?.({ kind: "index", index });
    }
    if (output.role !== null) this.#changeRole(output.role);
    this.#releaseDurable();
    this.#arm(output.timerAt);
  }

  #accept(id: number, index: LogIndex, term: Term): void {
    const settle = this.#asked.get(id);
    this.#asked.delete(id);
    if (settle === undefined) return;
    // An entry of an earlier term of ours at this index was never committed, or it would still be there.
    this.#accepted.get(index)?.settle({ kind: "lost" });
    this.#accepted.set(index, { settle, term });
  }

  #refuse(id: number, refusal: Refusal): void {
    const settle = this.#asked.get(id) ?? this.#reads.get(id);
    this.#asked.delete(id);
    this.#reads.delete(id);
    settle?.({ kind: "refused", refusal });
  }

  #apply(entries: readonly LogEntry[]): void {
    const { machine } = this.#options;
    for (const entry of entries) {
      const answer = entry.kind === "command" ? machine.apply(entry) : null;
      if (entry.kind !== "command") machine.noop(entry.index, entry.time);
      this.#snapshots.applied(entry);
      const proposal = this.#accepted.get(entry.index);
      if (proposal === undefined) continue;
      this.#accepted.delete(entry.index);
      proposal.settle(proposal.term === entry.term ? { kind: "applied", answer } : { kind: "lost" });
    }
    this.#releaseApplied();
    this.#options.onApplied();
    this.#snapshots.takeIfDue();
  }

  #installed(index: LogIndex): void {
    for (const [at, { settle }] of [...this.#accepted]) {
      if (at > index) continue;
      this.#accepted.delete(at);
      settle({ kind: "unknown", reason: "a snapshot of the leader took its place" });
    }
    this.#releaseApplied();
    this.#options.onApplied();
  }

  #releaseApplied(): void {
    if (this.#applyWaiters.size === 0) return;
    const applied = this.#options.machine.appliedIndex;
    const due = [...this.#applyWaiters].filter(({ index }) => index <= applied);
    for (const waiter of due) this.#applyWaiters.delete(waiter);
    for (const { run } of due) run();
  }

  #changeRole(role: RoleState): void {
    if (role.role !== "leader") this.#releaseAccepted("this member no longer leads");
    this.#options.onRole(role);
  }

  #releaseAccepted(reason: string): void {
    const waiting = [...this.#accepted.values()];
    this.#accepted.clear();
    for (const { settle } of waiting) settle({ kind: "unknown", reason });
  }

  /** A timer that is too early only looks again: the election's moves with each heartbeat. */
  #arm(at: number): void {
    this.#timerAt = at;
    if (this.#timer !== null && this.#timer.at <= at) return;
    this.#timer?.stop.abort();
    const timer = { at, stop: new AbortController() };
    this.#timer = timer;
    void this.#options.clock.sleepUntil(ms(at), timer.stop.signal).then(() => {
      if (this.#timer !== timer) return;
      this.#timer = null;
      if (this.#options.clock.now() >= this.#timerAt) this.push({ kind: "tick" });
      else this.#arm(this.#timerAt);
    });
  }

  #fault(reason: string): void {
    if (this.#ended.signal.aborted) return;
    this.stop(reason);
    this.#options.onFault(reason);
  }
}
