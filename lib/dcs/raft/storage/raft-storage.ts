// Owns what a running member keeps on disk: it hands log writes to the writer, and lets one change of the other files
// (identity, snapshots) run after the other. Decides nothing about the log's content.

import type { ReceivedChunk, SnapshotMeta, WriteBatch } from "../core/types.ts";
import { type Disk, DiskError } from "./disk.ts";
import { type StoredIdentity, writeIdentity } from "./identity.ts";
import type { LogWriter } from "./log-writer.ts";
import { segmentNumber } from "./segment.ts";
import type { SnapshotStore } from "./snapshot-store.ts";

/**
 * Made by openStorage. After the first failure (`onFailure`) nothing is written or synced again: the member has to stop. A
 * full disk is no failure: `onRoom` says so a segment ahead; batches beyond that wait, up to WAITING_BYTES_MAX.
 */
export class RaftStorage {
  readonly #disk: Disk;
  readonly #writer: LogWriter;
  readonly #snapshots: SnapshotStore;
  #hasIdentity: boolean;
  /** The change of files that runs last; never rejects. */
  #files: Promise<unknown> = Promise.resolve();

  constructor(parts: {
    readonly disk: Disk;
    readonly writer: LogWriter;
    readonly snapshots: SnapshotStore;
    readonly hasIdentity: boolean;
  }) {
    this.#disk = parts.disk;
    this.#writer = parts.writer;
    this.#snapshots = parts.snapshots;
    this.#hasIdentity = parts.hasIdentity;
  }

  /** Every batch up to this sequence is durable. */
  set onDurable(handler: (sequence: number) => void) {
    this.#writer.onDurable = handler;
  }

  /** Around each sync of the log; for measures. One that fails has no end. */
  set onSync(handler: (phase: "begins" | "ended") => void) {
    this.#writer.onSync = handler;
  }

  /** Once; the content of the disk is unknown from then on. */
  set onFailure(handler: (error: DiskError) => void) {
    this.#writer.onFailure = handler;
  }

  /** `full`: there is no room for the segment after the current one. Changes alone are reported. */
  set onRoom(handler: (room: "full" | "room") => void) {
    this.#writer.supply.onRoom = handler;
  }

  /** As onRoom would last have said; `full` is possible from the start. */
  get room(): "full" | "room" {
    return this.#writer.supply.room;
  }

  /**
   * Queues the batch; batches become durable in order, as many at once as gathered during the sync before. After a failure
   * it does nothing. Throws Error before an identity is written, and where an entry would leave a gap.
   */
  write(batch: WriteBatch): void {
    if (!this.#hasIdentity) throw new Error("log writes before the member has an identity");
    this.#writer.write(batch);
  }

  /** While the disk is full: tries again to make room for another segment. The owner calls it now and then. */
  retryRoom(): void {
    this.#writer.supply.retry();
  }

  /** Durable when resolved. Rejects with DiskError; the old identity stands where that is `full`. */
  writeIdentity(identity: StoredIdentity): Promise<void> {
    return this.#change(async () => {
      await writeIdentity(this.#disk, identity);
      this.#hasIdentity = true;
    });
  }

  /**
   * Returns the size of the snapshot's file in bytes; durable when resolved. Then older files that nobody needs are
   * removed: two snapshots stay, those in use, and the log behind the older of the two. Rejects with DiskError; nothing is lost where
   * that is `full`.
   */
  saveSnapshot(meta: SnapshotMeta, body: Uint8Array, inUse: readonly SnapshotMeta[] = []): Promise<number> {
    return this.#change(async () => {
      const size = await this.#snapshots.save(meta, body, inUse);
      await this.#dropSegments();
      return size;
    });
  }

  /** The body, verified. Rejects with DiskError: `absent` where it is not kept any more, `failed` where it is damaged. */
  loadSnapshot(meta: SnapshotMeta): Promise<Uint8Array> {
    return this.#snapshots.load(meta);
  }

  /** At most `length` bytes of the snapshot's file, shorter at its end. Rejects with DiskError, as loadSnapshot. */
  readChunk(meta: SnapshotMeta, offset: number, length: number): Promise<Uint8Array> {
    return this.#snapshots.readChunk(meta, offset, length);
  }

  /**
   * Takes a chunk of another member's snapshot. `bad`: it does not continue what was received, or the whole is damaged:
   * receive it anew from offset 0. With the last chunk the snapshot is verified, durable and the newest one here.
   * Rejects with DiskError; where that is `full`, receive it anew later.
   */
  receive(chunk: ReceivedChunk): Promise<"receiving" | { readonly body: Uint8Array } | "bad"> {
    return this.#change(async () => {
      const outcome = await this.#snapshots.receive(chunk);
      if (typeof outcome === "object") await this.#dropSegments();
      return outcome;
    });
  }

  /** Finishes what runs and closes all files. */
  async close(): Promise<void> {
    await this.#files;
    await this.#writer.close();
    await this.#snapshots.close();
  }

  #change<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#files.then(async () => {
      if (this.#writer.failure !== null) throw this.#writer.failure;
      try {
        return await work();
      } catch (thrown) {
        if (thrown instanceof DiskError && thrown.kind !== "full") this.#writer.fail(thrown);
        throw thrown;
      }
    });
    // Whoever asked for it is told; the next in turn is concerned only by what failed the writer.
    this.#files = result.catch(() => {});
    return result;
  }

  /** What stands before the older snapshot is needed by nobody. A damaged log keeps everything. */
  async #dropSegments(): Promise<void> {
    if (this.#writer.log === "damaged") return;
    const first = this.#writer.segments.findLast((segment) => segment.lastIndex <= this.#snapshots.reserveIndex);
    if (first === undefined) return;
    const numbers = (await this.#disk.list()).map((name) => ({ name, number: segmentNumber(name) }));
    const stale = numbers.filter(({ number }) => number !== null && number < first.number);
    for (const { name } of stale) await this.#disk.remove(name);
    if (stale.length === 0) return;
    await this.#disk.syncFolder();
    this.#writer.supply.retry();
  }
}
