// Owns the effects on the leader's lock: confirming it, taking it after a last look, letting it go. Each returns its outcome in words;
// none decides what comes next.

import { primaryThatWaitsFor, raceVerdict } from "../core/leader-trace.ts";
import type { Outcome } from "../core/observation.ts";
import { overhaulOf } from "../core/overhaul.ts";
import { type Lsn, type Ms, ms } from "../model/units.ts";
import { settleLease } from "./confirmed-lock.ts";
import { afterKey, beforeKey, failsafeToWrite } from "./failsafe.ts";
import { afterMark, beforeMark, disarm, unfencedNow } from "./fencing.ts";
import { dcsDeadline } from "./lease-bounds.ts";
import { memberRecord } from "./member-record.ts";
import type { NodeContext } from "./node-context.ts";
import { done, failed, refreshCluster, refreshMark } from "./perform-dcs.ts";
import { currentStatus, historyStands, pendingHistory, primaryTimeline } from "./published-status.ts";

/** A mark that was read this short a time ago is not read again before the lock is taken. */
const MARK_FRESH_MS = 1000;

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

/** Publishes the timelines of a new primary, along with its lock and its position. */
export async function writeHistory(context: NodeContext): Promise<Outcome> {
  return { ...(await renewLock(context)), kind: "write-history" };
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
