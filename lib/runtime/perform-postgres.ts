// Owns the effects on PostgreSQL that take their time: each is a task beside the HA loop, whose completion wakes it.
// The loop renews the lock meanwhile. None of them decides what comes next.

import type { Effect } from "../core/decision.ts";
import { overhaulOf } from "../core/overhaul.ts";
import { planOfRefused, planWithoutEnd, type RewindPlan, rewindPlan } from "../core/rewind-plan.ts";
import type { PostgresError } from "../model/errors.ts";
import type { CopyProgress, FollowTarget } from "../model/postgres.ts";
import type { Result } from "../model/result.ts";
import { type Lsn, lsn, ms, type Timeline, timeline } from "../model/units.ts";
import { reasonOf } from "../postgres/atomic-file.ts";
import { keepsData, usableMethods } from "../postgres/replica-methods.ts";
import { armWatchdog, rearm } from "./fencing.ts";
import { handOver } from "./hand-over.ts";
import type { NodeContext } from "./node-context.ts";
import { noteCopied } from "./overhaul.ts";
import { settleSync, writeConfig } from "./perform-dcs.ts";
import { restoreCluster, settleWayBack } from "./perform-restore.ts";
import { prePromote, promote } from "./promotion.ts";
import { restart, START_LIMIT_MS } from "./restart.ts";
import { stop } from "./stop.ts";
import { pausingWhereItFails } from "./stop-pause.ts";
import { DONE, type TaskResult, taskResult } from "./task-result.ts";
import { tellStarted } from "./tell-role.ts";

const UPSTREAM_DEADLINE_MS = 5000;
/** A standby that fetches WAL for a copied slot is not there for a race: the little that is fetched takes a second. */
const MISSING_WAL_LIMIT_MS = 10_000;

/** A disk may fail to answer once: after so many looks in a row that found no end of the WAL, there is none. */
const ENDLESS_LOOKS = 3;

export type TaskEffect = Extract<
  Effect,
  {
    kind:
      | "bootstrap"
      | "bootstrap-standby"
      | "clone"
      | "restore"
      | "plan-rejoin"
      | "rewind"
      | "start"
      | "restart"
      | "copy-slots"
      | "pre-promote"
      | "promote"
      | "stop"
      | "hand-over";
  }
>;

export async function runTask(context: NodeContext, effect: TaskEffect, signal: AbortSignal): Promise<TaskResult> {
  switch (effect.kind) {
    case "bootstrap":
      return await bootstrap(context, signal);
    case "bootstrap-standby":
      return await bootstrapStandby(context, effect.target, signal);
    case "clone":
      return await clone(context, effect, signal);
    case "restore":
      if (effect.step === "settle") return await settleWayBack(context);
      return overhaulOf(context.state.cluster)?.of === "upgrade"
        ? await (await import("./perform-upgrade.ts")).upgradeCluster(context, effect.step, signal)
        : await restoreCluster(context, effect.step, signal);
    case "plan-rejoin":
      return await planRejoin(context, effect);
    case "rewind":
      return await rewind(context, effect.target, signal);
    case "start":
      return (effect.role === "primary" ? await settleSync(context, "start") : null) ?? (await start(context, effect, signal));
    case "restart":
      return await restart(context, effect.syncNames, signal);
    case "copy-slots":
      return await copySlots(context, effect, signal);
    case "pre-promote":
      return await prePromote(context);
    case "promote":
      return await promote(context, effect.syncNames, signal);
    case "stop": {
      const { mode, within, archive } = effect;
      const deadline = ms(context.clock.now() + within);
      const options = archive === true ? { archive } : {};
      return await pausingWhereItFails(context, { mode, signal }, async () => await stop(context, mode, deadline, options));
    }
    case "hand-over": {
      const deadline = ms(context.clock.now() + effect.within);
      return await pausingWhereItFails(context, { mode: "fast", signal }, async () => await handOver(context, deadline, signal));
    }
  }
}

/** The new cluster is complete only when lock, identifier and configuration are written. */
async function bootstrap(context: NodeContext, signal: AbortSignal): Promise<TaskResult> {
  const { log, postgres, state } = context;
  const made = await postgres.bootstrap({ bootstrap: state.settings.node.bootstrap, signal, progress: (text) => log.info(text) });
  if (!made.ok) return taskResult(made);
  // The server that runs now was started behind the one that was last looked at.
  state.local.process = (await postgres.inspect()).process;
  const armed = await armWatchdog(context);
  if (!armed.ok) return armed;
  return await foundCluster(context, "primary");
}

/** A copy of the remote primary, which this node then leads as a standby. */
async function bootstrapStandby(context: NodeContext, target: FollowTarget | null, signal: AbortSignal): Promise<TaskResult> {
  const { clock, log, postgres } = context;
  const made = await copyFrom(context, { source: target, methods: "remote", signal });
  if (!made.ok) return taskResult(made);
  const from = target === null ? "" : ` from remote member postgresql://${target.host}:${target.port}`;
  log.info(`bootstrapped clone${from}`);
  const deadline = ms(clock.now() + START_LIMIT_MS);
  const started = await postgres.start({ role: "standby_leader", follow: target, synchronousStandbyNames: null, deadline, signal });
  if (!started.ok) return taskResult(started);
  context.state.setSource(target, "standby_leader");
  return await foundCluster(context, "standby_leader");
}

/** The server is there: what the cluster has to know of it, and the lock. */
async function foundCluster(context: NodeContext, role: "primary" | "standby_leader"): Promise<TaskResult> {
  const { log, postgres, state, store } = context;
  const status = await postgres.status(ms(context.clock.now() + UPSTREAM_DEADLINE_MS));
  if (status.ok) state.local.systemIdentifier = status.value.systemIdentifier;
  await writeConfig(context);
  const lock = await store.takeLeader({ deadline: ms(context.clock.now() + state.settings.dynamic.retryTimeoutMs) });
  if (!lock.ok) {
    await postgres.stop({ mode: "immediate", deadline: context.clock.now() });
    return { ok: false, message: "the leader lock could not be taken after the bootstrap" };
  }
  state.hold(lock.value);
  if (role === "primary") context.watchdog.extend(state.heldFacts()?.leaseEndsAt ?? context.clock.now());
  state.local.lastRole = role === "primary" ? "primary" : "replica";
  state.claimedInitialize = false;
  log.info("initialized a new cluster");
  tellStarted(context, role);
  return DONE;
}

async function clone(context: NodeContext, effect: Extract<Effect, { kind: "clone" }>, signal: AbortSignal): Promise<TaskResult> {
  const { log, postgres, state } = context;
  const overhaul = effect.restore === undefined ? null : overhaulOf(state.cluster);
  if (overhaul?.of === "upgrade") {
    const { useFittingPrograms } = await import("./perform-upgrade.ts");
    const programs = await useFittingPrograms(context, overhaul.request);
    if (!programs.ok) return { ok: false, message: programs.error };
  }
  const usable = usableMethods(state.settings.node.postgresql, { of: effect.methods, hasSource: effect.target !== null });
  if (effect.clear && !keepsData(usable)) {
    const removed = await postgres.removeDataDirectory();
    if (!removed.ok) {
      if (removed.error.kind === "refused" && (await postgres.keptBeside().catch(reasonOf)) !== null)
        dropReinitialize(context, removed.error.message);
      return taskResult(removed);
    }
  }
  const { target: source, methods, from, follow } = effect;
  const made = await copyFrom(context, { source, methods, signal });
  if (!made.ok) return taskResult(made);
  const noted = effect.restore === undefined ? made : await noteCopied(context, effect.restore);
  if (!noted.ok) return taskResult(noted);
  log.info(`bootstrapped ${from === null ? "(without leader)" : `from ${from}`}`);
  state.requests = { ...state.requests, reinitialize: null };
  state.local.control = null;
  // After an upgrade the copy is of another one than what was here; a server that does not start could not tell.
  state.local.systemIdentifier = null;
  Object.assign(state.local, { rewindFailed: false, startFailed: false, startsFirst: null });
  return await start(context, { kind: "start", role: "standby", target: follow, syncNames: null }, signal);
}

/** Nothing was touched, and asking again would not help: the data that is there serves on. */
function dropReinitialize({ log, state }: NodeContext, reason: string): void {
  if (state.requests.reinitialize === null) return;
  log.warning(`reinitialize: the request is dropped: ${reason}`);
  state.requests = { ...state.requests, reinitialize: null };
}

/** A copy, told of in the log and in the status. */
async function copyFrom(
  { log, postgres, state }: NodeContext,
  options: Pick<Parameters<NodeContext["postgres"]["clone"]>[0], "source" | "methods" | "signal">,
): Promise<Result<null, PostgresError>> {
  const copied = (progress: CopyProgress): void => {
    state.copy = progress;
  };
  try {
    return await postgres.clone({ ...options, progress: (text) => log.info(text), copied });
  } finally {
    state.copy = null;
  }
}

/** Compares the local end of WAL with the leader's timelines; changes nothing. */
async function planRejoin(context: NodeContext, effect: Extract<Effect, { kind: "plan-rejoin" }>): Promise<TaskResult> {
  const { clock, postgres, state } = context;
  const running = state.local.process.kind === "running";
  const [control, upstream] = await Promise.all([
    postgres.controlData(),
    postgres.upstreamHistory(effect.target, ms(clock.now() + UPSTREAM_DEADLINE_MS)),
  ]);
  if (!control.ok) return { ok: false, message: control.error.message };
  if (!upstream.ok) return { ok: false, message: upstream.error.message };
  state.local.systemIdentifier = control.value.systemIdentifier;
  const { postgresql } = state.settings.node;
  const removeOnRewindFailure = postgresql.removeDataDirectoryOnRewindFailure;
  const may = { usePgRewind: postgresql.usePgRewind, removeOnDivergedTimelines: postgresql.removeDataDirectoryOnDivergedTimelines };
  const made = (plan: RewindPlan): TaskResult => ({
    ok: true,
    message: plan.why,
    plan: { leader: effect.leader, leaderSession: effect.leaderSession, plan },
  });
  const before = state.lastTask;
  const { startFailed, rewindFailed, startsFirst: refused } = state.local;
  const end = running ? runningEnd(context) : await stoppedEnd(context);
  if (end === null) {
    const looks = 1 + (before?.kind === "plan-rejoin" && !before.ok ? before.failures : 0);
    if (running || looks < ENDLESS_LOOKS) return { ok: false, message: "the local end of WAL is not known" };
    return made(planWithoutEnd({ ...may, state: control.value.state, startFailed, rewindFailed, refused, removeOnRewindFailure }));
  }
  const switches = await postgres.timelineSwitches(end.timeline);
  const judged = rewindPlan({
    local: {
      ...(switches.ok ? { switches: switches.value } : {}),
      timeline: timeline(end.timeline),
      lsn: end.lsn,
      state: control.value.state,
      walLogHints: control.value.walLogHints,
      dataChecksums: control.value.dataChecksums,
    },
    upstream: upstream.value,
    ...may,
  });
  const plan = running || refused === null ? judged : planOfRefused(judged, { refused, failed: startFailed, removeOnRewindFailure });
  if (judged.kind === "rewind") noteRewind(context, timeline(end.timeline), upstream.value.timeline);
  return made(plan);
}

/**
 * Where pg_rewind has taken the server off a timeline and it is on it again, restore_command has brought that timeline's history from the
 * archive: PostgreSQL follows the newest that it finds there. Without the archive it would stream, but a promotion would then give the same
 * number a second time: only an operator can take the files away.
 */
function noteRewind({ log, state }: NodeContext, local: Timeline, upstream: Timeline): void {
  const { rewound } = state.local;
  if (rewound?.done === true && rewound.timeline === local && local > upstream) {
    const history = `${local.toString(16).toUpperCase().padStart(8, "0")}.history`;
    log.error(
      `timeline ${local} is back although pg_rewind has left it: restore_command finds ${history}, and PostgreSQL follows the newest timeline ` +
        `of the archive, on which nobody leads: take ${history} out of the archive, and reinitialize this node where it does not come back then`,
    );
  }
  state.local.rewound = { timeline: local, done: false };
}

function runningEnd(context: NodeContext): { readonly timeline: number; readonly lsn: Lsn } | null {
  const status = context.state.local.status;
  if (status === null || status.timeline === null) return null;
  const received = status.receivedLsn ?? 0n;
  const replayed = status.replayedLsn ?? 0n;
  return { timeline: status.timeline, lsn: lsn(received > replayed ? received : replayed) };
}

async function stoppedEnd(context: NodeContext): Promise<{ readonly timeline: number; readonly lsn: Lsn } | null> {
  const end = await context.postgres.localEndOfWal();
  if (!end.ok) {
    context.log.warning(`the local end of WAL cannot be read: ${end.error.message}`);
    return null;
  }
  return { timeline: end.value.timeline, lsn: lsn(end.value.lsn) };
}

async function rewind(context: NodeContext, target: FollowTarget, signal: AbortSignal): Promise<TaskResult> {
  const { log, postgres, state } = context;
  const control = await postgres.controlData();
  if (control.ok && !control.value.state.startsWith("shut down")) {
    log.info("doing crash recovery in a single user mode: the server was not shut down cleanly");
    const recovered = await postgres.crashRecover(signal);
    if (!recovered.ok && recovered.error.kind === "failed") state.local.rewindFailed = true;
    if (!recovered.ok) return taskResult(recovered);
  }
  const rewound = await postgres.rewind({ source: target, signal, progress: (text) => log.info(text) });
  if (!rewound.ok && rewound.error.kind === "refused") state.local.startsFirst = rewound.error.message;
  else if (!rewound.ok) Object.assign(state.local, { rewindFailed: true, startFailed: false });
  else if (state.local.rewound !== null) state.local.rewound = { ...state.local.rewound, done: true };
  state.local.control = null;
  return taskResult(rewound);
}

async function start(context: NodeContext, effect: Extract<Effect, { kind: "start" }>, signal: AbortSignal): Promise<TaskResult> {
  const { state } = context;
  // Kept until the end: while it stands, the lease mark says what is about to run.
  const asked = state.requests.restart;
  try {
    return await startServer(context, effect, signal);
  } finally {
    if (asked) state.requests = { ...state.requests, restart: false };
  }
}

async function startServer(context: NodeContext, effect: Extract<Effect, { kind: "start" }>, signal: AbortSignal): Promise<TaskResult> {
  const { clock, postgres, state } = context;
  state.setSource(effect.target, effect.role === "primary" ? "standby" : effect.role);
  state.local.lastRole = effect.role === "primary" ? "primary" : "replica";
  if (effect.role === "primary") {
    const armed = await armWatchdog(context);
    if (!armed.ok) return armed;
  } else {
    const disarmed = await context.watchdog.disarm();
    if (!disarmed.ok) return { ok: false, message: `a former guard is still armed: ${disarmed.error.message}` };
  }
  // Whoever started it meanwhile may have left slots behind.
  state.local.slotsFor = null;
  const started = await postgres.start({
    role: effect.role,
    follow: effect.target,
    synchronousStandbyNames: effect.syncNames,
    deadline: ms(clock.now() + START_LIMIT_MS),
    signal,
  });
  if (!started.ok) {
    // What does not start is as good as crashed: primary_start_timeout counts from here.
    if (effect.role === "primary") state.local.crashedAt ??= clock.now();
    const plan = state.lastTask?.plan?.plan;
    // A start that fails for another reason says nothing of the data.
    if (plan?.kind === "follow" && plan.unread === true && started.error.kind === "failed")
      Object.assign(state.local, { startFailed: true, startsFirst: null });
    return taskResult(started);
  }
  Object.assign(state.local, { crashedAt: null, startFailed: false, startsFirst: null });
  if (effect.role === "primary") await rearm(context);
  tellStarted(context, effect.role === "standby" ? "replica" : effect.role);
  return DONE;
}

/** The slots are read first: where there is nothing to copy, nothing is restarted. */
async function copySlots(context: NodeContext, effect: Extract<Effect, { kind: "copy-slots" }>, signal: AbortSignal): Promise<TaskResult> {
  const { clock, postgres, state } = context;
  const deadline = ms(clock.now() + UPSTREAM_DEADLINE_MS);
  const walDeadline = ms(clock.now() + MISSING_WAL_LIMIT_MS);
  const copies = await postgres.readLogicalSlots({ source: effect.source, slots: effect.slots, deadline, walDeadline, signal });
  if (!copies.ok)
    return {
      ok: false,
      message: `Failed to copy logical slots from the ${effect.source.name} via postgresql connection: ${copies.error.message}`,
    };
  const { files } = copies.value;
  if (files.length === 0) return { ok: false, message: "no logical slot can be copied yet" };
  const copied = await restart(context, null, signal, () => postgres.writeLogicalSlots(copies.value));
  if (copied.ok) state.logicalSlots.copied(files.map(({ name }) => name));
  return copied;
}
