// Owns settled entries of the log as bytes. An entry that is held as objects until the next snapshot survives what a collector of
// garbage expects to be dead by then: each of its pauses, and with it the slowest commits, grows with every such entry. A page is
// a handful of buffers, whatever it holds, and never changes.

import { type LogIndex, logIndex, type Term, term } from "../../../model/raft.ts";
import type { EntryKind, LogEntry } from "./types.ts";

const KINDS = ["no-op", "command", "configuration"] as const satisfies readonly EntryKind[];

export class EntryPage {
  readonly first: LogIndex;
  readonly last: LogIndex;
  /** Of each entry: its term, then its cluster time. */
  readonly #numbers: Float64Array;
  readonly #kinds: Uint8Array;
  /** Where each payload ends. */
  readonly #ends: Uint32Array;
  readonly #payloads: Uint8Array;

  /** At least one entry, consecutive. */
  constructor(entries: readonly LogEntry[]) {
    const [head] = entries as [LogEntry, ...LogEntry[]];
    let bytes = 0;
    for (const { payload } of entries) bytes += payload.length;
    this.first = head.index;
    this.last = logIndex(head.index + entries.length - 1);
    this.#numbers = new Float64Array(entries.length * 2);
    this.#kinds = new Uint8Array(entries.length);
    this.#ends = new Uint32Array(entries.length);
    this.#payloads = new Uint8Array(bytes);
    let end = 0;
    entries.forEach((entry, place) => {
      this.#numbers[place * 2] = entry.term;
      this.#numbers[place * 2 + 1] = entry.time;
      this.#kinds[place] = KINDS.indexOf(entry.kind);
      this.#payloads.set(entry.payload, end);
      end += entry.payload.length;
      this.#ends[place] = end;
    });
  }

  /** The index is within the page, here and below. */
  termAt(index: number): Term {
    return term(this.#numbers[(index - this.first) * 2] as number);
  }

  timeAt(index: number): number {
    return this.#numbers[(index - this.first) * 2 + 1] as number;
  }

  /** Made anew each time; its payload is a view of the page. */
  entry(index: number): LogEntry {
    const place = index - this.first;
    const from = place === 0 ? 0 : (this.#ends[place - 1] as number);
    const kind = KINDS[this.#kinds[place] as number] as EntryKind;
    const payload = this.#payloads.subarray(from, this.#ends[place] as number);
    return { index: logIndex(index), term: this.termAt(index), kind, time: this.timeAt(index), payload };
  }
}
