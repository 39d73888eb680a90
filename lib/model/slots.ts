// Owns what the dynamic configuration says about replication slots: those that are kept always, and those that are somebody else's.

import type { SlotStatus } from "./postgres.ts";
import type { Lsn } from "./units.ts";

/** Only in a cluster of this kind is the slot kept; null = in both. */
export type SlotClusterType = "primary" | "standby" | null;

/** A slot that survives every change of the leader (`slots`). */
export type PermanentSlot =
  | { readonly kind: "physical"; readonly name: string; readonly clusterType: SlotClusterType }
  | {
      readonly kind: "logical";
      readonly name: string;
      readonly database: string;
      readonly plugin: string;
      readonly clusterType: SlotClusterType;
    };

export type LogicalSlot = Extract<PermanentSlot, { kind: "logical" }>;

/** A line of `ignore_slots`: what it does not name fits every slot. */
export interface SlotMatcher {
  readonly name: string | null;
  readonly type: string | null;
  readonly database: string | null;
  readonly plugin: string | null;
}

/** One thing to be done to a slot of the local server. */
export type SlotAction =
  /** `why` is a line for the log; a slot that is in use meanwhile stays. */
  | { readonly kind: "drop"; readonly name: string; readonly why: string }
  | { readonly kind: "create-physical"; readonly name: string }
  | { readonly kind: "create-logical"; readonly slot: LogicalSlot }
  | { readonly kind: "advance"; readonly name: string; readonly to: Lsn /** Of a logical slot. */; readonly database: string | null };

/** What PostgreSQL takes as a slot's name. */
export const SLOT_NAME_PATTERN = /^[a-z0-9_]{1,63}$/;

/** Somebody else keeps this slot: neither made nor changed nor dropped here. */
export function isIgnoredSlot(slot: SlotStatus, matchers: readonly SlotMatcher[]): boolean {
  // Nearly always nobody else keeps any.
  if (matchers.length === 0) return false;
  return matchers.some((matcher) =>
    (["name", "type", "database", "plugin"] as const).every(
      (property) => matcher[property] === null || matcher[property] === slot[property],
    ),
  );
}
