// Owns the opening of a member's folder: reading what is there, judging whether it can be trusted, and completing what a
// crash left half done. What is corrupt stays as it is; the log then goes on in a new segment and counts as damaged.

import type { Log } from "../../../model/log.ts";
import { logIndex, term } from "../../../model/raft.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import type { HardState, LogEntry, LogWrite, SnapshotMeta } from "../core/types.ts";
import { type Disk, DiskError, type DiskFile } from "./disk.ts";
import { decodeIdentity, IDENTITY_NAME, type StoredIdentity } from "./identity.ts";
import { LogWriter } from "./log-writer.ts";
import { RaftStorage } from "./raft-storage.ts";
import { type LogEnd, NO_BASE, type RecoveredLog, recoverLog } from "./recover-log.ts";
import { readSegmentHeader, SEGMENT_BYTES, SEGMENT_HEADER_BYTES, segmentName, segmentNumber } from "./segment.ts";
import { decodeSlot, encodeSlot, laterHardState, SLOT_BYTES, SLOT_NAMES, type Slot, slotOf } from "./slots.ts";
import { parseSnapshotName } from "./snapshot-file.ts";
import { SnapshotStore } from "./snapshot-store.ts";

export interface StorageOptions {
  readonly disk: Disk;
  readonly log: Log;
  /** For tests and the simulator; default SEGMENT_BYTES. */
  readonly segmentBytes?: number;
}

export interface OpenedStorage {
  /** Null in an empty folder: write one before anything else. */
  readonly identity: StoredIdentity | null;
  readonly hardState: HardState;
  readonly snapshot: { readonly meta: SnapshotMeta; readonly size: number } | null;
  /** Behind the snapshot, consecutive. */
  readonly entries: readonly LogEntry[];
  readonly log: "whole" | "damaged";
  /** Why the log is damaged, for the log and the status; null where it is whole. */
  readonly damage: string | null;
  readonly storage: RaftStorage;
}

/**
 * - `unreadable`: identity missing or damaged beside other files. - `hard-state-lost`: the member may have voted in a term that it
 *   no longer knows of. - `disk`: the folder cannot be read or written. The message says what to do.
 */
export interface StorageFault {
  readonly kind: "unreadable" | "hard-state-lost" | "disk";
  readonly message: string;
}

const REPLACE =
  "Stop here; remove this folder, so that the member joins again as a new one (`raft remove` the old one where it stays listed). " +
  "Where no majority of the others is left, see `raft recover`.";

/** Files that had no name of their own yet when a crash came. */
const TEMPORARY = /^(?:identity|snapshot|snapshot-received|log-\d{20}\.seg)\.new$/;

/** Opens the folder. What is half written is completed or undone; what cannot be trusted is a fault, or a damaged log. */
export async function openStorage(options: StorageOptions): Promise<Result<OpenedStorage, StorageFault>> {
  try {
    return await open(options);
  } catch (thrown) {
    if (!(thrown instanceof DiskError)) throw thrown;
    const message = thrown.kind === "full" ? `${thrown.message}. Make room on the disk, then start again` : thrown.message;
    return err({ kind: "disk", message });
  }
}

async function open(options: StorageOptions): Promise<Result<OpenedStorage, StorageFault>> {
  const { disk, log } = options;
  await removeTemporaries(disk);
  let names = await disk.list();
  let identity: StoredIdentity | null = null;
  if (names.includes(IDENTITY_NAME)) {
    identity = decodeIdentity(await disk.read(IDENTITY_NAME));
    if (identity === null) return err({ kind: "unreadable", message: `the file ${IDENTITY_NAME} is damaged. ${REPLACE}` });
  } else {
    const left = await whatIsLeft(disk, names);
    if (left !== null)
      return err({ kind: "unreadable", message: `the file ${IDENTITY_NAME} is missing, but there is ${left}. ${REPLACE}` });
    await createEmpty(disk, names);
    names = await disk.list();
  }
  const slots = await readSlots(disk, names);
  const durable = slots.newest?.durable ?? { segment: 0, offset: 0 };
  const snapshots = new SnapshotStore(disk, log);
  const snapshot = await snapshots.open(names);
  const recovered = await recoverLog(disk, names, snapshot?.meta ?? NO_BASE, durable);
  if (slots.newest === null || (slots.whole < 2 && recovered.corruption !== null)) {
    const log = recovered.corruption === null ? "" : `, and the log is damaged (${recovered.corruption})`;
    return err({
      kind: "hard-state-lost",
      message: `term and vote cannot be read: ${SLOT_NAMES.join(", ")} are damaged${log}. ${REPLACE}`,
    });
  }
  const hardState = laterHardState(slots.newest.hardState, recovered.hardState);
  const writer = await takeUp(options, { recovered, hardState, slots });
  const damage =
    recovered.corruption ?? (recovered.log === "damaged" ? "the log was damaged before, and no leader has made it whole yet" : null);
  if (damage !== null) {
    log.error(`the Raft log is damaged: ${damage}. This member neither votes nor acknowledges until a leader has made its log whole`);
  }
  const storage = new RaftStorage({ disk, writer, snapshots, hasIdentity: identity !== null });
  return ok({ identity, hardState, snapshot, entries: recovered.entries, log: recovered.log, damage, storage });
}

interface FoundState {
  readonly recovered: RecoveredLog;
  readonly hardState: HardState;
  readonly slots: ReadSlots;
}

/** The writer behind what was read. When it resolves, log and slots agree, and the next segment is prepared or the disk full. */
async function takeUp(options: StorageOptions, { recovered, hardState, slots }: FoundState): Promise<LogWriter> {
  const { disk } = options;
  const size = options.segmentBytes ?? SEGMENT_BYTES;
  const end = recovered.end;
  const goesOn = end !== null && recovered.corruption === null;
  const nextNumber = recovered.newest + 1;
  const prepared = recovered.unused.find(({ number, blank }) => number === nextNumber && blank === size) ?? null;
  for (const { number } of recovered.unused) if (number !== prepared?.number) await disk.remove(segmentName(number));
  const writer = new LogWriter({
    disk,
    segmentBytes: size,
    prepared: prepared === null ? null : { number: nextNumber, size, file: await disk.open(segmentName(nextNumber)) },
    slots: [await openSlot(disk, SLOT_NAMES[0]), await openSlot(disk, SLOT_NAMES[1])],
    slotGeneration: slots.newest?.generation ?? 0,
    hardState,
    lastIndex: recovered.lastIndex,
    lastTerm: recovered.lastTerm,
    log: recovered.log,
    segments: recovered.segments,
    current: goesOn ? { file: await openSegment(disk, end, recovered), end, size: recovered.size } : null,
    continues: end,
    nextNumber,
  });
  const writes: LogWrite[] = [];
  if (goesOn && recovered.fromSnapshot) writes.push({ kind: "reset", index: logIndex(recovered.lastIndex), term: recovered.lastTerm });
  const agree = slots.whole === 2 && sameHardState(slots.newest?.hardState, hardState) && sameHardState(recovered.hardState, hardState);
  if (!agree) writes.push({ kind: "hard-state", state: hardState });
  // Otherwise what was read of them may not be on the disk, as with the log.
  else for (const name of SLOT_NAMES) await writeAgain(disk, name);
  if (writes.length > 0) writer.write({ sequence: 0, writes });
  await writer.settled();
  await writer.supply.ready();
  const failure = writer.failure ?? (writer.hasSegment ? null : writer.supply.full);
  if (failure === null) return writer;
  await writer.close();
  throw failure;
}

/**
 * The segment to go on in. What was read may stand in the kernel's memory alone: a process that was killed did not sync it, and after
 * a sync that failed the kernel takes it for clean and will never write it. It is about to count as durable, so it is written again,
 * with the segment before it, which the same batch may have begun in. The remains of a torn record are zeroed, or they could be taken
 * for part of the next one.
 */
async function openSegment(disk: Disk, end: LogEnd, recovered: RecoveredLog): Promise<DiskFile> {
  if (recovered.segments.some(({ number }) => number === end.number - 1)) await writeAgain(disk, segmentName(end.number - 1));
  const name = segmentName(end.number);
  const file = await disk.open(name);
  await file.write(0, await disk.readAt(name, 0, end.end));
  if (recovered.torn) await file.write(end.end, new Uint8Array(recovered.size - end.end));
  await file.sync();
  return file;
}

/** A slot that is gone, or has lost its end, is made anew: it is written before anything stands on it. */
async function openSlot(disk: Disk, name: string): Promise<DiskFile> {
  const there = (await disk.list()).includes(name);
  if (there && (await disk.readAt(name, 0, SLOT_BYTES)).length === SLOT_BYTES) return disk.open(name);
  if (there) await disk.remove(name);
  return disk.create(name, SLOT_BYTES);
}

/** The same bytes, durable now. */
async function writeAgain(disk: Disk, name: string): Promise<void> {
  const bytes = await disk.read(name);
  const file = await disk.open(name);
  await file.write(0, bytes);
  await file.sync();
  await file.close();
}

function sameHardState(a: HardState | undefined, b: HardState): boolean {
  return a?.term === b.term && a.votedFor === b.votedFor;
}

interface ReadSlots {
  readonly newest: Slot | null;
  /** How many of the two are whole. */
  readonly whole: number;
}

async function readSlots(disk: Disk, names: readonly string[]): Promise<ReadSlots> {
  let newest: Slot | null = null;
  let whole = 0;
  for (const [position, name] of SLOT_NAMES.entries()) {
    const slot = names.includes(name) ? decodeSlot(await disk.readAt(name, 0, SLOT_BYTES)) : null;
    if (slot === null || slotOf(slot.generation) !== position) continue;
    whole += 1;
    if (newest === null || slot.generation > newest.generation) newest = slot;
  }
  return { newest, whole };
}

async function removeTemporaries(disk: Disk): Promise<void> {
  const left = (await disk.list()).filter((name) => TEMPORARY.test(name));
  for (const name of left) await disk.remove(name);
  if (left.length > 0) await disk.syncFolder();
}

/** What a folder without an identity holds that a member must have written; null where nobody was told of anything. */
async function whatIsLeft(disk: Disk, names: readonly string[]): Promise<string | null> {
  const snapshot = names.find((name) => parseSnapshotName(name) !== null);
  if (snapshot !== undefined) return `a snapshot (${snapshot})`;
  const slots = await readSlots(disk, names);
  if (slots.newest !== null && slots.newest.durable.segment > 0) return "a log";
  for (const name of names) {
    const number = segmentNumber(name);
    if (number === null) continue;
    if (readSegmentHeader(number, await disk.readAt(name, 0, SEGMENT_HEADER_BYTES)).kind !== "unwritten") return `a log (${name})`;
  }
  return null;
}

/** The slots of a member that has done nothing yet. What an interrupted attempt left is removed first. */
async function createEmpty(disk: Disk, names: readonly string[]): Promise<void> {
  for (const name of names) if (segmentNumber(name) !== null || isSlotName(name)) await disk.remove(name);
  for (const generation of [1, 2]) {
    const file = await disk.create(SLOT_NAMES[slotOf(generation)], SLOT_BYTES);
    await file.write(0, encodeSlot({ generation, hardState: { term: term(0), votedFor: null }, durable: { segment: 0, offset: 0 } }));
    await file.sync();
    await file.close();
  }
}

function isSlotName(name: string): boolean {
  return name === SLOT_NAMES[0] || name === SLOT_NAMES[1];
}
