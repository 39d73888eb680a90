// Owns a small record on disk that survives the death of its process, and of the machine only where that is asked for: two places of one
// file, written in turn and checksummed, so that a write that was cut off leaves the one before. Must not know what the record says.

import { closeSync, constants, fchmodSync, fdatasyncSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import * as v from "valibot";
import { err, ok, type Result } from "../model/result.ts";

export interface TwinFileError {
  readonly path: string;
  readonly message: string;
}

/** Data directory paths have 4096 bytes at most. */
const SLOT_BYTES = 8192;

export class TwinFile<T> {
  readonly #fd: number;
  readonly #path: string;
  #sequence: number;
  /** That the file is there at all is on the disk. */
  #nameIsDurable = false;

  private constructor(fd: number, path: string, sequence: number) {
    this.#fd = fd;
    this.#path = path;
    this.#sequence = sequence;
  }

  /** Opens for writing (mode 0600), keeping what is there. Only the holder of the run lock may. Errors: the path cannot be written. */
  static open<T>(path: string, schema: v.GenericSchema<T>): Result<TwinFile<T>, TwinFileError> {
    try {
      const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
      fchmodSync(fd, 0o600);
      return ok(new TwinFile<T>(fd, path, latest(readFileSync(path), schema)?.sequence ?? 0));
    } catch (error) {
      return err({ path, message: error instanceof Error ? error.message : String(error) });
    }
  }

  /** One small write into the page cache; no sync. Errors: the disk refuses it. */
  write(record: T): Result<null, TwinFileError> {
    return this.#put(record);
  }

  /** As write, and on the disk when it returns. Errors: the disk refuses it; what is read after a crash of the machine may be either. */
  writeDurably(record: T): Result<null, TwinFileError> {
    const written = this.#put(record);
    if (!written.ok) return written;
    try {
      fdatasyncSync(this.#fd);
      if (!this.#nameIsDurable) syncFolder(dirname(this.#path));
      this.#nameIsDurable = true;
      return written;
    } catch (error) {
      return err({ path: this.#path, message: error instanceof Error ? error.message : String(error) });
    }
  }

  /** Nothing is left to be read. */
  clear(): Result<null, TwinFileError> {
    return this.#put(null);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #put(record: T | null): Result<null, TwinFileError> {
    const sequence = this.#sequence + 1;
    const body = JSON.stringify({ sequence, record });
    const line = Buffer.alloc(SLOT_BYTES, " ");
    const text = `${Bun.hash.crc32(body).toString(16).padStart(8, "0")} ${body}`;
    if (Buffer.byteLength(text) >= SLOT_BYTES) return err({ path: this.#path, message: "the record is too long" });
    line.write(text);
    line.write("\n", SLOT_BYTES - 1);
    try {
      const written = writeSync(this.#fd, line, 0, SLOT_BYTES, (sequence % 2) * SLOT_BYTES);
      // The next one goes to this place again: the record before it stands in the other.
      if (written < SLOT_BYTES)
        return err({ path: this.#path, message: `only ${written} of ${SLOT_BYTES} bytes were written (is the disk full?)` });
      this.#sequence = sequence;
      return ok(null);
    } catch (error) {
      return err({ path: this.#path, message: error instanceof Error ? error.message : String(error) });
    }
  }
}

/** What was written last; null where there is nothing, it was cleared, or the file is not ours. */
export function readTwinFile<T>(path: string, schema: v.GenericSchema<T>): T | null {
  try {
    return latest(readFileSync(path), schema)?.record ?? null;
  } catch {
    // The usual answer where nothing was ever written.
    return null;
  }
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

interface Slot<T> {
  readonly sequence: number;
  readonly record: T | null;
}

function latest<T>(content: Buffer, schema: v.GenericSchema<T>): Slot<T> | null {
  let best: Slot<T> | null = null;
  for (const start of [0, SLOT_BYTES]) {
    const text = content.subarray(start, start + SLOT_BYTES).toString();
    const slot = readSlot(text.trim().replaceAll("\0", ""), schema);
    if (slot !== null && (best === null || slot.sequence > best.sequence)) best = slot;
  }
  return best;
}

function readSlot<T>(text: string, schema: v.GenericSchema<T>): Slot<T> | null {
  const body = text.slice(9);
  if (Bun.hash.crc32(body).toString(16).padStart(8, "0") !== text.slice(0, 8)) return null;
  try {
    const parsed = v.safeParse(v.object({ sequence: v.number(), record: v.nullable(schema) }), JSON.parse(body));
    return parsed.success ? { sequence: parsed.output.sequence, record: parsed.output.record ?? null } : null;
  } catch {
    // The checksum matches, but it is not JSON: not written by us.
    return null;
  }
}
