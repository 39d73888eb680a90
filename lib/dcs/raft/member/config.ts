// Owns the shape of a member's configuration, as whoever starts one gives it. Reads no file.

import type { RaftTimings } from "../core/types.ts";
import type { Security } from "../transport/security.ts";
import { DEFAULT_TRANSPORT_TIMINGS, type TransportTimings } from "../transport/transport.ts";
import { DEFAULT_SNAPSHOT_LIMITS, type SnapshotLimits } from "./snapshots.ts";

export interface RaftMemberConfig {
  /** `host:port` under which the others reach this member. */
  readonly selfAddress: string;
  /** `host:port` to listen on. */
  readonly bindAddress: string;
  readonly partnerAddresses: readonly string[];
  readonly security: Security;
  readonly timings: RaftTimings;
  readonly connections: TransportTimings;
  /** `may-not`: only joins; its data directory belongs to a cluster already. */
  readonly founding: "may" | "may-not";
  readonly snapshots: SnapshotLimits;
}

export const DEFAULT_RAFT_TIMINGS: RaftTimings = { heartbeatMs: 100, electionMinMs: 500, electionMaxMs: 1000 };

/** A configuration with the defaults for all that is not given. */
export function raftMemberConfig(
  given: Pick<RaftMemberConfig, "selfAddress" | "partnerAddresses" | "security"> & Partial<RaftMemberConfig>,
): RaftMemberConfig {
  return {
    bindAddress: given.selfAddress,
    timings: DEFAULT_RAFT_TIMINGS,
    connections: DEFAULT_TRANSPORT_TIMINGS,
    founding: "may",
    snapshots: DEFAULT_SNAPSHOT_LIMITS,
    ...given,
  };
}
