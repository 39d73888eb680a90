// Owns the observation of one instant: refreshes what is cheap to look at, and packs the state into an immutable value.
// Decides nothing.

import { stopBudgetLimit } from "../core/lease.ts";
import type { DcsFacts, LocalFacts, Observation } from "../core/observation.ts";
import { ms } from "../model/units.ts";
import type { NodeContext } from "./node-context.ts";

/** A status query that takes longer says that PostgreSQL does not answer. */
const STATUS_DEADLINE_MS = 2000;

/** Within a cycle, effects on the DCS alone leave PostgreSQL as it was a moment ago. */
const REUSE_MS = 100;

/** As lookAtPostgres, but content with a look of a moment ago where nothing was done to PostgreSQL since. */
export async function lookAgainAtPostgres(context: NodeContext): Promise<void> {
  const { clock, state } = context;
  if (state.lookedAt !== null && clock.now() - state.lookedAt < REUSE_MS) return;
  await lookAtPostgres(context);
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
  const { clock, postgres, state } = context;
  const local = state.local;
  const startedAt = clock.now();
  const generation = state.localGeneration;
  const { dataDirectory, process } = await postgres.inspect();
  // Something was done to PostgreSQL, or it ended, while we looked: what we saw is old.
  if (generation !== state.localGeneration) return;
  local.dataDirectory = dataDirectory;
  local.process = process;
  if (process.kind === "none") {
    local.status = null;
    return;
  }
  const task = state.task?.kind;
  if (task === "start" || task === "bootstrap" || task === "stop" || task === "hand-over" || task === "restart") {
    local.status = null;
    return;
  }
  local.control = null;
  const answer = await postgres.status(ms(clock.now() + STATUS_DEADLINE_MS));
  if (generation !== state.localGeneration) return;
  state.lookedAt = startedAt;
  if (!answer.ok) {
    local.status = null;
    local.statusError = answer.error.message;
    return;
  }
  noteStatus(context, answer.value);
}

/** Folds one status answer into what is remembered of the server. */
export function noteStatus(context: NodeContext, status: NonNullable<LocalFacts["status"]>): void {
  const { clock, state } = context;
  const local = state.local;
  local.status = status;
  local.statusError = null;
  // Only an answer ends a crash: a server in recovery runs, and may never come back.
  local.crashedAt = null;
  local.systemIdentifier = status.systemIdentifier;
  local.rewindFailed = false;
  local.lastRole = status.inRecovery ? "replica" : "primary";
  if (status.inRecovery) {
    local.promotedAt = null;
    local.slotsFor = null;
    local.syncNamesSince = null;
    local.notStreamingSince = status.replicationState === "streaming" ? null : (local.notStreamingSince ?? clock.now());
    return;
  }
  local.notStreamingSince = null;
  if (local.syncNamesSince?.names !== status.synchronousStandbyNames && status.walLsn !== null) {
    local.syncNamesSince = { names: status.synchronousStandbyNames, lsn: status.walLsn, at: clock.now() };
  }
}

/** Packs the state. Pure but for the clock. */
export function observe(context: NodeContext): Observation {
  const { clock, state, store, watchdog } = context;
  const { node, dynamic } = state.settings;
  const local = state.local;
  const held = state.heldFacts();
  const actsAt = held === null ? null : watchdog.actsAt(held.leaseEndsAt);
  return {
    now: clock.now(),
    wallNow: clock.wallNow(),
    self: {
      name: node.name,
      tags: node.tags,
      session: store.session()?.id ?? null,
      fencingMissing: state.fencingMissing,
      stopBudgetMs: ms(held === null || actsAt === null ? stopBudgetLimit(dynamic.ttlMs) : Math.max(0, held.leaseEndsAt - actsAt)),
      usePgRewind: node.postgresql.usePgRewind,
      removeDataDirectoryOnRewindFailure: node.postgresql.removeDataDirectoryOnRewindFailure,
      removeDataDirectoryOnDivergedTimelines: node.postgresql.removeDataDirectoryOnDivergedTimelines,
      pgCtlTimeoutMs: node.postgresql.pgCtlTimeoutMs,
      adopted: state.adopted,
    },
    config: dynamic,
    dcs: dcsFacts(context),
    lock: { held },
    local: { ...local, state: state.postgresState() },
    task:
      state.task === null
        ? null
        : { kind: state.task.kind, startedAt: state.task.startedAt, aborting: state.task.controller.signal.aborted },
    lastTask: state.lastTask,
    trace: state.trace,
    peers: { answers: state.peerAnswers },
    requests: state.requests,
    done: [...state.done],
  };
}

function dcsFacts(context: NodeContext): DcsFacts {
  const { state } = context;
  if (state.dcsFailure !== null || state.cluster === null) {
    const failure = state.dcsFailure ?? { since: state.clusterReadAt, reason: "not read yet" };
    return { kind: "unreachable", since: failure.since, cluster: state.cluster, reason: failure.reason };
  }
  return { kind: "reachable", cluster: state.cluster, readAt: state.clusterReadAt };
}
