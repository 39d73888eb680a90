// Owns the writing of the log: encoding, group commit, the slots beside it, the change to the next segment and its
// preparation ahead of need. It never syncs again after a failure, and never writes a byte of a segment twice.

import type { Term } from "../../../model/raft.ts";
import type { HardState, LogWrite, WriteBatch } from "../core/types.ts";
import { type Disk, DiskError, type DiskFile } from "./disk.ts";
import { encodeRecord, type LogRecord, recordBytes } from "./record.ts";
import type { LogEnd, UsedSegment } from "./recover-log.ts";
import { encodeSegmentHeader, headerCrc, SEGMENT_HEADER_BYTES, segmentName } from "./segment.ts";
import { type PreparedSegment, SegmentSupply } from "./segment-supply.ts";
import { encodeSlot, slotOf } from "./slots.ts";

/** While no segment can be had on a full disk, batches wait in memory up to this; then the member stops. */
export const WAITING_BYTES_MAX = 64 * 1024 * 1024;
const GROUP_BYTES_FIRST = 64 * 1024;

/** Where the writer takes the log up. */
export interface WriterStart {
  readonly disk: Disk;
  readonly segmentBytes: number;
  readonly slots: readonly [DiskFile, DiskFile];
  /** Of the newest slot written. */
  readonly slotGeneration: number;
  readonly hardState: HardState;
  readonly lastIndex: number;
  readonly lastTerm: Term;
  readonly log: "whole" | "damaged";
  readonly segments: readonly UsedSegment[];
  /** The segment to go on in; null: a new one is begun at the first write. */
  readonly current: { readonly file: DiskFile; readonly end: LogEnd; readonly size: number } | null;
  /** What a new segment continues; null where nothing before can be trusted. */
  readonly continues: LogEnd | null;
  /** Number of the next segment. */
  readonly nextNumber: number;
  /** That segment, where it is there already. */
  readonly prepared: PreparedSegment | null;
}

/** Records that are written and synced together, in one segment. */
interface Group {
  bytes: Uint8Array;
  view: DataView;
  used: number;
  readonly segment: number;
  readonly start: number;
  /** Non-null: the group begins its segment, whose file needs that many bytes. */
  begins: { readonly size: number; readonly lastIndex: number } | null;
  /** Of the last batch that ends here; null where none does. */
  sequence: number | null;
  /** The last hard state in it. */
  hardState: HardState | null;
}

interface Next {
  bytes: Uint8Array;
  view: DataView;
  at: number;
  readonly place: { segment: number; offset: number };
  chain: number;
  durableUpTo: number;
}

export class LogWriter {
  onDurable: (sequence: number) => void = () => {};
  onFailure: (error: DiskError) => void = () => {};
  onSync: (phase: "begins" | "ended") => void = () => {};
  readonly supply: SegmentSupply;

  readonly #slots: readonly [DiskFile, DiskFile];
  readonly #segmentBytes: number;
  #slotGeneration: number;
  /** As of the records encoded so far; what is durable may be behind. */
  #hardState: HardState;
  #lastIndex: number;
  #lastTerm: Term;
  #log: "whole" | "damaged";
  /** Where the next record is encoded to; `segment` 0: nowhere yet. */
  #segment: number;
  #offset: number;
  #size: number;
  #chain: number;
  #continues: LogEnd | null;
  #nextNumber: number;

  /** What the encoding of a record is told, filled anew for each: objects of its own would be garbage with every entry. */
  readonly #next: Next = {
    bytes: NOTHING,
    view: new DataView(NOTHING.buffer),
    at: 0,
    place: { segment: 0, offset: 0 },
    chain: 0,
    durableUpTo: 0,
  };
  readonly #groups: Group[] = [];
  #spare: Group | null = null;
  #waitingBytes = 0;
  #file: DiskFile | null;
  #durable: { segment: number; offset: number };
  #durableHardState: HardState;
  #segments: UsedSegment[];
  #flushing: Promise<void> | null = null;
  #state: "running" | "failed" | "closed" = "running";
  #failure: DiskError | null = null;

  constructor(start: WriterStart) {
    this.#slots = start.slots;
    this.#segmentBytes = start.segmentBytes;
    this.#slotGeneration = start.slotGeneration;
    this.#hardState = start.hardState;
    this.#durableHardState = start.hardState;
    this.#lastIndex = start.lastIndex;
    this.#lastTerm = start.lastTerm;
    this.#log = start.log;
    this.#file = start.current?.file ?? null;
    this.#segment = start.current?.end.number ?? 0;
    this.#offset = start.current?.end.end ?? 0;
    this.#chain = start.current?.end.crc ?? 0;
    this.#size = start.current?.size ?? 0;
    this.#continues = start.continues;
    this.#nextNumber = start.nextNumber;
    this.#segments = [...start.segments];
    this.#durable = { segment: this.#segment, offset: this.#offset };
    this.supply = new SegmentSupply(start, (error) => this.fail(error));
  }

  get failure(): DiskError | null {
    return this.#failure;
  }

  /** Whether there is a segment to write to; if not, the next write begins one. */
  get hasSegment(): boolean {
    return this.#segment !== 0;
  }

  /** Used segments, oldest first. */
  get segments(): readonly UsedSegment[] {
    return this.#segments;
  }

  get log(): "whole" | "damaged" {
    return this.#log;
  }

  /** Throws Error where an entry would leave a gap: then the caller's picture of the log is wrong. */
  write(batch: WriteBatch): void {
    if (this.#state !== "running") return;
    for (const write of batch.writes) this.#encodeWrite(write);
    const group = this.#groups.at(-1) ?? this.#newGroup(null);
    group.sequence = batch.sequence;
    if (this.#waitingBytes > WAITING_BYTES_MAX) {
      this.fail(
        new DiskError("full", segmentName(group.segment), `no room for another log segment, and ${this.#waitingBytes} bytes wait for one`),
      );
      return;
    }
    this.#flushing ??= this.#flush();
  }

  /** When all that was written so far is durable, or can no longer become so. */
  async settled(): Promise<void> {
    while (this.#flushing !== null) await this.#flushing;
  }

  /** The first failure is reported and remembered; nothing is written after it. */
  fail(error: DiskError): void {
    if (this.#state !== "running") return;
    this.#state = "failed";
    this.#failure = error;
    this.onFailure(error);
  }

  /** Finishes the sync that runs, and closes the files. */
  async close(): Promise<void> {
    await this.#flushing;
    this.#state = this.#state === "failed" ? "failed" : "closed";
    await this.supply.close();
    await Promise.all([this.#file?.close(), this.#slots[0].close(), this.#slots[1].close()]);
  }

  #encodeWrite(write: LogWrite): void {
    switch (write.kind) {
      case "hard-state":
        if (!mayFollow(write.state, this.#hardState)) throw new Error("a term that falls, or a second vote in one term");
        this.#hardState = write.state;
        this.#encode({ kind: "hard-state", state: write.state }).hardState = write.state;
        return;
      case "append":
        for (const entry of write.entries) {
          if (entry.index > this.#lastIndex + 1 || entry.index < 1) {
            throw new Error(`log entry ${entry.index} does not follow ${this.#lastIndex}`);
          }
          this.#encode({ kind: "entry", entry });
          this.#lastIndex = entry.index;
          this.#lastTerm = entry.term;
        }
        return;
      case "reset":
        this.#encode({ kind: "reset", index: write.index, term: write.term });
        this.#lastIndex = write.index;
        this.#lastTerm = write.term;
        return;
      case "whole":
        this.#encode({ kind: "whole" });
        this.#log = "whole";
        return;
    }
  }

  #encode(record: LogRecord): Group {
    const bytes = recordBytes(record);
    let group = this.#groups.at(-1) ?? null;
    if (this.#segment === 0 || this.#offset + bytes > this.#size) group = this.#beginSegment(bytes);
    else group ??= this.#newGroup(null);
    if (group.used + bytes > group.bytes.length) grow(group, group.used + bytes);
    const next = this.#next;
    next.bytes = group.bytes;
    next.view = group.view;
    next.at = group.used;
    next.place.segment = this.#segment;
    next.place.offset = this.#offset;
    next.chain = this.#chain;
    next.durableUpTo = this.#durable.segment === this.#segment ? this.#durable.offset : 0;
    this.#chain = encodeRecord(next, record, next);
    group.used += bytes;
    this.#offset += bytes;
    this.#waitingBytes += bytes;
    return group;
  }

  #beginSegment(recordSize: number): Group {
    const size = Math.max(this.#segmentBytes, SEGMENT_HEADER_BYTES + recordSize);
    const previous = this.#segment === 0 ? this.#continues : { number: this.#segment, end: this.#offset, crc: this.#chain };
    this.#segment = this.#nextNumber;
    this.#nextNumber += 1;
    this.#offset = 0;
    this.#size = size;
    const group = this.#newGroup({ size, lastIndex: this.#lastIndex });
    const header = encodeSegmentHeader({
      number: this.#segment,
      size,
      previous,
      lastIndex: this.#lastIndex,
      lastTerm: this.#lastTerm,
      hardState: this.#hardState,
      log: this.#log,
    });
    group.bytes.set(header, 0);
    group.used = header.length;
    this.#chain = headerCrc(header);
    this.#offset = header.length;
    return group;
  }

  #newGroup(begins: Group["begins"]): Group {
    const buffer = this.#spare?.bytes ?? new Uint8Array(GROUP_BYTES_FIRST);
    const view = this.#spare?.view ?? new DataView(buffer.buffer);
    this.#spare = null;
    const group = { bytes: buffer, view, used: 0, segment: this.#segment, start: this.#offset, begins, sequence: null, hardState: null };
    this.#groups.push(group);
    return group;
  }

  async #flush(): Promise<void> {
    try {
      for (let group = this.#groups[0]; group !== undefined && this.#state === "running"; group = this.#groups[0]) {
        if (group.begins !== null && !(await this.#changeSegment(group.segment, group.begins))) break;
        if (this.#state !== "running") break;
        this.#groups.shift();
        await this.#makeDurable(group);
        this.#report(group);
      }
    } catch (thrown) {
      if (!(thrown instanceof DiskError)) throw thrown;
      this.fail(thrown);
    } finally {
      this.#flushing = null;
    }
  }

  /** False: the disk is full, and the group waits until there is room. */
  async #changeSegment(number: number, begins: { readonly size: number }): Promise<boolean> {
    const file = await this.supply.take(number, begins.size);
    if (file === null) {
      this.supply.onRoomOnce(() => {
        this.#flushing ??= this.#flush();
      });
      return false;
    }
    await this.#file?.close();
    this.#file = file;
    return true;
  }

  async #makeDurable(group: Group): Promise<void> {
    if (group.used === 0) return;
    const file = this.#file as DiskFile;
    await file.write(group.start, group.bytes.subarray(0, group.used));
    this.onSync("begins");
    if (group.begins !== null) {
      await file.sync();
      this.onSync("ended");
      this.#durable = { segment: group.segment, offset: group.start + group.used };
      this.#durableHardState = group.hardState ?? this.#durableHardState;
      // Only now: the slot says that this segment is in use, so that it is missed where it goes missing.
      await this.#writeSlot();
      return;
    }
    if (group.hardState === null) {
      await file.sync();
    } else {
      this.#durableHardState = group.hardState;
      await Promise.all([file.sync(), this.#writeSlot()]);
    }
    this.onSync("ended");
    this.#durable = { segment: group.segment, offset: group.start + group.used };
  }

  async #writeSlot(): Promise<void> {
    this.#slotGeneration += 1;
    const slot = this.#slots[slotOf(this.#slotGeneration)];
    await slot.write(0, encodeSlot({ generation: this.#slotGeneration, hardState: this.#durableHardState, durable: this.#durable }));
    await slot.sync();
  }

  #report(group: Group): void {
    this.#waitingBytes -= group.used;
    if (group.begins !== null) {
      this.#waitingBytes += SEGMENT_HEADER_BYTES;
      this.#segments.push({ number: group.segment, lastIndex: group.begins.lastIndex });
      this.supply.prepare(group.segment + 1);
    }
    if (this.#spare === null && group.bytes.length <= GROUP_BYTES_FIRST * 16) this.#spare = group;
    if (group.sequence !== null && this.#state === "running") this.onDurable(group.sequence);
  }
}

const NOTHING = new Uint8Array(0);

function mayFollow(next: HardState, before: HardState): boolean {
  if (next.term !== before.term) return next.term > before.term;
  return before.votedFor === null || next.votedFor === before.votedFor;
}

function grow(group: Group, atLeast: number): void {
  const bytes = new Uint8Array(Math.max(atLeast, group.bytes.length * 2));
  bytes.set(group.bytes.subarray(0, group.used));
  group.bytes = bytes;
  group.view = new DataView(bytes.buffer);
}
