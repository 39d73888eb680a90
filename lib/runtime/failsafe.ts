// Owns failsafe mode at work: as the primary asking all members of the failsafe key whether it may go on without the DCS, and as another
// member the promise that such a heartbeat is answered with. Which of them is done when is decided elsewhere (lib/core/failsafe.ts).

import {
  type FailsafeFacts,
  failsafeMembers,
  failsafeVoters,
  NO_FAILSAFE,
  sameMembers,
  traceKeyWrite,
  traceKeyWritten,
} from "../core/failsafe.ts";
import { stopInstant } from "../core/lease.ts";
import type { Outcome } from "../core/observation.ts";
import type { Cluster } from "../model/cluster.ts";
import type { FailsafeAnswer, FailsafeHeartbeat, FailsafeMembers } from "../model/failsafe.ts";
import { type Lsn, type Ms, ms, seconds } from "../model/units.ts";
import { stopBudget } from "./lease-bounds.ts";
import { apiUrl, connUrl } from "./member-record.ts";
import type { NodeContext } from "./node-context.ts";
import type { NodeState } from "./node-state.ts";

/** Longest wait for a member's answer: its supervisor may just be starting again. */
const PATIENCE_MS = 3_000;
/** A member that cannot be reached is tried again after this long, within the same round. */
const AGAIN_MS = 200;
/** A heartbeat that asks for a longer promise is not a primary's. */
export const PROMISE_MAX_MS = seconds(3600);

/** What the failsafe key has to say where this node keeps it; null where it does not, or where it says so. */
export function failsafeToWrite(state: NodeState): FailsafeMembers | null {
  const { cluster, local, settings } = state;
  if (cluster === null || !settings.dynamic.failsafeMode || local.status === null || local.status.inRecovery) return null;
  const wanted = failsafeMembers(cluster, { name: settings.node.name, apiUrl: apiUrl(state) });
  const { key } = state.failsafe;
  return sameMembers(cluster.failsafe, wanted) && sameMembers(key.written, wanted) && sameMembers(key.maybe, {}) ? null : wanted;
}

/** To be called before the key is sent: the members that it may name from now on are asked as well. */
export function beforeKey({ failsafe }: NodeState, members: FailsafeMembers | null): void {
  if (members !== null) failsafe.key = traceKeyWrite(failsafe.key, members);
}

/** The store has confirmed it. */
export function afterKey(state: NodeState, members: FailsafeMembers | null): void {
  if (members === null) return;
  state.failsafe.key = traceKeyWritten(members);
  if (state.cluster !== null) state.cluster = { ...state.cluster, failsafe: members };
}

function voters(state: NodeState): FailsafeMembers | null {
  const { cluster, failsafe, settings } = state;
  if (!settings.dynamic.failsafeMode || cluster === null) return null;
  return failsafeVoters(cluster.failsafe, failsafe.key, settings.node.name);
}

export function failsafeFacts({ clock, state }: NodeContext): FailsafeFacts {
  const { failsafe, settings } = state;
  const promise = failsafe.promise !== null && failsafe.promise.until > clock.now() ? failsafe.promise : null;
  if (!settings.dynamic.failsafeMode) return promise === null ? NO_FAILSAFE : { ...NO_FAILSAFE, promise };
  const asked = voters(state);
  return {
    voters: asked === null ? null : Object.keys(asked),
    keyStale: state.held !== null && failsafeToWrite(state) !== null,
    roundAt: failsafe.roundAt,
    leaseCountsUntil: state.leaseCountsUntil(),
    promise,
  };
}

/** The view, with what primary and members have told each other since the DCS was last asked. */
export function withFailsafe(context: NodeContext, cluster: Cluster): Cluster {
  const { positions, roundAt, slots } = context.state.failsafe;
  if (roundAt !== null) {
    const members = cluster.members.map((member) => ({ ...member, xlogLocation: positions[member.name] ?? member.xlogLocation }));
    return { ...cluster, members };
  }
  if (!isFailsafeActive(context)) return cluster;
  return { ...cluster, status: { ...cluster.status, slots: { ...cluster.status.slots, ...slots } } };
}

/** Shown to people: the lease comes from the other members, or this node has lent its own right to lead. */
export function isFailsafeActive({ clock, state }: NodeContext): boolean {
  const { promise, roundAt } = state.failsafe;
  return roundAt !== null || (promise !== null && promise.until > clock.now());
}

/** One round: the lease runs ttl from before it began, but only where every member answered 200 while the former lease still ran. */
export async function askFailsafe(context: NodeContext, slots: FailsafeHeartbeat["slots"]): Promise<Outcome> {
  const { clock, log, state } = context;
  const members = voters(state);
  const { held } = state;
  const countsUntil = state.leaseCountsUntil();
  if (members === null || held === null || countsUntil === null) return refused("the failsafe key does not name this node");
  const { leaseTtlMs } = state.settings.dynamic;
  const sentAt = clock.now();
  const stopAt = stopInstant({ leaseEndsAt: countsUntil, stopBudgetMs: stopBudget(context, state.heldFacts()), ttl: leaseTtlMs });
  const deadline = ms(Math.min(stopAt, sentAt + PATIENCE_MS));
  const beat = heartbeat(state, slots);
  const answers = await Promise.all(
    Object.entries(members).map(async ([name, url]) => ({ name, url, answer: await askOne(context, url, beat, deadline) })),
  );
  for (const { name, url, answer } of answers) tellAnswer(log, { name, url, answer });
  const against = answers.filter(({ answer }) => answer.kind !== "accepted").map(({ name }) => name);
  if (against.length > 0) return refused(`not agreed by ${against.join(", ")}`);
  // Meanwhile the lock may have been seen in other hands, or the time for a stop have come.
  if (state.held !== held || clock.now() >= stopAt) return refused("the lease ended before all members had agreed");
  prolong(context, { sentAt, ttl: leaseTtlMs, answers });
  return { kind: "ask-failsafe", ok: true, message: "" };
}

function refused(message: string): Outcome {
  return { kind: "ask-failsafe", ok: false, message };
}

function prolong(
  { clock, lease, log, state, watchdog }: NodeContext,
  round: { readonly sentAt: Ms; readonly ttl: Ms; readonly answers: readonly { readonly name: string; readonly answer: FailsafeAnswer }[] },
): void {
  state.failsafe.roundAt = round.sentAt;
  state.failsafe.roundTtl = round.ttl;
  state.failsafe.positions = Object.fromEntries(
    round.answers.flatMap(({ name, answer }) => (answer.kind === "accepted" && answer.lsn !== null ? [[name, answer.lsn]] : [])),
  );
  const held = state.heldFacts();
  if (held === null) return;
  if (watchdog.armed) {
    const extended = watchdog.extend(held.leaseEndsAt);
    if (!extended.ok) log.error(`the watchdog did not take the new deadline: ${extended.error.message}`);
  }
  lease.save({ session: held.session, revision: held.revision, deadline: held.leaseEndsAt });
  if (held.leaseEndsAt > clock.now()) state.changes.notify();
}

function heartbeat(state: NodeState, slots: FailsafeHeartbeat["slots"]): FailsafeHeartbeat {
  return {
    name: state.settings.node.name,
    connUrl: connUrl(state),
    apiUrl: apiUrl(state),
    slots,
    ttl: state.settings.dynamic.leaseTtlMs,
  };
}

/** Whoever does not answer is asked again; whoever refuses is not. */
async function askOne({ clock, peers }: NodeContext, url: string, beat: FailsafeHeartbeat, deadline: Ms): Promise<FailsafeAnswer> {
  for (;;) {
    const answer = await peers.failsafe(url, beat, deadline);
    const next = ms(clock.now() + AGAIN_MS);
    if (answer.kind !== "silent" || next >= deadline) return answer;
    await clock.sleepUntil(next);
  }
}

function tellAnswer(
  log: NodeContext["log"],
  { name, url, answer }: { readonly name: string; readonly url: string; readonly answer: FailsafeAnswer },
): void {
  const place = `${name} ${url.replace(/\/[^/]*$/, "")}/failsafe`;
  if (answer.kind === "accepted") log.info(`Got response from ${place}: Accepted`);
  else if (answer.kind === "refused") log.info(`Got response from ${place}: ${answer.text}`);
  else log.warning(`Request failed to ${place}: ${answer.reason}`);
}

/** A former process's promise binds this one. */
export function recallPromise({ promises, state }: NodeContext): void {
  const former = promises.former();
  if (former !== null && former.until > (state.failsafe.promise?.until ?? 0)) state.failsafe.promise = former;
}

/** What POST /failsafe is answered with; a 200 is a promise, kept on disk as well before it is given. */
export function takeHeartbeat(
  context: NodeContext,
  beat: FailsafeHeartbeat,
): { readonly status: number; readonly text: string; readonly lsn: Lsn | null } {
  const { clock, promises, state } = context;
  const { dynamic } = state.settings;
  if (!dynamic.failsafeMode) return answer(502, "Failsafe mode is not enabled");
  const obstacle = whyNotPromise(context, beat);
  if (obstacle !== null) return answer(500, obstacle);
  const until = ms(clock.now() + Math.max(dynamic.ttlMs, beat.ttl ?? 0));
  const before = state.failsafe.promise;
  const promise = { leader: beat.name, until: ms(Math.max(until, before?.until ?? 0)) };
  if (!promises.save(promise)) return answer(500, "The promise cannot be written down");
  state.failsafe.promise = promise;
  state.failsafe.slots = beat.slots;
  const status = state.local.status;
  const positions = status === null ? [] : [status.receivedLsn, status.replayedLsn];
  return { status: 200, text: "Accepted", lsn: positions.reduce((a, b) => (a === null || (b !== null && b > a) ? b : a), null) };
}

function answer(status: number, text: string): { readonly status: number; readonly text: string; readonly lsn: null } {
  return { status, text, lsn: null };
}

/** Null where nothing here leads, is about to, or sees somebody else do so. */
function whyNotPromise({ state }: NodeContext, beat: FailsafeHeartbeat): string | null {
  const { cluster, held, local, settings, task } = state;
  const self = settings.node.name;
  const starts = task !== null && (task.kind === "start" || task.kind === "restart") && local.lastRole === "primary";
  const makesPrimary = starts || task?.kind === "promote" || task?.kind === "bootstrap";
  // A server that has not said yet what it is may be a primary.
  const runs = local.process.kind === "running" && (local.status === null ? local.lastRole !== "replica" : !local.status.inRecovery);
  if (held !== null || runs || makesPrimary) return "Running as a leader";
  const leader = cluster?.leader?.name ?? null;
  if (leader === self) return "Running as a leader";
  if (beat.name === self) return "Not for this node";
  if (state.dcsFailure === null && leader !== null && leader !== beat.name) return `${leader} holds the leader lock`;
  return null;
}
