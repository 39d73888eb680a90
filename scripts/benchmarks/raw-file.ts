// Owns the least that any durable log can do, to compare with: write and fdatasync, round a preallocated file that has no name.

import * as fs from "node:fs";

const RAW_FILE_BYTES = 64 * 1024 * 1024;

export class RawFile {
  readonly #fd: number;
  readonly #bytes: Uint8Array;
  #offset = 0;

  /** `longest`: of one append, in bytes. */
  constructor(path: string, longest: number) {
    this.#bytes = new Uint8Array(longest).fill(0x5a);
    this.#fd = fs.openSync(path, "wx", 0o600);
    const zeros = new Uint8Array(1024 * 1024);
    for (let at = 0; at < RAW_FILE_BYTES; at += zeros.length) fs.writeSync(this.#fd, zeros, 0, zeros.length, at);
    fs.unlinkSync(path);
    fs.fsyncSync(this.#fd);
  }

  append(length: number): void {
    if (this.#offset + length > RAW_FILE_BYTES) this.#offset = 0;
    fs.writeSync(this.#fd, this.#bytes, 0, length, this.#offset);
    fs.fdatasyncSync(this.#fd);
    this.#offset += length;
  }

  /** As append, but this thread may do something else meanwhile: what a member needs. */
  appendAway(length: number): Promise<void> {
    if (this.#offset + length > RAW_FILE_BYTES) this.#offset = 0;
    fs.writeSync(this.#fd, this.#bytes, 0, length, this.#offset);
    this.#offset += length;
    return new Promise((resolve, reject) => fs.fdatasync(this.#fd, (error) => (error === null ? resolve() : reject(error))));
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}
