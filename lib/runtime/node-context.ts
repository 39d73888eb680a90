// Owns the list of what the HA loop stands on. In production these are real; in the simulator, fakes at the same borders.

import type { PeerStatus } from "../core/observation.ts";
import type { ClusterStore } from "../dcs/cluster-store.ts";
import type { Clock } from "../model/clock.ts";
import type { Log } from "../model/log.ts";
import type { Ms } from "../model/units.ts";
import type { Postgresql } from "../postgres/postgresql.ts";
import type { Watchdog } from "../postgres/watchdog/watchdog.ts";
import type { NodeState } from "./node-state.ts";
import type { Waker } from "./waker.ts";

/** Asks a member over its REST API; null when it does not answer by the deadline. */
export interface PeerSource {
  ask(apiUrl: string, deadline: Ms): Promise<PeerStatus | null>;
}

/** Where the lease is kept for a restarted supervisor (safety.md, "The guard"). */
export interface LeaseKeeper {
  save(lease: { readonly session: string; readonly revision: number; readonly deadline: Ms }): void;
  clear(): void;
}

export interface NodeContext {
  readonly clock: Clock;
  readonly log: Log & { heartbeat(text: string): void };
  readonly store: ClusterStore;
  readonly postgres: Postgresql;
  readonly peers: PeerSource;
  readonly watchdog: Watchdog;
  readonly lease: LeaseKeeper;
  readonly state: NodeState;
  readonly waker: Waker;
}
