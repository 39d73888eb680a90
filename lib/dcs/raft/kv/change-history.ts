// Owns which keys changed at which revision, as far back as the bound, so that a watch knows whether it missed something.
// Part of the snapshot: a member that was sent one can answer the same watches.

import { type Revision, revision } from "../../../model/units.ts";
import { PagedList } from "./paged-list.ts";

export class ChangeHistory {
  readonly #max: number;
  /** The oldest first; both have one item for each change. */
  readonly #keys: PagedList<string>;
  readonly #revisions: PagedList<number>;
  #floor: number;

  /** `from`: with the same changes. */
  constructor(max: number, floor: number, from: ChangeHistory | null = null) {
    this.#max = max;
    this.#floor = floor;
    this.#keys = new PagedList(from === null ? null : from.#keys);
    this.#revisions = new PagedList(from === null ? null : from.#revisions);
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
    if (this.#keys.length >= this.#max) {
      this.#floor = this.#revisions.at(0) ?? at;
      this.#keys.dropFirst(1);
      this.#revisions.dropFirst(1);
    }
    this.#keys.push(key);
    this.#revisions.push(at);
  }

  /** Whether a key below the prefix is known to have changed after the revision. */
  changedSince(prefix: string, after: number): boolean {
    for (let place = this.#keys.length - 1; place >= 0; place--) {
      if ((this.#revisions.at(place) as number) <= after) return false;
      if ((this.#keys.at(place) as string).startsWith(prefix)) return true;
    }
    return false;
  }

  /** The key of a change and its revision, by place, the oldest at 0. */
  key(place: number): string {
    return this.#keys.at(place) as string;
  }

  at(place: number): number {
    return this.#revisions.at(place) as number;
  }

  /** As it is now; it stays so while this one goes on. */
  copy(): ChangeHistory {
    return new ChangeHistory(this.#max, this.#floor, this);
  }
}
