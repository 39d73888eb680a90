// Owns the two slots that hold term and vote beside the log: their bytes, and what they say together. Each write goes to the
// older slot, so a crash leaves at least one whole. Pure; knows no file.

import type { HardState } from "../core/types.ts";
import { crc32c } from "./crc32c.ts";
import type { Place } from "./record.ts";
import { getU64, setU64 } from "./record.ts";
import { decodeHardState, encodeHardState, HARD_STATE_BYTES } from "./segment.ts";

export interface Slot {
  /** Grows by one with each write; an odd one goes to the first slot. */
  readonly generation: number;
  readonly hardState: HardState;
  /** The log was durable up to there when the slot was written. */
  readonly durable: Place;
}

export const SLOT_NAMES = ["state-0", "state-1"] as const;
/** One sector: written in one piece. */
export const SLOT_BYTES = 512;

const MAGIC = Buffer.from("MATRISLT");
const VERSION = 1;
const AT = { version: 8, generation: 16, segment: 24, offset: 32, hardState: 40, crc: 40 + HARD_STATE_BYTES } as const;

export function slotOf(generation: number): 0 | 1 {
  return generation % 2 === 1 ? 0 : 1;
}

export function encodeSlot(slot: Slot): Uint8Array {
  const bytes = new Uint8Array(SLOT_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(MAGIC, 0);
  view.setUint32(AT.version, VERSION, true);
  setU64(view, AT.generation, slot.generation);
  setU64(view, AT.segment, slot.durable.segment);
  setU64(view, AT.offset, slot.durable.offset);
  encodeHardState(bytes, view, AT.hardState, slot.hardState);
  view.setUint32(AT.crc, crc32c(bytes, 0, AT.crc), true);
  return bytes;
}

/** Null unless the bytes are a whole slot. */
export function decodeSlot(bytes: Uint8Array): Slot | null {
  if (bytes.length !== SLOT_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (!MAGIC.equals(bytes.subarray(0, MAGIC.length)) || view.getUint32(AT.version, true) !== VERSION) return null;
  if (crc32c(bytes, 0, AT.crc) !== view.getUint32(AT.crc, true)) return null;
  const hardState = decodeHardState(bytes, view, AT.hardState);
  if (hardState === null) return null;
  const durable = { segment: getU64(view, AT.segment), offset: getU64(view, AT.offset) };
  return { generation: getU64(view, AT.generation), hardState, durable };
}

/** The later of two hard states: a term never falls, and within one the vote is given once. */
export function laterHardState(a: HardState, b: HardState): HardState {
  if (a.term !== b.term) return a.term > b.term ? a : b;
  return a.votedFor === null ? b : a;
}
