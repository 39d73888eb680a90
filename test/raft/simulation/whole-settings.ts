// Owns what a seed chooses for a simulation of whole members.

import { KEY_VALUE_BOUNDS, type KeyValueBounds } from "../../../lib/dcs/raft/kv/bounds.ts";
import type { Random } from "../../simulation/random.ts";

export const WHOLE_FAULT_NAMES = [
  "kill",
  "power-off",
  "kill-all",
  "pause",
  "suspend",
  "partition",
  "one-way",
  "isolate-leader",
  "reset-connections",
  "slow-disk",
  "sync-fails",
  "disk-full",
  "bit-rot",
  "vote-rot",
  "wall-clock-jump",
  "suspend-holder",
  "wipe",
  "transfer",
  "remove-and-add",
  "snapshot-now",
] as const;
export type WholeFaultName = (typeof WHOLE_FAULT_NAMES)[number];

export interface WholeSettings {
  readonly members: number;
  readonly delayMs: number;
  readonly syncMs: number;
  readonly clockError: number;
  readonly snapshotEvery: number;
  readonly arrival: "whole" | "chopped";
  /** Of the sessions that clients open. */
  readonly ttlMs: number;
  readonly clients: number;
  /** Mean time between two operations of a client. */
  readonly thinkMs: number;
  readonly faults: readonly WholeFaultName[];
  readonly faultEveryMs: number;
  readonly watchers: number;
  /** Changes that a watch can look back on. */
  readonly historyMax: number;
  /** Programs that want one lock; 0: none. */
  readonly holders: number;
}

export function boundsOf({ historyMax }: WholeSettings): KeyValueBounds {
  return { ...KEY_VALUE_BOUNDS, historyMax };
}

export function drawWholeSettings(random: Random): WholeSettings {
  const keep = random.pick([0.15, 0.3, 0.6]);
  const settings: WholeSettings = {
    members: random.pick([1, 2, 3, 3, 3, 3, 5]),
    delayMs: random.pick([0.1, 0.5, 5]),
    syncMs: random.pick([0.1, 1, 10]),
    clockError: random.pick([0, 0.0002, 0.01]),
    snapshotEvery: random.pick([10, 40, 1000]),
    arrival: random.pick(["whole", "chopped"]),
    ttlMs: random.pick([500, 2000, 5000]),
    clients: random.whole(1, 4),
    thinkMs: random.pick([100, 300, 800]),
    faults: WHOLE_FAULT_NAMES.filter(() => random.chance(keep)),
    faultEveryMs: random.pick([500, 1500, 4000]),
    watchers: random.pick([0, 1, 3]),
    historyMax: random.pick([1, 6, KEY_VALUE_BOUNDS.historyMax]),
    holders: random.pick([0, 0, 0, 3]),
  };
  // Where there are holders they are suspended, and nothing is said of it where there are none.
  const others = settings.faults.filter((name) => name !== "suspend-holder");
  return { ...settings, faults: settings.holders === 0 ? others : [...others, "suspend-holder"] };
}
