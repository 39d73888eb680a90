// Owns the lease on disk: what a restarted supervisor needs to go on with the session, the deadline and the guard of the
// one that died. It survives the death of the process, not of the machine (the boot id tells), so it is never synced.
// Must not judge whether the lease may be continued: it reports what was written.

import { closeSync, constants, fchmodSync, openSync, readFileSync, writeSync } from "node:fs";
import * as v from "valibot";
import { err, ok, type Result } from "../model/result.ts";

const ProcessSchema = v.object({ pid: v.number(), startTicks: v.number() });

const LeaseRecordSchema = v.object({
  session: v.string(),
  lockRevision: v.number(),
  /** End of the lease on the boot-time clock, in ms. */
  deadline: v.number(),
  bootId: v.string(),
  systemIdentifier: v.string(),
  dataDir: v.string(),
  postmaster: v.nullable(ProcessSchema),
  guard: v.nullable(ProcessSchema),
});

/** Everything that is needed to continue a lease. Session and revision are the store's. */
export type LeaseRecord = v.InferOutput<typeof LeaseRecordSchema>;

export interface LeaseFileError {
  readonly path: string;
  readonly message: string;
}

/** Two places of this size, written in turn: a write that was cut off leaves the one before. Data directory paths have 4096 bytes at most. */
const SLOT_BYTES = 8192;

export class LeaseFile {
  readonly #fd: number;
  readonly #path: string;
  #sequence: number;

  private constructor(fd: number, path: string, sequence: number) {
    this.#fd = fd;
    this.#path = path;
    this.#sequence = sequence;
  }

  /** Opens for writing (mode 0600), keeping what is there. Only the holder of the run lock may. Errors: the path cannot be written. */
  static open(path: string): Result<LeaseFile, LeaseFileError> {
    try {
      const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
      fchmodSync(fd, 0o600);
      return ok(new LeaseFile(fd, path, latest(readFileSync(path))?.sequence ?? 0));
    } catch (error) {
      return err({ path, message: error instanceof Error ? error.message : String(error) });
    }
  }

  /** One small write into the page cache; no sync. Errors: the disk refuses it (the lease itself is not affected). */
  write(record: LeaseRecord): Result<null, LeaseFileError> {
    return this.#put(record);
  }

  /** Nothing to continue: after a release, a demotion, or on a change of the data directory. */
  clear(): Result<null, LeaseFileError> {
    return this.#put(null);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #put(record: LeaseRecord | null): Result<null, LeaseFileError> {
    const sequence = this.#sequence + 1;
    const body = JSON.stringify({ sequence, lease: record });
    const line = Buffer.alloc(SLOT_BYTES, " ");
    const text = `${Bun.hash.crc32(body).toString(16).padStart(8, "0")} ${body}`;
    if (Buffer.byteLength(text) >= SLOT_BYTES) return err({ path: this.#path, message: "the lease record is too long" });
    line.write(text);
    line.write("\n", SLOT_BYTES - 1);
    try {
      writeSync(this.#fd, line, 0, SLOT_BYTES, (sequence % 2) * SLOT_BYTES);
      this.#sequence = sequence;
      return ok(null);
    } catch (error) {
      return err({ path: this.#path, message: error instanceof Error ? error.message : String(error) });
    }
  }
}

/** The lease that was written last; null where there is none, it was cleared, or the file is not ours. */
export function readLeaseFile(path: string): LeaseRecord | null {
  try {
    return latest(readFileSync(path))?.lease ?? null;
  } catch {
    // The usual answer on a node that never was the leader.
    return null;
  }
}

let bootIdRead: string | null = null;

/** Changes with each boot of the machine. Throws where /proc is not there. */
export function bootId(): string {
  bootIdRead ??= readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  return bootIdRead;
}

interface Slot {
  readonly sequence: number;
  readonly lease: LeaseRecord | null;
}

const SlotSchema = v.object({ sequence: v.number(), lease: v.nullable(LeaseRecordSchema) });

function latest(content: Buffer): Slot | null {
  let best: Slot | null = null;
  for (const start of [0, SLOT_BYTES]) {
    const slot = readSlot(
      content
        .subarray(start, start + SLOT_BYTES)
        .toString()
        .trim()
        .replaceAll("\0", ""),
    );
    if (slot !== null && (best === null || slot.sequence > best.sequence)) best = slot;
  }
  return best;
}

function readSlot(text: string): Slot | null {
  const body = text.slice(9);
  if (Bun.hash.crc32(body).toString(16).padStart(8, "0") !== text.slice(0, 8)) return null;
  try {
    const parsed = v.safeParse(SlotSchema, JSON.parse(body));
    return parsed.success ? parsed.output : null;
  } catch {
    // The checksum matches, but it is not JSON: not written by us.
    return null;
  }
}
