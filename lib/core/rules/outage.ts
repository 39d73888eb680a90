// Rules for the time in which the DCS is out of reach: the lease is what it was, never longer. Pure.

import { ms } from "../../model/units.ts";
import type { Effect } from "../decision.ts";
import { didThisCycle, hasData, isPaused, isRunning, leaseRemaining, retryAt, runsAsPrimary } from "../facts.ts";
import { stopInstant } from "../lease.ts";
import type { Observation } from "../observation.ts";
import { inSection, type Rule, wait, waitAtMost } from "../rule.ts";

/** With less than this a fast stop would not come to its checkpoint. */
const FAST_STOP_MIN_MS = 500;

export const outageRules: readonly Rule[] = inSection(isAway, [
  {
    id: "outage-paused",
    when: (o) => o.dcs.kind === "unreachable" && isPaused(o),
    then: (o) => waitAtMost(o, 1000),
    why: () => "DCS is not accessible, paused: nothing is changed",
  },
  {
    id: "outage-retry",
    when: (o) =>
      o.dcs.kind === "unreachable" &&
      o.lock.held !== null &&
      isRunning(o) &&
      runsAsPrimary(o) &&
      stopAt(o) > o.now &&
      didThisCycle(o, "renew-lock") === null,
    then: () => ({ kind: "renew-lock" }),
    why: () => "DCS is not accessible: the lock is tried again within its lease",
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
    when: (o) => o.dcs.kind === "unreachable" && !isRunning(o) && hasData(o) && retryAt(o, "start") === null,
    then: () => ({ kind: "start", role: "standby", target: null, syncNames: null }),
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
  return { kind: "stop", mode: left > FAST_STOP_MIN_MS ? "fast" : "immediate", within: ms(Math.max(0, left)) };
}

function isAway(o: Observation): boolean {
  return o.dcs.kind === "unreachable";
}

/** When the holder has to begin stopping: the guard's budget and a fast stop's time before the lease ends. */
function stopAt(o: Observation): number {
  const held = o.lock.held;
  if (held === null) return o.now;
  return stopInstant({ leaseEndsAt: held.leaseEndsAt, stopBudgetMs: o.self.stopBudgetMs, ttl: o.config.ttlMs });
}
