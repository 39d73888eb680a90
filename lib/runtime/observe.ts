// Owns the observation of one instant: refreshes what is cheap to look at, and packs the state into an immutable value.
// Decides nothing.

import type { EffectKind } from "../core/decision.ts";
import type { DcsFacts, LocalFacts, Observation, RunningTask } from "../core/observation.ts";
import { syncPositionOf } from "../core/sync-standbys.ts";
import { type Ms, ms } from "../model/units.ts";
import { errorCode } from "../postgres/processes.ts";
import { clonesWithoutLeader } from "../postgres/replica-methods.ts";
import { failsafeFacts, withFailsafe } from "./failsafe.ts";
import { unfencedNow } from "./fencing.ts";
import { stopBudget } from "./lease-bounds.ts";
import type { NodeContext } from "./node-context.ts";
import { postgresState } from "./postgres-words.ts";

/** A status query that takes longer says that PostgreSQL does not answer. */
const STATUS_DEADLINE_MS = 2000;
/** After a status that was answered: a look that takes long counts as a PostgreSQL that hangs. */
const WAITING_DEADLINE_MS = 500;

/** How long after a change of synchronous_standby_names some backend may still go by the former one. */
const RELOAD_SETTLES_MS = 200;

/** Within a cycle, effects on the DCS alone leave PostgreSQL as it was a moment ago. */
const REUSE_MS = 100;

/** A look of a moment ago stands where nothing was done to PostgreSQL since. */
export function lookStands({ clock, state }: NodeContext): boolean {
  return state.lookedAt !== null && clock.now() - state.lookedAt < REUSE_MS;
}

/** More changes than this during one look do not happen: a task begins or ends, the postmaster dies. */
const LOOKS_MAX = 5;

/** Looks at process, data directory and server. `status` is null where the server does not answer. */
export async function lookAtPostgres(context: NodeContext): Promise<void> {
  for (let look = 0; look < LOOKS_MAX; look += 1) {
    const generation = context.state.localGeneration;
    await lookOnce(context);
    if (generation === context.state.localGeneration) return;
  }
}

async function lookOnce(context: NodeContext): Promise<void> {
  const { clock, log, postgres, state } = context;
  const local = state.local;
  const startedAt = clock.now();
  if (state.task?.kind === "restore") {
    // Directories are renamed while they would be looked at: a part of one and a part of another is neither.
    local.dataDirectory = { kind: "half-made", by: "restore" };
    local.process = { kind: "none" };
    local.status = null;
    return;
  }
  const generation = state.localGeneration;
  const seen = await inspected(context);
  if (seen === null) return;
  const { dataDirectory, process, wayBack } = seen;
  // Something was done to PostgreSQL, or it ended, while we looked: what we saw is old.
  if (generation !== state.localGeneration) return;
  const unread = dataDirectory.kind === "foreign" && dataDirectory.unread === true;
  // No verdict on what a server runs in: it is what it was.
  if (unread && process.kind === "running" && local.dataDirectory.kind === "valid") log.warning(dataDirectory.sample);
  else local.dataDirectory = dataDirectory;
  local.wayBack = wayBack ?? null;
  local.process = process;
  if (process.kind === "none") {
    local.status = null;
    local.unservedSince = null;
    local.statusMissingSince = null;
    return;
  }
  const task = state.task?.kind;
  if (task !== undefined && (UNANSWERED.has(task) || state.isGoingDown())) {
    local.status = null;
    return;
  }
  local.control = null;
  const answer = await postgres.status(ms(clock.now() + STATUS_DEADLINE_MS));
  if (generation !== state.localGeneration) return;
  state.lookedAt = startedAt;
  if (process.stopped || (!answer.ok && answer.error.kind === "timeout")) local.unservedSince ??= startedAt;
  else if (answer.ok || answer.error.answered === true) local.unservedSince = null;
  if (!answer.ok) {
    local.status = null;
    noteNoStatus(context, "PostgreSQL runs, but cannot be asked", answer.error.message, startedAt);
    // A recovery takes its time: a restart would only begin it again.
    if (answer.error.passing === true) local.statusMissingSince = null;
    if (local.lastRole === null) await readRole(context, generation);
    return;
  }
  noteStatus(context, answer.value);
  await noteWaiting(context, generation);
}

/** Null where the look itself failed (no file descriptor left): process and directory are what they were, and there is no status. */
async function inspected(context: NodeContext): Promise<Awaited<ReturnType<NodeContext["postgres"]["inspect"]>> | null> {
  const { clock, postgres, state } = context;
  try {
    return await postgres.inspect();
  } catch (error) {
    // Of no server that was seen to run there is nothing to hold on to: what is in the directory would be taken for what is not.
    if (errorCode(error) === null || state.local.process.kind === "none") throw error;
    state.local.status = null;
    noteNoStatus(context, "PostgreSQL cannot be looked at", error instanceof Error ? error.message : String(error), clock.now());
    return null;
  }
}

const NO_TROUBLES: ReadonlySet<string> = new Set();
/** A server in trouble has two or three, by turns. */
const TROUBLES_MAX = 16;

function noteNoStatus({ log, state }: NodeContext, what: string, message: string, at: Ms): void {
  const { local } = state;
  const trouble = alike(message);
  if (!local.toldTroubles.has(trouble)) log.warning(`${what}: ${message}`);
  local.toldTroubles = new Set([...local.toldTroubles, trouble].slice(-TROUBLES_MAX));
  local.statusError = message;
  local.statusMissingSince ??= at;
}

/** The same trouble is told once: its numbers (a deadline, a port) do not make it another. */
function alike(message: string): string {
  return message.replaceAll(/\d+/g, "#");
}

/** While these run, what listens at our address is not there yet, or is on its way down. */
const UNANSWERED: ReadonlySet<EffectKind> = new Set(["start", "bootstrap", "stop", "copy-slots"]);

/** A server that was found running and does not answer may be a primary all the same: pg_control knows. */
async function readRole({ postgres, state }: NodeContext, generation: number): Promise<void> {
  const control = await postgres.controlData();
  if (!control.ok || generation !== state.localGeneration) return;
  if (control.value.state === "in production") state.local.lastRole = "primary";
  else if (control.value.state === "in archive recovery") state.local.lastRole = "replica";
}

/** Folds one status answer into what is remembered of the server. */
export function noteStatus(context: NodeContext, status: NonNullable<LocalFacts["status"]>): void {
  const { clock, state } = context;
  const local = state.local;
  local.status = status;
  local.statusError = null;
  local.toldTroubles = NO_TROUBLES;
  local.statusMissingSince = null;
  // Only an answer ends a crash: a server in recovery runs, and may never come back.
  local.crashedAt = null;
  local.systemIdentifier = status.systemIdentifier;
  local.rewindFailed = false;
  local.lastRole = status.inRecovery ? "replica" : "primary";
  if (status.inRecovery) {
    local.promotedAt = null;
    local.syncNamesSince = null;
    local.syncNamesSeen = null;
    local.notStreamingSince = status.replicationState === "streaming" ? null : (local.notStreamingSince ?? clock.now());
    return;
  }
  local.notStreamingSince = null;
  noteSyncNames(context, status);
}

/**
 * A reload reaches one backend after the other: for a moment commits are still released by the standbys of before. What was
 * committed until then is what a standby must have to be called synchronous, so the position is taken a little later.
 */
function noteSyncNames(context: NodeContext, status: NonNullable<LocalFacts["status"]>): void {
  const { clock, state } = context;
  const local = state.local;
  const names = status.synchronousStandbyNames;
  const own = primaryParameter(context, "synchronous_standby_names");
  const on = state.settings.dynamic.synchronousMode !== "off";
  if (on) local.syncNamesReleased = false;
  // Also what a former process of this node, a promotion or a start has set is ours to take away.
  local.syncNamesManaged = names !== "" && (on || (names !== own && !local.syncNamesReleased));
  if (local.syncNamesSeen?.names !== names) {
    // From some names to others commits wait all the while.
    const waited = names !== "" && local.syncNamesSeen?.waits === "yes";
    local.syncNamesSeen = { names, at: clock.now(), ...(waited ? { waits: "yes" } : {}) };
    local.syncNamesSince = null;
  }
  const { at, waits } = local.syncNamesSeen;
  const settled = (names === "" || waits === "yes") && clock.now() - at >= RELOAD_SETTLES_MS;
  if (local.syncNamesSince === null && settled && status.walLsn !== null) {
    local.syncNamesSince = { names, lsn: status.walLsn, at: clock.now() };
  }
}

/**
 * The names that a session shows are not those that every commit waits for yet (lib/postgres/waiting-commits.ts). Where nobody can tell, what is
 * left is that the position is taken a little later.
 */
async function noteWaiting({ clock, log, postgres, state }: NodeContext, generation: number): Promise<void> {
  const { local } = state;
  const seen = local.syncNamesSeen;
  if (state.settings.dynamic.synchronousMode === "off" || seen === null || seen.names === "" || seen.waits === "yes") return;
  // A session may show what is written into the files before PostgreSQL was told of it.
  if (local.syncNamesChanging) return;
  const answer = await postgres.commitsWait(ms(clock.now() + WAITING_DEADLINE_MS)).catch((error: unknown) => {
    // No file descriptor left: not known this time.
    if (errorCode(error) === null) throw error;
    return null;
  });
  if (generation !== state.localGeneration || local.syncNamesSeen !== seen || local.syncNamesChanging || answer?.ok !== true) return;
  const waits = answer.value === "not-yet" ? "not-yet" : "yes";
  if (waits === "not-yet" && seen.waits === undefined)
    log.info(
      `it is not known yet that the checkpointer has taken synchronous_standby_names '${seen.names}': until then no standby enters the sync key`,
    );
  local.syncNamesSeen = { ...seen, waits };
}

/** Packs the state. Pure but for the clock. */
export function observe(context: NodeContext): Observation {
  const { clock, state, store } = context;
  const { node, dynamic } = state.settings;
  const local = state.local;
  const held = state.heldFacts();
  return {
    now: clock.now(),
    wallNow: clock.wallNow(),
    self: {
      name: node.name,
      tags: node.tags,
      session: store.session()?.id ?? null,
      prePromote: prePromote(context),
      syncPosition: syncPositionOf(primaryParameter(context, "synchronous_commit")),
      releaseAskedAt: state.releaseAskedAt,
      fencingMissing: state.fencingMissing,
      stopBudgetMs: stopBudget(context, held),
      useSlots: node.postgresql.useSlots,
      citusDatabase: node.citus?.database ?? null,
      usePgRewind: node.postgresql.usePgRewind,
      clonesWithoutLeader: clonesWithoutLeader(node.postgresql),
      removeDataDirectoryOnRewindFailure: node.postgresql.removeDataDirectoryOnRewindFailure,
      removeDataDirectoryOnDivergedTimelines: node.postgresql.removeDataDirectoryOnDivergedTimelines,
      pgCtlTimeoutMs: node.postgresql.pgCtlTimeoutMs,
      adopted: state.adopted,
      markStale: state.held !== null && state.task === null && state.isMarkedUnfenced() !== (unfencedNow(context) !== null),
    },
    config: dynamic,
    dcs: dcsFacts(context),
    lock: { held },
    local: { ...local, state: postgresState(state) },
    task: runningTask(state),
    lastTask: state.lastTask,
    trace: state.trace,
    peers: { answers: state.peerAnswers },
    failsafe: failsafeFacts(context),
    requests: state.requests,
    done: state.done.length === 0 ? NOTHING_DONE : [...state.done],
  };
}

/** Passed only under the lock that is held now. */
function prePromote({ state }: NodeContext): Observation["self"]["prePromote"] {
  if (state.settings.node.postgresql.prePromote === null) return "none";
  const { prePromotePassedAt: passedAt, heldSince } = state;
  return passedAt !== null && heldSince !== null && passedAt >= heldSince ? "passed" : "due";
}

const NOTHING_DONE: Observation["done"] = [];

/** As the configuration has it for a primary; "" where it does not say. */
function primaryParameter({ state }: NodeContext, name: string): string {
  const { parameters, parametersPrimary } = state.settings.node.postgresql;
  const value = Object.hasOwn(parametersPrimary, name) ? parametersPrimary[name] : parameters[name];
  return String(value ?? "");
}

function runningTask({ task }: NodeContext["state"]): RunningTask | null {
  if (task === null) return null;
  const { kind, startedAt, controller, step, words } = task;
  const said = words === undefined ? {} : { words };
  return { kind, startedAt, aborting: controller.signal.aborted, ...said, ...(step === undefined ? {} : { step }) };
}

function dcsFacts(context: NodeContext): DcsFacts {
  const { state } = context;
  if (state.dcsFailure !== null || state.cluster === null) {
    const failure = state.dcsFailure ?? { since: state.clusterReadAt, reason: "not read yet" };
    const cluster = state.cluster === null ? null : withFailsafe(context, state.cluster);
    return { kind: "unreachable", since: failure.since, cluster, reason: failure.reason };
  }
  // The primary alone may be without the DCS.
  const cluster = state.cluster.leader === null ? withFailsafe(context, state.cluster) : state.cluster;
  return { kind: "reachable", cluster, readAt: state.clusterReadAt };
}
