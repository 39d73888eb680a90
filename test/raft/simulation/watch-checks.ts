// Owns the rule of watches on one member's machine, checked whenever something waits, is woken or is applied: nobody waits for a change
// that this member has applied, and nobody is woken by nothing. It keeps every change there ever was; the machine forgets the old ones.

import type { KeyValueMachine } from "../../../lib/dcs/raft/kv/machine.ts";
import { Violation } from "./trace.ts";

interface Waiting {
  readonly prefix: string;
  readonly after: number;
}

export class WatchChecks {
  /** By revision: the keys that changed. */
  readonly #changes: Set<string>[] = [];
  readonly #waiting = new WeakMap<KeyValueMachine, Set<Waiting>>();
  readonly #historyMax: number;

  constructor(historyMax: number) {
    this.#historyMax = historyMax;
  }

  changed(key: string, at: number): void {
    this.#changes[at] ??= new Set();
    this.#changes[at]?.add(key);
  }

  /** Somebody begins to wait. The answer is to be called when it is over, however that comes. Throws Violation. */
  begins(machine: KeyValueMachine, prefix: string, after: number): () => void {
    // Revision 0 stands for "nothing seen": who begins there is told of what comes.
    const missed = after === 0 ? null : this.#firstChange(prefix, after, machine.revision);
    if (missed !== null) throw new Violation(`a watch of "${prefix}" after ${after} waits where revision ${missed} is applied`);
    const waiting = { prefix, after: after === 0 ? machine.revision : after };
    const all = this.#waiting.get(machine) ?? new Set();
    this.#waiting.set(machine, all.add(waiting));
    return () => void all.delete(waiting);
  }

  /** Throws Violation where nothing has changed, as far as the machine can know: a snapshot may bring a history that begins later. */
  woken(machine: KeyValueMachine, prefix: string, after: number): void {
    const upTo = machine.revision;
    if (this.#firstChange(prefix, after, upTo) === null && this.#count(after, upTo) <= this.#historyMax)
      throw new Violation(`a watch of "${prefix}" after ${after} is woken at ${machine.revision}, and nothing has changed`);
  }

  /** After entries were applied or a snapshot was taken over. Throws Violation. */
  applied(machine: KeyValueMachine): void {
    for (const { prefix, after } of this.#waiting.get(machine) ?? []) {
      const missed = this.#firstChange(prefix, after, machine.revision);
      if (missed !== null && missed > after)
        throw new Violation(`a watch of "${prefix}" after ${after} still waits; revision ${missed} was applied`);
    }
  }

  #count(after: number, upTo: number): number {
    let count = 0;
    for (let at = after + 1; at <= upTo; at++) count += this.#changes[at]?.size ?? 0;
    return count;
  }

  #firstChange(prefix: string, after: number, upTo: number): number | null {
    for (let at = after + 1; at <= upTo; at++) for (const key of this.#changes[at] ?? []) if (key.startsWith(prefix)) return at;
    return null;
  }
}
