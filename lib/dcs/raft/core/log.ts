// Owns the log as the core sees it: the entries behind the snapshot, in memory, and up to where they are durable. Knows no
// role and no message. Source: Ongaro, sections 3.5 and 5.1.

import { type LogIndex, logIndex, type Term } from "../../../model/raft.ts";
import type { LogEntry } from "./types.ts";

export class RaftLog {
  /** The last index that is no longer here, with its term and cluster time. */
  #base: { readonly index: LogIndex; readonly term: Term; readonly time: number };
  #entries: LogEntry[];
  /** Payload bytes of all entries up to and including the one at the same place; relative to an arbitrary zero. */
  #bytes: number[] = [];
  #bytesBefore = 0;
  #durable: LogIndex;

  /** The given entries are durable and follow the base. */
  constructor(base: { readonly index: LogIndex; readonly term: Term; readonly time: number }, entries: readonly LogEntry[]) {
    this.#base = base;
    this.#entries = [];
    this.#durable = base.index;
    for (const entry of entries) this.append(entry);
    this.#durable = this.lastIndex;
  }

  get baseIndex(): LogIndex {
    return this.#base.index;
  }

  get lastIndex(): LogIndex {
    return logIndex(this.#base.index + this.#entries.length);
  }

  get lastTerm(): Term {
    return this.#entries[this.#entries.length - 1]?.term ?? this.#base.term;
  }

  get lastTime(): number {
    return this.#entries[this.#entries.length - 1]?.time ?? this.#base.time;
  }

  /** Everything up to it survives a crash of this member. */
  get durable(): LogIndex {
    return this.#durable;
  }

  get heldEntries(): number {
    return this.#entries.length;
  }

  /** Throws Error unless base < index ≤ last: asking for another entry is a broken invariant. */
  entry(index: number): LogEntry {
    const found = this.#entries[index - this.#base.index - 1];
    if (found === undefined) throw new Error(`the log holds ${this.#base.index + 1} to ${this.lastIndex}, not ${index}`);
    return found;
  }

  /** Null where the log does not know the index (compacted, or not yet there). */
  termAt(index: number): Term | null {
    if (index === this.#base.index) return this.#base.term;
    return this.#entries[index - this.#base.index - 1]?.term ?? null;
  }

  timeAt(index: number): number | null {
    if (index === this.#base.index) return this.#base.time;
    return this.#entries[index - this.#base.index - 1]?.time ?? null;
  }

  /** Throws Error where the entry does not follow the last one. */
  append(entry: LogEntry): void {
    if (entry.index !== this.lastIndex + 1) throw new Error(`entry ${entry.index} does not follow ${this.lastIndex}`);
    this.#entries.push(entry);
    this.#bytes.push((this.#bytes[this.#bytes.length - 1] ?? this.#bytesBefore) + entry.payload.length);
  }

  /** Drops the entry at the index and all behind it. */
  truncateFrom(index: number): void {
    const keep = index - this.#base.index - 1;
    if (keep < 0) throw new Error(`the log cannot be truncated at ${index}: it begins behind ${this.#base.index}`);
    this.#entries.length = Math.min(this.#entries.length, keep);
    this.#bytes.length = this.#entries.length;
    if (this.#durable >= index) this.#durable = logIndex(index - 1);
  }

  /** Forgets entries up to and including the index; later ones stay. */
  compact(index: number): void {
    const count = index - this.#base.index;
    if (count <= 0) return;
    const last = this.entry(index);
    this.#base = { index: last.index, term: last.term, time: last.time };
    this.#bytesBefore = this.#bytes[count - 1] as number;
    this.#entries = this.#entries.slice(count);
    this.#bytes = this.#bytes.slice(count);
  }

  /** Empty, continuing after the index: a snapshot has replaced it. Durable up to there once the caller's write is. */
  reset(index: LogIndex, term: Term, time: number): void {
    this.#base = { index, term, time };
    this.#entries = [];
    this.#bytes = [];
    this.#bytesBefore = 0;
    this.#durable = index;
  }

  madeDurable(index: number): void {
    if (index > this.#durable) this.#durable = logIndex(Math.min(index, this.lastIndex));
  }

  /** Payload bytes of the entries in (after, upTo]; both within the log. */
  bytesBetween(after: number, upTo: number): number {
    return this.#bytesUpTo(upTo) - this.#bytesUpTo(after);
  }

  /** Entries in [from, …], as many as fit both bounds, at least one where there is one. */
  slice(from: number, bounds: { readonly entriesMax: number; readonly bytesMax: number }): readonly LogEntry[] {
    const start = from - this.#base.index - 1;
    let end = start;
    let bytes = 0;
    while (end < this.#entries.length && end - start < bounds.entriesMax) {
      bytes += (this.#entries[end] as LogEntry).payload.length;
      if (end > start && bytes > bounds.bytesMax) break;
      end++;
    }
    return end === start ? NONE : this.#entries.slice(start, end);
  }

  #bytesUpTo(index: number): number {
    return this.#bytes[index - this.#base.index - 1] ?? this.#bytesBefore;
  }
}

const NONE: readonly LogEntry[] = [];
