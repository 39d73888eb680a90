// Owns what a running node remembers between two looks: the last cluster view, the held lock, the task at work, and (local-memory.ts)
// what it saw of its own PostgreSQL. Decides nothing and does no I/O; the HA loop, the watches and the API read and write it.

import type { StandbyRole } from "../core/decision.ts";
import { upstreamKey } from "../core/facts.ts";
import { type LeaderTrace, NO_TRACE, traceCluster, traceMark } from "../core/leader-trace.ts";
import { leaseEnd } from "../core/lease.ts";
import type { FinishedTask, HeldFacts, OperatorRequests, Outcome, PeerAnswer, RunningTask } from "../core/observation.ts";
import type { RetainedSlots } from "../core/slots-status.ts";
import type { HeldLock } from "../dcs/cluster-store.ts";
import type { Clock } from "../model/clock.ts";
import type { Cluster, LeaseMark } from "../model/cluster.ts";
import type { DynamicConfig } from "../model/dynamic-config.ts";
import type { PrimaryChanges } from "../model/mpp.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { CopyProgress, FollowTarget } from "../model/postgres.ts";
import type { MemberFigures, MemberStanding } from "../model/raft.ts";
import type { SyncState } from "../model/sync-state.ts";
import { type Ms, ms, type Revision, revision } from "../model/units.ts";
import { FailsafeMemory } from "./failsafe-memory.ts";
import { type LocalMemory, nothingSeen } from "./local-memory.ts";
import { NO_FILE, type NodeFile } from "./node-file.ts";
import { Notice } from "./notice.ts";
import { type NodeObserver, UNOBSERVED } from "./observer.ts";
import { NO_POOLERS, type PoolerGate } from "./pooler-gate.ts";
import { NO_ADDRESS, type ServiceAddress } from "./vip/service-address.ts";

/** The configuration in force: the node's own and the cluster's. */
export interface Settings {
  readonly node: NodeConfig;
  readonly dynamic: DynamicConfig;
}

export interface ActiveTask extends RunningTask {
  readonly controller: AbortController;
  readonly settled: Promise<void>;
}

/** What the timeout of a watchdog depends on. */
export interface FencingSettings {
  readonly leaseTtlMs: Ms;
  readonly loopWaitMs: Ms;
  readonly safetyMarginSeconds: number;
}

export interface ScheduledRestart {
  readonly schedule: string;
  readonly at: number;
  readonly filters: Readonly<Record<string, unknown>>;
  /** Of the server that it was made for; null where it was not known. */
  readonly postmasterStartTime: string | null;
}

export interface CopiedSlots {
  /** Might lose or repeat changes after a failover. */
  readonly unsafe: readonly string[];
  copied(names: readonly string[]): void;
}

/** A role as callbacks are told it. */
export type ToldRole = "primary" | "standby_leader" | "replica";

export class NodeState {
  readonly #clock: Clock;
  /** Told of each change that somebody may wait for: the cluster view, the lock, a finished task. */
  readonly changes: Notice;
  /** Told of each snapshot taken, whoever read it, before anything is decided on it: settings must never be older than the view. */
  onCluster: (cluster: Cluster) => void = () => {};
  /** Told as soon as the server accepts writes: clients look for it, and the cycle in which it is seen takes its time. */
  onPromoted: () => void = () => {};
  settings: Settings;
  cluster: Cluster | null = null;
  /** The dynamic configuration as it could last be read, by this process or the one before it. */
  knownConfig: Readonly<Record<string, unknown>> | null = null;
  clusterReadAt: Ms;
  /** How often the store's revisions have gone back: those of another count cannot be compared with the view's. */
  startedOver = 0;
  dcsFailure: { readonly since: Ms; readonly reason: string } | null = null;
  dcsLastSeenWall = 0;
  /** The lock as last confirmed; null where this node does not hold it. */
  held: HeldLock | null = null;
  #recalled: { readonly lock: HeldLock; readonly checkedUntil: Ms } | null = null;
  /** The lock as this process held it last, also where it is gone since. */
  lastHeld: HeldLock | null = null;
  /** The lease cannot be trusted before the next renewal (the process or the machine was asleep). */
  leaseDoubtedAt: Ms | null = null;
  /** The session whose lock this node has given up, or is about to; null once it holds one again. */
  givenUp: string | null = null;
  /** When this process took the lock that is held, or found that it has it. */
  heldSince: Ms | null = null;
  prePromotePassedAt: Ms | null = null;
  /** Since when this member asks the leader not to wait for it any more; null where it does not. */
  releaseAskedAt: Ms | null = null;
  readonly failsafe = new FailsafeMemory();
  trace: LeaderTrace = NO_TRACE;
  task: ActiveTask | null = null;
  /** The task that has begun to take the server down. */
  #goingDown: ActiveTask | null = null;
  lastTask: FinishedTask | null = null;
  /** Of the copy that is being made; null where none is, or where its method says nothing. */
  copy: CopyProgress | null = null;
  done: Outcome[] = [];
  peerAnswers: readonly PeerAnswer[] = [];
  requests: OperatorRequests = { shutdown: false, restart: false, reinitialize: null };
  /** Aborts with the request for a shutdown: whoever only waits for others waits no longer. */
  readonly shutdownAsked = new AbortController();
  scheduledRestart: ScheduledRestart | null = null;
  /** Fencing is required and cannot be had, as far as is known: this node does not lead. */
  fencingMissing = false;
  /** When the fencing was last armed or looked at; null before the first time. */
  fencingTriedAt: Ms | null = null;
  /** What the fencing was armed with, or was last asked to be; null before the first time. */
  fencedFor: FencingSettings | null = null;
  /** Role that the last callback was told; null before the first one of this process. */
  toldRole: ToldRole | null = null;
  /** The node's own member of the Raft after the last cycle; null where it has none. */
  raft: MemberStanding | null = null;
  raftFigures: MemberFigures | null = null;
  /** Looks on: measures, events. */
  observer: NodeObserver = UNOBSERVED;
  /** The session whose lease mark surely says that nothing fences this node; null where it may say anything else. */
  unfencedMark: string | null = null;
  adopted = false;
  /** Peers that did not answer the last time they were asked. */
  silentPeers: ReadonlySet<string> = new Set();
  /** The member key as last written, under which session, and when. */
  published: { readonly record: Readonly<Record<string, unknown>>; readonly session: string; readonly at: Ms } | null = null;
  /** Looks at the clocks, so that a stall is known before the lease is trusted. */
  beforeLeaseIsJudged: () => void = () => undefined;
  lastDecision: { readonly rule: string; readonly why: string } | null = null;
  lastCycleAt: Ms;
  /** Promises over the key as it was at that revision may have been written, or still be written, until it has another one. */
  syncDoubt: { readonly expected: Revision | null } | null = null;
  #syncWritten: (SyncState & { readonly revision: Revision }) | null = null;
  /** Revision of the `initialize` key that we claimed for our bootstrap. */
  claimedInitialize = false;
  readonly local: LocalMemory = nothingSeen();

  /** Start of the last look at the server whose result stands; null where something was done to it since. */
  lookedAt: Ms | null = null;
  /** The members' slots that the leadership under this session keeps. */
  retained: { readonly session: string; readonly slots: RetainedSlots } | null = null;
  /** The copies of the primary's logical slots here; the HA loop puts its own in this place. */
  logicalSlots: CopiedSlots = { unsafe: [], copied: () => undefined };
  /** Told before the primary changes; the composition of the node puts its MPP part in this place. */
  mpp: PrimaryChanges = { beforeDemote: async () => undefined, beforePromote: () => undefined };
  /** Asked before the primary stops; the composition of the node puts its own in this place. */
  poolers: PoolerGate = NO_POOLERS;
  /** The address of the primary's host, where there is one; the composition of the node puts it in this place. */
  vip: ServiceAddress = NO_ADDRESS;
  /** Changed in a major upgrade; the composition of the node puts its own in this place. */
  nodeFile: NodeFile = NO_FILE;
  /** Grows with everything that is done to PostgreSQL or happens to it. */
  localGeneration = 0;

  constructor(clock: Clock, settings: Settings) {
    this.#clock = clock;
    this.changes = new Notice(clock);
    this.settings = settings;
    this.clusterReadAt = clock.now();
    this.lastCycleAt = clock.now();
  }

  /** Takes a newer snapshot; an older one than we have is dropped. Value: whether it was taken. */
  applyCluster(cluster: Cluster): boolean {
    if (this.cluster !== null && cluster.revision < this.cluster.revision) return false;
    const now = this.#clock.now();
    this.cluster = this.#withWrittenSync(this.#withHeldLock(cluster));
    if (cluster.config !== null) this.knownConfig = cluster.config.data;
    this.clusterReadAt = now;
    this.trace = traceCluster(this.trace, this.cluster, now);
    const { leader } = this.cluster;
    // Somebody else's: what we held is over, whatever our lease says. A former session of our own may be on its way to the new one.
    if (leader !== null && leader.session !== this.held?.session && leader.name !== this.settings.node.name) {
      this.held = null;
      this.failsafe.roundOver();
    }
    this.dcsSeen();
    this.onCluster(this.cluster);
    this.changes.notify();
    return true;
  }

  /** The store has confirmed it; the view shows it at once, and a snapshot from before it does not take it back. */
  wroteSync(sync: SyncState & { readonly revision: Revision }): void {
    this.#syncWritten = sync;
    if (this.cluster !== null) this.cluster = { ...this.cluster, sync };
  }

  syncIsInDoubt(): boolean {
    return this.syncDoubt !== null && (this.cluster === null || this.cluster.sync.revision === this.syncDoubt.expected);
  }

  /** The store's revisions have gone back: what was seen before cannot be compared with what comes. */
  startOver(): void {
    this.startedOver += 1;
    this.cluster = null;
    this.#syncWritten = null;
    const zero = revision(0);
    if (this.held !== null) this.held = { ...this.held, revision: zero };
    if (this.lastHeld !== null) this.lastHeld = { ...this.lastHeld, revision: zero };
  }

  /** The lock is held, and the view shows it as ours. */
  leads(): boolean {
    return this.held !== null && this.cluster?.leader?.session === this.held.session;
  }

  /** The mark of the lock that is held says that nothing fences this node. */
  isMarkedUnfenced(): boolean {
    return this.held !== null && this.unfencedMark === this.held.session;
  }

  /** `readAt`: before the read was sent that brought it; null where a watch did. */
  applyMark(mark: LeaseMark | null, readAt: Ms | null): void {
    const trace = traceMark(this.trace, mark, this.#clock.now());
    this.trace = readAt === null ? trace : { ...trace, markReadAt: readAt };
  }

  dcsSeen(): void {
    this.dcsFailure = null;
    this.dcsLastSeenWall = this.#clock.wallNow();
  }

  dcsFailed(reason: string): void {
    this.dcsFailure ??= { since: this.#clock.now(), reason };
  }

  /** A confirmation of our lock; the view shows it at once, although the snapshot may be older. */
  hold(lock: HeldLock): void {
    if (this.held?.session !== lock.session) this.heldSince = this.#clock.now();
    this.held = lock;
    this.lastHeld = lock;
    this.givenUp = null;
    this.failsafe.roundOver();
    this.leaseDoubtedAt = null;
    if (this.cluster !== null) {
      this.cluster = this.#withHeldLock(this.cluster);
      this.trace = traceCluster(this.trace, this.cluster, this.#clock.now());
    }
    this.dcsSeen();
    this.changes.notify();
  }

  /** We hold the lock no more, on our own account. */
  drop(): void {
    const lock = this.held;
    this.held = null;
    this.failsafe.roundOver();
    if (lock !== null && this.cluster?.leader?.session === lock.session) {
      this.cluster = { ...this.cluster, leader: null };
      this.trace = traceCluster(this.trace, this.cluster, this.#clock.now());
    }
    this.changes.notify();
  }

  heldFacts(): HeldFacts | null {
    const held = this.held;
    const end = this.leaseCountsUntil();
    if (held === null || end === null) return null;
    const counted = Math.max(held.confirmedAt, this.failsafe.roundAt ?? 0);
    const doubted = this.leaseDoubtedAt !== null && this.leaseDoubtedAt >= counted;
    return {
      session: held.session,
      revision: held.revision,
      confirmedAt: held.confirmedAt,
      leaseEndsAt: doubted ? this.#clock.now() : end,
    };
  }

  /** End of the lease by arithmetic: from its confirmation, or from the members' agreement while the DCS is away. Null without the lock. */
  leaseCountsUntil(): Ms | null {
    const confirmed = this.confirmedUntil();
    if (confirmed === null) return null;
    const { roundAt, roundTtl: ttl } = this.failsafe;
    return roundAt === null ? confirmed : ms(Math.max(confirmed, leaseEnd({ confirmedAt: roundAt, ttl, promised: ttl })));
  }

  /** The same by the store's confirmation alone. */
  confirmedUntil(): Ms | null {
    const { held } = this;
    if (held === null) return null;
    // What was confirmed under a longer ttl stands: a lowered one must not end a lease that nobody has had time to renew.
    const longer = ms(Math.max(this.settings.dynamic.leaseTtlMs, held.promisedMs));
    return leaseEnd({ confirmedAt: held.confirmedAt, ttl: longer, promised: held.promisedMs });
  }

  /** The lease as a former process left it: rounds of failsafe mode may have brought it further than the store's confirmation. */
  recall(lock: HeldLock, checkedUntil: Ms): void {
    this.held = lock;
    this.heldSince = this.#clock.now();
    this.#recalled = { lock, checkedUntil };
  }

  /** Until when the store has confirmed that the check of the session holds. Null without the lock. */
  checkedUntil(): Ms | null {
    const confirmed = this.confirmedUntil();
    if (confirmed === null || this.#recalled === null || this.#recalled.lock.confirmedAt !== this.held?.confirmedAt) return confirmed;
    return ms(Math.min(confirmed, this.#recalled.checkedUntil));
  }

  /** PostgreSQL was touched, or ended: looks that are under way show the past. */
  localChanged(): void {
    this.localGeneration += 1;
    this.lookedAt = null;
  }

  /** The task at work begins to take the server down. Until then, with a checkpoint and poolers to wait for, clients write to it. */
  goesDown(): void {
    this.#goingDown = this.task;
    this.local.status = null;
    this.localChanged();
  }

  isGoingDown(): boolean {
    return this.task !== null && this.task === this.#goingDown;
  }

  /** Where the standby gets its WAL from, so that a change is seen and a restart keeps it. */
  setSource(target: FollowTarget | null, role: StandbyRole): void {
    this.local.standbyRole = role;
    this.local.upstream = upstreamKey(target);
    this.local.source = target;
    this.local.notStreamingSince = null;
  }

  leaseValid(): boolean {
    this.beforeLeaseIsJudged();
    const held = this.heldFacts();
    return held !== null && held.leaseEndsAt > this.#clock.now();
  }

  /** A snapshot from before our own acquisition must not hide it; one from after tells the truth. */
  /**
   * What a watch or a request over the API read before our write may be heard after it. With the former key in view, a standby that the
   * key promises by now could be taken out of synchronous_standby_names.
   */
  #withWrittenSync(cluster: Cluster): Cluster {
    const sync = this.#syncWritten;
    if (sync !== null && cluster.revision < sync.revision) return { ...cluster, sync };
    this.#syncWritten = null;
    return cluster;
  }

  #withHeldLock(cluster: Cluster): Cluster {
    const held = this.held;
    if (held === null || cluster.revision >= held.revision || cluster.leader?.session === held.session) return cluster;
    return { ...cluster, leader: { name: this.settings.node.name, session: held.session, revision: held.revision } };
  }
}
