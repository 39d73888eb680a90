// Owns the observation: everything that a decision may depend on, as one immutable value. No clock, no I/O, no randomness here.

import type { Cluster } from "../model/cluster.ts";
import type { DynamicConfig } from "../model/dynamic-config.ts";
import type { PostgresState, Tags } from "../model/member.ts";
import type { ControlData, DataDirectory, FollowTarget, PostgresStatus, PostmasterProcess } from "../model/postgres.ts";
import type { Lsn, Ms, Revision, Timeline } from "../model/units.ts";
import type { EffectKind, RestoreStep, StandbyRole } from "./decision.ts";
import type { FailsafeFacts } from "./failsafe.ts";
import type { LeaderTrace } from "./leader-trace.ts";
import type { RewindPlan } from "./rewind-plan.ts";
import type { SyncPosition } from "./sync-standbys.ts";

export interface Observation {
  /** Boot-time clock. */
  readonly now: Ms;
  /** Epoch ms: only for appointments that operators made. */
  readonly wallNow: number;
  readonly self: SelfFacts;
  readonly config: DynamicConfig;
  readonly dcs: DcsFacts;
  readonly lock: LockFacts;
  readonly local: LocalFacts;
  readonly task: RunningTask | null;
  readonly lastTask: FinishedTask | null;
  readonly trace: LeaderTrace;
  readonly peers: PeerFacts;
  readonly failsafe: FailsafeFacts;
  readonly requests: OperatorRequests;
  /** What this cycle has performed so far: bounds the cycle and keeps a rule from firing twice. */
  readonly done: readonly Outcome[];
}

export interface SelfFacts {
  readonly name: string;
  readonly tags: Tags;
  /** Our session's id; null while none is open. */
  readonly session: string | null;
  /** The hook of that name: not configured, to be run under the present lock, or passed under it. */
  readonly prePromote: "none" | "due" | "passed";
  /** What synchronous_commit makes commits wait for. */
  readonly syncPosition: SyncPosition;
  /** Since when this member asks not to be a synchronous standby any more; null where it does not. */
  readonly releaseAskedAt: Ms | null;
  /** The promised fencing cannot be armed although it is required. */
  readonly fencingMissing: boolean;
  /** How long before the lease's end PostgreSQL must be on its way down. */
  readonly stopBudgetMs: Ms;
  readonly useSlots: boolean;
  /** Citus moves and splits shards in it with slots of its own; null where there is no Citus. */
  readonly citusDatabase: string | null;
  readonly usePgRewind: boolean;
  /** Some method makes a copy without anybody to copy from. */
  readonly clonesWithoutLeader: boolean;
  readonly removeDataDirectoryOnRewindFailure: boolean;
  readonly removeDataDirectoryOnDivergedTimelines: boolean;
  readonly pgCtlTimeoutMs: Ms;
  /** Our lock was taken over from a former process of this node, and PostgreSQL was never touched. */
  readonly adopted: boolean;
  /** The lease mark says otherwise than is so whether anything fences PostgreSQL. */
  readonly markStale: boolean;
}

export type DcsFacts =
  | { readonly kind: "reachable"; readonly cluster: Cluster; readonly readAt: Ms }
  | { readonly kind: "unreachable"; readonly since: Ms; readonly cluster: Cluster | null; readonly reason: string };

/** The lock as this node holds it; `held` is null where it does not. */
export interface LockFacts {
  readonly held: HeldFacts | null;
}

export interface HeldFacts {
  readonly session: string;
  readonly revision: Revision;
  readonly confirmedAt: Ms;
  /** End of the lease (lease.ts); a lease that became unknown ends now. */
  readonly leaseEndsAt: Ms;
}

export interface LocalFacts {
  readonly dataDirectory: DataDirectory;
  /** The restore whose way back has begun on this disk, as the mark beside the directory says; null where none is there. */
  readonly wayBack: string | null;
  readonly process: PostmasterProcess;
  readonly status: PostgresStatus | null;
  readonly state: PostgresState;
  /** Of the running server; else of the last one that ran under our eyes. */
  readonly lastRole: "primary" | "replica" | null;
  /** Read on demand while the server is down. */
  readonly control: ControlData | null;
  readonly systemIdentifier: string | null;
  /** The postmaster ended although nobody here asked it to; null once it runs again or was dealt with. */
  readonly crashedAt: Ms | null;
  /** Since when the running server has served nobody new: it answers nothing, or its postmaster is stopped; null where it answers, also by a refusal. */
  readonly unservedSince: Ms | null;
  /** Since when the running server has given us no status; null where it does, and while it says itself that it starts up, recovers or shuts down. */
  readonly statusMissingSince: Ms | null;
  /** Source that the running standby is pointed at: `host:port`, "" for none. */
  readonly upstream: string;
  /** What this process last pointed it at; null where nothing, or where that is not known. */
  readonly source: FollowTarget | null;
  /** As what the standby was last pointed at its source. */
  readonly standbyRole: StandbyRole;
  /** Since when the running standby has not been streaming; null while it streams. */
  readonly notStreamingSince: Ms | null;
  /** For what the slots were last brought up to date (slots-desired.ts); null = not yet. */
  readonly slotsFor: string | null;
  /** The slots that were there when that changed last. */
  readonly slotsSeen: ReadonlySet<string>;
  /** The last pass; null = not yet. */
  readonly slotsAt: Ms | null;
  /** History that this primary has already published, as its timeline. */
  readonly historyPublished: Timeline | null;
  /** Position of the primary when the server first showed the present synchronous_standby_names. */
  readonly syncNamesSince: { readonly names: string; readonly lsn: Lsn; readonly at: Ms } | null;
  /** We have set synchronous_standby_names of this server; an operator's own setting is left alone. */
  readonly syncNamesManaged: boolean;
  /** pg_rewind failed since the server last ran. */
  readonly rewindFailed: boolean;
  /** When this server was promoted by us; null where it was not. */
  readonly promotedAt: Ms | null;
}

export interface RunningTask {
  readonly kind: EffectKind;
  readonly startedAt: Ms;
  readonly aborting: boolean;
  /** Of a restore. */
  readonly step?: RestoreStep;
  /** As it is told of (task-words.ts); its kind where there are none. */
  readonly words?: string;
}

export interface FinishedTask {
  readonly kind: EffectKind;
  readonly finishedAt: Ms;
  readonly ok: boolean;
  readonly message: string;
  /** How many times in a row this kind has failed. */
  readonly failures: number;
  /** Of a plan-rejoin that succeeded. */
  readonly plan: RejoinPlan | null;
}

/** What to do with a stopped data directory, for one leader. */
export interface RejoinPlan {
  readonly leader: string;
  readonly leaderSession: string | null;
  readonly plan: RewindPlan;
}

export interface PeerAnswer {
  readonly name: string;
  /** null: no answer within the deadline. */
  readonly status: PeerStatus | null;
  /** Before the question was sent. */
  readonly askedAt: Ms;
}

/** What a peer says of itself over REST. */
export interface PeerStatus {
  readonly role: string;
  readonly state: string;
  readonly timeline: Timeline | null;
  /** Highest position: written on a primary, received or replayed on a replica. */
  readonly lsn: Lsn | null;
  readonly tags: Tags;
  readonly watchdogFailed: boolean;
  readonly paused: boolean;
  /** By its own clock its lease is running: it may be about to start or promote. false on a Patroni, which does not say. */
  readonly leaseHeld: boolean;
}

export interface PeerFacts {
  /** Answers of this cycle's round; empty before one was asked. */
  readonly answers: readonly PeerAnswer[];
}

export interface OperatorRequests {
  readonly shutdown: boolean;
  /** Restart PostgreSQL now. */
  readonly restart: boolean;
  readonly reinitialize: { readonly fromLeader: boolean } | null;
}

export interface Outcome {
  readonly kind: EffectKind;
  readonly ok: boolean;
  readonly message: string;
}
