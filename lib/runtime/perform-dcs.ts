// Owns the effects on the DCS. Each returns its outcome in words; none decides what comes next.

import type { Effect } from "../core/decision.ts";
import { primaryThatWaitsFor, raceVerdict } from "../core/leader-trace.ts";
import type { Outcome } from "../core/observation.ts";
import { overhaulOf } from "../core/overhaul.ts";
import { changedStatus, type RetainedSlots, slotsStatus } from "../core/slots-status.ts";
import type { ClusterStatus } from "../model/cluster.ts";
import { describeStoreError, type StoreError } from "../model/errors.ts";
import type { HistoryLine } from "../model/history.ts";
import { type Lsn, lsn, type Ms, ms, type Revision, revision, type Timeline } from "../model/units.ts";
import { settleLease } from "./confirmed-lock.ts";
import { afterKey, beforeKey, failsafeToWrite } from "./failsafe.ts";
import { afterMark, beforeMark, disarm, unfencedNow } from "./fencing.ts";
import { dcsDeadline } from "./lease-bounds.ts";
import { memberRecord } from "./member-record.ts";
import type { NodeContext } from "./node-context.ts";
import type { NodeState } from "./node-state.ts";
import { observe } from "./observe.ts";

const NOTHING_RETAINED: RetainedSlots = new Map();
/** A mark that was read this short a time ago is not read again before the lock is taken. */
const MARK_FRESH_MS = 1000;

export function done(kind: Effect["kind"], message = ""): Outcome {
  return { kind, ok: true, message };
}

/** A failed request: where the DCS itself did not answer, the view says so from now on. */
function failed(context: NodeContext, kind: Effect["kind"], error: StoreError): Outcome {
  const message = describeStoreError(error);
  if (error.kind === "unavailable" || error.kind === "unknown-outcome") context.state.dcsFailed(message);
  if (error.kind === "rejected") context.log.error(`${kind}: ${message}`);
  return { kind, ok: false, message };
}

/** Reads the whole cluster anew, consistently. */
export async function refreshCluster(context: NodeContext): Promise<boolean> {
  const before = context.state.cluster?.revision ?? revision(0);
  const answer = await context.store.getCluster({ deadline: dcsDeadline(context), consistency: "consistent" });
  if (!answer.ok) {
    context.state.dcsFailed(describeStoreError(answer.error));
    return false;
  }
  if (answer.value.revision < before) {
    context.log.warning(`the DCS has gone back from revision ${before} to ${answer.value.revision}: it was restored or made anew`);
    context.state.startOver();
  }
  context.state.applyCluster(answer.value);
  context.state.dcsSeen();
  return true;
}

/** Reads the lease mark, where a race or an adoption needs it fresher than the watch. */
export async function refreshMark(context: NodeContext, deadline: Ms = dcsDeadline(context)): Promise<void> {
  const readAt = context.clock.now();
  const answer = await context.store.readLease({ deadline });
  if (answer.ok) context.state.applyMark(answer.value, readAt);
}

/** Confirms the lock: session and lock in two requests, status and member key along with the second. */
export async function renewLock(context: NodeContext): Promise<Outcome> {
  const { clock, state, store } = context;
  const leaseEndsAtMost = state.leaseCountsUntil();
  const session = store.session();
  if (session === null) return { kind: "renew-lock", ok: false, message: "the session is not adopted yet" };
  const deadline = dcsDeadline(context);
  const limit = leaseEndsAtMost === null ? deadline : ms(Math.min(deadline, Math.max(leaseEndsAtMost, clock.now() + 1000)));
  const history = historyStands(state) ? null : await pendingHistory(context);
  const companions =
    history === "unreadable" ? {} : { status: currentStatus(context), history: history?.lines ?? null, timeline: primaryTimeline(context) };
  const unfenced = unfencedNow(context);
  const failsafe = failsafeToWrite(state);
  beforeMark(context, unfenced);
  beforeKey(state, failsafe);
  const answer = await store.updateLeader({ deadline: limit, ...companions, failsafe, unfenced, member: memberRecord(context) });
  if (!answer.ok) {
    if (answer.error.kind === "condition-failed" || answer.error.kind === "session-gone") {
      if (state.givenUp !== session.id) context.log.warning("failed to update leader lock: it is not ours any more");
      // What the members have agreed to goes on until the DCS says whose the lock is.
      if (state.failsafe.roundAt === null) state.held = null;
      await refreshCluster(context);
      return { kind: "renew-lock", ok: false, message: "the lock is not ours any more" };
    }
    return failed(context, "renew-lock", answer.error);
  }
  state.hold(answer.value);
  afterMark(context, unfenced, answer.value.session);
  afterKey(state, failsafe);
  if (history !== null && history !== "unreadable" && state.local.lastRole === "primary") state.local.historyPublished = history.timeline;
  await settleLease(context, answer.value);
  return done("renew-lock");
}

export async function acquireLock(context: NodeContext): Promise<Outcome> {
  const { state, store } = context;
  const wasHeld = state.held;
  const racing = isRacing(context);
  // One for all of it: a primary that a pause left without fencing writes until this has an outcome.
  const deadline = dcsDeadline(context);
  let obstacle = racing ? await whyNotRace(context, deadline) : await heldInBetween(context, deadline);
  // Who restores the cluster has nothing running that could be a second primary: whoever held the lock meanwhile, it waits as a candidate does.
  if (obstacle !== null && isToRestore(context)) obstacle = await whyNotRace(context, deadline);
  if (obstacle !== null) return { kind: "acquire-lock", ok: false, message: obstacle };
  const unfenced = unfencedNow(context);
  beforeMark(context, unfenced);
  const answer = await store.attemptToAcquireLeader({ deadline, unfenced });
  if (!answer.ok) {
    if (answer.error.kind === "condition-failed") await refreshCluster(context);
    return failed(context, "acquire-lock", answer.error);
  }
  state.hold(answer.value);
  afterMark(context, unfenced, answer.value.session);
  state.adopted = false;
  dropReinitialize(context);
  await settleLease(context, answer.value);
  if (wasHeld !== null && wasHeld.session !== answer.value.session) context.log.info("the lock was taken again under a new session");
  // The sync key that allows a promotion is read after the lock was taken, when nobody else changes it any more.
  if (racing) await refreshCluster(context);
  return done("acquire-lock");
}

/** Who leads is what the others copy: a copy that was asked for before is not made when it leads no more. */
export function dropReinitialize({ log, state }: NodeContext): void {
  if (state.requests.reinitialize === null) return;
  log.warning("reinitialize: the request is dropped, because this node leads now");
  state.requests = { ...state.requests, reinitialize: null };
}

/** A standby that wants to lead; otherwise a primary, or one in the making, that wants its lock back. */
function isRacing({ state }: NodeContext): boolean {
  return state.task === null && state.local.status?.inRecovery === true;
}

/** Nothing runs here, and a restore or an upgrade of the cluster that is under way names this node. */
function isToRestore({ state }: NodeContext): boolean {
  const node = overhaulOf(state.cluster)?.request.node;
  return state.local.process.kind === "none" && state.task === null && node === state.settings.node.name;
}

/** The last look before the lock is taken: somebody may have held it while this node was cut off. */
async function whyNotRace(context: NodeContext, deadline: Ms): Promise<string | null> {
  const { clock, state } = context;
  const { node, dynamic } = state.settings;
  const isFresh = (): boolean => state.trace.markReadAt !== null && clock.now() - state.trace.markReadAt < MARK_FRESH_MS;
  if (!isFresh()) await refreshMark(context, deadline);
  if (!isFresh()) return "the lease mark cannot be read";
  const waitedForBy = state.cluster === null ? null : primaryThatWaitsFor(node.name, state.cluster.sync, dynamic);
  const verdict = raceVerdict(state.trace, { now: clock.now(), ttl: dynamic.ttlMs, self: node.name, waitedForBy });
  if (verdict.kind === "go") return null;
  return verdict.kind === "wait" ? verdict.why : "the lease mark says that somebody has to be asked first";
}

/** The lock vanished under a running primary: whoever had it meanwhile has left a mark of his own. */
async function heldInBetween(context: NodeContext, deadline: Ms): Promise<string | null> {
  const { state, lease, store } = context;
  const held = state.lastHeld;
  const own = held?.session ?? lease.former()?.session ?? null;
  await refreshMark(context, deadline);
  const mark = state.trace.mark;
  if (mark === null || mark.session === own || mark.session === store.session()?.id) return null;
  return held !== null && mark.revision <= held.revision ? null : "somebody else held the lock in between";
}

/** Lets the lock go on purpose: nothing here writes any more, so candidates need not wait. */
export async function releaseLock(context: NodeContext, optime: Lsn | null): Promise<Outcome> {
  const { state, store, lease, watchdog } = context;
  // Whoever takes the lock takes the address.
  await state.vip.release();
  const held = state.held;
  if (held === null) return { kind: "release-lock", ok: false, message: "the lock is not held" };
  const status = optime === null ? undefined : { ...(state.cluster?.status ?? { slots: {}, retainSlots: [] }), optime };
  // A renewal may be under way.
  state.givenUp = held.session;
  const answer = await store.deleteLeader({ deadline: dcsDeadline(context), lock: held, ...(status === undefined ? {} : { status }) });
  if (!answer.ok) {
    if (answer.error.kind !== "condition-failed") return failed(context, "release-lock", answer.error);
    // Gone already: an earlier release whose answer was lost, or somebody else's deed. What was held counts no more.
    await refreshCluster(context);
  }
  state.drop();
  // It has no lease any more; that the last holder was this node is still to be known after a restart.
  lease.save({ session: held.session, revision: held.revision, deadline: ms(0) });
  if (watchdog.armed) await disarm(context);
  return done("release-lock");
}

/** The history of this primary's timeline is published, as it is but once in its life. */
function historyStands({ local }: NodeState): boolean {
  const { status } = local;
  return status !== null && !status.inRecovery && status.timeline !== null && status.timeline === local.historyPublished;
}

/**
 * The history of this primary's timeline, where it is not published yet. It goes with the first position on that timeline, in one
 * transaction: a position alone would let a node with WAL of an abandoned timeline look near enough to lead.
 */
async function pendingHistory(
  context: NodeContext,
): Promise<{ readonly timeline: Timeline; readonly lines: readonly HistoryLine[] } | "unreadable" | null> {
  const { clock, log, state, postgres } = context;
  const status = state.local.status;
  if (status?.inRecovery === true) return abandonedHistory(state);
  if (status === null || status.timeline === null || status.timeline === 1) return null;
  const { timeline } = status;
  const switches = await postgres.timelineSwitches(timeline);
  if (!switches.ok) {
    log.warning(`the history of timeline ${timeline} is not published: ${switches.error.message}`);
    return "unreadable";
  }
  const known = state.cluster?.history ?? [];
  const lines: HistoryLine[] = switches.value.map(({ timeline: old, switchpoint, reason }, index) => {
    const published = known.find((line) => line.timeline === old && line.lsn === switchpoint);
    if (published !== undefined) return published;
    // Promoted here, or restored to a point in time: whoever founds a cluster leads its first timeline.
    const newest = index === switches.value.length - 1 && (state.local.promotedAt !== null || known.length === 0);
    const time = newest ? new Date(clock.wallNow()).toISOString().replace("Z", "+00:00") : null;
    return { timeline: old, lsn: switchpoint, reason, time, newLeader: newest ? state.settings.node.name : null };
  });
  const limit = state.settings.dynamic.maxTimelinesHistory;
  return { timeline, lines: limit > 0 ? lines.slice(-limit) : lines };
}

/**
 * A standby leader that was rewound to a timeline of the remote primary's: what the cluster published of its own, before it was
 * demoted, is no measure for the members any more.
 */
function abandonedHistory({ cluster, local, settings }: NodeState) {
  const own = local.status?.timeline ?? null;
  const known = cluster?.history ?? [];
  if (settings.dynamic.standbyCluster === null || own === null || known.every((line) => line.timeline < own)) return null;
  return { timeline: own, lines: known.filter((line) => line.timeline < own) };
}

/** Null on a standby: which timeline it will take is not known yet. */
function primaryTimeline({ state }: NodeContext): Timeline | null {
  const { status } = state.local;
  return status === null || status.inRecovery ? null : status.timeline;
}

/** Publishes the timelines of a new primary, along with its lock and its position. */
export async function writeHistory(context: NodeContext): Promise<Outcome> {
  return { ...(await renewLock(context)), kind: "write-history" };
}

/** The `status` key where it is to change; null where it may stay. */
function currentStatus(context: NodeContext): ClusterStatus | null {
  const { log, state } = context;
  const optime = publishedPosition(state);
  const session = state.held?.session;
  if (optime === null || session === undefined) return null;
  const known = state.retained?.session === session ? state.retained.slots : NOTHING_RETAINED;
  const slots = slotsStatus(observe(context), known);
  state.retained = { session, slots: slots.retained };
  const seconds = Math.round(state.settings.dynamic.memberSlotsTtlMs / 1000);
  for (const name of slots.expired) log.info(`Replication slot '${name}' for absent cluster member is expired after ${seconds} sec.`);
  return changedStatus(state.cluster?.status ?? null, optime, slots);
}

/** What the members are measured by: written by a primary, received or replayed by a standby leader. */
function publishedPosition({ local, settings }: NodeState): Lsn | null {
  const { status } = local;
  if (status === null || !status.inRecovery) return status?.walLsn ?? null;
  if (settings.dynamic.standbyCluster === null) return null;
  const [received, replayed] = [status.receivedLsn ?? 0n, status.replayedLsn ?? 0n];
  const position = received > replayed ? received : replayed;
  return position === 0n ? null : lsn(position);
}

export async function writeSync(context: NodeContext, effect: Extract<Effect, { kind: "write-sync" }>): Promise<Outcome> {
  const { state, store } = context;
  const sync = state.cluster?.sync;
  if (sync === undefined) return { kind: "write-sync", ok: false, message: "the cluster is not known" };
  const next = { leader: effect.leader, standbys: [...effect.standbys].sort(), quorum: effect.quorum };
  if (effect.leader === null) return await deleteSync(context, sync.revision);
  const answer = await store.values.setSyncStateValue(next, sync.revision, { deadline: dcsDeadline(context) });
  if (!answer.ok) {
    if (answer.error.kind === "condition-failed") await refreshCluster(context);
    return failed(context, "write-sync", answer.error);
  }
  if (state.cluster !== null) state.cluster = { ...state.cluster, sync: { ...next, revision: answer.value } };
  return done("write-sync");
}

async function deleteSync(context: NodeContext, at: Revision | null): Promise<Outcome> {
  if (at === null) return done("write-sync");
  const answer = await context.store.values.deleteSyncState(at, { deadline: dcsDeadline(context) });
  await refreshCluster(context);
  return answer.ok ? done("write-sync") : failed(context, "write-sync", answer.error);
}

export async function clearFailover(context: NodeContext): Promise<Outcome> {
  const { state, store } = context;
  const request = state.cluster?.failover ?? null;
  const answer = await store.values.setFailoverValue(null, request?.revision ?? null, { deadline: dcsDeadline(context) });
  await refreshCluster(context);
  return answer.ok ? done("clear-failover") : failed(context, "clear-failover", answer.error);
}

export async function claimInitialize(context: NodeContext): Promise<Outcome> {
  const { state, store } = context;
  const answer = await store.values.initialize({ systemIdentifier: "", createNew: true, deadline: dcsDeadline(context) });
  await refreshCluster(context);
  if (!answer.ok) return failed(context, "claim-initialize", answer.error);
  state.claimedInitialize = true;
  return done("claim-initialize");
}

export async function cancelInitialize(context: NodeContext): Promise<Outcome> {
  const answer = await context.store.values.cancelInitialization({ deadline: dcsDeadline(context) });
  context.state.claimedInitialize = false;
  await refreshCluster(context);
  return answer.ok ? done("cancel-initialize") : failed(context, "cancel-initialize", answer.error);
}

export async function writeInitialize(context: NodeContext): Promise<Outcome> {
  const identifier = context.state.local.systemIdentifier;
  if (identifier === null) return { kind: "write-initialize", ok: false, message: "the system identifier is not known" };
  const lock = context.state.held;
  if (lock === null) return { kind: "write-initialize", ok: false, message: "the lock is not held" };
  const answer = await context.store.values.initialize({
    systemIdentifier: identifier,
    createNew: false,
    lock,
    deadline: dcsDeadline(context),
  });
  await refreshCluster(context);
  return answer.ok ? done("write-initialize") : failed(context, "write-initialize", answer.error);
}

/** What was in force stays in force: a key that was lost or overwritten with garbage must not end a pause. A new cluster has the file's. */
export async function writeConfig(context: NodeContext): Promise<Outcome> {
  const { state, store } = context;
  const data = state.knownConfig ?? state.settings.node.bootstrap.dcs;
  const answer = await store.values.setConfigValue(data, null, { deadline: dcsDeadline(context) });
  await refreshCluster(context);
  return answer.ok ? done("write-config") : failed(context, "write-config", answer.error);
}

/** Gives up member key and session. */
export async function leave(context: NodeContext): Promise<Outcome> {
  const { store } = context;
  if (store.session() === null) return done("leave");
  const member = await store.deleteMember({ deadline: dcsDeadline(context) });
  const session = await store.closeSession({ deadline: dcsDeadline(context) });
  if (!member.ok) return failed(context, "leave", member.error);
  return session.ok ? done("leave") : failed(context, "leave", session.error);
}
