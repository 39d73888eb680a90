// Owns the keys of the machine in order. Entries are immutable; a key's entry is replaced without searching, and a new key
// moves at most one block. Knows no session, no condition and no revision but the one that stands in an entry.

import type { Entry } from "../../store.ts";

/** Keys in one block: a block is split in two above it, and dropped when it is empty. */
const BLOCK_MAX = 512;

/** Where an entry stands; the entry is exchanged in place. */
export interface KeySlot {
  entry: Entry;
  /** Of the entry, for the digest; 0 = not computed yet. */
  hash: number;
}

export class SortedKeys {
  readonly #byKey = new Map<string, KeySlot>();
  /** Each sorted by UTF-16 code units and never empty, the blocks among themselves too. */
  #blocks: KeySlot[][] = [];
  #text = 0;

  get size(): number {
    return this.#byKey.size;
  }

  /** Of all keys and values together, in UTF-16 code units. */
  get text(): number {
    return this.#text;
  }

  get(key: string): Entry | null {
    return this.#byKey.get(key)?.entry ?? null;
  }

  /** In no particular order. */
  slots(): IterableIterator<KeySlot> {
    return this.#byKey.values();
  }

  set(entry: Entry): void {
    const slot = this.#byKey.get(entry.key);
    if (slot === undefined) {
      this.#insert({ entry, hash: 0 });
      this.#text += entry.key.length + entry.value.length;
      return;
    }
    this.#text += entry.value.length - slot.entry.value.length;
    slot.entry = entry;
    slot.hash = 0;
  }

  /** Absent is fine. */
  delete(key: string): void {
    const slot = this.#byKey.get(key);
    if (slot === undefined) return;
    this.#byKey.delete(key);
    this.#text -= key.length + slot.entry.value.length;
    const at = this.#blockOf(key);
    const block = this.#blocks[at] as KeySlot[];
    block.splice(lowerBound(block, key), 1);
    if (block.length === 0) this.#blocks.splice(at, 1);
  }

  /** Sorted by key. */
  below(prefix: string): Entry[] {
    const found: Entry[] = [];
    const first = this.#blockOf(prefix);
    for (let at = first; at < this.#blocks.length; at++) {
      const block = this.#blocks[at] as KeySlot[];
      for (let index = at === first ? lowerBound(block, prefix) : 0; index < block.length; index++) {
        const { entry } = block[index] as KeySlot;
        if (!entry.key.startsWith(prefix)) return found;
        found.push(entry);
      }
    }
    return found;
  }

  #insert(slot: KeySlot): void {
    const { key } = slot.entry;
    this.#byKey.set(key, slot);
    if (this.#blocks.length === 0) {
      this.#blocks.push([slot]);
      return;
    }
    const at = this.#blockOf(key);
    const block = this.#blocks[at] as KeySlot[];
    block.splice(lowerBound(block, key), 0, slot);
    if (block.length > BLOCK_MAX) this.#blocks.splice(at + 1, 0, block.splice(BLOCK_MAX / 2));
  }

  /** The last block that begins at or before the key; 0 where none does. */
  #blockOf(key: string): number {
    let low = 0;
    let high = this.#blocks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const [first] = this.#blocks[middle] as [KeySlot];
      if (first.entry.key <= key) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

/** Index of the first slot whose key is not below the given one. */
function lowerBound(block: readonly KeySlot[], key: string): number {
  let low = 0;
  let high = block.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((block[middle] as KeySlot).entry.key < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
