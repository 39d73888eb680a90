// Owns a simulated member's snapshots: taking them, sending them in chunks, receiving and installing them. The bytes are a
// pattern that the state's hash chooses, so a mixture of two snapshots is seen.

import type { ChunkToSend, Message, ReceivedChunk, SnapshotMeta } from "../../../lib/dcs/raft/core/types.ts";
import type { SavedSnapshot } from "./machine-disk.ts";
import type { Seat } from "./seat.ts";
import { Violation } from "./trace.ts";

const PATTERN_BYTES = 4 * 1024 * 1024;
const PATTERN_PERIOD = 4096;

const pattern = new Uint8Array(PATTERN_BYTES + PATTERN_PERIOD).map(
  (_, index) => Math.imul((index % PATTERN_PERIOD) + 1, 0x9e3779b1) >>> 24,
);

export class SnapshotShelf {
  readonly #seat: Seat;
  #saving = false;
  #receiving: { readonly meta: SnapshotMeta; got: number } | null = null;

  constructor(seat: Seat) {
    this.#seat = seat;
  }

  /** After a crash nothing is under way. */
  forget(): void {
    this.#saving = false;
    this.#receiving = null;
  }

  saveWhenDue(): void {
    const seat = this.#seat;
    if (this.#saving || seat.applied - seat.disk.newest.meta.index < seat.world.snapshotEvery) return;
    this.save();
  }

  save(): void {
    const seat = this.#seat;
    const { world, life } = seat;
    const last = world.ledger.committedEntry(seat.applied);
    if (last === null || this.#saving || seat.applied <= seat.disk.newest.meta.index) return;
    // A snapshot never runs ahead of the own log; it is looked at again after each step.
    if (seat.raft === null || seat.raft.durable < seat.applied) return;
    this.#saving = true;
    const snapshot: SavedSnapshot = {
      meta: {
        index: last.index,
        term: last.term,
        time: last.time,
        configuration: seat.appliedConfiguration,
        configurationIndex: seat.appliedConfigurationIndex as SnapshotMeta["configurationIndex"],
      },
      size: world.snapshotSize(),
      hash: seat.hash,
    };
    world.queue.after(world.snapshotDelay(seat), () => {
      if (seat.life !== life) return;
      this.#saving = false;
      if (snapshot.meta.index <= seat.disk.newest.meta.index) return;
      seat.disk.saveSnapshot(snapshot, seat.raft?.snapshotsInUse ?? []);
      seat.written.cutBefore(seat.disk.log.base);
      if (world.point(seat, "snapshot-saved")) return;
      seat.receive({ kind: "snapshot-saved", meta: snapshot.meta, size: snapshot.size });
    });
  }

  send(chunk: ChunkToSend): void {
    const seat = this.#seat;
    const { world, life } = seat;
    const saved = seat.disk.snapshots.find(({ meta }) => meta.index === chunk.meta.index && meta.term === chunk.meta.term);
    // Two newer ones were saved after it had been given up: the core gives it up here as well.
    if (saved === undefined) return;
    if (chunk.offset + chunk.length > saved.size || chunk.size !== saved.size)
      throw new Violation(`${seat.name} is to send ${chunk.length} bytes at ${chunk.offset} of a snapshot of ${saved.size}`);
    const message: Message = {
      kind: "snapshot-chunk",
      term: chunk.term,
      meta: chunk.meta,
      size: chunk.size,
      offset: chunk.offset,
      data: bytesOf(saved.hash, chunk.offset, chunk.length),
      round: chunk.round,
    };
    world.queue.after(world.snapshotDelay(seat) / 4, () => {
      if (seat.life === life) world.send(seat, chunk.to, message);
    });
  }

  receive(chunk: ReceivedChunk): void {
    const seat = this.#seat;
    const { world } = seat;
    const { meta } = chunk;
    const truth = world.ledger.committedEntry(meta.index);
    if (truth === null || truth.term !== meta.term || truth.time !== meta.time)
      throw new Violation(`${seat.name} receives a snapshot at ${meta.index} of term ${meta.term}, which is not what was committed`);
    if (chunk.offset === 0) this.#receiving = { meta, got: 0 };
    const receiving = this.#receiving;
    const expected = bytesOf(world.ledger.hashAt(meta.index), chunk.offset, chunk.data.length);
    const sound = chunk.data[0] === expected[0] && chunk.data.at(-1) === expected.at(-1) && !world.random.chance(world.badChunks);
    if (receiving === null || receiving.meta.index !== meta.index || receiving.got !== chunk.offset || !sound) {
      this.#receiving = null;
      seat.receive({ kind: "snapshot-refused", meta });
      return;
    }
    receiving.got += chunk.data.length;
    if (receiving.got < chunk.size) return;
    this.#receiving = null;
    const { life } = seat;
    world.queue.after(world.snapshotDelay(seat), () => {
      if (seat.life === life) this.#install(meta, chunk.size);
    });
  }

  #install(meta: SnapshotMeta, size: number): void {
    const seat = this.#seat;
    const { world } = seat;
    const hash = world.ledger.hashAt(meta.index);
    seat.disk.saveSnapshot({ meta, size, hash }, []);
    if (world.point(seat, "snapshot-saved")) return;
    if (meta.index > seat.applied) {
      seat.applied = meta.index;
      seat.hash = hash;
      seat.appliedConfiguration = meta.configuration;
      seat.appliedConfigurationIndex = meta.configurationIndex;
    }
    seat.receive({ kind: "snapshot-installed", meta, size });
  }
}

function bytesOf(hash: number, offset: number, length: number): Uint8Array {
  const start = ((hash >>> 0) + offset) % PATTERN_PERIOD;
  if (length > PATTERN_BYTES) throw new Violation(`a chunk of ${length} bytes`);
  return pattern.subarray(start, start + length);
}
