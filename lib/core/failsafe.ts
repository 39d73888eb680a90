// Owns the judgements of failsafe mode (safety.md): who has to agree that the primary goes on without the DCS, when they are asked, and
// who may not lead meanwhile. Pure.

import type { Cluster } from "../model/cluster.ts";
import type { FailsafeMembers, FailsafePromise } from "../model/failsafe.ts";
import type { Ms } from "../model/units.ts";
import { runsAsPrimary } from "./facts.ts";
import { stopInstant } from "./lease.ts";
import type { Observation } from "./observation.ts";

export interface FailsafeFacts {
  /** The others of the last known failsafe key; null where failsafe mode is of no use: off, no key, or this node is not in it. */
  readonly voters: readonly string[] | null;
  /** The key does not name the members as they are. False where this node does not keep it. */
  readonly keyStale: boolean;
  /** Before the last unanimous round was sent; null where there was none since the lock was last confirmed. */
  readonly roundAt: Ms | null;
  /** End of the lease by arithmetic, also while it is in doubt; null without the lock. */
  readonly leaseCountsUntil: Ms | null;
  /** Given to another node and not over yet. */
  readonly promise: FailsafePromise | null;
}

export const NO_FAILSAFE: FailsafeFacts = { voters: null, keyStale: false, roundAt: null, leaseCountsUntil: null, promise: null };

/** What the failsafe key should say: every member whose address is known, and this node. */
export function failsafeMembers(cluster: Cluster, self: { readonly name: string; readonly apiUrl: string }): FailsafeMembers {
  const members: Record<string, string> = {};
  for (const { name, apiUrl } of cluster.members) if (apiUrl !== null) members[name] = apiUrl;
  members[self.name] = self.apiUrl;
  return members;
}

export function sameMembers(a: FailsafeMembers | null, b: FailsafeMembers): boolean {
  if (a === null) return false;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}

/** What this node, as the holder, has written of the key: the key names nobody beyond the snapshot, `written` and `maybe`. */
export interface KeyTrace {
  /** Confirmed last. */
  readonly written: FailsafeMembers;
  /** Of writes whose outcome is not known, since then. */
  readonly maybe: FailsafeMembers;
}

export const NO_KEY_TRACE: KeyTrace = { written: {}, maybe: {} };

/** Folds a write in that is about to be sent. */
export function traceKeyWrite(trace: KeyTrace, members: FailsafeMembers): KeyTrace {
  return { ...trace, maybe: { ...trace.maybe, ...members } };
}

/** Folds its confirmation in: an earlier write can no longer be applied (its transaction holds on an earlier mark alone). */
export function traceKeyWritten(members: FailsafeMembers): KeyTrace {
  return { written: members, maybe: {} };
}

/** Everybody else whom the key may name, with the address known last; null where the key does not name this node. */
export function failsafeVoters(key: FailsafeMembers | null, trace: KeyTrace, self: string): FailsafeMembers | null {
  if (key === null || key[self] === undefined) return null;
  const { [self]: _self, ...others } = { ...trace.written, ...key, ...trace.maybe };
  return others;
}

/** A node that is missing from a key that names others may never lead: its answer was not asked for. Nobody waits for it either. */
export function isUnknownToFailsafe(o: Observation, name = o.self.name): boolean {
  const key = o.dcs.cluster?.failsafe ?? null;
  return o.config.failsafeMode && key !== null && Object.keys(key).length > 0 && key[name] === undefined;
}

/** Its promise to another primary still binds this node. */
export function promisedTo(o: Observation): FailsafePromise | null {
  const { promise } = o.failsafe;
  return promise !== null && promise.until > o.now ? promise : null;
}

/** The lease has been prolonged by the other members. */
export function failsafeIsActive(o: Observation): boolean {
  return o.failsafe.roundAt !== null;
}

/** This primary may ask the others to agree: there is a lease to go on from, and time for an answer. */
export function mayAskFailsafe(o: Observation): boolean {
  const { voters, leaseCountsUntil } = o.failsafe;
  if (voters === null || leaseCountsUntil === null || o.lock.held === null || !runsAsPrimary(o)) return false;
  return stopInstant({ leaseEndsAt: leaseCountsUntil, stopBudgetMs: o.self.stopBudgetMs, ttl: o.config.leaseTtlMs }) > o.now;
}

/** When the next round is due: once a loop_wait, and at least four times a lease. */
export function nextRound(o: Observation): number {
  const { roundAt } = o.failsafe;
  const doubted = o.lock.held !== null && o.lock.held.leaseEndsAt <= o.now;
  return roundAt === null || doubted ? o.now : roundAt + 0.9 * Math.min(o.config.loopWaitMs, o.config.leaseTtlMs / 4);
}
