// Owns what is seen of whole members from outside of them: every output of every core and every entry that a machine applies.
// It watches the classes themselves, so the members run as they do in production, and judges without changing anything.

import { Raft } from "../../../lib/dcs/raft/core/raft.ts";
import type { LogEntry, Output, RaftEvent } from "../../../lib/dcs/raft/core/types.ts";
import { type CommandEntry, KeyValueMachine } from "../../../lib/dcs/raft/kv/machine.ts";
import { sameEntry } from "./ledger.ts";
import { type Trace, Violation } from "./trace.ts";

/** A digest walks over the state: not after each entry. */
const DIGEST_EVERY = 8;

export class WholeObserver {
  /** Every committed entry, from index 1 on. */
  readonly log: LogEntry[] = [];
  violation: Violation | null = null;
  readonly #trace: Trace;
  readonly #leaders = new Map<number, string>();
  readonly #digests = new Map<number, number>();
  readonly #terms = new WeakMap<Raft, number>();

  constructor(trace: Trace) {
    this.#trace = trace;
  }

  /** Watches while `run` runs. */
  watch<T>(run: () => T): T {
    const step = Raft.prototype.step;
    const apply = KeyValueMachine.prototype.apply;
    const observer = this;
    Raft.prototype.step = function (this: Raft, now: number, events: readonly RaftEvent[]): Output {
      const output = step.call(this, now, events);
      observer.#trace.events += events.length;
      observer.#judge(() => observer.#stepped(this, output));
      return output;
    };
    KeyValueMachine.prototype.apply = function (this: KeyValueMachine, entry: CommandEntry) {
      const answer = apply.call(this, entry);
      observer.#judge(() => observer.#applied(this));
      return answer;
    };
    try {
      return run();
    } finally {
      Raft.prototype.step = step;
      KeyValueMachine.prototype.apply = apply;
    }
  }

  /** A violation must not be swallowed by the member that it happens in. */
  #judge(check: () => void): void {
    try {
      check();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.violation ??= error;
    }
  }

  #stepped(raft: Raft, output: Output): void {
    const { role } = output;
    if (role !== null) {
      if (role.term < (this.#terms.get(raft) ?? 0)) throw new Violation(`a term goes back to ${role.term}`);
      this.#terms.set(raft, role.term);
      this.#trace.mix(role.term);
      if (role.role === "leader") {
        const known = this.#leaders.get(role.term);
        if (known !== undefined && known !== role.leader)
          throw new Violation(`two leaders in term ${role.term}: ${known} and ${role.leader}`);
        this.#leaders.set(role.term, role.leader as string);
      }
    }
    for (const entry of output.committed) this.#committed(entry);
  }

  #committed(entry: LogEntry): void {
    const known = this.log[entry.index - 1];
    this.#trace.mix(entry.index ^ (entry.term << 16));
    if (known !== undefined) {
      if (!sameEntry(known, entry)) throw new Violation(`committed entry ${entry.index} changes: term ${known.term}, then ${entry.term}`);
      return;
    }
    if (entry.index !== this.log.length + 1) throw new Violation(`${entry.index} is committed while ${this.log.length} is the last known`);
    const before = this.log.at(-1);
    if (before !== undefined && entry.time < before.time) throw new Violation(`cluster time goes back at ${entry.index}`);
    this.log.push(entry);
  }

  #applied(machine: KeyValueMachine): void {
    const index = machine.appliedIndex;
    if (index % DIGEST_EVERY !== 0) return;
    const digest = machine.digest();
    const known = this.#digests.get(index);
    if (known !== undefined && known !== digest) throw new Violation(`two members have another state at ${index}`);
    this.#digests.set(index, digest);
  }
}
