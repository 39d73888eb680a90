// Owns one file of the disk in memory (fake-disk.ts): what was written and not synced, and what a crash leaves of that.

import type { DiskFile } from "../../lib/dcs/raft/storage/disk.ts";

export type DiskOperationKind = "list" | "read" | "create" | "open" | "write" | "sync" | "rename" | "remove" | "sync-folder";

export interface DiskOperation {
  readonly kind: DiskOperationKind;
  /** Empty for the folder. */
  readonly file: string;
  /** Bytes written, read or allocated. */
  readonly bytes: number;
}

/** Whether a sector of 512 bytes of that file was not written although later ones were: disks reorder. */
export type LosesSector = (name: string, sector: number) => boolean;

const SECTOR_BYTES = 512;

export interface UnsyncedWrite {
  readonly offset: number;
  readonly before: Uint8Array;
  readonly after: Uint8Array;
  /** A sync over it failed: the kernel dropped it, whatever a later sync says. */
  lost: boolean;
}

export interface FakeContent {
  bytes: Uint8Array;
  unsynced: UnsyncedWrite[];
  creating: boolean;
}

/** What a file asks of its disk. */
export interface FakeMedium {
  readonly readOnly: boolean;
  /** Counts crashes. */
  readonly life: number;
  /** Runs an operation of this life, ending it with the fault that is due. */
  run<T>(operation: DiskOperation, done: () => T, failed?: () => void): Promise<T>;
}

export class FakeFile implements DiskFile {
  readonly #disk: FakeMedium;
  readonly #name: string;
  readonly #content: FakeContent;
  readonly #life: number;
  #open = true;

  constructor(disk: FakeMedium, name: string, content: FakeContent) {
    this.#disk = disk;
    this.#name = name;
    this.#content = content;
    this.#life = disk.life;
  }

  write(offset: number, bytes: Uint8Array): Promise<void> {
    this.#check();
    if (offset + bytes.length > this.#content.bytes.length) throw new Error(`${this.#name}: a write beyond what was allocated`);
    if (this.#disk.life === this.#life && !this.#disk.readOnly) {
      const before = this.#content.bytes.slice(offset, offset + bytes.length);
      this.#content.unsynced.push({ offset, before, after: bytes.slice(), lost: false });
      this.#content.bytes.set(bytes, offset);
    }
    return this.#run({ kind: "write", file: this.#name, bytes: bytes.length }, () => {});
  }

  sync(): Promise<void> {
    this.#check();
    const covered = [...this.#content.unsynced];
    const failed = (): void => {
      for (const write of covered) write.lost = true;
    };
    const done = (): void => {
      const { unsynced } = this.#content;
      for (const lost of unsynced) if (lost.lost) for (const write of covered) if (!write.lost) supersede(lost, write);
      this.#content.unsynced = unsynced.filter((write) => write.lost || !covered.includes(write));
    };
    return this.#run({ kind: "sync", file: this.#name, bytes: 0 }, done, failed);
  }

  async close(): Promise<void> {
    this.#open = false;
  }

  /** A handle of before a crash belongs to a process that is gone: nothing it asks for ends. */
  #run(operation: DiskOperation, done: () => void, failed?: () => void): Promise<void> {
    return this.#disk.life === this.#life ? this.#disk.run(operation, done, failed) : new Promise(() => {});
  }

  #check(): void {
    if (!this.#open) throw new Error(`${this.#name} is closed`);
  }
}

/** What was written again, and is durable now, is not lost with the first attempt. */
function supersede(lost: UnsyncedWrite, durable: UnsyncedWrite): void {
  const from = Math.max(lost.offset, durable.offset);
  const to = Math.min(lost.offset + lost.before.length, durable.offset + durable.after.length);
  if (from < to) lost.before.set(durable.after.subarray(from - durable.offset, to - durable.offset), from - lost.offset);
}

export function unsyncedBytes(content: FakeContent): number {
  let total = 0;
  for (const write of content.unsynced) total += write.after.length;
  return total;
}

/** The bytes as a crash leaves them. */
export function crashContent(content: FakeContent, keepBytes: number, loses: (sector: number) => boolean): void {
  const writes = content.unsynced;
  const lost = new Map<number, boolean>();
  content.unsynced = [];
  for (const write of writes.toReversed()) content.bytes.set(write.before, write.offset);
  let left = keepBytes;
  for (const write of writes) {
    const kept = write.lost ? 0 : Math.min(left, write.after.length);
    for (let at = 0; at < kept; ) {
      const sector = Math.floor((write.offset + at) / SECTOR_BYTES);
      const end = Math.min(kept, (sector + 1) * SECTOR_BYTES - write.offset);
      const isLost = lost.get(sector) ?? loses(sector);
      lost.set(sector, isLost);
      if (!isLost) content.bytes.set(write.after.subarray(at, end), write.offset + at);
      at = end;
    }
    left -= kept;
  }
}
