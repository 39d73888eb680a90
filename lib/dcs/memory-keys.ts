// Owns the sorted keys of a MemoryCluster and, for each prefix that somebody reads, its snapshot and who waits for a
// change of it. Knows no session, no condition and no time. Built for speed: entries are immutable and shared by all
// snapshots, and a prefix that did not change answers with the very same object.

import { ok, type Result } from "../model/result.ts";
import type { Revision } from "../model/units.ts";
import type { Entry, Snapshot } from "./store.ts";

/** Prefixes remembered; beyond it those that nobody waits for are forgotten (they are built anew when read again). */
const PREFIXES_MAX = 256;

type SnapshotAnswer = Extract<Result<Snapshot, never>, { ok: true }>;

/** A prefix that somebody reads. */
export interface WatchedPrefix {
  readonly prefix: string;
  /** Of the last change below the prefix, or later. */
  revision: Revision;
  answer: SnapshotAnswer | null;
  /** In the order in which they came; a handful at most. */
  readonly waiting: Waiter[];
}

/** Who waits for a change below a prefix. */
export interface Waiter {
  look(): void;
}

export class MemoryKeys {
  readonly #byKey = new Map<string, Entry>();
  /** Sorted by UTF-16 code units. */
  readonly #sorted: Entry[] = [];
  readonly #prefixes = new Map<string, WatchedPrefix>();
  /** Prefixes changed since the last `wake`. */
  readonly #changed = new Set<WatchedPrefix>();

  get(key: string): Entry | undefined {
    return this.#byKey.get(key);
  }

  set(entry: Entry): void {
    const index = this.#lowerBound(entry.key);
    if (this.#byKey.has(entry.key)) this.#sorted[index] = entry;
    else this.#sorted.splice(index, 0, entry);
    this.#byKey.set(entry.key, entry);
    this.#touch(entry.key, entry.revision);
  }

  /** Absent is fine. */
  delete(key: string, revision: Revision): void {
    if (!this.#byKey.delete(key)) return;
    this.#sorted.splice(this.#lowerBound(key), 1);
    this.#touch(key, revision);
  }

  ownedBy(session: string): Entry[] {
    return this.#sorted.filter((entry) => entry.session === session);
  }

  below(prefix: string): Entry[] {
    const start = this.#lowerBound(prefix);
    let end = start;
    while (end < this.#sorted.length && (this.#sorted[end] as Entry).key.startsWith(prefix)) end++;
    return this.#sorted.slice(start, end);
  }

  /** `latest`: the store's newest revision, taken for a prefix that was not remembered. */
  prefix(prefix: string, latest: Revision): WatchedPrefix {
    const known = this.#prefixes.get(prefix);
    if (known !== undefined) return known;
    if (this.#prefixes.size >= PREFIXES_MAX) this.#forget();
    const watched: WatchedPrefix = { prefix, revision: latest, answer: null, waiting: [] };
    this.#prefixes.set(prefix, watched);
    return watched;
  }

  /** The same object as long as nothing below the prefix changes. */
  answer(watched: WatchedPrefix): SnapshotAnswer {
    watched.answer ??= ok({ entries: this.below(watched.prefix), revision: watched.revision });
    return watched.answer;
  }

  /** Calls everybody who waits for a prefix that has changed since the last call. */
  wake(): void {
    if (this.#changed.size === 0) return;
    const changed = [...this.#changed];
    this.#changed.clear();
    for (const watched of changed) for (const waiter of watched.waiting.slice()) waiter.look();
  }

  #touch(key: string, revision: Revision): void {
    for (const watched of this.#prefixes.values()) {
      if (!key.startsWith(watched.prefix)) continue;
      watched.revision = revision;
      watched.answer = null;
      if (watched.waiting.length > 0) this.#changed.add(watched);
    }
  }

  #forget(): void {
    for (const [prefix, watched] of this.#prefixes) if (watched.waiting.length === 0) this.#prefixes.delete(prefix);
  }

  /** Index of the first entry whose key is not below the given one. */
  #lowerBound(key: string): number {
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#sorted[middle] as Entry).key < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
