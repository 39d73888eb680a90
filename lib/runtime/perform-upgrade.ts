// Owns the effects of a major upgrade of the whole cluster: its phases in the DCS, each written over the one that was seen, and the work on
// the disk of the node that upgrades. None of them decides what comes next (lib/core/rules/restore.ts).

import type { Outcome } from "../core/observation.ts";
import { describeStoreError, type PostgresError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import { identifierAfter, lackingLastWal, type UpgradePhase, type UpgradeRequest } from "../model/upgrade.ts";
import { isThere, reasonOf } from "../postgres/atomic-file.ts";
import type { PostgresContext } from "../postgres/context.ts";
import { readSystemIdentifier } from "../postgres/control-data.ts";
import { programRunner } from "../postgres/programs.ts";
import { finishUpgrade, oldDirectory, takeBack, upgradeAside, whyNotBack } from "../postgres/upgrade/directory.ts";
import { dcsDeadline } from "./lease-bounds.ts";
import type { NodeContext } from "./node-context.ts";
import { changeUpgrade } from "./overhaul.ts";
import { refreshCluster } from "./perform-dcs.ts";
import { DONE, type TaskResult, taskResult } from "./task-result.ts";

/** Of pg_control. */
const STANDBY_STATES: ReadonlySet<string> = new Set(["shut down in recovery", "in archive recovery"]);

/** The next phase, as the holder of the lock. */
export async function writeUpgrade(context: NodeContext, phase: UpgradePhase): Promise<Outcome> {
  const request = context.state.cluster?.upgrade ?? null;
  const changed = request === null ? ok({}) : await alongWith(context, request, phase);
  const written = changed.ok ? await changeUpgrade(context, request, { phase, ...changed.value }) : changed;
  return { kind: "write-restore", ok: written.ok, message: written.ok ? "" : written.error };
}

/** What is known with the phase. */
async function alongWith(
  { log, postgres }: NodeContext,
  request: UpgradeRequest,
  phase: UpgradePhase,
): Promise<Result<Partial<UpgradeRequest>, string>> {
  if (phase === "failed") {
    const missing = lackingLastWal(request).join(", ");
    return ok({ message: `${missing} did not get the last WAL of ${request.node}; nothing was changed yet` });
  }
  // What could not be done beside it is told at its end.
  if (phase === "done") return ok({});
  if (phase !== "drain") return ok({ message: null });
  const control = await postgres.controlData();
  if (!control.ok) return err(control.error.message);
  if (request.direction === "forward" && STANDBY_STATES.has(control.value.state)) {
    const message = `${request.node} did not stop as a primary (${control.value.state}): pg_upgrade takes no standby; nothing was changed yet`;
    return ok({ phase: "failed", message });
  }
  if (control.value.state === "shut down") return ok({ checkpoint: control.value.checkpointLsn, received: [] });
  // It was ended while it was being stopped: its data is recovered before it is upgraded, and nobody waits for what cannot come.
  log.warning(`this primary ended without a shutdown checkpoint (${control.value.state}): the standbys have what it had sent`);
  return ok({ checkpoint: null, received: [] });
}

/** `forward`: the directory that is to serve, and the word that it does. `back`: the old one, as nothing else has served. */
export async function upgradeCluster(context: NodeContext, step: "forward" | "back", signal: AbortSignal): Promise<TaskResult> {
  const { state } = context;
  // What was seen when it was decided may be old: an operator may have said otherwise meanwhile.
  if (!(await refreshCluster(context))) return { ok: false, message: "the DCS does not say how the upgrade stands" };
  const request = state.cluster?.upgrade ?? null;
  if (request === null || request.node !== state.settings.node.name) return { ok: false, message: "this node is not to upgrade anything" };
  // Nothing that runs here meanwhile serves anybody.
  state.local.lastRole = "replica";
  state.local.control = null;
  try {
    if (step === "back") return await undo(context, request);
    if (request.phase === "clone") return await finish(context, request);
    if (request.phase !== "upgrade") return { ok: false, message: `the upgrade is in phase ${request.phase}` };
    if (request.direction === "back") return await goBack(context, request);
    const made = await make(context, request, signal);
    if (!made.ok) return await failedWith(context, request, made.error);
    const known = { ...request, ...made.value };
    const named = await publishIdentifier(context, known);
    if (!named.ok) return { ok: false, message: named.error };
    // Not in force before everybody can see it: what was made stays half-made, and is found so by the next attempt.
    const noted = await changeUpgrade(context, request, { ...made.value, phase: "clone", cloned: [], analyzed: false, message: null });
    return noted.ok ? await finish(context, known) : { ok: false, message: noted.error };
  } finally {
    forget(context);
  }
}

/**
 * Everything that fits the old data is done before the key says that it serves: no marker lies in it, so that nobody would come back to what
 * was left undone. Each step can be repeated while the phase is `upgrade`.
 */
async function goBack(context: NodeContext, request: UpgradeRequest): Promise<TaskResult> {
  const old = await hasOldData(context, request);
  if (!old.ok) return await failedWith(context, request, old.error);
  if (!old.value) return await stay(context, request, `${oldPath(context, request)} is not there any more`);
  const lost = await lostOutside(context, request);
  if (!lost.ok) return await failedWith(context, request, lost.error);
  if (lost.value !== null) return await stay(context, request, lost.value);
  const back = await takeBack(placeOf(context), { ...request, hasServed: true });
  if (!back.ok) return await failedWith(context, request, back.error);
  const named = await publishIdentifier(context, request);
  if (!named.ok) return { ok: false, message: named.error };
  const settled = await settle(context, request);
  if (!settled.ok) return { ok: false, message: settled.error };
  const noted = await changeUpgrade(context, request, { phase: "clone", cloned: [], analyzed: false, message: null });
  return noted.ok ? DONE : { ok: false, message: noted.error };
}

/** It is beside the data directory, or in its place again. Errors: failed (that cannot be told). */
async function hasOldData(context: NodeContext, request: UpgradeRequest): Promise<Result<boolean, PostgresError>> {
  const aside = oldPath(context, request);
  try {
    if (await isThere(aside)) return ok(true);
  } catch (error) {
    return err({ kind: "failed", message: `${aside}: ${reasonOf(error)}` });
  }
  // Not by pg_controldata: which version's programs fit depends on which data this is.
  const identifier = await readSystemIdentifier(context.state.settings.node.postgresql.dataDir);
  return identifier.ok ? ok(identifier.value === request.fromIdentifier) : identifier;
}

function oldPath({ state }: NodeContext, { id }: UpgradeRequest): string {
  return oldDirectory(state.settings.node.postgresql.dataDir, id);
}

async function lostOutside({ state }: NodeContext, request: UpgradeRequest): Promise<Result<string | null, PostgresError>> {
  return await whyNotBack(state.settings.node.postgresql.dataDir, request);
}

/** Somebody has removed the old directory, or of what it had elsewhere: everybody goes on with the data that is there. */
async function stay(context: NodeContext, request: UpgradeRequest, reason: string): Promise<TaskResult> {
  const message = `it could not be taken back: ${reason}`;
  const noted = await changeUpgrade(context, request, { phase: "done", direction: "forward", message });
  return { ok: false, message: noted.ok ? message : noted.error };
}

/** Value: what is known of the cluster by then. */
async function make(
  context: NodeContext,
  request: UpgradeRequest,
  signal: AbortSignal,
): Promise<Result<Partial<UpgradeRequest>, PostgresError>> {
  const upgraded = await upgradeAside(placeOf(context), { request, signal, progress: (text) => context.log.info(text) });
  return upgraded.ok ? ok({ identifier: upgraded.value }) : upgraded;
}

/** What was made is marked until all of that is done, and so is found by the next attempt. */
async function finish(context: NodeContext, request: UpgradeRequest): Promise<TaskResult> {
  const settled = await settle(context, request);
  return settled.ok ? taskResult(await finishUpgrade(placeOf(context))) : { ok: false, message: settled.error };
}

/** What is known of the former timelines and standbys says nothing of the data that is to serve; the programs are those that fit it. */
async function settle(context: NodeContext, request: UpgradeRequest): Promise<Result<null, string>> {
  const { state, store } = context;
  const forgotten = await store.values.setHistoryValue([], { deadline: dcsDeadline(context) });
  if (!forgotten.ok) return err(`the history of the cluster before: ${describeStoreError(forgotten.error)}`);
  const sync = state.cluster?.sync.revision ?? null;
  const nobody = sync === null ? ok(null) : await store.values.deleteSyncState(sync, { deadline: dcsDeadline(context) });
  if (!nobody.ok) return err(`the synchronous standbys of the cluster before: ${describeStoreError(nobody.error)}`);
  return await useFittingPrograms(context, request);
}

/** The node's file names the programs of the version that the cluster has, or gets. Errors: one line. */
export async function useFittingPrograms({ state }: NodeContext, request: UpgradeRequest): Promise<Result<null, string>> {
  return request.direction === "back"
    ? await state.nodeFile.takeBack(request.id)
    : await state.nodeFile.usePrograms(request.binDir, request.id);
}

async function undo(context: NodeContext, request: UpgradeRequest): Promise<TaskResult> {
  const old = await hasOldData(context, request);
  if (!old.ok) return await failedWith(context, request, old.error);
  if (!old.value)
    return await failedWith(context, request, {
      kind: "failed",
      message: `the old data is not there any more: ${oldPath(context, request)}`,
    });
  const lost = await lostOutside(context, request);
  if (!lost.ok) return await failedWith(context, request, lost.error);
  if (lost.value !== null) return await failedWith(context, request, { kind: "failed", message: `it cannot be taken back: ${lost.value}` });
  const back = await takeBack(placeOf(context), { ...request, hasServed: false });
  if (!back.ok) return taskResult(back);
  const programs = await context.state.nodeFile.takeBack(request.id);
  if (!programs.ok) return { ok: false, message: programs.error };
  const named = await publishIdentifier(context, { ...request, direction: "back" });
  if (!named.ok) return { ok: false, message: named.error };
  const noted = await changeUpgrade(context, request, { phase: "done", message: "undone: the data is what it was before" });
  return noted.ok ? DONE : { ok: false, message: noted.error };
}

/** Members tell by it whose data they have. */
async function publishIdentifier(context: NodeContext, request: UpgradeRequest): Promise<Result<null, string>> {
  const { state, store } = context;
  const systemIdentifier = identifierAfter(request);
  if (systemIdentifier === null) return err("the system identifier of the new data is not known");
  if (state.cluster?.initialize === systemIdentifier) return ok(null);
  const lock = state.held;
  if (lock === null) return err("the lock is not held");
  const written = await store.values.initialize({ systemIdentifier, createNew: false, lock, deadline: dcsDeadline(context) });
  await refreshCluster(context);
  return written.ok ? ok(null) : err(`the system identifier: ${describeStoreError(written.error)}`);
}

/** What was ended on purpose is tried again; whatever else went wrong waits for an operator. */
async function failedWith(context: NodeContext, request: UpgradeRequest, error: PostgresError): Promise<TaskResult> {
  if (error.kind !== "cancelled") {
    const noted = await changeUpgrade(context, request, { phase: "failed", message: error.message });
    if (!noted.ok) return { ok: false, message: `${error.message}; and ${noted.error}` };
  }
  return { ok: false, message: error.message };
}

/** What was remembered of the server that ran in this directory before. */
function forget({ state }: NodeContext): void {
  const { local } = state;
  local.control = null;
  local.systemIdentifier = null;
  local.rewindFailed = false;
  local.historyPublished = null;
  local.slotsFor = null;
  local.slotsAt = null;
  local.slotsSeen = new Set();
  state.retained = null;
}

function placeOf({ clock, log, state }: NodeContext): PostgresContext {
  const { name, postgresql, scope } = state.settings.node;
  return { config: postgresql, scope, memberName: name, log, clock, run: programRunner(postgresql, clock) };
}
