// Builds observations for tests: a healthy replica beside a leader, and what deviates from it.

import { NO_FAILSAFE } from "../../../lib/core/failsafe.ts";
import { NO_TRACE } from "../../../lib/core/leader-trace.ts";
import type { FinishedTask, LocalFacts, Observation, PeerAnswer, PeerStatus } from "../../../lib/core/observation.ts";
import { desiredSlots } from "../../../lib/core/slots-desired.ts";
import type { Cluster, LeaseMark } from "../../../lib/model/cluster.ts";
import type { DynamicConfig } from "../../../lib/model/dynamic-config.ts";
import type { Member } from "../../../lib/model/member.ts";
import type { PostgresStatus, ReplicationConnection } from "../../../lib/model/postgres.ts";
import { NO_SYNC } from "../../../lib/model/sync-state.ts";
import { lsn, ms, revision, seconds, timeline } from "../../../lib/model/units.ts";

/** What makes a cluster a standby cluster: a remote primary at remote:5433. */
export const STANDBY_CLUSTER: NonNullable<DynamicConfig["standbyCluster"]> = {
  host: "remote",
  port: 5433,
  primary_slot_name: "site_b",
  create_replica_methods: null,
  restore_command: null,
  archive_cleanup_command: null,
  recovery_min_apply_delay: null,
};

export const CONFIG: DynamicConfig = {
  loopWaitMs: seconds(10),
  leaseTtlMs: seconds(30),
  ttlMs: seconds(30),
  retryTimeoutMs: seconds(10),
  maximumLagOnFailoverBytes: 1_048_576,
  maximumLagOnSyncnodeBytes: -1,
  maxTimelinesHistory: 0,
  primaryStartTimeoutMs: seconds(300),
  primaryStopTimeoutMs: seconds(0),
  primaryRaceBackoffMs: seconds(0),
  synchronousMode: "off",
  synchronousModeStrict: false,
  synchronousNodeCount: 1,
  failsafeMode: false,
  checkTimeline: false,
  memberSlotsTtlMs: seconds(1800),
  pause: false,
  standbyCluster: null,
  slots: [],
  ignoreSlots: [],
};

export function member(name: string, fields: Partial<Member> = {}): Member {
  return {
    name,
    revision: revision(5),
    session: `s-${name}`,
    connUrl: `postgres://host-${name}:5432/postgres`,
    apiUrl: `http://host-${name}:8008/patroni`,
    state: "running",
    role: "replica",
    version: "4.1.5",
    xlogLocation: null,
    receiveLsn: null,
    replayLsn: null,
    replicationState: null,
    timeline: timeline(1),
    tags: {},
    proxyUrl: null,
    pendingRestart: false,
    pendingRestartReason: null,
    checkpointAfterPromote: null,
    scheduledRestart: null,
    pause: false,
    product: { name: "Matriarch", version: "0.1.0" },
    extra: {},
    ...fields,
  };
}

/** Three members a, b, c; a leads. */
export function cluster(fields: Partial<Cluster> = {}): Cluster {
  return {
    initialize: "7000000000000000001",
    leader: { name: "a", session: "s-a", revision: revision(4) },
    members: [member("a", { role: "primary" }), member("b"), member("c")],
    config: { revision: revision(2), data: {} },
    failover: null,
    restore: null,
    backup: null,
    backupClaim: null,
    upgrade: null,
    sync: NO_SYNC,
    history: [],
    status: { optime: lsn(1000), slots: {}, retainSlots: [] },
    failsafe: null,
    revision: revision(10),
    groups: {},
    faults: [],
    ...fields,
  };
}

export function status(fields: Partial<PostgresStatus> = {}): PostgresStatus {
  return {
    askedAt: ms(99_990),
    backendPid: 11,
    postmasterStartTime: "2026-01-01 00:00:00+00:00",
    postmasterStartEpochSeconds: 1,
    serverVersion: 150018,
    systemIdentifier: "7000000000000000001",
    inRecovery: true,
    walLsn: null,
    receivedLsn: lsn(1000),
    replayedLsn: lsn(1000),
    replayTimestamp: null,
    replayPaused: false,
    timeline: timeline(1),
    replicationState: "streaming",
    walReceiver: null,
    replication: [],
    slots: [],
    synchronousStandbyNames: "",
    primaryConninfo: "",
    primarySlotName: "",
    restoreCommand: "",
    ...fields,
  };
}

export function primaryStatus(fields: Partial<PostgresStatus> = {}): PostgresStatus {
  return status({ inRecovery: false, walLsn: lsn(1000), receivedLsn: null, replayedLsn: null, replicationState: null, ...fields });
}

/** The slots are as they should be, whatever that is. */
const SETTLED_SLOTS = "settled";

export function local(fields: Partial<LocalFacts> = {}): LocalFacts {
  return {
    dataDirectory: { kind: "valid", majorVersion: 15 },
    wayBack: null,
    process: { kind: "running", pid: 10, startTicks: 1, stopped: false },
    status: status(),
    state: "running",
    lastRole: "replica",
    control: null,
    systemIdentifier: "7000000000000000001",
    crashedAt: null,
    unservedSince: null,
    statusMissingSince: null,
    upstream: "host-a:5432",
    source: { name: "a", host: "host-a", port: 5432, slotName: "b" },
    standbyRole: "standby",
    notStreamingSince: null,
    slotsFor: SETTLED_SLOTS,
    slotsSeen: new Set(),
    slotsAt: ms(99_900),
    historyPublished: null,
    syncNamesSince: null,
    promotedAt: null,
    rewindFailed: false,
    syncNamesManaged: false,
    ...fields,
  };
}

/** Node b, a replica that follows a. */
export function observation(fields: Partial<Observation> & { readonly cluster?: Cluster } = {}): Observation {
  const { cluster: view, ...rest } = fields;
  const made: Observation = {
    now: ms(100_000),
    wallNow: 1_700_000_000_000,
    self: {
      name: "b",
      tags: {},
      session: "s-b",
      prePromote: "none",
      syncPosition: "flush",
      releaseAskedAt: null,
      fencingMissing: false,
      stopBudgetMs: ms(1000),
      useSlots: true,
      citusDatabase: null,
      usePgRewind: true,
      clonesWithoutLeader: false,
      removeDataDirectoryOnRewindFailure: false,
      removeDataDirectoryOnDivergedTimelines: false,
      pgCtlTimeoutMs: seconds(60),
      adopted: false,
      markStale: false,
    },
    config: CONFIG,
    dcs: { kind: "reachable", cluster: view ?? cluster(), readAt: ms(99_990) },
    lock: { held: null },
    local: local(),
    task: null,
    lastTask: null,
    trace: { ...NO_TRACE, name: "a", session: "s-a", apiUrl: "http://host-a:8008/patroni" },
    peers: { answers: [] },
    failsafe: NO_FAILSAFE,
    requests: { shutdown: false, restart: false, reinitialize: null },
    done: [],
    ...rest,
  };
  if (made.local.slotsFor !== SETTLED_SLOTS) return made;
  return { ...made, local: { ...made.local, slotsFor: desiredSlots(made).text } };
}

/** Leader a's lease mark: released on purpose. */
export function mark(fields: Partial<LeaseMark> = {}): LeaseMark {
  return { session: "s-a", ttl: ms(30_000), released: true, timeline: null, unfenced: null, revision: revision(9), ...fields };
}

/** Nobody leads, and a's member key went with its session. */
export const unlocked = cluster({ leader: null, members: [member("b"), member("c")] });

/** What b remembers of a, which gave the lock up a moment ago. */
export const released = { ...observation().trace, vanishedAt: ms(99_990), mark: mark(), markSeenAt: ms(99_980), markReadAt: ms(99_990) };

/** A healthy replica's answer to this cycle's round. */
export function answer(name: string, fields: Partial<PeerStatus> = {}): PeerAnswer {
  const facts: PeerStatus = {
    role: "replica",
    state: "running",
    timeline: timeline(1),
    lsn: lsn(1000),
    tags: {},
    watchdogFailed: false,
    paused: false,
    leaseHeld: false,
  };
  return { name, status: { ...facts, ...fields }, askedAt: ms(99_999) };
}

/** Node b as the leader at work. */
export function leading(fields: Partial<Observation> & { readonly cluster?: Cluster } = {}): Observation {
  return observation({
    cluster: cluster({
      leader: { name: "b", session: "s-b", revision: revision(4) },
      members: [member("a"), member("b", { role: "primary" }), member("c")],
    }),
    lock: { held: { session: "s-b", revision: revision(4), confirmedAt: ms(99_000), leaseEndsAt: ms(128_000) } },
    local: local({ status: primaryStatus(), lastRole: "primary", upstream: "" }),
    ...fields,
  });
}

/** A standby that streams from this primary. */
export function connection(applicationName: string, fields: Partial<ReplicationConnection> = {}): ReplicationConnection {
  return {
    pid: 20,
    usename: "replicator",
    applicationName,
    clientAddr: null,
    state: "streaming",
    syncState: "async",
    syncPriority: 0,
    writeLsn: lsn(1000),
    flushLsn: lsn(1000),
    replayLsn: lsn(1000),
    ...fields,
  };
}

/** The last task was a plan for following a. */
export function planned(kind: "follow" | "rewind"): FinishedTask {
  const plan = kind === "follow" ? { kind, why: "" } : { kind, why: "" };
  return {
    kind: "plan-rejoin",
    finishedAt: ms(99_999),
    ok: true,
    message: "",
    failures: 0,
    plan: { leader: "a", leaderSession: "s-a", plan },
  };
}
