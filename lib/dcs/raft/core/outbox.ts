// Owns what leaves a step: write batches with their sequence, and the messages that must not leave before a batch is durable.
// Knows nothing of elections or logs.

import type { MemberId, Term } from "../../../model/raft.ts";
import type { LogEntry, LogWrite, Message, Outgoing, WriteBatch } from "./types.ts";

/** More cannot be held back for a reason: each term holds a vote, its requests and a few answers. The oldest gives way. */
const HELD_MAX = 1024;

/**
 * - `term`: the term and vote that the message speaks for. - `log`: every record written so far as well (a vote claims the log).
 */
export type Promised = "term" | "log";

interface Held extends Outgoing {
  readonly sequence: number;
  readonly term: Term;
}

export class Outbox {
  #writes: LogWrite[] = [];
  /** Of the append that the next entry may join. */
  #appending: LogEntry[] | null = null;
  #messages: Outgoing[] = [];
  #held: Held[] = [];
  #sequence = 0;
  #durable = 0;
  #hardStateSequence = 0;

  write(write: LogWrite): void {
    this.#writes.push(write);
    this.#appending = null;
    if (write.kind === "hard-state") this.#hardStateSequence = this.#sequence + 1;
  }

  /** Truncates behind it, as an `append` does. */
  append(entry: LogEntry): void {
    const appending = this.#appending;
    if (appending !== null && appending[appending.length - 1]?.index === entry.index - 1) {
      appending.push(entry);
      return;
    }
    const entries = [entry];
    this.write({ kind: "append", entries });
    this.#appending = entries;
  }

  /** The batch that what is written now belongs to, or the last one where nothing is. */
  get writing(): number {
    return this.#writes.length > 0 ? this.#sequence + 1 : this.#sequence;
  }

  get durableSequence(): number {
    return this.#durable;
  }

  get hasHardStateDurable(): boolean {
    return this.#hardStateSequence <= this.#durable;
  }

  /** Sends now, or once what it promises is durable. `term`: the sender's, in which alone the message may leave. */
  send(to: MemberId, message: Message, promised: Promised, term: Term): void {
    const sequence = promised === "log" ? this.writing : this.#hardStateSequence;
    if (sequence <= this.#durable) {
      this.#messages.push({ to, message });
      return;
    }
    if (this.#held.length >= HELD_MAX) this.#held.shift();
    this.#held.push({ to, message, sequence, term });
  }

  /** Releases what stood on batches up to the sequence; what an older term wanted to say is forgotten. */
  durableUpTo(sequence: number, term: Term): void {
    if (sequence > this.#sequence) throw new Error(`batch ${sequence} was never written; the last is ${this.#sequence}`);
    if (sequence <= this.#durable) return;
    this.#durable = sequence;
    if (this.#held.length === 0) return;
    const waiting: Held[] = [];
    for (const held of this.#held) {
      if (held.term !== term) continue;
      if (held.sequence <= sequence) this.#messages.push({ to: held.to, message: held.message });
      else waiting.push(held);
    }
    this.#held = waiting;
  }

  /** The candidacy is over: its requests that still wait claim a log that may be another by then. */
  withdrawVoteRequests(): void {
    if (this.#held.length > 0) this.#held = this.#held.filter(({ message }) => message.kind !== "vote-request");
  }

  takeWrites(): WriteBatch | null {
    if (this.#writes.length === 0) return null;
    this.#sequence++;
    const batch = { sequence: this.#sequence, writes: this.#writes };
    this.#writes = [];
    this.#appending = null;
    return batch;
  }

  takeMessages(): readonly Outgoing[] {
    if (this.#messages.length === 0) return NO_MESSAGES;
    const messages = this.#messages;
    this.#messages = [];
    return messages;
  }
}

const NO_MESSAGES: readonly Outgoing[] = [];
