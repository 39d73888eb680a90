// Owns reading numbers, texts and bytes from a buffer that a stranger may have filled: nothing is read beyond the end and
// nothing throws; the first thing that does not fit makes `failed` true, and every later answer is empty. Knows no format.

const EMPTY = new Uint8Array(0);

export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #offset: number;
  #failed = false;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#offset = start;
    this.#end = end;
  }

  get failed(): boolean {
    return this.#failed;
  }

  /** Everything was there and nothing is left. */
  get complete(): boolean {
    return !this.#failed && this.#offset === this.#end;
  }

  get remaining(): number {
    return this.#end - this.#offset;
  }

  u8(): number {
    const at = this.#take(1);
    return at < 0 ? 0 : (this.#bytes[at] as number);
  }

  u16(): number {
    const at = this.#take(2);
    return at < 0 ? 0 : uint16At(this.#bytes, at);
  }

  u32(): number {
    const at = this.#take(4);
    return at < 0 ? 0 : uint32At(this.#bytes, at);
  }

  /** A whole number from 0 to 2^53 − 1. */
  whole(): number {
    const value = this.#f64();
    return Number.isSafeInteger(value) && value >= 0 ? value : this.#fail(0);
  }

  /** Milliseconds since some beginning: finite, not negative. */
  instant(): number {
    const value = this.#f64();
    return Number.isFinite(value) && value >= 0 ? value : this.#fail(0);
  }

  /** One of the words, by its position. */
  word<const T extends readonly [string, ...string[]]>(words: T): T[number] {
    return words[this.u8()] ?? this.#fail(words[0]);
  }

  /** One byte, 0 or 1. */
  flag(): boolean {
    const value = this.u8();
    if (value > 1) this.reject();
    return value === 1;
  }

  /** A copy, so that a small part does not keep the whole buffer alive. */
  copy(length: number): Uint8Array {
    const at = this.#take(length);
    return at < 0 ? EMPTY : copyOf(this.#bytes, at, at + length);
  }

  shortText(): string {
    return this.text(this.u16());
  }

  text(length: number): string {
    const at = this.#take(length);
    if (at < 0) return "";
    try {
      return decoder.decode(this.#bytes.subarray(at, at + length));
    } catch {
      // Not UTF-8: the one thing that a strict decoder throws for.
      return this.#fail("");
    }
  }

  /** Lower-case hexadecimal digits of that many bytes. */
  hex(length: number): string {
    return Buffer.from(this.copy(length)).toString("hex");
  }

  /** Says that a value was read that does not belong there. */
  reject(): void {
    this.#failed = true;
  }

  #f64(): number {
    const at = this.#take(8);
    return at < 0 ? 0 : float64At(this.#bytes, at);
  }

  /** −1 where that many bytes are not there. */
  #take(length: number): number {
    const at = this.#offset;
    if (this.#failed || length > this.#end - at) return this.#fail(-1);
    this.#offset = at + length;
    return at;
  }

  #fail<T>(instead: T): T {
    this.#failed = true;
    return instead;
  }
}

/** Little-endian, as all here: a view over each frame that arrives would cost more than reading it. */
function uint16At(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}

export function uint32At(bytes: Uint8Array, at: number): number {
  return (uint16At(bytes, at) | (uint16At(bytes, at + 2) << 16)) >>> 0;
}

function float64At(bytes: Uint8Array, at: number): number {
  NUMBER.setUint32(0, uint32At(bytes, at), true);
  NUMBER.setUint32(4, uint32At(bytes, at + 4), true);
  return NUMBER.getFloat64(0, true);
}

const NUMBER = new DataView(new ArrayBuffer(8));

/** Bytes of its own. A socket hands out a Buffer, whose `slice` is only a view of the same bytes. */
export function copyOf(bytes: Uint8Array, start = 0, end = bytes.length): Uint8Array {
  return Uint8Array.prototype.slice.call(bytes, start, end);
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
