// Owns the byte layout that commands and snapshots of the key-value machine share: whole numbers, texts, 64-bit floats.
// Reading is total: past the end or past a bound the reader becomes `broken` and answers zeros; nothing throws.

const START_BYTES = 4096;
/** A larger buffer was for one large text and is given back. */
const KEPT_MAX_BYTES = 64 * 1024;
/** Whole numbers hold at most 53 bits: seven bits a byte, eight bytes. */
const WHOLE_BYTES_MAX = 8;

export class ByteWriter {
  #bytes = Buffer.allocUnsafeSlow(START_BYTES);
  #length = 0;

  /** 0 to 255. */
  byte(value: number): void {
    this.#room(1);
    this.#bytes[this.#length++] = value;
  }

  /** Seven bits a byte, the lowest first. Throws RangeError unless a safe whole number of 0 or more. */
  whole(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a whole number: ${value}`);
    this.#room(WHOLE_BYTES_MAX);
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  float(value: number): void {
    this.#room(8);
    this.#length = this.#bytes.writeDoubleLE(value, this.#length);
  }

  /** Length in bytes, then UTF-8; a lone surrogate becomes U+FFFD. */
  text(value: string): void {
    const length = Buffer.byteLength(value);
    this.whole(length);
    this.#room(length);
    this.#length += this.#bytes.write(value, this.#length, "utf8");
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** 0 = null; else 1 and the text. */
  maybeText(value: string | null): void {
    this.byte(value === null ? 0 : 1);
    if (value !== null) this.text(value);
  }

  /** A copy of what was written, of exactly its size; the writer is empty afterwards. */
  take(): Uint8Array {
    const taken = sliceOf.call(this.#bytes, 0, this.#length);
    this.#length = 0;
    if (this.#bytes.length > KEPT_MAX_BYTES) this.#bytes = Buffer.allocUnsafeSlow(START_BYTES);
    return taken;
  }

  /** Forgets what was written. */
  clear(): void {
    this.#length = 0;
  }

  #room(more: number): void {
    const wanted = this.#length + more;
    if (wanted <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(wanted, this.#bytes.length * 2));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}

/** Of a Buffer too: bytes of their own, in one step. */
const sliceOf = Uint8Array.prototype.slice;
/** For any Uint8Array: to make a Buffer of a small one costs three times what reading a text from it does. */
const textOf = Buffer.prototype.toString;
const FLOAT = new Float64Array(1);
/** Little-endian, as every machine that Bun runs on. */
const FLOAT_BYTES = new Uint8Array(FLOAT.buffer);

export class ByteReader {
  readonly #bytes: Uint8Array;
  #at = 0;
  #broken = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Something was not as it has to be; what was read since is not to be used. */
  get broken(): boolean {
    return this.#broken;
  }

  /** Everything was read, and nothing was amiss. */
  get atEnd(): boolean {
    return !this.#broken && this.#at === this.#bytes.length;
  }

  /** For the caller's own checks. */
  fail(): void {
    this.#broken = true;
  }

  byte(): number {
    const value = this.#bytes[this.#at];
    if (value === undefined || this.#broken) {
      this.#broken = true;
      return 0;
    }
    this.#at++;
    return value;
  }

  /** Exactly one way to write each number is accepted. */
  whole(max: number = Number.MAX_SAFE_INTEGER): number {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < WHOLE_BYTES_MAX; count++) {
      const byte = this.byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        if (value <= max && (byte !== 0 || count === 0)) return value;
        break;
      }
      factor *= 0x80;
    }
    this.#broken = true;
    return 0;
  }

  /** Finite, or the reader is broken. */
  float(): number {
    if (this.#at + 8 > this.#bytes.length) this.#broken = true;
    if (this.#broken) return 0;
    for (let each = 0; each < 8; each++) FLOAT_BYTES[each] = this.#bytes[this.#at++] as number;
    const value = FLOAT[0] as number;
    if (Number.isFinite(value)) return value;
    this.#broken = true;
    return 0;
  }

  /** Invalid UTF-8 is read as U+FFFD, on every member alike. */
  text(): string {
    const length = this.whole();
    const end = this.#at + length;
    if (end > this.#bytes.length) this.#broken = true;
    if (this.#broken || length === 0) return "";
    const value = textOf.call(this.#bytes, "utf8", this.#at, end);
    this.#at = end;
    return value;
  }

  maybeText(): string | null {
    const there = this.byte();
    if (there === 0) return null;
    if (there !== 1) this.#broken = true;
    return this.text();
  }
}
