// Rules of failsafe mode for standbys: who has agreed that the primary goes on without the DCS, or is not known to the key, does not lead.
// They stand among the races for the free lock, and before the promotions. Pure.

import type { FollowTarget } from "../../model/postgres.ts";
import type { Effect } from "../decision.ts";
import { didThisCycle, lockIsFree, lockIsOurs, runsAsStandby, sameSource } from "../facts.ts";
import { isUnknownToFailsafe, promisedTo } from "../failsafe.ts";
import type { Observation } from "../observation.ts";
import { type Rule, waitAtMost, waitCycle } from "../rule.ts";
import { advanceEffect, advanceIsDue } from "../slots-plan.ts";

export const raceFailsafeRules: readonly Rule[] = [
  {
    id: "race-failsafe-slots",
    when: (o) => races(o) && promisedTo(o) !== null && advanceIsDue(o) && didThisCycle(o, "sync-slots") === null,
    then: advanceEffect,
    why: () => "the replication slots follow, by what the primary tells without the DCS",
  },
  {
    id: "race-failsafe-promised",
    when: (o) => races(o) && promisedTo(o) !== null,
    then: untilPromiseIsOver,
    why: (o) => `no action. I am (${o.self.name}), a secondary, and following a leader (${promisedTo(o)?.leader})`,
  },
  {
    id: "race-failsafe-unknown",
    when: (o) => races(o) && isUnknownToFailsafe(o),
    then: waitCycle,
    why: () => "following a different leader because i am not the healthiest node: the failsafe key does not name me",
  },
];

export const promoteFailsafeRules: readonly Rule[] = [
  {
    id: "promote-failsafe-promised",
    when: (o) => holds(o) && promisedTo(o) !== null,
    then: untilPromiseIsOver,
    why: (o) => `not promoted yet: I have agreed that ${promisedTo(o)?.leader} goes on as the leader without the DCS`,
  },
  {
    id: "promote-failsafe-unknown",
    when: (o) => holds(o) && isUnknownToFailsafe(o),
    then: (o) => (didThisCycle(o, "release-lock") === null ? { kind: "release-lock" } : waitAtMost(o, 500)),
    why: () => "the lock is released: the failsafe key does not name me",
  },
];

/** Whoever leads without the DCS is still where this standby got its WAL from. */
export function promisedSource(o: Observation): FollowTarget | null {
  return promisedTo(o) === null ? null : sameSource(o);
}

function races(o: Observation): boolean {
  return lockIsFree(o) && runsAsStandby(o);
}

function holds(o: Observation): boolean {
  return lockIsOurs(o) && runsAsStandby(o);
}

function untilPromiseIsOver(o: Observation): Effect {
  return waitAtMost(o, Math.max(1, (promisedTo(o)?.until ?? o.now) - o.now));
}
