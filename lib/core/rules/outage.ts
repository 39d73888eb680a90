// Rules for the time in which the DCS is out of reach: the lease is what it was, never longer. Pure.

import { ms } from "../../model/units.ts";
import type { Effect } from "../decision.ts";
import { didThisCycle, hasData, isPaused, isRunning, leaseRemaining, retryAt, runsAsPrimary, sameSource } from "../facts.ts";
import { failsafeIsActive, mayAskFailsafe, nextRound, promisedTo } from "../failsafe.ts";
import { stopInstant } from "../lease.ts";
import type { Observation } from "../observation.ts";
import { staysDown } from "../overhaul.ts";
import { inSection, type Rule, wait, waitAtMost } from "../rule.ts";
import { advanceEffect, advanceIsDue } from "../slots-plan.ts";
import { type RetainedSlots, slotsStatus } from "../slots-status.ts";
import { primaryStopTimeout } from "../time-limits.ts";

/** With less than this a fast stop would not come to its checkpoint. */
const FAST_STOP_MIN_MS = 500;

/** Who is retained is published with the lock alone. */
const NOTHING_RETAINED: RetainedSlots = new Map();

export const outageRules: readonly Rule[] = inSection(isAway, [
  {
    id: "outage-paused",
    when: (o) => o.dcs.kind === "unreachable" && isPaused(o),
    then: (o) => waitAtMost(o, 1000),
    why: () => "DCS is not accessible",
  },
  {
    id: "outage-retry",
    when: (o) =>
      o.dcs.kind === "unreachable" &&
      o.lock.held !== null &&
      isRunning(o) &&
      runsAsPrimary(o) &&
      stopAt(o) > o.now &&
      !failsafeIsActive(o) &&
      didThisCycle(o, "renew-lock") === null,
    then: () => ({ kind: "renew-lock" }),
    why: () => "DCS is not accessible: the lock is tried again within its lease",
  },
  {
    id: "outage-failsafe",
    when: (o) => o.dcs.kind === "unreachable" && mayAskFailsafe(o) && nextRound(o) <= o.now && didThisCycle(o, "ask-failsafe") === null,
    then: (o) => ({ kind: "ask-failsafe", slots: slotsStatus(o, NOTHING_RETAINED).slots }),
    why: () => "DCS is not accessible: do all members agree that I go on as the leader?",
  },
  {
    id: "outage-failsafe-refused",
    when: (o) => o.dcs.kind === "unreachable" && runsAsPrimary(o) && didThisCycle(o, "ask-failsafe")?.ok === false,
    then: stopWithinLease,
    why: () => "demoting self because DCS is not accessible and I was a leader",
  },
  {
    id: "outage-failsafe-slots",
    when: (o) =>
      o.dcs.kind === "unreachable" &&
      (failsafeIsActive(o) || promisedTo(o) !== null) &&
      advanceIsDue(o) &&
      didThisCycle(o, "sync-slots") === null,
    then: advanceEffect,
    why: () => "the replication slots follow, by what primary and members tell each other without the DCS",
  },
  {
    id: "outage-failsafe-keep",
    when: (o) => o.dcs.kind === "unreachable" && mayAskFailsafe(o) && failsafeIsActive(o) && stopAt(o) > o.now,
    then: (o) => wait(ms(Math.min(o.now + 1000, nextRound(o), stopAt(o)))),
    why: () => "continue to run as a leader because failsafe mode is enabled and all members are accessible",
  },
  {
    id: "outage-keep",
    when: (o) => o.dcs.kind === "unreachable" && o.lock.held !== null && runsAsPrimary(o) && stopAt(o) > o.now,
    then: (o) => wait(ms(Math.min(o.now + 1000, stopAt(o)))),
    why: (o) => `DCS is not accessible, the lease runs for another ${Math.round(leaseRemaining(o))} ms`,
  },
  {
    id: "outage-demote",
    when: (o) => o.dcs.kind === "unreachable" && runsAsPrimary(o),
    then: stopWithinLease,
    why: () => "demoting self because DCS is not accessible and I was a leader",
  },
  {
    id: "outage-start-standby",
    when: (o) => o.dcs.kind === "unreachable" && !isRunning(o) && hasData(o) && !staysDown(o) && retryAt(o, "start") === null,
    then: (o) => ({ kind: "start", role: "standby", target: sameSource(o), syncNames: null }),
    why: () => "DCS is not accessible: PostgreSQL serves reads as a standby",
  },
  {
    id: "outage-wait",
    when: (o) => o.dcs.kind === "unreachable",
    then: (o) => waitAtMost(o, 1000),
    why: () => "DCS is not accessible",
  },
]);

/** The stop of a primary whose lock is not renewed any more: as orderly as the lease leaves time for, at once where there is none. */
export function stopWithinLease(o: Observation): Effect {
  const left = leaseRemaining(o) - o.self.stopBudgetMs;
  const within = Math.min(left, primaryStopTimeout(o.config) ?? left);
  return { kind: "stop", mode: left > FAST_STOP_MIN_MS ? "fast" : "immediate", within: ms(Math.max(0, within)) };
}

/** The same for what needs the shutdown checkpoint: no standby is to lead sooner for it, so `primary_stop_timeout` has no say. */
export function stopWithCheckpoint(o: Observation): Effect {
  return stopWithinLease({ ...o, config: { ...o.config, primaryStopTimeoutMs: ms(0) } });
}

function isAway(o: Observation): boolean {
  return o.dcs.kind === "unreachable";
}

/** When the holder has to begin stopping: the guard's budget and a fast stop's time before the lease ends. */
function stopAt(o: Observation): number {
  const held = o.lock.held;
  if (held === null) return o.now;
  return stopInstant({ leaseEndsAt: held.leaseEndsAt, stopBudgetMs: o.self.stopBudgetMs, ttl: o.config.leaseTtlMs });
}
