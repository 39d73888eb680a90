// Owns the log as the core sees it: the entries behind the snapshot, in memory, and up to where they are durable. Knows no
// role and no message. Source: Ongaro, sections 3.5 and 5.1.

import { type LogIndex, logIndex, type Term } from "../../../model/raft.ts";
import { EntryPage } from "./entry-page.ts";
import type { LogEntry } from "./types.ts";

/** A page is made of so many entries, or of fewer that have so many bytes. */
const PAGE_ENTRIES = 128;
const PAGE_BYTES = 64 * 1024;

export class RaftLog {
  /** The last index that is no longer here, with its term and cluster time. */
  #base: { readonly index: LogIndex; readonly term: Term; readonly time: number };
  /** The settled part, the oldest first; the first page may begin before the base. */
  #pages: EntryPage[] = [];
  /** Where the settled part ends. */
  #settled: LogIndex;
  /** The entries behind it. */
  #entries: LogEntry[];
  /** Payload bytes of all entries behind the base up to and including the one at the same place; relative to an arbitrary zero. */
  #bytes: number[] = [];
  #bytesBefore = 0;
  #durable: LogIndex;

  /** The given entries are durable and follow the base. */
  constructor(base: { readonly index: LogIndex; readonly term: Term; readonly time: number }, entries: readonly LogEntry[]) {
    this.#base = base;
    this.#settled = base.index;
    this.#entries = [];
    this.#durable = base.index;
    for (const entry of entries) this.append(entry);
    this.#durable = this.lastIndex;
  }

  get baseIndex(): LogIndex {
    return this.#base.index;
  }

  get lastIndex(): LogIndex {
    return logIndex(this.#settled + this.#entries.length);
  }

  get lastTerm(): Term {
    return this.#entries[this.#entries.length - 1]?.term ?? this.#settledTerm(this.#settled);
  }

  get lastTime(): number {
    return this.#entries[this.#entries.length - 1]?.time ?? this.#settledTime(this.#settled);
  }

  /** Everything up to it survives a crash of this member. */
  get durable(): LogIndex {
    return this.#durable;
  }

  get heldEntries(): number {
    return this.lastIndex - this.#base.index;
  }

  /** Throws Error unless base < index ≤ last: asking for another entry is a broken invariant. */
  entry(index: number): LogEntry {
    const found = this.#entries[index - this.#settled - 1];
    if (found !== undefined) return found;
    if (index > this.#base.index && index <= this.#settled) return this.#page(index).entry(index);
    throw new Error(`the log holds ${this.#base.index + 1} to ${this.lastIndex}, not ${index}`);
  }

  /** Null where the log does not know the index (compacted, or not yet there). */
  termAt(index: number): Term | null {
    if (index > this.#settled) return this.#entries[index - this.#settled - 1]?.term ?? null;
    return index < this.#base.index ? null : this.#settledTerm(index);
  }

  timeAt(index: number): number | null {
    if (index > this.#settled) return this.#entries[index - this.#settled - 1]?.time ?? null;
    return index < this.#base.index ? null : this.#settledTime(index);
  }

  /** Throws Error where the entry does not follow the last one. */
  append(entry: LogEntry): void {
    if (entry.index !== this.lastIndex + 1) throw new Error(`entry ${entry.index} does not follow ${this.lastIndex}`);
    this.#entries.push(entry);
    this.#bytes.push((this.#bytes[this.#bytes.length - 1] ?? this.#bytesBefore) + entry.payload.length);
  }

  /** Drops the entry at the index and all behind it. Throws Error where it is settled. */
  truncateFrom(index: number): void {
    const keep = index - this.#settled - 1;
    if (keep < 0) throw new Error(`the log cannot be truncated at ${index}: it is settled up to ${this.#settled}`);
    this.#entries.length = Math.min(this.#entries.length, keep);
    this.#bytes.length = this.#settled - this.#base.index + this.#entries.length;
    if (this.#durable >= index) this.#durable = logIndex(index - 1);
  }

  /** The entries up to and including the index will not change any more; they are held as bytes once they fill a page. */
  settle(index: number): void {
    for (let count = this.#pageful(index); count > 0; count = this.#pageful(index)) {
      this.#pages.push(new EntryPage(this.#entries.slice(0, count)));
      this.#entries = this.#entries.slice(count);
      this.#settled = logIndex(this.#settled + count);
    }
  }

  /** Forgets entries up to and including the index; later ones stay. */
  compact(index: number): void {
    const count = index - this.#base.index;
    if (count <= 0) return;
    const { term, time } = this.entry(index);
    this.#base = { index: logIndex(index), term, time };
    this.#bytesBefore = this.#bytes[count - 1] as number;
    this.#bytes = this.#bytes.slice(count);
    this.#pages = this.#pages.filter(({ last }) => last > index);
    if (index <= this.#settled) return;
    this.#entries = this.#entries.slice(index - this.#settled);
    this.#settled = this.#base.index;
  }

  /** Empty, continuing after the index: a snapshot has replaced it. Durable up to there once the caller's write is. */
  reset(index: LogIndex, term: Term, time: number): void {
    this.#base = { index, term, time };
    this.#pages = [];
    this.#settled = index;
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
    const last = Math.min(this.lastIndex, from + bounds.entriesMax - 1);
    if (from > last) return NONE;
    const bytesMax = this.#bytesUpTo(from - 1) + bounds.bytesMax;
    let upTo = from;
    while (upTo < last && this.#bytesUpTo(upTo + 1) <= bytesMax) upTo++;
    if (from > this.#settled) return this.#entries.slice(from - this.#settled - 1, upTo - this.#settled);
    const entries: LogEntry[] = [];
    for (let index = from; index <= upTo; index++) entries.push(this.entry(index));
    return entries;
  }

  /** How many of the entries up to the index make the next page; 0 where they are too few. */
  #pageful(index: number): number {
    const ready = Math.min(index, this.lastIndex) - this.#settled;
    if (ready >= PAGE_ENTRIES && this.bytesBetween(this.#settled, this.#settled + PAGE_ENTRIES) <= PAGE_BYTES) return PAGE_ENTRIES;
    if (ready <= 0 || this.bytesBetween(this.#settled, this.#settled + ready) < PAGE_BYTES) return 0;
    let count = 1;
    while (this.bytesBetween(this.#settled, this.#settled + count) < PAGE_BYTES) count++;
    return count;
  }

  #settledTerm(index: number): Term {
    return index === this.#base.index ? this.#base.term : this.#page(index).termAt(index);
  }

  #settledTime(index: number): number {
    return index === this.#base.index ? this.#base.time : this.#page(index).timeAt(index);
  }

  /** Of a settled index behind the base. */
  #page(index: number): EntryPage {
    const pages = this.#pages;
    let low = 0;
    for (let high = pages.length - 1; low < high; ) {
      const middle = (low + high) >>> 1;
      if ((pages[middle] as EntryPage).last < index) low = middle + 1;
      else high = middle;
    }
    return pages[low] as EntryPage;
  }

  #bytesUpTo(index: number): number {
    return this.#bytes[index - this.#base.index - 1] ?? this.#bytesBefore;
  }
}

const NONE: readonly LogEntry[] = [];
