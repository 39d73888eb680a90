// Owns what the leader publishes of its slots in the `status` key: their positions, and which members' slots are kept although their
// members may be gone. Pure.

import type { ClusterStatus } from "../model/cluster.ts";
import { tagEnabled } from "../model/member.ts";
import { slotName } from "../model/slot-name.ts";
import type { Lsn, Ms } from "../model/units.ts";
import type { Observation } from "./observation.ts";
import { desiredSlots } from "./slots-desired.ts";

/** Slot of a member → when it was last seen with its member. */
export type RetainedSlots = ReadonlyMap<string, Ms>;

export interface SlotsStatus {
  readonly slots: Readonly<Record<string, Lsn>>;
  readonly retained: RetainedSlots;
  /** Their time is over: dropped from here on. */
  readonly expired: readonly string[];
}

/**
 * `known`: what the last call of this leadership returned; empty at its start. What an earlier leader retained is taken over and
 * begins its time anew.
 */
export function slotsStatus(o: Observation, known: RetainedSlots): SlotsStatus {
  const slots = positions(o);
  const retained = new Map(known);
  for (const name of o.dcs.cluster?.status.retainSlots ?? []) if (!retained.has(name)) retained.set(name, o.now);
  // At every renewal: names are gone through without lists of them.
  for (const member of o.dcs.cluster?.members ?? []) {
    const name = slotName(member.name);
    if (Object.hasOwn(slots, name) && !tagEnabled(member.tags, "nostream")) retained.set(name, o.now);
  }
  const own = slotName(o.self.name);
  if (Object.hasOwn(slots, own)) retained.set(own, o.now);
  const expired: string[] = [];
  for (const [name, at] of retained) {
    if (isPermanent(o, name)) retained.delete(name);
    else if (o.now - at >= o.config.memberSlotsTtlMs) {
      retained.delete(name);
      if (o.config.memberSlotsTtlMs > 0) expired.push(name);
    }
  }
  return { slots, retained, expired };
}

/** The status key's value; null where `before` says the same. */
export function changedStatus(before: ClusterStatus | null, optime: Lsn, { slots, retained }: SlotsStatus): ClusterStatus | null {
  const names = Object.keys(slots);
  const retainSlots = [...retained.keys()].sort();
  const same =
    before !== null &&
    before.optime === optime &&
    names.length === Object.keys(before.slots).length &&
    names.every((name) => before.slots[name] === slots[name]) &&
    retainSlots.length === before.retainSlots.length &&
    retainSlots.every((name, index) => name === before.retainSlots[index]);
  return same ? null : { optime, slots, retainSlots };
}

/** Of every slot that this node keeps, and its own: others keep that one too, and it follows the end of WAL here. */
function positions(o: Observation): Readonly<Record<string, Lsn>> {
  const { status } = o.local;
  const desired = desiredSlots(o);
  const keepsAway = o.config.memberSlotsTtlMs > 0;
  const found: Record<string, Lsn> = {};
  if (status === null || !o.self.useSlots || (!keepsAway && o.config.slots.length === 0)) return found;
  for (const slot of status.slots) {
    const position = slot.type === "physical" ? slot.restartLsn : slot.confirmedFlushLsn;
    if (desired.slots.has(slot.name) && !slot.temporary && !slot.failover && position !== null) found[slot.name] = position;
  }
  const end = status.inRecovery ? status.replayedLsn : status.walLsn;
  const own = slotName(o.self.name);
  const wanted = keepsAway ? !tagEnabled(o.self.tags, "nostream") : o.config.slots.some(({ name }) => name === own);
  if (wanted && end !== null) found[own] = end;
  return found;
}

function isPermanent(o: Observation, name: string): boolean {
  for (const slot of o.config.slots) if (slot.kind === "physical" && slot.name === name) return true;
  return false;
}
