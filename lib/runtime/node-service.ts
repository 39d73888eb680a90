// Owns what the REST API needs from the node that it stands on: facts in memory, and requests it may pass on.
// Implemented by lib/runtime; the API never touches the DCS client, PostgreSQL or the disk itself.

import type { BackupListing } from "../model/backup.ts";
import type { Cluster } from "../model/cluster.ts";
import type { DynamicConfig } from "../model/dynamic-config.ts";
import type { PostgresError, StoreError } from "../model/errors.ts";
import type { FailsafeHeartbeat } from "../model/failsafe.ts";
import type { Member, PendingRestartReason, PostgresState, Role, Tags } from "../model/member.ts";
import type { MetricFamily } from "../model/metric.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { CopyProgress, PostgresStatus } from "../model/postgres.ts";
import type { MemberFigures, MemberStanding } from "../model/raft.ts";
import type { Result } from "../model/result.ts";
import type { Lsn, Ms } from "../model/units.ts";
import type { EventSource } from "./event-log.ts";
import type { Explanation } from "./explaining.ts";
import type { AddressStanding } from "./vip/service-address.ts";

/** One consistent view for one answer. */
export interface NodeFacts {
  readonly config: NodeConfig;
  readonly dynamic: DynamicConfig;
  readonly state: PostgresState;
  readonly role: Role;
  /** At most 250 ms old (role, up or down) resp. 1 s (positions); null without a working connection or with a stopped or hung postmaster. */
  readonly postgres: PostgresStatus | null;
  /** This node's own lease is valid at this instant (or paused, DCS away, and PostgreSQL runs as primary: contract §4). */
  readonly holdsLock: boolean;
  readonly paused: boolean;
  /** The DCS answered within the last cycle. */
  readonly dcsReachable: boolean;
  readonly dcsLastSeenEpochSeconds: number;
  /** Last snapshot; null before the first. */
  readonly cluster: Cluster | null;
  /** On the coordinator of an MPP cluster: the members of all groups, as last read; [] elsewhere. */
  readonly mppMembers: readonly Member[];
  readonly failsafeActive: boolean;
  readonly pendingRestart: PendingRestartReason;
  readonly scheduledRestart: Readonly<Record<string, unknown>> | null;
  readonly watchdogFailed: boolean;
  readonly systemIdentifier: string | null;
  /** How this node is fenced: `watchdog /dev/watchdog`, `guard`, `none`. */
  readonly fencing: string;
  /** Null where the node has no member of the Raft. */
  readonly raft: MemberStanding | null;
  /** Null where the node keeps no address of the primary's host. */
  readonly vip: AddressStanding | null;
  /** Boot-time now, and when the HA loop last finished a cycle. */
  readonly now: Ms;
  readonly lastCycleAt: Ms;
  /** Rule that the last decision came from, and why; for the status document's `matriarch` field. */
  /** Of the copy that is being made here. */
  readonly copy: CopyProgress | null;
  readonly lastDecision: { readonly rule: string; readonly why: string } | null;
  readonly tags: Tags;
}

/** What a node measures, beside its facts. */
export interface NodeMeasures {
  /** Grows with each change of `families`. */
  readonly revision: number;
  /** Counted and timed since this process began. */
  readonly families: () => readonly MetricFamily[];
  /** What is left of this node's lease; 0 without one. */
  readonly leaseRemainingMs: Ms;
  readonly guard: {
    readonly armed: boolean;
    readonly healthy: boolean /** Until it acts, hearing nothing more; null where it does not. */;
    readonly actsInMs: Ms | null;
  };
  /** As of the last cycle; null without a member of the Raft. */
  readonly raft: MemberFigures | null;
}

export interface RestartRequest {
  readonly role: string | null;
  readonly postgresVersion: string | null;
  readonly timeoutMs: Ms | null;
  readonly restartPending: boolean;
}

/** `status` is the HTTP status, `text` the body, as contract §4 fixes them. */
export interface OperatorAnswer {
  readonly status: number;
  readonly text: string;
}

export interface NodeService {
  /** Facts no older than contract §4 demands: waits for one shared status query where they are, at most 2 s. */
  facts(): Promise<NodeFacts>;
  measures(): NodeMeasures;
  /** Why each member could or could not be promoted: asks all of them, at most 2 s. */
  explain(): Promise<Explanation>;
  /** What pgBackRest's repository holds, as read from here; null where pgBackRest is not configured. */
  backups(): Promise<Result<BackupListing, PostgresError> | null>;
  /** What keeps this node from restoring the cluster, were it to, or from taking the restore of this id back; null where nothing does. */
  restoreObstacle(back: string | null): Promise<string | null>;
  /** What happened here. */
  readonly events: EventSource;
  /** Facts as they are, for paths that need no SQL (liveness). */
  factsNow(): NodeFacts;
  /** A fresh, consistent read of the cluster. */
  readCluster(): Promise<Result<Cluster, StoreError>>;
  /** Writes `config`, only if it still has the revision (null: only if absent). */
  writeConfig(value: Readonly<Record<string, unknown>>, revision: number | null): Promise<Result<null, StoreError>>;
  /** Writes `failover` (null: clears it), only if it still has the revision (null: any). */
  writeFailover(
    value: { readonly leader: string | null; readonly candidate: string | null; readonly scheduledAt: string | null } | null,
    revision: number | null,
  ): Promise<Result<null, StoreError>>;
  /** Asks a member over its REST API: its status document's facts that a switchover needs; null when it does not answer in time. */
  askMember(
    name: string,
    deadline: Ms,
  ): Promise<{ readonly timeline: number | null; readonly lsn: Lsn | null; readonly nofailover: boolean; readonly role: string } | null>;
  /** Resolves at the next change of the cluster view, or at the deadline. */
  clusterChange(deadline: Ms): Promise<Cluster | null>;
  /** Wakes the HA loop. */
  wake(): void;
  restart(request: RestartRequest): Promise<OperatorAnswer>;
  scheduleRestart(schedule: string, request: RestartRequest): Promise<OperatorAnswer>;
  deleteScheduledRestart(): Promise<boolean>;
  reload(): void;
  reinitialize(options: { readonly force: boolean; readonly fromLeader: boolean }): Promise<OperatorAnswer>;
  /** What a worker group's leader tells the coordinator: POST /mpp, /citus. */
  mppEvent(body: Readonly<Record<string, unknown>>): Promise<OperatorAnswer>;
  /** The primary's heartbeat while the DCS is away: 200 is a promise not to lead for its ttl. */
  failsafe(beat: FailsafeHeartbeat): Promise<OperatorAnswer & { readonly lsn: Lsn | null }>;
}
