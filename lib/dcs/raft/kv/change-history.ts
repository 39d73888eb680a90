// Owns which keys changed at which revision, as far back as the bound, so that a watch knows whether it missed something.
// Part of the snapshot: a member that was sent one can answer the same watches.

import { type Revision, revision } from "../../../model/units.ts";

export class ChangeHistory {
  readonly #max: number;
  /** A ring once it is full; the oldest change stands at `#start`. */
  #keys: string[] = [];
  #revisions: number[] = [];
  #start = 0;
  #floor: number;

  constructor(max: number, floor: number) {
    this.#max = max;
    this.#floor = floor;
  }

  /** Every change after this revision is here. */
  get floor(): Revision {
    return revision(this.#floor);
  }

  get size(): number {
    return this.#keys.length;
  }

  /** The revision never goes back. */
  push(key: string, at: number): void {
    if (this.#keys.length < this.#max) {
      this.#keys.push(key);
      this.#revisions.push(at);
      return;
    }
    this.#floor = this.#revisions[this.#start] as number;
    this.#keys[this.#start] = key;
    this.#revisions[this.#start] = at;
    this.#start = (this.#start + 1) % this.#max;
  }

  /** Whether a key below the prefix is known to have changed after the revision. */
  changedSince(prefix: string, after: number): boolean {
    for (let back = this.#keys.length - 1; back >= 0; back--) {
      const at = (this.#start + back) % this.#keys.length;
      if ((this.#revisions[at] as number) <= after) return false;
      if ((this.#keys[at] as string).startsWith(prefix)) return true;
    }
    return false;
  }

  /** The oldest first. */
  *changes(): Generator<{ readonly key: string; readonly revision: number }> {
    for (let index = 0; index < this.#keys.length; index++) {
      const at = (this.#start + index) % this.#keys.length;
      yield { key: this.#keys[at] as string, revision: this.#revisions[at] as number };
    }
  }
}
