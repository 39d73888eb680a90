// Owns the reading of the cluster, and the effects on its keys but the lock (perform-lock.ts). Each returns its outcome in words; none
// decides what comes next.

import type { Effect } from "../core/decision.ts";
import type { Outcome } from "../core/observation.ts";
import { describeStoreError, type StoreError } from "../model/errors.ts";
import { type Ms, type Revision, revision } from "../model/units.ts";
import { dcsDeadline } from "./lease-bounds.ts";
import type { NodeContext } from "./node-context.ts";

export function done(kind: Effect["kind"], message = ""): Outcome {
  return { kind, ok: true, message };
}

/** A failed request: where the DCS itself did not answer, the view says so from now on. */
export function failed(context: NodeContext, kind: Effect["kind"], error: StoreError): Outcome {
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

export async function writeSync(context: NodeContext, effect: Extract<Effect, { kind: "write-sync" }>): Promise<Outcome> {
  const { state, store } = context;
  const sync = state.cluster?.sync;
  if (sync === undefined) return { kind: "write-sync", ok: false, message: "the cluster is not known" };
  const next = { leader: effect.leader, standbys: [...effect.standbys].sort(), quorum: effect.quorum };
  if (effect.leader === null) return await deleteSync(context, sync.revision);
  const answer = await store.values.setSyncStateValue(next, sync.revision, { deadline: dcsDeadline(context) });
  if (!answer.ok) {
    if (answer.error.kind === "condition-failed") await refreshCluster(context);
    // What names nobody promises nothing.
    if (answer.error.kind === "unknown-outcome" && next.standbys.length > 0) state.syncDoubt = { expected: sync.revision };
    return failed(context, "write-sync", answer.error);
  }
  state.wroteSync({ ...next, revision: answer.value });
  return done("write-sync");
}

/**
 * Before PostgreSQL is told whom it waits for: promises that may have been written, or still wait somewhere on their way to the store, are in
 * nobody's view, and commits would go on without a standby that may be promoted. The key is read anew; where it stands as it was, it is
 * written once more, which leaves what waits nothing to be written over. Value: why `kind` cannot be done yet; null where nothing is in doubt.
 */
export async function settleSync(context: NodeContext, kind: Effect["kind"]): Promise<Outcome | null> {
  const { state, store } = context;
  if (!state.syncIsInDoubt()) return null;
  const message = "whom the sync key names is not known";
  if (!(await refreshCluster(context)) || state.cluster === null) return { kind, ok: false, message };
  const { sync } = state.cluster;
  if (!state.syncIsInDoubt()) return { kind, ok: false, message: "the sync key has changed: it is looked at again" };
  const answer = await store.values.setSyncStateValue(sync, sync.revision, { deadline: dcsDeadline(context), anew: true });
  if (!answer.ok) {
    if (answer.error.kind === "condition-failed") await refreshCluster(context);
    return failed(context, kind, answer.error);
  }
  state.wroteSync({ ...sync, revision: answer.value });
  return null;
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
  if (!answer.ok) return failed(context, "clear-failover", answer.error);
  context.log.info("Cleaning up failover key");
  return done("clear-failover");
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
