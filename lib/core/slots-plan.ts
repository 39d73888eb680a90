// Owns what is to be done about replication slots: those that this node is to have (slots-desired.ts) against those that the server
// shows. Pure.

import { type Cluster, findMember } from "../model/cluster.ts";
import type { SlotStatus } from "../model/postgres.ts";
import { isIgnoredSlot, type LogicalSlot, type SlotAction } from "../model/slots.ts";
import type { Lsn } from "../model/units.ts";
import type { Effect } from "./decision.ts";
import type { Observation } from "./observation.ts";
import { perObservation } from "./per-observation.ts";
import { type DesiredSlot, type DesiredSlots, desiredSlots } from "./slots-desired.ts";

export interface SlotsPlan {
  /** In the order in which they are to be done. */
  readonly actions: readonly SlotAction[];
  /** Logical slots of the primary that this standby has to copy: with a restart. */
  readonly copies: readonly LogicalSlot[];
}

const NOTHING: SlotsPlan = { actions: [], copies: [] };

/** Source: Citus' documentation of shard moves and splits, as Patroni's names them. */
const CITUS_SLOT = /^citus_shard_(move|split)_slot(?:_[1-9][0-9]*){2,3}$/;

/** Slots are looked at once a loop_wait; at once where members, configuration or role have changed. */
const DUE = 0.9;

/** The slots have to be brought up to date now. */
export function slotsAreDue(o: Observation): boolean {
  const { role } = desiredSlots(o);
  if (role === null) return false;
  if (slotsChanged(o)) return true;
  const at = o.local.slotsAt;
  return (at === null || o.now - at >= o.config.loopWaitMs * DUE) && slotsPlan(o).actions.length > 0;
}

export function slotsEffect(o: Observation): Effect {
  const { text, errors } = desiredSlots(o);
  const seen = slotsChanged(o) ? new Set(o.local.status?.slots.map(({ name }) => name)) : o.local.slotsSeen;
  return { kind: "sync-slots", actions: slotsPlan(o).actions, text, seen, errors };
}

/** Some slot has to follow its consumer; nothing is made or dropped: that is for the time in which the members cannot be known. */
export function advanceIsDue(o: Observation): boolean {
  const at = o.local.slotsAt;
  return desiredSlots(o).role !== null && (at === null || o.now - at >= o.config.loopWaitMs * DUE) && advances(o).length > 0;
}

export function advanceEffect(o: Observation): Effect {
  return { kind: "sync-slots", actions: advances(o), text: o.local.slotsFor ?? "", seen: o.local.slotsSeen, errors: [] };
}

function advances(o: Observation): readonly SlotAction[] {
  return slotsPlan(o).actions.filter(({ kind }) => kind === "advance");
}

/** Members or the configuration of slots have changed since the last pass. */
export function slotsChanged(o: Observation): boolean {
  return o.local.slotsFor !== desiredSlots(o).text;
}

/** Asked by several rules of one decision. */
export const slotsPlan: (o: Observation) => SlotsPlan = perObservation(makePlan);

function makePlan(o: Observation): SlotsPlan {
  const { status } = o.local;
  const cluster = o.dcs.cluster;
  const desired = desiredSlots(o);
  if (status === null || cluster === null || desired.role === null) return NOTHING;
  const reach = status.inRecovery ? status.replayedLsn : status.walLsn;
  const drops: SlotAction[] = [];
  const kept: string[] = [];
  const moves: SlotAction[] = [];
  const copies: LogicalSlot[] = [];
  for (const slot of status.slots) {
    const wanted = desired.slots.get(slot.name);
    if (slot.temporary || slot.failover || isIgnoredSlot(slot, o.config.ignoreSlots) || isOfCitus(o, slot)) {
      kept.push(slot.name);
      continue;
    }
    const why = whyDrop(o, desired, slot, wanted);
    if (why !== null && !slot.active) {
      drops.push({ kind: "drop", name: slot.name, why });
      continue;
    }
    kept.push(slot.name);
    if (wanted === undefined || why !== null) continue;
    if (wanted.kind === "logical" && desired.role === "replica" && slot.lost) copies.push(wanted.slot);
    else {
      const move = advance(slot, { to: positionOf(cluster, desired, slot.name, wanted), reach });
      if (move !== null) moves.push(move);
    }
  }
  const creates: SlotAction[] = [];
  for (const [name, wanted] of desired.slots) {
    if (kept.includes(name)) continue;
    if (wanted.kind === "physical") creates.push({ kind: "create-physical", name });
    else if (desired.role === "primary") creates.push({ kind: "create-logical", slot: wanted.slot });
    // Only what the primary has can be copied.
    else if (published(cluster, name) !== null) copies.push(wanted.slot);
  }
  // Usually nothing but positions moves.
  return { actions: drops.length + creates.length === 0 ? moves : [...drops, ...creates, ...moves], copies };
}

/** While a shard moves or is split, its changes wait in slots that Citus makes on the primary, and drops when it is done. */
function isOfCitus(o: Observation, { name, type, database, plugin }: SlotStatus): boolean {
  if (type !== "logical" || o.self.citusDatabase === null || database !== o.self.citusDatabase) return false;
  const what = CITUS_SLOT.exec(name)?.[1];
  return what !== undefined && plugin === (what === "move" ? "pgoutput" : "citus");
}

/** Null where the slot stays; else the line for the log. */
function whyDrop(o: Observation, { role, released }: DesiredSlots, slot: SlotStatus, wanted: DesiredSlot | undefined): string | null {
  const { name } = slot;
  if (wanted === undefined) {
    // Not ours, and not to be judged while people are at work; without use_slots only what we made ourselves is taken away.
    const stays = o.config.pause || (!o.self.useSlots && !released.has(name));
    // Made since the last change: somebody is about to use it. It goes with the next one, as beside a Patroni.
    const isNew = !slotsChanged(o) && !o.local.slotsSeen.has(name);
    return stays || isNew ? null : `Trying to drop unknown replication slot '${name}'`;
  }
  if (!isSame(wanted, slot)) {
    return `Trying to drop replication slot '${name}' because value is changing from ${wordsOf(slot)} to ${wordsOfDesired(wanted)}`;
  }
  if (wanted.kind === "logical") {
    return slot.lost && role === "primary" ? `Trying to drop replication slot '${name}' with wal_status=lost` : null;
  }
  if (slot.lost) return `Trying to drop replication slot '${name}' with wal_status=lost`;
  if (slot.restartLsn === null) {
    return `Dropping physical replication slot ${name} because it has no restart_lsn. This slot was not made to keep WAL from the start`;
  }
  // Nobody takes feedback back that came over it once: on a slot that is not in use it would hold up vacuum for ever.
  const held = slot.xmin ?? slot.catalogXmin;
  if (held !== null && !wanted.inUse) return `Dropping physical replication slot ${name} because of its xmin value ${held}`;
  return null;
}

function isSame(wanted: DesiredSlot, slot: SlotStatus): boolean {
  if (wanted.kind === "physical") return slot.type === "physical";
  return slot.type === "logical" && slot.database === wanted.slot.database && slot.plugin === wanted.slot.plugin;
}

function wordsOf({ type, database, plugin }: SlotStatus): string {
  return type === "physical" ? "{'type': 'physical'}" : `{'type': 'logical', 'database': '${database}', 'plugin': '${plugin}'}`;
}

function wordsOfDesired(wanted: DesiredSlot): string {
  if (wanted.kind === "physical") return "{'type': 'physical'}";
  return `{'type': 'logical', 'database': '${wanted.slot.database}', 'plugin': '${wanted.slot.plugin}'}`;
}

/** Where the slot's consumer is, as far as this node is to follow it; null where it moves the slot itself. */
function positionOf(cluster: Cluster, { role }: DesiredSlots, name: string, wanted: DesiredSlot): Lsn | null {
  if (wanted.kind === "physical" && wanted.inUse) return null;
  const member = wanted.kind === "physical" && wanted.member !== null ? findMember(cluster, wanted.member) : null;
  const position = member?.xlogLocation ?? null;
  return role === "replica" ? (published(cluster, name) ?? position) : position;
}

function published(cluster: Cluster, name: string): Lsn | null {
  const { slots } = cluster.status;
  return Object.hasOwn(slots, name) ? (slots[name] ?? null) : null;
}

/** Never beyond what is replayed (or written) here: the server would refuse. */
function advance(slot: SlotStatus, { to, reach }: { readonly to: Lsn | null; readonly reach: Lsn | null }): SlotAction | null {
  const at = slot.type === "physical" ? slot.restartLsn : slot.confirmedFlushLsn;
  if (to === null || reach === null || at === null || slot.active) return null;
  const end = to < reach ? to : reach;
  return end > at ? { kind: "advance", name: slot.name, to: end, database: slot.type === "logical" ? slot.database : null } : null;
}
