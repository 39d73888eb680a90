// Owns writing numbers, texts and bytes one behind the other into one buffer that grows and is used again. Knows no format.

/** What is kept between two uses; a larger buffer was for one large frame and is given back. */
const KEPT_MAX_BYTES = 1024 * 1024;
const FIRST_BYTES = 1024;
const HEX = /^(?:[0-9a-f]{2})*$/;

export class ByteWriter {
  #bytes = new Uint8Array(FIRST_BYTES);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  u8(value: number): void {
    this.#room(1);
    this.#bytes[this.#length++] = value;
  }

  u16(value: number): void {
    this.#room(2);
    this.#view.setUint16(this.#length, value, true);
    this.#length += 2;
  }

  u32(value: number): void {
    this.#room(4);
    this.#view.setUint32(this.#length, value, true);
    this.#length += 4;
  }

  /** Every whole number up to 2^53 and every fraction fits. */
  f64(value: number): void {
    this.#room(8);
    this.#view.setFloat64(this.#length, value, true);
    this.#length += 8;
  }

  bytes(value: Uint8Array): void {
    this.#room(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  /** UTF-8 without a length. */
  text(value: string): void {
    this.#room(Buffer.byteLength(value));
    this.#length += encoder.encodeInto(value, this.#bytes.subarray(this.#length)).written;
  }

  /** UTF-8 behind its length in 16 bits. Throws RangeError where it is longer than 65535 bytes. */
  shortText(value: string): void {
    const length = Buffer.byteLength(value);
    if (length > 0xffff) throw new RangeError(`a text of ${length} bytes, at most 65535 are possible`);
    this.u16(length);
    this.text(value);
  }

  /** Half as many bytes as there are digits. Throws RangeError where they are not lower-case hexadecimal. */
  hex(digits: string): void {
    if (!HEX.test(digits)) throw new RangeError("not hexadecimal");
    for (let at = 0; at < digits.length; at += 2) this.u8(Number.parseInt(digits.slice(at, at + 2), 16));
  }

  /** Writes over four bytes that stand there already. */
  patchU32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  /** Takes back what was written behind the position. */
  cut(length: number): void {
    this.#length = length;
  }

  /** What was written. The next write or `clear` overwrites it. */
  written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  clear(): void {
    this.#length = 0;
    if (this.#bytes.length > KEPT_MAX_BYTES) this.#replace(new Uint8Array(FIRST_BYTES));
  }

  #room(wanted: number): void {
    const needed = this.#length + wanted;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    larger.set(this.written());
    this.#replace(larger);
  }

  #replace(bytes: Uint8Array<ArrayBuffer>): void {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

const encoder = new TextEncoder();
