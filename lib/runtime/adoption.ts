// Owns taking over, after a restart of the supervisor, the lock that its predecessor held (safety.md, "The guard"): renew THAT
// session, re-attach to the guard, go on. A leader key of a living session is never deleted and made anew.

import { leaseMargin } from "../core/lease.ts";
import { describeStoreError, type StoreError } from "../model/errors.ts";
import { ms } from "../model/units.ts";
import { recallPromise } from "./failsafe.ts";
import { afterMark, beforeMark, disarm, fencingSettings, unfencedNow } from "./fencing.ts";
import { dcsDeadline } from "./lease-bounds.ts";
import { apiUrl } from "./member-record.ts";
import type { NodeContext } from "./node-context.ts";
import { lookAtPostgres } from "./observe.ts";

/**
 * Value: true = the lock is ours again; false: the node goes on as any other member; "later": it may be ours, but PostgreSQL runs and
 * does not answer now, so that it cannot be told.
 */
export async function adoptLock(context: NodeContext): Promise<boolean | "later"> {
  const { log, state, store, lease } = context;
  const leader = state.cluster?.leader ?? null;
  if (leader === null || leader.name !== state.settings.node.name || leader.session === null) return false;
  const record = lease.former();
  await lookAtPostgres(context);
  const identifier = state.cluster?.initialize ?? null;
  if (record !== null && record.session === leader.session) {
    if (identifier !== null && identifier !== "" && record.systemIdentifier !== "" && record.systemIdentifier !== identifier) return false;
  } else if (state.local.status === null && state.local.process.kind === "running") {
    return "later";
  } else if (!servesThisCluster(context, identifier) || (await someoneAnswers(context))) {
    return false;
  }
  const known = record?.sameBoot === true && record.session === leader.session;
  const session = await store.adoptSession(leader.session, {
    deadline: dcsDeadline(context),
    checkedUntil: known ? record.checkedUntil : null,
  });
  if (!session.ok) {
    log.warning(`the former session cannot be continued: ${describeStoreError(session.error)}`);
    return putOff(context, session.error);
  }
  const unfenced = unfencedNow(context);
  beforeMark(context, unfenced);
  const lock = await store.updateLeader({ deadline: dcsDeadline(context), unfenced });
  if (!lock.ok) {
    log.warning(`the former lock cannot be continued: ${describeStoreError(lock.error)}`);
    if (lock.error.kind !== "condition-failed" && lock.error.kind !== "session-gone") store.abandonSession();
    return putOff(context, lock.error);
  }
  state.hold(lock.value);
  afterMark(context, unfenced, lock.value.session);
  state.adopted = true;
  lease.save({
    session: lock.value.session,
    revision: lock.value.revision,
    deadline: state.heldFacts()?.leaseEndsAt ?? context.clock.now(),
  });
  log.info(`continuing with the session and the lock of the former process (${leader.session})`);
  await attachGuard(context);
  // In a pause nothing is attached, and the mark has just said so: the former process's guard must not act on what it knew.
  if (state.settings.dynamic.pause && state.isMarkedUnfenced()) await disarm(context);
  return true;
}

/** A DCS that did not answer says nothing about the lock: the next cycle tries again. */
function putOff(context: NodeContext, error: StoreError): false {
  if (error.kind === "unavailable" || error.kind === "unknown-outcome") context.state.dcsFailed(describeStoreError(error));
  return false;
}

/** Before the DCS answers: a promise to another primary binds, and the lease on disk counts, where it is this boot's and PostgreSQL is the one it was for. */
export async function recallLease(context: NodeContext): Promise<void> {
  const { clock, log, state, lease } = context;
  recallPromise(context);
  const record = lease.former();
  await lookAtPostgres(context);
  const process = state.local.process;
  if (record === null || !record.sameBoot || process.kind !== "running" || record.deadline <= clock.now()) return;
  if (record.postmaster?.pid !== process.pid || record.postmaster.startTicks !== process.startTicks) return;
  const ttl = state.settings.dynamic.leaseTtlMs;
  const confirmedAt = ms(record.deadline + leaseMargin(ttl) - ttl);
  state.recall({ session: record.session, revision: record.revision, confirmedAt, promisedMs: ttl }, record.checkedUntil);
  log.info(`the former process's lease runs for another ${Math.round(record.deadline - clock.now())} ms`);
  await attachGuard(context);
}

/** Takes the lease to the guard: that of the former process is taken over once, and told of each later lease. */
async function attachGuard(context: NodeContext): Promise<void> {
  const { log, state, watchdog, lease } = context;
  const process = state.local.process;
  const { node, dynamic } = state.settings;
  const held = state.heldFacts();
  if (process.kind !== "running" || state.local.lastRole === "replica" || node.watchdog.mode === "off" || dynamic.pause || held === null)
    return;
  if (watchdog.armed) {
    // The next renewal may be a whole cycle away, and what was left of the former process's lease can end before it.
    const extended = watchdog.extend(held.leaseEndsAt);
    if (!extended.ok) log.error(`the watchdog did not take the new deadline: ${extended.error.message}`);
    return;
  }
  const attached = await watchdog.attach(lease.former()?.guard ?? null, {
    postmaster: { pid: process.pid, startTicks: process.startTicks },
    leaseEnd: held.leaseEndsAt,
    ttl: dynamic.leaseTtlMs,
    loopWait: dynamic.loopWaitMs,
  });
  if (attached.ok) {
    state.fencedFor = fencingSettings(state);
    state.fencingMissing = false;
  } else log.error(`the guard of the former process cannot be taken over, PostgreSQL is not fenced: ${attached.error.message}`);
}

/** PostgreSQL runs here as primary, and it is this cluster's. */
function servesThisCluster(context: NodeContext, identifier: string | null): boolean {
  const status = context.state.local.status;
  return status !== null && !status.inRecovery && status.systemIdentifier === identifier;
}

/** A living supervisor under our name somewhere else holds that lock: it is not ours to take over. */
async function someoneAnswers(context: NodeContext): Promise<boolean> {
  const { clock, peers, state } = context;
  const member = state.cluster?.members.find(({ name }) => name === state.settings.node.name);
  // At our own address we would hear ourselves.
  if (member === undefined || member.apiUrl === null || member.apiUrl === apiUrl(state)) return false;
  return (await peers.ask(member.apiUrl, ms(clock.now() + 1000))) !== null;
}
