// Owns which replication slots the leader keeps for the members. Pure.

import { slotName } from "../model/slot-name.ts";
import { otherMembers } from "./candidates.ts";
import type { Observation } from "./observation.ts";

/** Slots for every other member, so that a replica that comes back finds its WAL; sorted. */
export function wantedSlots(o: Observation): readonly string[] {
  const { cluster } = o.dcs;
  if (cluster === null) return [];
  return otherMembers(cluster, o.self.name)
    .map((member) => slotName(member.name))
    .sort();
}

/** Members came or went since the last pass. */
export function membersChanged(o: Observation): boolean {
  return o.local.slotsFor !== wantedSlots(o).join(",");
}
