// Owns what a seed chooses for a simulation of cores: how many members, how fast and how broken network, disks and clocks
// are, and which faults come how often (swarm: each seed has a few of them, so that none hides behind the others).

import type { Random } from "../../simulation/random.ts";
import type { ProtocolPoint } from "./seat-world.ts";

export const FAULT_NAMES = [
  "crash",
  "crash-leader",
  "crash-all",
  "pause",
  "suspend",
  "partition",
  "isolate-leader",
  "one-way",
  "slow-link",
  "slow-disk",
  "sync-fails",
  "disk-full",
  "rot",
  "transfer",
  "add-member",
  "remove-member",
  "replace-member",
  "snapshot-now",
] as const;
export type FaultName = (typeof FAULT_NAMES)[number];

const POINTS: readonly ProtocolPoint[] = [
  "wrote",
  "voted",
  "acknowledging",
  "durable",
  "leading",
  "joint",
  "snapshot-sent",
  "snapshot-received",
  "snapshot-saved",
  "handing-over",
];

export interface CoreSettings {
  readonly members: number;
  /** Mean delay of a message, ms; each draws its own. */
  readonly delay: number;
  readonly drop: number;
  readonly duplicate: number;
  /** Probability of a message that is ten to a thousand times as late. */
  readonly late: number;
  /** `streams`: what is under way to a process that dies, dies with it. `datagrams`: it may reach its next life. */
  readonly network: "streams" | "datagrams";
  readonly syncMs: number;
  readonly turnMs: number;
  /** Clocks run at 1 ± this. */
  readonly clockError: number;
  readonly snapshotEvery: number;
  readonly snapshotBytes: number;
  readonly badChunks: number;
  /** Client operations a second. */
  readonly load: number;
  readonly readShare: number;
  readonly faults: readonly FaultName[];
  readonly faultEveryMs: number;
  /** Probability of a crash at each of these protocol points. */
  readonly points: ReadonlyMap<ProtocolPoint, number>;
  /** Whether others hear at once that a process died. */
  readonly lossHeard: number;
}

export function drawSettings(random: Random): CoreSettings {
  const sizes = [1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7, 9];
  const network = random.chance(0.6) ? "streams" : "datagrams";
  const keep = random.pick([0.15, 0.3, 0.5, 0.8]);
  const faults = FAULT_NAMES.filter(() => random.chance(keep));
  const points = new Map<ProtocolPoint, number>();
  if (random.chance(0.6))
    for (const point of POINTS) if (random.chance(0.3)) points.set(point, POINT_RATES[point] * random.pick([0.3, 1, 3]));
  return {
    members: random.pick(sizes),
    delay: random.pick([0.1, 0.5, 2, 10]),
    drop: random.pick([0, 0, 0.01, 0.05, 0.2]),
    duplicate: random.pick([0, 0, 0.02, 0.2]),
    late: random.pick([0, 0, 0.01, 0.05]),
    network,
    syncMs: random.pick([0.1, 1, 5, 20]),
    turnMs: random.pick([0, 0, 0.05, 1]),
    clockError: random.pick([0, 0.0002, 0.01, 0.05]),
    snapshotEvery: random.pick([8, 30, 100, 1000]),
    snapshotBytes: random.pick([100, 10_000, 1_000_000, 10_000_000]),
    badChunks: random.pick([0, 0, 0.02]),
    load: random.pick([10, 50, 200]),
    readShare: random.pick([0.1, 0.4]),
    faults,
    faultEveryMs: random.pick([300, 800, 2000]),
    points,
    lossHeard: random.pick([0, 0.5, 1]),
  };
}

/** Such that a run of half a minute meets a handful. */
const POINT_RATES: Readonly<Record<ProtocolPoint, number>> = {
  wrote: 0.002,
  voted: 0.1,
  acknowledging: 0.002,
  durable: 0.002,
  leading: 0.1,
  joint: 0.2,
  "snapshot-sent": 0.05,
  "snapshot-received": 0.05,
  "snapshot-saved": 0.05,
  "handing-over": 0.2,
};
