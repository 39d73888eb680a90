// Owns which replication slots the leader keeps for the members. Pure.

import type { Member } from "../model/member.ts";
import { slotName } from "../model/slot-name.ts";
import { otherMembers } from "./candidates.ts";
import type { Observation } from "./observation.ts";

/** Slots for every other member, so that a replica that comes back finds its WAL; sorted. */
export function wantedSlots(o: Observation): readonly string[] {
  return slotsOf(o).names;
}

/** Members came or went since the last pass. */
export function membersChanged(o: Observation): boolean {
  return o.local.slotsFor !== slotsOf(o).text;
}

interface Slots {
  readonly self: string;
  readonly names: readonly string[];
  readonly text: string;
}

const NO_SLOTS: Slots = { self: "", names: [], text: "" };

/** Member lists are immutable, and several rules of each decision ask. */
const known = new WeakMap<readonly Member[], Slots>();

function slotsOf(o: Observation): Slots {
  const { cluster } = o.dcs;
  if (cluster === null) return NO_SLOTS;
  const self = o.self.name;
  const before = known.get(cluster.members);
  if (before !== undefined && before.self === self) return before;
  const names = otherMembers(cluster, self)
    .map((member) => slotName(member.name))
    .sort();
  const slots = { self, names, text: names.join(",") };
  known.set(cluster.members, slots);
  return slots;
}
