// Owns what the tests of the Raft storage share: a quiet log, an identity, entries, and opening that must succeed.

import type { EntryKind, LogEntry, LogWrite, SnapshotMeta } from "../../../../../lib/dcs/raft/core/types.ts";
import type { Disk } from "../../../../../lib/dcs/raft/storage/disk.ts";
import type { StoredIdentity } from "../../../../../lib/dcs/raft/storage/identity.ts";
import { type OpenedStorage, openStorage, type StorageFault } from "../../../../../lib/dcs/raft/storage/open-storage.ts";
import type { RaftStorage } from "../../../../../lib/dcs/raft/storage/raft-storage.ts";
import type { Log } from "../../../../../lib/model/log.ts";
import { logIndex, type MemberId, memberId, raftClusterId, term } from "../../../../../lib/model/raft.ts";
import type { Result } from "../../../../../lib/model/result.ts";

export const SMALL_SEGMENT = 4096;

export const ALICE = memberId("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") as MemberId;
export const BOB = memberId("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb") as MemberId;

export const IDENTITY: StoredIdentity = {
  memberId: ALICE,
  clusterId: raftClusterId("cccccccccccccccccccccccccccccccc"),
  address: "127.0.0.1:7001",
  promise: null,
  founding: { voters: [{ id: ALICE, address: "127.0.0.1:7001" }], outgoing: null, learners: [] },
};

export const SILENT: Log = { debug() {}, info() {}, warning() {}, error() {}, critical() {} };

export function open(disk: Disk, segmentBytes = SMALL_SEGMENT): Promise<Result<OpenedStorage, StorageFault>> {
  return openStorage({ disk, log: SILENT, segmentBytes });
}

export async function mustOpen(disk: Disk, segmentBytes = SMALL_SEGMENT): Promise<OpenedStorage> {
  const opened = await open(disk, segmentBytes);
  if (!opened.ok) throw new Error(`${opened.error.kind}: ${opened.error.message}`);
  return opened.value;
}

/** An opened folder of a member with an identity. */
export async function mustFound(disk: Disk, segmentBytes = SMALL_SEGMENT): Promise<RaftStorage> {
  const { storage } = await mustOpen(disk, segmentBytes);
  await storage.writeIdentity(IDENTITY);
  return storage;
}

export function entry(
  index: number,
  ofTerm = 1,
  payload: Uint8Array | string = `entry ${index} of ${ofTerm}`,
  kind: EntryKind = "command",
): LogEntry {
  const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
  return { index: logIndex(index), term: term(ofTerm), kind, time: index * 10, payload: bytes };
}

export function append(...entries: LogEntry[]): LogWrite {
  return { kind: "append", entries };
}

export function vote(ofTerm: number, votedFor: MemberId | null): LogWrite {
  return { kind: "hard-state", state: { term: term(ofTerm), votedFor } };
}

export function meta(index: number, ofTerm = 1): SnapshotMeta {
  return {
    index: logIndex(index),
    term: term(ofTerm),
    time: index * 10,
    configuration: { voters: [{ id: ALICE, address: "127.0.0.1:7001" }], outgoing: null, learners: [] },
    configurationIndex: logIndex(0),
  };
}

/** Writes the batch and waits until it is durable; rejects with the failure. */
export class Writing {
  readonly storage: RaftStorage;
  #sequence = 0;
  readonly #waiting = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();

  constructor(storage: RaftStorage) {
    this.storage = storage;
    storage.onDurable = (sequence) => {
      for (const [waiting, { resolve }] of this.#waiting) {
        if (waiting > sequence) continue;
        this.#waiting.delete(waiting);
        resolve();
      }
    };
    storage.onFailure = (error) => {
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
  }

  write(...writes: LogWrite[]): Promise<void> {
    this.#sequence += 1;
    const sequence = this.#sequence;
    const durable = new Promise<void>((resolve, reject) => this.#waiting.set(sequence, { resolve, reject }));
    this.storage.write({ sequence, writes });
    return durable;
  }
}
