// Owns the effects on PostgreSQL that take their time: each is a task beside the HA loop, whose completion wakes it.
// The loop renews the lock meanwhile. None of them decides what comes next.

import type { Effect } from "../core/decision.ts";
import { memberSlotName, upstreamKey } from "../core/facts.ts";
import type { RejoinPlan } from "../core/observation.ts";
import { rewindPlan } from "../core/rewind-plan.ts";
import type { PostgresError } from "../model/errors.ts";
import type { FollowTarget } from "../model/postgres.ts";
import type { Result } from "../model/result.ts";
import { type Lsn, lsn, type Ms, ms, timeline } from "../model/units.ts";
import type { NodeContext } from "./node-context.ts";
import { releaseLock, writeConfig } from "./perform-dcs.ts";

export interface TaskResult {
  readonly ok: boolean;
  readonly message: string;
  readonly plan?: RejoinPlan;
}

const DONE: TaskResult = { ok: true, message: "" };
/** Recovery of a big server may take long; the loop goes on meanwhile. */
const START_LIMIT_MS = 24 * 3600 * 1000;
const PROMOTE_LIMIT_MS = 60_000;
const UPSTREAM_DEADLINE_MS = 5000;

function from(result: Result<null, PostgresError>): TaskResult {
  return result.ok ? DONE : { ok: false, message: result.error.message };
}

export type TaskEffect = Extract<
  Effect,
  { kind: "bootstrap" | "clone" | "plan-rejoin" | "rewind" | "start" | "restart" | "promote" | "stop" | "hand-over" }
>;

export async function runTask(context: NodeContext, effect: TaskEffect, signal: AbortSignal): Promise<TaskResult> {
  switch (effect.kind) {
    case "bootstrap":
      return await bootstrap(context, signal);
    case "clone":
      return await clone(context, effect, signal);
    case "plan-rejoin":
      return await planRejoin(context, effect);
    case "rewind":
      return await rewind(context, effect.target, signal);
    case "start":
      return await start(context, effect, signal);
    case "restart":
      return await restart(context, signal);
    case "promote":
      return await promote(context, effect.syncNames);
    case "stop":
      return await stop(context, effect.mode, ms(context.clock.now() + effect.within));
    case "hand-over":
      return await handOver(context, ms(context.clock.now() + effect.within));
  }
}

/** The new cluster is complete only when lock, identifier and configuration are written. */
async function bootstrap(context: NodeContext, signal: AbortSignal): Promise<TaskResult> {
  const { log, postgres, state, store } = context;
  const made = await postgres.bootstrap({ bootstrap: state.settings.node.bootstrap, signal, progress: (text) => log.info(text) });
  if (!made.ok) return from(made);
  const status = await postgres.status(ms(context.clock.now() + UPSTREAM_DEADLINE_MS));
  if (status.ok) state.local.systemIdentifier = status.value.systemIdentifier;
  await writeConfig(context);
  const armed = await armWatchdog(context);
  if (!armed.ok) return armed;
  const lock = await store.takeLeader({ deadline: ms(context.clock.now() + state.settings.dynamic.retryTimeoutMs) });
  if (!lock.ok) {
    await postgres.stop({ mode: "immediate", deadline: context.clock.now() });
    return { ok: false, message: "the leader lock could not be taken after the bootstrap" };
  }
  state.hold(lock.value);
  context.watchdog.extend(state.heldFacts()?.leaseEndsAt ?? context.clock.now());
  state.local.lastRole = "primary";
  state.claimedInitialize = false;
  postgres.callback("on_start", "primary");
  return DONE;
}

async function clone(context: NodeContext, effect: Extract<Effect, { kind: "clone" }>, signal: AbortSignal): Promise<TaskResult> {
  const { log, postgres, state } = context;
  if (effect.clear) {
    const removed = await postgres.removeDataDirectory();
    if (!removed.ok) return from(removed);
  }
  const made = await postgres.clone({ source: effect.target, signal, progress: (text) => log.info(text) });
  if (!made.ok) return from(made);
  state.requests = { ...state.requests, reinitialize: null };
  state.local.control = null;
  state.local.rewindFailed = false;
  return await start(context, { kind: "start", role: "standby", target: effect.target, syncNames: null }, signal);
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
  const end = running ? runningEnd(context) : await stoppedEnd(context);
  if (end === null) return { ok: false, message: "the local end of WAL is not known" };
  const switches = await postgres.timelineSwitches(end.timeline);
  const plan = rewindPlan({
    local: {
      ...(switches.ok ? { switches: switches.value } : {}),
      timeline: timeline(end.timeline),
      lsn: end.lsn,
      state: control.value.state,
      walLogHints: control.value.walLogHints,
      dataChecksums: control.value.dataChecksums,
    },
    upstream: upstream.value,
    usePgRewind: state.settings.node.postgresql.usePgRewind,
    removeOnDivergedTimelines: state.settings.node.postgresql.removeDataDirectoryOnDivergedTimelines,
  });
  return { ok: true, message: plan.why, plan: { leader: effect.leader, leaderSession: effect.leaderSession, plan } };
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
    log.info("the server was not shut down cleanly: crash recovery in single-user mode comes first");
    const recovered = await postgres.crashRecover(signal);
    if (!recovered.ok) return from(recovered);
  }
  const rewound = await postgres.rewind({ source: target, signal, progress: (text) => log.info(text) });
  if (!rewound.ok) state.local.rewindFailed = true;
  state.local.control = null;
  return from(rewound);
}

async function start(context: NodeContext, effect: Extract<Effect, { kind: "start" }>, signal: AbortSignal): Promise<TaskResult> {
  const { clock, postgres, state } = context;
  state.local.upstream = upstreamKey(effect.target);
  state.local.notStreamingSince = null;
  state.local.lastRole = effect.role === "primary" ? "primary" : "replica";
  if (effect.role === "primary") {
    const armed = await armWatchdog(context);
    if (!armed.ok) return armed;
  } else {
    const disarmed = await context.watchdog.disarm();
    if (!disarmed.ok) return { ok: false, message: `a former guard is still armed: ${disarmed.error.message}` };
  }
  const started = await postgres.start({
    role: effect.role,
    follow: effect.target,
    synchronousStandbyNames: effect.syncNames,
    deadline: ms(clock.now() + START_LIMIT_MS),
    signal,
  });
  if (!started.ok) return from(started);
  state.local.crashedAt = null;
  if (effect.role === "primary") await rearm(context);
  postgres.callback("on_start", effect.role === "primary" ? "primary" : "replica");
  return DONE;
}

async function restart(context: NodeContext, signal: AbortSignal): Promise<TaskResult> {
  const { clock, postgres, state } = context;
  state.requests = { ...state.requests, restart: false };
  const primary = state.local.lastRole === "primary";
  const names = state.local.syncNamesSince?.names ?? null;
  const target = state.local.upstream === "" ? null : currentTarget(context);
  const stopped = await postgres.stop({ mode: "fast", deadline: ms(clock.now() + PROMOTE_LIMIT_MS), checkpoint: true });
  if (!stopped.ok) return from(stopped);
  state.local.control = null;
  const started = await postgres.start({
    role: primary ? "primary" : "standby",
    follow: primary ? null : target,
    synchronousStandbyNames: primary ? names : null,
    deadline: ms(clock.now() + START_LIMIT_MS),
    signal,
  });
  if (primary && started.ok) await rearm(context);
  if (started.ok) postgres.callback("on_restart", primary ? "primary" : "replica");
  return from(started);
}

/** The source that a standby is pointed at, so that a restart keeps it. */
function currentTarget(context: NodeContext): FollowTarget | null {
  const [host, port] = splitAddress(context.state.local.upstream);
  if (host === null) return null;
  return { name: null, host, port, slotName: memberSlotName(context.state.settings.node.name) };
}

function splitAddress(text: string): readonly [string | null, number] {
  const colon = text.lastIndexOf(":");
  return colon < 0 ? [null, 0] : [text.slice(0, colon), Number(text.slice(colon + 1))];
}

/** The guard is armed before the first write is possible, and the lease is looked at once more right before. */
async function promote(context: NodeContext, syncNames: string | null): Promise<TaskResult> {
  const { clock, log, postgres, state } = context;
  const { node } = state.settings;
  const armed = await armWatchdog(context);
  if (!armed.ok) return armed;
  if (node.postgresql.prePromote !== null) {
    const hook = await postgres.hook("pre_promote", ms(clock.now() + state.settings.dynamic.ttlMs));
    if (!hook.ok) {
      await releaseLock(context, null);
      return { ok: false, message: `pre_promote: ${hook.error.message}` };
    }
  }
  if (!state.leaseValid()) return { ok: false, message: "the lease ended before the promotion" };
  const promoted = await postgres.promote({ deadline: ms(clock.now() + PROMOTE_LIMIT_MS), synchronousStandbyNames: syncNames });
  if (!promoted.ok) return from(promoted);
  state.local.promotedAt = clock.now();
  state.local.lastRole = "primary";
  state.local.upstream = "";
  state.local.slotsFor = null;
  state.local.checkpointAfterPromote = false;
  postgres.callback("on_role_change", "primary");
  const checkpoint = postgres.checkpoint(ms(clock.now() + START_LIMIT_MS)).then((result) => {
    if (result.ok) state.local.checkpointAfterPromote = true;
    else log.warning(`the checkpoint after the promotion failed: ${result.error.message}`);
    context.waker.wake();
  });
  checkpoint.catch((reason: unknown) => log.error(`the checkpoint after the promotion failed: ${String(reason)}`));
  return DONE;
}

async function stop(context: NodeContext, mode: "fast" | "immediate", deadline: Ms): Promise<TaskResult> {
  const { postgres, state } = context;
  const primary = state.local.lastRole === "primary";
  const stopped = await postgres.stop({ mode, deadline });
  if (!stopped.ok) return from(stopped);
  await settleStopped(context);
  postgres.callback("on_stop", primary ? "primary" : "replica");
  return DONE;
}

/** Nothing of the server is left: it needs no fencing, and what was known of it is old. */
async function settleStopped(context: NodeContext): Promise<void> {
  const { state, watchdog, log } = context;
  state.local.status = null;
  state.local.control = null;
  state.local.crashedAt = null;
  state.local.promotedAt = null;
  state.local.syncNamesSince = null;
  // Also where nothing is armed here: a guard that a former process left behind would act on its old deadline.
  const disarmed = await watchdog.disarm();
  if (!disarmed.ok) log.error(`the watchdog was not disarmed: ${disarmed.error.message}`);
}

/**
 * A planned stop of the primary. The lock is released once PostgreSQL has shut down; a fast stop ends only when the
 * streaming standbys have the shutdown checkpoint, or, where one of them hangs, as soon as pg_control says so and a
 * standby confirms the position.
 */
async function handOver(context: NodeContext, deadline: Ms): Promise<TaskResult> {
  const { log, postgres, state } = context;
  if (state.settings.node.postgresql.beforeStop !== null) {
    const hook = await postgres.hook("before_stop", deadline);
    if (!hook.ok) log.warning(`before_stop: ${hook.error.message}`);
  }
  let released: Promise<unknown> | null = null;
  const stopped = await postgres.stop({
    mode: "fast",
    deadline,
    checkpoint: true,
    onShutdownCheckpoint: (control) => {
      released = releaseEarly(context, control.checkpointLsn);
    },
  });
  if (!stopped.ok) return from(stopped);
  await released;
  const control = await postgres.controlData();
  await settleStopped(context);
  const optime = control.ok ? control.value.checkpointLsn : null;
  if (state.held !== null) {
    const outcome = await releaseLock(context, optime);
    if (!outcome.ok) return { ok: false, message: outcome.message };
  }
  log.info("leader key released");
  postgres.callback("on_stop", "primary");
  return DONE;
}

/** Nothing can be written any more once the shutdown checkpoint is in pg_control; a standby that has it may take over. */
async function releaseEarly(context: NodeContext, checkpoint: Lsn): Promise<void> {
  const { clock, peers, state } = context;
  const members = state.cluster?.members.filter((member) => member.name !== state.settings.node.name && member.apiUrl !== null) ?? [];
  const answers = await Promise.all(members.map((member) => peers.ask(member.apiUrl ?? "", ms(clock.now() + 1000))));
  const received = answers.some((answer) => answer?.state === "running" && answer.lsn !== null && answer.lsn > checkpoint);
  if (received && state.held !== null) await releaseLock(context, checkpoint);
}

/** Arms the fencing for the lease in force; where it cannot be, mode `required` refuses and `automatic` goes on with a warning. */
async function armWatchdog(context: NodeContext): Promise<TaskResult> {
  const { log, state, watchdog } = context;
  const { node, dynamic } = state.settings;
  if (node.watchdog.mode === "off" || dynamic.pause) return DONE;
  const process = state.local.process;
  const leaseEnd = state.heldFacts()?.leaseEndsAt ?? ms(context.clock.now() + dynamic.ttlMs);
  const armed = await watchdog.arm({
    postmaster: process.kind === "running" ? { pid: process.pid, startTicks: process.startTicks } : null,
    leaseEnd,
    ttl: dynamic.ttlMs,
    loopWait: dynamic.loopWaitMs,
  });
  if (armed.ok) return DONE;
  if (node.watchdog.mode === "required") {
    state.fencingMissing = true;
    return { ok: false, message: `the watchdog is required: ${armed.error.message}` };
  }
  log.warning(`the watchdog cannot be armed, PostgreSQL is not fenced: ${armed.error.message}`);
  return DONE;
}

/** The same protection for a postmaster that has just been started. */
async function rearm(context: NodeContext): Promise<void> {
  context.state.local.process = (await context.postgres.inspect()).process;
  const armed = await armWatchdog(context);
  if (!armed.ok) context.log.error(armed.message);
}
