// Owns small questions about an observation that several rules ask. Pure.

import { type Cluster, findMember, leaderMember } from "../model/cluster.ts";
import type { Member } from "../model/member.ts";
import type { FollowTarget } from "../model/postgres.ts";
import { slotName } from "../model/slot-name.ts";
import { type Ms, ms, type Timeline } from "../model/units.ts";
import type { EffectKind } from "./decision.ts";
import type { Observation, Outcome } from "./observation.ts";

export function clusterOf(o: Observation): Cluster | null {
  return o.dcs.cluster;
}

/** The snapshot shows the lock under our own session. */
export function lockIsOurs(o: Observation): boolean {
  const leader = o.dcs.cluster?.leader ?? null;
  return leader !== null && leader.session !== null && leader.session === o.self.session && leader.name === o.self.name;
}

/** The snapshot shows the lock under somebody else's session (a former process of ours counts as somebody else). */
export function lockIsForeign(o: Observation): boolean {
  const leader = o.dcs.cluster?.leader ?? null;
  return leader !== null && !lockIsOurs(o);
}

export function lockIsFree(o: Observation): boolean {
  return o.dcs.cluster !== null && o.dcs.cluster.leader === null;
}

/** An operator wants the stopped server of a paused cluster back. */
export function restartsStopped(o: Observation): boolean {
  return isPaused(o) && o.requests.restart && !isRunning(o);
}

/** By what it left behind, and where that does not tell, by what it was seen as. */
export function wasPrimary(o: Observation): boolean {
  const state = o.local.control?.state;
  return (
    state === "in production" ||
    state === "shut down" ||
    state === "shutting down" ||
    (state === "in crash recovery" && o.local.lastRole === "primary")
  );
}

/** The published history says that this timeline was left: somebody else was promoted since. */
export function timelineHasEnded(o: Observation, timeline: Timeline | null): boolean {
  return timeline !== null && (clusterOf(o)?.history ?? []).some((line) => line.timeline >= timeline);
}

export function leaseRemaining(o: Observation): Ms {
  return ms(o.lock.held === null ? 0 : o.lock.held.leaseEndsAt - o.now);
}

export function leaseIsValid(o: Observation): boolean {
  return leaseRemaining(o) > 0;
}

/** Running, and out of recovery. */
export function runsAsPrimary(o: Observation): boolean {
  return o.local.process.kind === "running" && (o.local.status === null ? o.local.lastRole === "primary" : !o.local.status.inRecovery);
}

export function runsAsStandby(o: Observation): boolean {
  return o.local.process.kind === "running" && o.local.status?.inRecovery === true;
}

export function isRunning(o: Observation): boolean {
  return o.local.process.kind === "running";
}

/** So long without a status is no late answer: an operator's restart is what helps, where it is asked for. */
const UNASKABLE_AFTER_MS = 5_000;

/** A restart was asked for, and the running server cannot be asked what it is: login refused, no slot left, hung. */
export function restartsUnaskable(o: Observation): boolean {
  const since = o.local.statusMissingSince;
  return o.requests.restart && isRunning(o) && o.local.status === null && since !== null && o.now - since >= UNASKABLE_AFTER_MS;
}

export function hasData(o: Observation): boolean {
  return o.local.dataDirectory.kind === "valid";
}

export function isPaused(o: Observation): boolean {
  return o.config.pause;
}

/** Outcomes of this kind in this cycle. */
export function didThisCycle(o: Observation, kind: EffectKind): Outcome | null {
  // Many rules ask: a loop makes no closure.
  for (let index = o.done.length - 1; index >= 0; index -= 1) {
    const outcome = o.done[index];
    if (outcome?.kind === kind) return outcome;
  }
  return null;
}

/** Next regular look: one loop_wait from now. */
export function nextCycle(o: Observation): Ms {
  return ms(o.now + o.config.loopWaitMs);
}

/** Retry delay after repeated failures: 1 s, 2 s, 4 s …, at most loop_wait (at least 1 s). */
export function backoff(o: Observation, failures: number): Ms {
  const limit = Math.max(1000, o.config.loopWaitMs);
  return ms(Math.min(limit, 1000 * 2 ** Math.min(10, Math.max(0, failures - 1))));
}

/** A failed task of this kind whose backoff is not over yet: when it will be. */
export function retryAt(o: Observation, kind: EffectKind): Ms | null {
  const last = o.lastTask;
  if (last === null || last.kind !== kind || last.ok) return null;
  const at = ms(last.finishedAt + backoff(o, last.failures));
  return at > o.now ? at : null;
}

/** A member as a source of WAL: host and port of its conn_url; null where it cannot be read. */
export function targetOf(member: Member, slotName: string | null): FollowTarget | null {
  const address = addressOf(member);
  return address === null ? null : { name: member.name, host: address.host, port: address.port, slotName };
}

type Address = { readonly host: string; readonly port: number };

function addressOf({ connUrl }: Member): Address | null {
  if (connUrl === null) return null;
  let address = addresses.get(connUrl);
  if (address === undefined) {
    if (addresses.size >= ADDRESSES_MAX) addresses.clear();
    address = addressIn(connUrl);
    addresses.set(connUrl, address);
  }
  return address;
}

/** Many rules ask for the address of the same few members. */
const addresses = new Map<string, Address | null>();
/** Bound of the memory above: a cluster has a handful of members. */
const ADDRESSES_MAX = 256;

/** Host and port of a member's conn_url; null where it cannot be read. */
export function addressIn(connUrl: string): { readonly host: string; readonly port: number } | null {
  const match = /^postgres(?:ql)?:\/\/(?:[^@/]*@)?(\[[^\]]+\]|[^:/?]+)(?::(\d+))?/.exec(connUrl);
  if (match === null) return null;
  return { host: (match[1] ?? "").replace(/^\[|\]$/g, ""), port: Number(match[2] ?? 5432) };
}

/** Where to get WAL from: the leader's member, with our slot there; null while it has not published its address. */
export function leaderTarget(o: Observation): FollowTarget | null {
  const cluster = o.dcs.cluster;
  const member = cluster === null ? null : leaderMember(cluster);
  if (member === null || member.name === o.self.name) return null;
  return targetOf(member, slotName(o.self.name));
}

/** Somebody else leads whose address is known. */
export function leaderIsKnown(o: Observation): boolean {
  const cluster = o.dcs.cluster;
  const member = cluster === null ? null : leaderMember(cluster);
  return member !== null && member.name !== o.self.name && addressOf(member) !== null;
}

export function upstreamKey(target: FollowTarget | null): string {
  return target === null ? "" : `${target.host}:${target.port}`;
}

/** The source that a server which was a standby all the time was pointed at: what it has came from there, or from before. */
export function sameSource(o: Observation): FollowTarget | null {
  return o.local.lastRole === "replica" ? o.local.source : null;
}

/** The leader runs as primary, or as the leader of a standby cluster, as far as its member key tells. */
export function leaderIsServing(o: Observation): boolean {
  const cluster = o.dcs.cluster;
  const member = cluster === null ? null : leaderMember(cluster);
  return member !== null && member.state === "running" && isServingRole(member.role);
}

const SERVING_ROLES: ReadonlySet<string> = new Set(["primary", "master", "promoted", "standby_leader"]);

/** A role that only a leader has. */
export function isServingRole(role: string): boolean {
  return SERVING_ROLES.has(role);
}

export function ownMember(o: Observation): Member | null {
  return o.dcs.cluster === null ? null : findMember(o.dcs.cluster, o.self.name);
}

/** Own position: written, or the higher of received and replayed. */
export function ownLsn(o: Observation): bigint | null {
  const status = o.local.status;
  if (status === null) return null;
  if (!status.inRecovery) return status.walLsn;
  const received = status.receivedLsn ?? 0n;
  const replayed = status.replayedLsn ?? 0n;
  const highest = received > replayed ? received : replayed;
  return highest === 0n ? null : highest;
}
