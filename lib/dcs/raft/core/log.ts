// Owns the log as the core sees it: the entries behind the snapshot, in memory, and up to where they are durable. Knows no
// role and no message. Source: Ongaro, sections 3.5 and 5.1.

import { type LogIndex, logIndex, type Term } from "../../../model/raft.ts";
import { EntryPage } from "./entry-page.ts";
import type { LogEntry } from "./types.ts";

/** So many of the newest settled entries stay as they are: a follower that is behind needs them soon, and again until it answers. */
export const KEPT_ENTRIES = 1024;
/** A page has so many entries, or fewer that have so many bytes. */
export const PAGE_ENTRIES = 128;
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
  /** The newest part that was asked for: a leader sends every follower the same. */
  #sliced: readonly LogEntry[] = NONE;

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
    return this.termAt(this.lastIndex) as Term;
  }

  get lastTime(): number {
    return this.timeAt(this.lastIndex) as number;
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
    const place = index - this.#settled - 1;
    if (place >= 0 && place < this.#entries.length) return this.#entries[place] as LogEntry;
    if (place < 0 && index > this.#base.index) return pageOf(this.#pages, index).entry(index);
    throw new Error(`the log holds ${this.#base.index + 1} to ${this.lastIndex}, not ${index}`);
  }

  /** Null where the log does not know the index (compacted, or not yet there). */
  termAt(index: number): Term | null {
    const place = index - this.#settled - 1;
    if (place >= 0) return place < this.#entries.length ? (this.#entries[place] as LogEntry).term : null;
    if (index === this.#base.index) return this.#base.term;
    return index < this.#base.index ? null : pageOf(this.#pages, index).termAt(index);
  }

  timeAt(index: number): number | null {
    const place = index - this.#settled - 1;
    if (place >= 0) return place < this.#entries.length ? (this.#entries[place] as LogEntry).time : null;
    if (index === this.#base.index) return this.#base.time;
    return index < this.#base.index ? null : pageOf(this.#pages, index).timeAt(index);
  }

  /** Throws Error where the entry does not follow the last one. */
  append(entry: LogEntry): void {
    if (entry.index !== this.lastIndex + 1) throw new Error(`entry ${entry.index} does not follow ${this.lastIndex}`);
    const before = this.#bytes.length === 0 ? this.#bytesBefore : (this.#bytes[this.#bytes.length - 1] as number);
    this.#entries.push(entry);
    this.#bytes.push(before + entry.payload.length);
  }

  /** Drops the entry at the index and all behind it. Throws Error where it is settled. */
  truncateFrom(index: number): void {
    const keep = index - this.#settled - 1;
    if (keep < 0) throw new Error(`the log cannot be truncated at ${index}: it is settled up to ${this.#settled}`);
    this.#entries.length = Math.min(this.#entries.length, keep);
    this.#sliced = NONE;
    this.#bytes.length = this.#settled - this.#base.index + this.#entries.length;
    if (this.#durable >= index) this.#durable = logIndex(index - 1);
  }

  /** The entries up to and including the index (within the log) will not change any more: all but the newest of them become pages. */
  settle(index: number): void {
    while (index - this.#settled >= KEPT_ENTRIES + PAGE_ENTRIES) {
      let count = 1;
      for (let bytes = 0; count < PAGE_ENTRIES; count++) {
        bytes += (this.#entries[count - 1] as LogEntry).payload.length;
        if (bytes >= PAGE_BYTES) break;
      }
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
    this.#sliced = NONE;
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
    const bytes = this.#bytes;
    let end = from - this.#base.index;
    for (const most = last - this.#base.index; end < most && (bytes[end] as number) <= bytesMax; ) end++;
    const upTo = this.#base.index + end;
    if (from > this.#settled) {
      const first = this.#entries[from - this.#settled - 1];
      if (this.#sliced[0] !== first || this.#sliced.length !== upTo - from + 1)
        this.#sliced = this.#entries.slice(from - this.#settled - 1, upTo - this.#settled);
      return this.#sliced;
    }
    const entries: LogEntry[] = [];
    for (let index = from; index <= upTo; index++) entries.push(this.entry(index));
    return entries;
  }

  #bytesUpTo(index: number): number {
    const place = index - this.#base.index - 1;
    return place < 0 ? this.#bytesBefore : (this.#bytes[place] ?? this.#bytesBefore);
  }
}

/** The page that has a settled index behind the base. */
function pageOf(pages: readonly EntryPage[], index: number): EntryPage {
  let low = 0;
  for (let high = pages.length - 1; low < high; ) {
    const middle = (low + high) >>> 1;
    if ((pages[middle] as EntryPage).last < index) low = middle + 1;
    else high = middle;
  }
  return pages[low] as EntryPage;
}

const NONE: readonly LogEntry[] = [];
