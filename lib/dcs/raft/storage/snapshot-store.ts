// Owns the snapshot files of the folder: saving, reading, receiving in chunks, and keeping the newest two and what is being sent. A file gets its
// name only once it is whole and synced. One change at a time: the caller serialises them.

import type { Log } from "../../../model/log.ts";
import type { ReceivedChunk, SnapshotMeta } from "../core/types.ts";
import { type Disk, DiskError, type DiskFile } from "./disk.ts";
import { decodeSnapshot, encodeSnapshot, parseSnapshotName, SNAPSHOT_BYTES_MAX, SnapshotCheck, snapshotName } from "./snapshot-file.ts";

/** The newest may rot; the one before it, and the log behind that, then stand in for it. */
export const SNAPSHOTS_KEPT = 2;
const VERIFY_BYTES = 1024 * 1024;
const OWN_TEMPORARY = "snapshot.new";
const RECEIVED_TEMPORARY = "snapshot-received.new";

export interface FoundSnapshot {
  readonly meta: SnapshotMeta;
  /** Of the whole file, in bytes. */
  readonly size: number;
}

interface Receiving {
  readonly name: string;
  readonly size: number;
  readonly file: DiskFile;
  /** Written without a gap up to there. */
  received: number;
}

export class SnapshotStore {
  readonly #disk: Disk;
  readonly #log: Log;
  /** Names of kept snapshots, oldest first; an unreadable one is not among them. */
  #names: string[] = [];
  #receiving: Receiving | null = null;

  constructor(disk: Disk, log: Log) {
    this.#disk = disk;
    this.#log = log;
  }

  /** The newest snapshot that is whole. Rejects with DiskError. */
  async open(names: readonly string[]): Promise<FoundSnapshot | null> {
    const candidates = names.filter((name) => parseSnapshotName(name) !== null).sort();
    for (let name = candidates.pop(); name !== undefined; name = candidates.pop()) {
      const bytes = await this.#disk.read(name);
      const decoded = decodeSnapshot(bytes);
      if (decoded !== null && snapshotName(decoded.meta) === name) {
        this.#names = [...candidates, name];
        return { meta: decoded.meta, size: bytes.length };
      }
      this.#log.error(`the snapshot ${name} is damaged; the one before it is used, with the log behind that`);
    }
    return null;
  }

  /** Index of the oldest snapshot that is kept in reserve; 0 where the newest is the only one. */
  get reserveIndex(): number {
    const reserve = this.#names.at(-SNAPSHOTS_KEPT);
    return reserve === undefined ? 0 : (parseSnapshotName(reserve)?.index ?? 0);
  }

  /** Returns the size of the file. Durable when resolved; rejects with DiskError, and then the old ones stand. `inUse`: stay as well. */
  async save(meta: SnapshotMeta, body: Uint8Array, inUse: readonly SnapshotMeta[]): Promise<number> {
    const bytes = encodeSnapshot(meta, body);
    await this.#removeIfThere(OWN_TEMPORARY);
    const file = await this.#disk.create(OWN_TEMPORARY, bytes.length);
    try {
      await file.write(0, bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await this.#adopt(OWN_TEMPORARY, snapshotName(meta), inUse.map(snapshotName));
    return bytes.length;
  }

  /** Rejects with DiskError `absent` where it is not kept any more, `failed` where it is damaged. */
  async load(meta: SnapshotMeta): Promise<Uint8Array> {
    const name = snapshotName(meta);
    const decoded = decodeSnapshot(await this.#disk.read(name));
    if (decoded === null) throw new DiskError("failed", name, `the snapshot ${name} is damaged`);
    return decoded.body;
  }

  /** As load. The first chunk comes after the whole file was verified: a damaged one would be refused over there for ever. */
  async readChunk(meta: SnapshotMeta, offset: number, length: number): Promise<Uint8Array> {
    const name = snapshotName(meta);
    if (offset === 0) await this.#verify(name);
    return this.#disk.readAt(name, offset, length);
  }

  async receive(chunk: ReceivedChunk): Promise<"receiving" | { readonly body: Uint8Array } | "bad"> {
    const receiving = await this.#receivingFor(chunk);
    if (receiving === null || chunk.offset > receiving.received || chunk.offset + chunk.data.length > receiving.size) return "bad";
    await receiving.file.write(chunk.offset, chunk.data);
    receiving.received = Math.max(receiving.received, chunk.offset + chunk.data.length);
    if (receiving.received < receiving.size) return "receiving";
    this.#receiving = null;
    try {
      await receiving.file.sync();
    } finally {
      await receiving.file.close();
    }
    const decoded = decodeSnapshot(await this.#disk.read(RECEIVED_TEMPORARY));
    if (decoded === null || snapshotName(decoded.meta) !== receiving.name) {
      await this.#disk.remove(RECEIVED_TEMPORARY);
      return "bad";
    }
    await this.#adopt(RECEIVED_TEMPORARY, receiving.name, []);
    return { body: decoded.body };
  }

  async close(): Promise<void> {
    await this.#receiving?.file.close();
    this.#receiving = null;
  }

  /** In pieces, so that a large snapshot holds up nothing else for long. */
  async #verify(name: string): Promise<void> {
    const check = new SnapshotCheck();
    for (let at = 0; ; at += VERIFY_BYTES) {
      const piece = await this.#disk.readAt(name, at, VERIFY_BYTES);
      check.add(piece);
      if (piece.length < VERIFY_BYTES) break;
    }
    if (!check.isWhole()) throw new DiskError("failed", name, `the snapshot ${name} is damaged`);
  }

  /** A first chunk begins anew; null where the chunk belongs to nothing that was begun. */
  async #receivingFor(chunk: ReceivedChunk): Promise<Receiving | null> {
    const name = snapshotName(chunk.meta);
    const current = this.#receiving;
    if (chunk.offset !== 0) return current !== null && current.name === name && current.size === chunk.size ? current : null;
    if (chunk.size > SNAPSHOT_BYTES_MAX || chunk.size < 1) return null;
    this.#receiving = null;
    await current?.file.close();
    await this.#removeIfThere(RECEIVED_TEMPORARY);
    const file = await this.#disk.create(RECEIVED_TEMPORARY, chunk.size);
    this.#receiving = { name, size: chunk.size, file, received: 0 };
    return this.#receiving;
  }

  async #adopt(temporary: string, name: string, inUse: readonly string[]): Promise<void> {
    await this.#disk.rename(temporary, name);
    await this.#disk.syncFolder();
    const all = [...this.#names.filter((known) => known !== name), name].sort();
    this.#names = all.filter((known, at) => at >= all.length - SNAPSHOTS_KEPT || inUse.includes(known));
    const stale = (await this.#disk.list()).filter((found) => parseSnapshotName(found) !== null && !this.#names.includes(found));
    for (const found of stale) await this.#disk.remove(found);
    if (stale.length > 0) await this.#disk.syncFolder();
  }

  async #removeIfThere(name: string): Promise<void> {
    if ((await this.#disk.list()).includes(name)) await this.#disk.remove(name);
  }
}
