// Owns the shape and defaults of the dynamic configuration (contract §6). The schema that reads it is in lib/config.

import type { PermanentSlot, SlotMatcher } from "./slots.ts";
import { type Ms, seconds } from "./units.ts";

export type SynchronousMode = "off" | "on" | "quorum";

export interface StandbyClusterConfig {
  readonly host: string | null;
  readonly port: string | number | null;
  readonly primary_slot_name: string | null;
  readonly create_replica_methods: readonly string[] | null;
  readonly restore_command: string | null;
  readonly archive_cleanup_command: string | null;
  readonly recovery_min_apply_delay: string | number | null;
}

/** Effective values: validated, floors and the rule loop_wait + 2·retry_timeout ≤ ttl already applied. Durations in ms. */
export interface DynamicConfig {
  readonly loopWaitMs: Ms;
  readonly ttlMs: Ms;
  /**
   * What this node counts its own leases with: ttl, or `consul.session_check_ttl` where that is shorter. Whoever waits for somebody
   * else's lease counts with `ttlMs`, or with what that holder's mark says.
   */
  readonly leaseTtlMs: Ms;
  readonly retryTimeoutMs: Ms;
  readonly maximumLagOnFailoverBytes: number;
  readonly maximumLagOnSyncnodeBytes: number;
  readonly maxTimelinesHistory: number;
  readonly primaryStartTimeoutMs: Ms;
  readonly primaryStopTimeoutMs: Ms;
  readonly primaryRaceBackoffMs: Ms;
  readonly synchronousMode: SynchronousMode;
  readonly synchronousModeStrict: boolean;
  readonly synchronousNodeCount: number;
  readonly failsafeMode: boolean;
  readonly checkTimeline: boolean;
  readonly memberSlotsTtlMs: Ms;
  readonly pause: boolean;
  readonly standbyCluster: StandbyClusterConfig | null;
  /** Permanent slots, in the order of the key; names are valid and unique. */
  readonly slots: readonly PermanentSlot[];
  readonly ignoreSlots: readonly SlotMatcher[];
}

/** The shortest times that the dynamic configuration may set: what the store can keep, and what other members make of it. */
export interface DynamicLimits {
  readonly ttlFloorMs: Ms;
  readonly loopWaitFloorMs: Ms;
  readonly retryTimeoutFloorMs: Ms;
}

/** What a Patroni makes of shorter values, and so everybody beside one; also where the store has not yet said what it can keep. */
export const PATRONI_LIMITS: DynamicLimits = { ttlFloorMs: seconds(20), loopWaitFloorMs: seconds(1), retryTimeoutFloorMs: seconds(3) };

/** The built-in Raft's. */
export const RAFT_LIMITS: DynamicLimits = { ttlFloorMs: seconds(3), loopWaitFloorMs: seconds(1), retryTimeoutFloorMs: seconds(1) };
