// Rules for what is left of the way back from a restore (docs/adr/0009): the mark beside the data directory says that the data from before it
// may lie there, whole and unmarked otherwise. Before anything is started or judged by it, it is settled by what the DCS says. Pure.

import { wayBackStanding } from "../../model/restore.ts";
import { ms } from "../../model/units.ts";
import { clusterOf, isPaused, isRunning, leaseIsValid, lockIsOurs, retryAt, runsAsPrimary } from "../facts.ts";
import type { Observation } from "../observation.ts";
import { inSection, type Rule, wait, waitAtMost } from "../rule.ts";
import { stopWithCheckpoint } from "./outage.ts";

/** As of a restore. */
const STOP_LIMIT_MS = 60_000;

export const wayBackRules: readonly Rule[] = inSection(hasMark, [
  {
    id: "way-back-unknown",
    when: (o) => hasMark(o) && o.dcs.kind === "unreachable" && !isRunning(o),
    then: (o) => waitAtMost(o, 1000),
    why: (o) => `the way back from restore ${o.local.wayBack} has begun here, and the DCS does not say how it stands: nothing is started`,
  },
  {
    id: "way-back-stop",
    when: (o) => isGivenUp(o) && isRunning(o) && !isPaused(o) && (!runsAsPrimary(o) || (lockIsOurs(o) && leaseIsValid(o))),
    then: (o) => (runsAsPrimary(o) ? stopWithCheckpoint(o) : { kind: "stop", mode: "fast", within: ms(STOP_LIMIT_MS) }),
    why: (o) => `the way back from restore ${o.local.wayBack} was given up: what runs with the data from before it is stopped`,
  },
  {
    id: "way-back-retry",
    when: (o) => isOver(o) && !isRunning(o) && retryAt(o, "restore") !== null,
    then: (o) => wait(retryAt(o, "restore") ?? o.now),
    why: (o) => `what is left of the way back from restore ${o.local.wayBack} could not be settled: ${o.lastTask?.message}`,
  },
  {
    id: "way-back-settle",
    when: (o) => isOver(o) && !isRunning(o),
    then: () => ({ kind: "restore", step: "settle" }),
    why: (o) => `what is left of the way back from restore ${o.local.wayBack} is settled before anything is started`,
  },
]);

function hasMark(o: Observation): boolean {
  return o.local.wayBack !== null;
}

/** Only what the DCS says now counts. */
function standingOf(o: Observation): ReturnType<typeof wayBackStanding> | null {
  const { wayBack } = o.local;
  return wayBack === null || o.dcs.kind === "unreachable" ? null : wayBackStanding(clusterOf(o)?.restore ?? null, wayBack);
}

function isGivenUp(o: Observation): boolean {
  return standingOf(o) === "given-up";
}

/** Nobody goes on with it. */
function isOver(o: Observation): boolean {
  const standing = standingOf(o);
  return standing === "given-up" || standing === "in-force";
}
