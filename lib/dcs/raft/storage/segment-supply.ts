// Owns the next segment of the log: it is created, zeroed and synced before it is needed, so that a full disk is known while
// there is still a whole segment to write to. Never touches a segment that is in use.

import { type Disk, DiskError, type DiskFile } from "./disk.ts";
import { segmentName } from "./segment.ts";

export interface PreparedSegment {
  readonly number: number;
  readonly size: number;
  readonly file: DiskFile;
}

export class SegmentSupply {
  /** When another segment cannot be had, and when it can again; not repeated. */
  onRoom: (room: "full" | "room") => void = () => {};

  readonly #disk: Disk;
  readonly #segmentBytes: number;
  readonly #fail: (error: DiskError) => void;
  #prepared: PreparedSegment | null;
  #preparing: Promise<void> | null = null;
  /** The number to prepare. */
  #wanted: number;
  #wantedSize: number;
  #room: "full" | "room" = "room";
  #full: DiskError | null = null;
  #waiting: (() => void) | null = null;
  #closed = false;

  constructor(
    start: { readonly disk: Disk; readonly segmentBytes: number; readonly nextNumber: number; readonly prepared: PreparedSegment | null },
    fail: (error: DiskError) => void,
  ) {
    this.#disk = start.disk;
    this.#segmentBytes = start.segmentBytes;
    this.#wanted = start.nextNumber;
    this.#wantedSize = start.segmentBytes;
    this.#prepared = start.prepared;
    this.#fail = fail;
  }

  get room(): "full" | "room" {
    return this.#room;
  }

  /** Why there is no room; null where there is. */
  get full(): DiskError | null {
    return this.#full;
  }

  /** Begins to prepare the segment with this number, if that is not under way. */
  prepare(number: number): void {
    if (number > this.#wanted) {
      this.#wanted = number;
      this.#wantedSize = this.#segmentBytes;
    }
    this.#start();
  }

  /** Tries again after "full". */
  retry(): void {
    if (this.#room === "full") this.#start();
  }

  /** Resolves once the next segment is there, or cannot be had. */
  async ready(): Promise<void> {
    this.#start();
    await this.#preparing;
  }

  /** The zeroed file of the segment, of at least that size; null where the disk is full. Rejects with DiskError. */
  async take(number: number, size: number): Promise<DiskFile | null> {
    this.prepare(number);
    await this.#preparing;
    if (this.#prepared !== null && this.#prepared.size < size) await this.#discard(this.#prepared);
    if (this.#prepared === null && this.#room === "room" && !this.#closed) {
      this.#wantedSize = size;
      this.#start();
      await this.#preparing;
    }
    const prepared = this.#prepared;
    if (prepared === null) return null;
    this.#prepared = null;
    return prepared.file;
  }

  /** Calls it once, when there is room again. */
  onRoomOnce(resume: () => void): void {
    this.#waiting = resume;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#preparing;
    await this.#prepared?.file.close();
    this.#prepared = null;
  }

  #start(): void {
    if (this.#preparing !== null || this.#prepared?.number === this.#wanted || this.#closed) return;
    this.#preparing = this.#create(this.#wanted, this.#wantedSize);
  }

  async #create(number: number, size: number): Promise<void> {
    try {
      const file = await createSegment(this.#disk, number, size);
      this.#prepared = { number, size, file };
      this.#full = null;
      this.#report("room");
    } catch (thrown) {
      if (!(thrown instanceof DiskError)) throw thrown;
      if (thrown.kind === "full") {
        this.#full = thrown;
        this.#report("full");
      } else {
        this.#fail(thrown);
      }
    } finally {
      this.#preparing = null;
    }
  }

  async #discard(prepared: PreparedSegment): Promise<void> {
    this.#prepared = null;
    await prepared.file.close();
    await this.#disk.remove(segmentName(prepared.number));
    await this.#disk.syncFolder();
  }

  #report(room: "full" | "room"): void {
    if (room === this.#room) return;
    this.#room = room;
    this.onRoom(room);
    if (room === "full") return;
    const resume = this.#waiting;
    this.#waiting = null;
    resume?.();
  }
}

/** Under its own name only once it is whole: so a file of that name is never one that a crash left half zeroed. */
export async function createSegment(disk: Disk, number: number, size: number): Promise<DiskFile> {
  const name = segmentName(number);
  const temporary = `${name}.new`;
  if ((await disk.list()).includes(temporary)) await disk.remove(temporary);
  const file = await disk.create(temporary, size);
  try {
    await disk.rename(temporary, name);
    await disk.syncFolder();
  } catch (thrown) {
    await file.close();
    throw thrown;
  }
  return file;
}
