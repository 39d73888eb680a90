// Owns a long list that grows at its end and is dropped from its beginning, held in pages. A collector of garbage looks through every
// old array that was written to since it last came: in one array, each change would cost each of its pauses the whole list.

const PAGE_BITS = 8;
const PAGE_ITEMS = 1 << PAGE_BITS;

export class PagedList<T> {
  /** All but the last are full. */
  readonly #pages: T[][];
  /** Items of the first page that were dropped; they go with their page. */
  #skipped: number;
  #length: number;

  /** `from`: with the same items. */
  constructor(from: PagedList<T> | null = null) {
    // A full page never changes: only the last one is copied.
    this.#pages = from === null ? [] : from.#pages.map((page) => (page.length === PAGE_ITEMS ? page : [...page]));
    this.#skipped = from === null ? 0 : from.#skipped;
    this.#length = from === null ? 0 : from.#length;
  }

  get length(): number {
    return this.#length;
  }

  /** Undefined outside 0 … length − 1. */
  at(place: number): T | undefined {
    if (place < 0 || place >= this.#length) return undefined;
    const inPages = place + this.#skipped;
    return (this.#pages[inPages >> PAGE_BITS] as T[])[inPages & (PAGE_ITEMS - 1)];
  }

  push(item: T): void {
    const page = (this.#skipped + this.#length) >> PAGE_BITS;
    if (page === this.#pages.length) this.#pages.push([item]);
    else (this.#pages[page] as T[]).push(item);
    this.#length += 1;
  }

  /** Drops so many from the beginning, or all where there are fewer. */
  dropFirst(count: number): void {
    const dropped = Math.min(count, this.#length);
    this.#length -= dropped;
    this.#skipped += dropped;
    const pages = this.#skipped >> PAGE_BITS;
    if (pages === 0) return;
    this.#pages.splice(0, pages);
    this.#skipped -= pages * PAGE_ITEMS;
  }
}
