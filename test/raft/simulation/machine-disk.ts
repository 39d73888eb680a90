// Owns one machine's disk as the core's write batches see it: what is durable, what waits for a sync, and what a crash leaves.
// No files: the storage's own files are simulated by the whole simulation (whole-world.ts).

import type { HardState, LogEntry, LogWrite, SnapshotMeta, WriteBatch } from "../../../lib/dcs/raft/core/types.ts";
import { term } from "../../../lib/model/raft.ts";
import type { Random } from "../../simulation/random.ts";
import { COVERED } from "./ledger.ts";
import { Violation } from "./trace.ts";

export interface SavedSnapshot {
  readonly meta: SnapshotMeta;
  readonly size: number;
  /** State hash of the machine at the index. */
  readonly hash: number;
}

/** A log with its beginning cut off; used for what is durable and for what the member has written so far. */
export class CutLog {
  base: number;
  baseTerm: number;
  readonly entries: LogEntry[];

  constructor(base: number, baseTerm: number, entries: LogEntry[]) {
    this.base = base;
    this.baseTerm = baseTerm;
    this.entries = entries;
  }

  get last(): number {
    return this.base + this.entries.length;
  }

  get lastTerm(): number {
    return this.entries.at(-1)?.term ?? this.baseTerm;
  }

  /** Term at the index; COVERED before the base, null behind the end. */
  termAt(index: number): number | null {
    if (index === this.base) return this.baseTerm;
    if (index < this.base) return COVERED;
    return this.entries[index - this.base - 1]?.term ?? null;
  }

  /** Null before the base and behind the end. */
  entry(index: number): LogEntry | null {
    return this.entries[index - this.base - 1] ?? null;
  }

  /** Truncates at the entry's index, then appends it. Throws Violation where that leaves a gap. */
  put(entry: LogEntry): void {
    const place = entry.index - this.base - 1;
    if (place < 0 || place > this.entries.length)
      throw new Violation(`a write of entry ${entry.index} does not fit a log of ${this.base + 1} to ${this.last}`);
    if (place < this.entries.length) this.entries.length = place;
    this.entries.push(entry);
  }

  reset(index: number, at: number): void {
    this.base = index;
    this.baseTerm = at;
    this.entries.length = 0;
  }

  /** Drops entries up to the index where there are many: what a snapshot covers is not needed. */
  cutBefore(index: number): void {
    const count = index - this.base;
    if (count <= 0 || count > this.entries.length) return;
    this.baseTerm = this.entries[count - 1]?.term ?? this.baseTerm;
    this.base = index;
    this.entries.splice(0, count);
  }
}

const KEPT = 2;

export class MachineDisk {
  hardState: HardState;
  readonly log: CutLog;
  /** Newest last; two are kept, and those that are being sent. */
  snapshots: readonly SavedSnapshot[];
  /** Set by rot: what was durable up to there once, and counts as such: whoever lost it does not vote. */
  lost: { readonly index: number } | null = null;
  /** What storage says of the log at a start. */
  mark: "whole" | "damaged" = "whole";
  /** How often entries were taken away. */
  shrinks = 0;
  readonly #waiting: WriteBatch[] = [];
  /** How many of those that wait the running sync covers. */
  #syncing = 0;

  constructor(founding: SavedSnapshot) {
    this.hardState = { term: term(0), votedFor: null };
    this.log = new CutLog(founding.meta.index, founding.meta.term, []);
    this.snapshots = [founding];
  }

  get newest(): SavedSnapshot {
    return this.snapshots.at(-1) as SavedSnapshot;
  }

  get busy(): boolean {
    return this.#waiting.length > 0;
  }

  submit(batch: WriteBatch): void {
    this.#waiting.push(batch);
  }

  /** A sync begins: it covers all that waits now. */
  beginSync(): void {
    this.#syncing = this.#waiting.length;
  }

  /** The sync is done. Value: the last sequence that is durable now. */
  endSync(): number {
    const waiting = this.#waiting;
    const { sequence } = waiting[this.#syncing - 1] as WriteBatch;
    for (let at = 0; at < this.#syncing; at++) for (const write of (waiting[at] as WriteBatch).writes) this.#apply(write);
    if (this.#syncing === waiting.length) waiting.length = 0;
    else waiting.splice(0, this.#syncing);
    this.#syncing = 0;
    return sequence;
  }

  /** Power is gone: a random prefix of what waited has reached the disk, cut anywhere, also inside a write. */
  crash(random: Random): void {
    const records = this.#waiting.reduce((sum, { writes }) => sum + writes.reduce((count, write) => count + recordsOf(write), 0), 0);
    this.tear(random.chance(0.3) ? 0 : random.chance(0.3) ? records : random.whole(0, records));
  }

  /** So many records of what waited have reached the disk, the rest is gone. */
  tear(records: number): void {
    let kept = records;
    for (const { writes } of this.#waiting) {
      for (const write of writes) {
        if (kept <= 0) break;
        this.#apply(write.kind === "append" && write.entries.length > kept ? { ...write, entries: write.entries.slice(0, kept) } : write);
        kept -= recordsOf(write);
      }
    }
    this.#waiting.length = 0;
    this.#syncing = 0;
  }

  saveSnapshot(snapshot: SavedSnapshot, inUse: readonly SnapshotMeta[]): void {
    if (snapshot.meta.index <= this.newest.meta.index) return;
    this.snapshots = [...this.snapshots, snapshot];
    const stays = ({ meta }: SavedSnapshot, at: number): boolean => at >= this.snapshots.length - KEPT || inUse.includes(meta);
    this.snapshots = this.snapshots.filter(stays);
    const reserve = this.snapshots.at(-KEPT);
    if (reserve !== undefined && this.log.termAt(reserve.meta.index) === reserve.meta.term) this.log.cutBefore(reserve.meta.index);
  }

  /** Entries behind the newest snapshot, as storage gives them to a core that starts. */
  entriesToStart(): readonly LogEntry[] {
    const { meta } = this.newest;
    const at = this.log.termAt(meta.index);
    // A log that ends before the snapshot, or tells another history than it, continues nothing.
    if (at === null || (at !== COVERED && at !== meta.term)) {
      this.log.reset(meta.index, meta.term);
      return [];
    }
    return this.log.entries.slice(meta.index - this.log.base);
  }

  /** Corruption behind the index: those entries cannot be read any more. */
  rot(index: number): void {
    this.mark = "damaged";
    this.lost = { index: Math.max(this.log.last, this.lost?.index ?? 0) };
    this.log.entries.length = Math.max(0, Math.min(this.log.entries.length, index - this.log.base));
  }

  /** The core says that its log is whole again: what is there is what counts. */
  repaired(): void {
    this.lost = null;
  }

  holds(index: number, at: number): boolean {
    if (this.lost !== null && index <= this.lost.index) return true;
    return this.newest.meta.index >= index || this.log.termAt(index) === at;
  }

  #apply(write: LogWrite): void {
    switch (write.kind) {
      case "hard-state":
        if (write.state.term < this.hardState.term)
          throw new Violation(`the term goes back from ${this.hardState.term} to ${write.state.term}`);
        if (
          write.state.term === this.hardState.term &&
          this.hardState.votedFor !== null &&
          write.state.votedFor !== this.hardState.votedFor
        )
          throw new Violation(`the vote of term ${write.state.term} changes`);
        this.hardState = write.state;
        return;
      case "append": {
        const shrinks = (write.entries[0]?.index ?? Number.POSITIVE_INFINITY) <= this.log.last;
        for (const entry of write.entries) this.log.put(entry);
        if (shrinks) this.shrinks += 1;
        return;
      }
      case "reset":
        this.log.reset(write.index, write.term);
        this.shrinks += 1;
        return;
      case "whole":
        this.mark = "whole";
    }
  }
}

function recordsOf(write: LogWrite): number {
  return write.kind === "append" ? write.entries.length : 1;
}
