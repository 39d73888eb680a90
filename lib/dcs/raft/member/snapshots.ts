// Owns a member's snapshots as the driver sees them: when one is taken, chunks for those that need it, chunks that arrive.
// Files are the storage's; whether a snapshot is wanted at all is the core's business.

import type { Log } from "../../../model/log.ts";
import type { LogIndex, MemberId } from "../../../model/raft.ts";
import type { Raft } from "../core/raft.ts";
import type { ChunkToSend, LogEntry, RaftEvent, ReceivedChunk } from "../core/types.ts";
import type { KeyValueMachine } from "../kv/machine.ts";
import { DiskError } from "../storage/disk.ts";
import type { RaftStorage } from "../storage/raft-storage.ts";
import type { PeerFrame } from "../transport/frame.ts";

/** A snapshot is taken after so many entries, or so many bytes of them, since the last one. */
export interface SnapshotLimits {
  readonly entries: number;
  readonly bytes: number;
}

export const DEFAULT_SNAPSHOT_LIMITS: SnapshotLimits = { entries: 20_000, bytes: 16 * 1024 * 1024 };
/** What an entry takes beside its payload, about. */
const ENTRY_OVERHEAD_BYTES = 64;

interface SnapshotKeeperOptions {
  readonly raft: Raft;
  readonly storage: RaftStorage;
  readonly machine: KeyValueMachine;
  readonly log: Log;
  readonly limits: SnapshotLimits;
  /** Runs later, once, after what has already arrived. */
  readonly defer: (run: () => void) => void;
  readonly send: (to: MemberId, frame: PeerFrame) => void;
  readonly push: (event: RaftEvent) => void;
  /** Resolves once the own log is durable up to the index. Rejects with DiskError where that will never be. */
  readonly durable: (index: LogIndex) => Promise<void>;
  readonly onFault: (reason: string) => void;
  /** Aborted once this member has stopped: nothing of what is made by then is needed any more. */
  readonly ended: AbortSignal;
}

interface Taking {
  /** What was applied when it began. */
  readonly index: LogIndex;
  readonly done: Promise<void>;
}

export class SnapshotKeeper {
  readonly #options: SnapshotKeeperOptions;
  #entries = 0;
  #bytes = 0;
  #taking: Taking | null = null;

  constructor(options: SnapshotKeeperOptions) {
    this.#options = options;
  }

  applied(entry: LogEntry): void {
    this.#entries++;
    this.#bytes += entry.payload.length + ENTRY_OVERHEAD_BYTES;
  }

  takeIfDue(): void {
    const { limits } = this.#options;
    if (this.#taking !== null || (this.#entries < limits.entries && this.#bytes < limits.bytes)) return;
    // A disk that fails stops the member elsewhere; one that is full lets the log grow until there is room.
    this.take().catch((error: unknown) => this.#warn(`no snapshot could be taken: ${inWords(error)}`));
  }

  /**
   * Resolves once one of what is applied now, or later, is durable. Rejects with DiskError. One at a time: who comes meanwhile shares it, or
   * the next one where more was applied since it began.
   */
  async take(): Promise<void> {
    const { machine, raft } = this.#options;
    const before = this.#taking;
    if (before !== null) {
      if (before.index >= machine.appliedIndex) return await before.done;
      // Whoever asked for that one is told how it ended.
      await before.done.catch(() => undefined);
    }
    await this.#taken(raft.status().snapshotIndex + 1);
  }

  send(chunk: ChunkToSend): void {
    const { storage, send, log } = this.#options;
    const { to, term, meta, size, offset, length, round } = chunk;
    storage.readChunk(meta, offset, length).then(
      (data) => send(to, { kind: "raft", message: { kind: "snapshot-chunk", term, meta, size, offset, data, round } }),
      (error: unknown) => {
        log.warning(`raft: cannot read the snapshot at ${meta.index}: ${inWords(error)}`);
        this.#replace(meta.index);
      },
    );
  }

  /** `installed` is called after the state machine has taken it over. */
  receive(chunk: ReceivedChunk, installed: (index: LogIndex) => void): void {
    this.#receive(chunk, installed).catch((thrown: unknown) => {
      const { push, log, onFault } = this.#options;
      if (thrown instanceof DiskError && thrown.kind === "full") {
        log.warning(`raft: no room for the leader's snapshot: ${thrown.message}`);
        push({ kind: "snapshot-refused", meta: chunk.meta });
      } else onFault(`the leader's snapshot cannot be installed: ${inWords(thrown)}`);
    });
  }

  /**
   * The core sends the newest snapshot again after a while. One that cannot be read is replaced, by one of the same index where
   * nothing was applied since; an older one has been already.
   */
  #replace(index: LogIndex): void {
    const { raft } = this.#options;
    if (this.#taking !== null || index < raft.status().snapshotIndex) return;
    this.#taken(index).catch((error: unknown) => this.#warn(`the snapshot could not be replaced: ${inWords(error)}`));
  }

  #taken(from: number): Promise<void> {
    this.#taking ??= {
      index: this.#options.machine.appliedIndex,
      done: this.#take(from).finally(() => {
        this.#taking = null;
      }),
    };
    return this.#taking.done;
  }

  /** Of what is applied, where that has reached the given index. */
  async #take(from: number): Promise<void> {
    const { machine, raft, storage, push, durable, ended, log } = this.#options;
    const index = machine.appliedIndex;
    // A newcomer that has not met a configuration yet could not describe what its state belongs to.
    if (index < from || raft.status().configuration.voters.length === 0) return;
    const meta = raft.snapshotMeta(index);
    const steps = machine.snapshotInSteps();
    let step = steps.next();
    this.#entries = 0;
    this.#bytes = 0;
    // Members come to the same index together: a whole snapshot in one turn would hold up all of them at once.
    for (; step.done !== true; step = steps.next()) {
      await this.#nextTurn();
      if (ended.aborted) throw new DiskError("failed", "the snapshot", "this member has stopped");
    }
    const body = step.value;
    // What is applied may be durable on the others alone: a snapshot never runs ahead of the own log.
    await durable(index);
    const size = await storage.saveSnapshot(meta, body, raft.snapshotsInUse);
    push({ kind: "snapshot-saved", meta, size });
    log.info(`raft: snapshot at index ${index}, ${size} bytes`);
  }

  /** A stop is no reason to warn of what it has left undone. */
  #warn(text: string): void {
    if (!this.#options.ended.aborted) this.#options.log.warning(`raft: ${text}`);
  }

  #nextTurn(): Promise<void> {
    return new Promise((resolve) => this.#options.defer(resolve));
  }

  async #receive(chunk: ReceivedChunk, installed: (index: LogIndex) => void): Promise<void> {
    const { storage, machine, push, log } = this.#options;
    const { meta, size } = chunk;
    const outcome = await storage.receive(chunk);
    if (outcome === "receiving") return;
    const restored = outcome === "bad" ? null : machine.appliedIndex >= meta.index ? "older" : machine.restoreInto(outcome.body);
    if (restored === null || (restored !== "older" && !restored.ok)) {
      log.warning(`raft: the snapshot at index ${meta.index} arrived damaged; it is fetched again`);
      push({ kind: "snapshot-refused", meta });
      return;
    }
    log.info(`raft: installed the leader's snapshot at index ${meta.index}, ${size} bytes`);
    this.#entries = 0;
    this.#bytes = 0;
    push({ kind: "snapshot-installed", meta, size });
    installed(meta.index);
  }
}

function inWords(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
