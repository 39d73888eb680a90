// Owns which replication slots this node is to have, and whose they are: of members, of members that are away, permanent ones.
// Pure. Source: Patroni's documentation, "Dynamic Configuration Settings" (slots, member_slots_ttl, use_slots).

import { type Cluster, findMember } from "../model/cluster.ts";
import { isNofailover, type Member, type Tags, tagEnabled } from "../model/member.ts";
import { slotName } from "../model/slot-name.ts";
import type { LogicalSlot, PermanentSlot } from "../model/slots.ts";
import { lockIsForeign, lockIsOurs, runsAsPrimary, runsAsStandby } from "./facts.ts";
import { promisedTo } from "./failsafe.ts";
import type { Observation } from "./observation.ts";
import { perObservation } from "./per-observation.ts";
import { followedMember } from "./replication-source.ts";

/** `standby_leader`: holds the lock of a standby cluster. */
export type SlotRole = "primary" | "standby_leader" | "replica";

export type DesiredSlot =
  | {
      readonly kind: "physical";
      /** Its name. Null: of a member that is away, or nobody's but the configuration's. */
      readonly member: string | null;
      readonly permanent: boolean;
      /** Its consumer streams from this node, or may at any moment: nobody else moves it. */
      readonly inUse: boolean;
    }
  | { readonly kind: "logical"; readonly slot: LogicalSlot };

export interface DesiredSlots {
  readonly role: SlotRole | null;
  readonly slots: ReadonlyMap<string, DesiredSlot>;
  /** Slots that would be ours if `use_slots` were on: known, and to be dropped. */
  readonly released: ReadonlySet<string>;
  /** What is wrong with the names, in words. */
  readonly errors: readonly string[];
  /** Changes where the slots or the members change. */
  readonly text: string;
}

/** Null where this node keeps no slots now: nobody leads, or PostgreSQL is not what the lock says. */
export function slotRole(o: Observation): SlotRole | null {
  if (lockIsOurs(o)) {
    if (runsAsPrimary(o)) return "primary";
    return runsAsStandby(o) && o.config.standbyCluster !== null ? "standby_leader" : null;
  }
  return (lockIsForeign(o) || promisedTo(o) !== null) && runsAsStandby(o) ? "replica" : null;
}

/** Asked by several rules of each decision; nothing of it changes with positions. */
export const desiredSlots: (o: Observation) => DesiredSlots = perObservation((o) => {
  const cluster = o.dcs.cluster;
  const role = slotRole(o);
  if (cluster === null || role === null) return NONE;
  const known = lastDesired.get(o.self.tags);
  if (known !== undefined && stillHolds(known.input, o, cluster, role)) {
    known.input.members = cluster.members;
    return known.desired;
  }
  const input: Input = {
    role,
    name: o.self.name,
    tags: o.self.tags,
    useSlots: o.self.useSlots,
    keepsAway: o.config.memberSlotsTtlMs > 0,
    pause: o.config.pause,
    standbyCluster: o.config.standbyCluster !== null,
    permanent: o.config.slots,
    retained: cluster.status.retainSlots,
    leader: cluster.leader?.name ?? null,
    members: cluster.members,
  };
  const desired = build(cluster, input);
  lastDesired.set(o.self.tags, { input, desired });
  return desired;
});

/** The slot of this node's WAL on the primary, its own or that of the standby it follows; null where none reaches it (nostream). */
export function slotOnPrimary(cluster: Cluster, self: { readonly name: string; readonly tags: Tags }): string | null {
  let { name, tags } = self;
  const seen = new Set<string>();
  for (;;) {
    if (tagEnabled(tags, "nostream")) return null;
    const source = sourceName(tags);
    const member = source === null || seen.has(name) ? null : findMember(cluster, source);
    if (member === null || member.name === name || member.name === cluster.leader?.name) return slotName(name);
    seen.add(name);
    ({ name, tags } = member);
  }
}

interface Input {
  readonly role: SlotRole;
  readonly name: string;
  readonly tags: Tags;
  readonly useSlots: boolean;
  readonly keepsAway: boolean;
  readonly pause: boolean;
  readonly standbyCluster: boolean;
  readonly permanent: readonly PermanentSlot[];
  readonly retained: readonly string[];
  readonly leader: string | null;
  /** As last compared: whoever is the same object needs no other look. */
  members: readonly Member[];
}

const NONE: DesiredSlots = { role: null, slots: new Map(), released: new Set(), errors: [], text: "" };

/** What a node's slots were last, by the tags of its configuration, which are immutable. */
const lastDesired = new WeakMap<Tags, { readonly input: Input; readonly desired: DesiredSlots }>();

/** Asked with every observation: what has changed is found without making anything. The tags are those that it was kept by. */
function stillHolds(input: Input, o: Observation, cluster: Cluster, role: SlotRole): boolean {
  return (
    input.role === role &&
    input.name === o.self.name &&
    input.useSlots === o.self.useSlots &&
    input.keepsAway === o.config.memberSlotsTtlMs > 0 &&
    input.pause === o.config.pause &&
    input.standbyCluster === (o.config.standbyCluster !== null) &&
    input.permanent === o.config.slots &&
    input.leader === (cluster.leader?.name ?? null) &&
    sameList(input.retained, cluster.status.retainSlots) &&
    sameSources(input.members, cluster.members)
  );
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) return false;
  return true;
}

function sameSources(a: readonly Member[], b: readonly Member[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  let moved = false;
  for (let index = 0; index < a.length; index += 1) {
    const [old, now] = [a[index] as Member, b[index] as Member];
    if (old === now) continue;
    if (old.name !== now.name || !sameTags(old.tags, now.tags)) return false;
    if (!sameSource(old, now)) moved = true;
  }
  // How a member stands matters to whoever names it as his source; without such a tag everybody follows the leader.
  return !moved || b.every(({ tags }) => sourceName(tags) === null);
}

/** As a source of WAL (replication-source.ts): positions alone change all the time. */
function sameSource(a: Member, b: Member): boolean {
  return a.state === b.state && a.role === b.role && a.timeline === b.timeline && a.connUrl === b.connUrl;
}

/** Their values are words, numbers and the like. */
function sameTags(a: Tags, b: Tags): boolean {
  if (a === b) return true;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && a[name] === b[name]);
}

function build(cluster: Cluster, input: Input): DesiredSlots {
  const errors: string[] = [];
  const slots = memberSlots(cluster, input, errors);
  addPermanent(cluster, input, slots, errors);
  const lines = [...slots].map(
    ([name, slot]) => `${name}:${slot.kind === "physical" ? slot.inUse : `${slot.slot.database}/${slot.slot.plugin}`}`,
  );
  const members = cluster.members.map(({ name }) => name);
  const text = `${input.role} ${input.useSlots} ${input.pause} ${members.join(",")} ${lines.sort().join(",")}`;
  if (input.useSlots) return { role: input.role, slots, released: new Set(), errors, text };
  return { role: input.role, slots: new Map(), released: new Set(slots.keys()), errors: [], text };
}

function memberSlots(cluster: Cluster, input: Input, errors: string[]): Map<string, DesiredSlot> {
  const { role, keepsAway } = input;
  const own = slotName(input.name);
  const mayLead = role !== "replica" || !isNofailover(input.tags);
  const slots = new Map<string, DesiredSlot>();
  const owners = new Map<string, string[]>();
  for (const member of cluster.members) {
    if (tagEnabled(member.tags, "nostream")) continue;
    const name = slotName(member.name);
    owners.set(name, [...(owners.get(name) ?? []), member.name]);
    if (member.name === input.name || name === own) continue;
    const inUse = streamsFromHere(cluster, member, input);
    // A node that may lead one day keeps what every other one needs; others only what is read from them.
    if (inUse || (keepsAway && mayLead)) slots.set(name, { kind: "physical", member: member.name, permanent: false, inUse });
  }
  const shared = [...owners].filter(([, names]) => names.length > 1).sort();
  if (shared.length > 0) {
    const words = shared.map(([slot, names]) => `${names.join(",")} map to ${slot}`).join("; ");
    errors.push(`Following cluster members share a replication slot name: ${words}`);
  }
  if (!keepsAway || !mayLead) return slots;
  for (const name of input.retained) {
    if (name !== own && !slots.has(name)) slots.set(name, { kind: "physical", member: null, permanent: false, inUse: role !== "replica" });
  }
  return slots;
}

/** The leader follows nobody; everybody else reads from here whose source this node is. */
function streamsFromHere(cluster: Cluster, member: Member, { role, name, leader }: Input): boolean {
  return (role !== "replica" || member.name !== leader) && followedMember(cluster, member)?.name === name;
}

function addPermanent(cluster: Cluster, input: Input, slots: Map<string, DesiredSlot>, errors: string[]): void {
  const { role } = input;
  if (role === "replica" && isNofailover(input.tags)) return;
  const own = slotName(input.name);
  const withLogical = !input.standbyCluster && (role === "primary" || slotOnPrimary(cluster, input) !== null);
  for (const slot of input.permanent) {
    if (slot.clusterType !== null && slot.clusterType !== (input.standbyCluster ? "standby" : "primary")) continue;
    const known = slots.get(slot.name);
    if (slot.kind === "physical") {
      if (slot.name === own) continue;
      const inUse = role !== "replica";
      slots.set(
        slot.name,
        known?.kind === "physical" ? { ...known, permanent: true } : { kind: "physical", member: null, permanent: true, inUse },
      );
    } else if (known !== undefined) {
      const value = `{'type': 'logical', 'database': '${slot.database}', 'plugin': '${slot.plugin}'}`;
      errors.push(
        `Permanent logical replication slot {'${slot.name}': ${value}} is conflicting with physical replication slot for cluster member`,
      );
    } else if (withLogical) slots.set(slot.name, { kind: "logical", slot });
  }
}

function sourceName(tags: Tags): string | null {
  const source = tags["replicatefrom"];
  return source === undefined || source === null || source === "" ? null : String(source);
}
