// Owns the list of what the HA loop stands on. In production these are real; in the simulator, fakes at the same borders.

import type { PeerStatus } from "../core/observation.ts";
import type { ClusterStore } from "../dcs/cluster-store.ts";
import type { Clock } from "../model/clock.ts";
import type { FailsafeAnswer, FailsafeHeartbeat, FailsafePromise } from "../model/failsafe.ts";
import type { Log } from "../model/log.ts";
import type { Ms, Revision } from "../model/units.ts";
import type { Postgresql } from "../postgres/postgresql.ts";
import type { ProcessId, Watchdog } from "../postgres/watchdog/watchdog.ts";
import type { NodeState } from "./node-state.ts";
import type { Waker } from "./waker.ts";

export interface PeerSource {
  /** What a member says of itself over its REST API; null when it does not answer by the deadline. */
  ask(apiUrl: string, deadline: Ms): Promise<PeerStatus | null>;
  /** POST /failsafe: the primary's heartbeat while the DCS is away. */
  failsafe(apiUrl: string, beat: FailsafeHeartbeat, deadline: Ms): Promise<FailsafeAnswer>;
}

/** What a former process of this node left behind. */
export interface FormerLease {
  readonly session: string;
  readonly revision: Revision;
  /** End of its lease; counts only where `sameBoot`. */
  readonly deadline: Ms;
  readonly sameBoot: boolean;
  /** Until when a check of its session certainly holds, as its store last confirmed it; rounds of failsafe mode say nothing of that. */
  readonly checkedUntil: Ms;
  /** "" where it was not known. */
  readonly systemIdentifier: string;
  readonly postmaster: ProcessId | null;
  readonly guard: ProcessId | null;
}

/** Where the lease is kept for a restarted supervisor (safety.md, "The guard"). */
export interface LeaseKeeper {
  /** As found at the start of this process; null where there was none, or it was of another data directory. */
  former(): FormerLease | null;
  save(lease: { readonly session: string; readonly revision: Revision; readonly deadline: Ms }): void;
  clear(): void;
}

/** Where a promise of failsafe mode is kept: it binds the next process of this node as well. */
export interface PromiseKeeper {
  /** Given by a former process of this node; null where there is none. */
  former(): FailsafePromise | null;
  /** Value: whether it is kept. */
  save(promise: FailsafePromise): boolean;
}

export interface NodeContext {
  readonly clock: Clock;
  readonly log: Log & { heartbeat(text: string, event?: string | null): void };
  readonly store: ClusterStore;
  readonly postgres: Postgresql;
  readonly peers: PeerSource;
  readonly watchdog: Watchdog;
  readonly lease: LeaseKeeper;
  readonly promises: PromiseKeeper;
  readonly state: NodeState;
  readonly waker: Waker;
}
