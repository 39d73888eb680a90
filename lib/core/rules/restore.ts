// Rules for the time in which the cluster is restored from a backup (docs/adr/0009) or upgraded to a new major version (docs/adr/0007):
// everybody stops, nobody races, the named node keeps the lock, replaces its data and leads, the others copy it. The phase in the DCS says
// where it stands, so any of them may die at any step. Pure.

import { leaderMember } from "../../model/cluster.ts";
import { ms } from "../../model/units.ts";
import { identifierAfter, lackingLastWal } from "../../model/upgrade.ts";
import type { Effect } from "../decision.ts";
import {
  clusterOf,
  didThisCycle,
  isPaused,
  isRunning,
  leaderIsServing,
  leaderTarget,
  leaseIsValid,
  lockIsForeign,
  lockIsFree,
  lockIsOurs,
  retryAt,
  runsAsPrimary,
} from "../facts.ts";
import type { Observation } from "../observation.ts";
import { isGarbage, isPublished, type Overhaul, overhaulOf, overhaulText, staysDown } from "../overhaul.ts";
import { inSection, type Rule, wait, waitAtMost, waitCycle } from "../rule.ts";
import { copyOfLeader } from "./member.ts";
import { stopWithCheckpoint } from "./outage.ts";
import { mustRenew } from "./process.ts";

/** Of the stop of a busy standby; a primary has the time that its lease leaves it. */
const STOP_LIMIT_MS = 60_000;
/** What waits for an operator is told again for whoever reads only the end of the log. */
const FAILED_TOLD_EVERY_MS = 60_000;
/** A standby that does not stream for as long gets no more of a primary that has stopped. */
const LAST_WAL_WITHIN_MS = 5_000;

/** Member states in which nothing of PostgreSQL runs. */
const DOWN_STATES: ReadonlySet<string> = new Set(["stopped", "crashed", "start failed", "restart failed", "custom bootstrap failed"]);

export const restoreRules: readonly Rule[] = inSection(isRestoring, [
  {
    id: "restore-renew",
    when: (o) => isRestoring(o) && mustRenew(o),
    then: () => ({ kind: "renew-lock" }),
    why: () => "the lock is renewed: nobody else is to lead while the cluster is restored or upgraded",
  },
  {
    id: "restore-paused",
    when: (o) => isRestoring(o) && isPaused(o) && !isRunning(o),
    then: waitCycle,
    why: (o) => `paused: the cluster is to be ${textOf(o)}, and that waits`,
  },
  {
    id: "restore-stop",
    when: (o) =>
      staysDown(o) && isReadable(o) && isRunning(o) && !awaitsLastWal(o) && (!runsAsPrimary(o) || (lockIsOurs(o) && leaseIsValid(o))),
    then: (o) => (runsAsPrimary(o) ? stopWithCheckpoint(o) : { kind: "stop", mode: "fast", within: ms(STOP_LIMIT_MS) }),
    why: (o) => `the cluster is ${textOf(o)}: PostgreSQL is stopped`,
  },
  {
    id: "restore-drain",
    when: (o) => staysDown(o) && isReadable(o) && isRunning(o) && awaitsLastWal(o),
    then: (o) => waitAtMost(o, 300),
    why: (o) => `the cluster is ${textOf(o)}: this standby goes on until it has the last WAL of '${requestOf(o)?.node}'`,
  },
  ...inSection(isDown, [
    {
      id: "restore-acquire",
      when: (o) => isDown(o) && worksHere(o) && lockIsFree(o) && didThisCycle(o, "acquire-lock") === null,
      then: () => ({ kind: "acquire-lock" }),
      why: (o) => `the cluster is ${textOf(o)} on this node: it keeps the lock meanwhile`,
    },
    {
      id: "restore-unconfirmed",
      when: (o) => isDown(o) && lockIsOurs(o) && !leaseIsValid(o),
      then: (o) => waitAtMost(o, 300),
      why: () => "the lock is ours, but it was not confirmed in time: nothing is done before it is",
    },
    {
      id: "restore-yield",
      when: (o) => isDown(o) && lockIsOurs(o) && requestOf(o)?.node !== o.self.name && didThisCycle(o, "release-lock") === null,
      then: () => ({ kind: "release-lock" }),
      why: (o) => (isReadable(o) ? `the cluster is ${textOf(o)} on '${requestOf(o)?.node}': the lock is released` : waitWhy(o)),
    },
    {
      id: "restore-stopped",
      when: (o) => isDown(o) && leadsWork(o, "stop") && workOf(o) === "upgrade" && didThisCycle(o, "write-restore") === null,
      then: () => ({ kind: "write-restore", of: "upgrade", phase: "drain" }),
      why: () => "this primary is stopped: the standbys are to have its shutdown checkpoint, and then to stop",
    },
    {
      id: "restore-begin",
      when: (o) => isDown(o) && leadsWork(o, lastStop(o)) && stillUp(o).length === 0 && didThisCycle(o, "write-restore") === null,
      then: beginWork,
      why: (o) => `every server of the cluster is stopped: it is ${textOf(o)} now`,
    },
    {
      id: "restore-run",
      when: (o) => isDown(o) && leadsWork(o, workOf(o)) && retryAt(o, "restore") === null,
      then: () => ({ kind: "restore", step: "forward" }),
      why: (o) => `the cluster is ${textOf(o)}${target(o)}`,
    },
    {
      id: "restore-finish",
      when: (o) => isDown(o) && leadsWork(o, "clone") && retryAt(o, "restore") === null,
      then: () => ({ kind: "restore", step: "forward" }),
      why: () => "what was made is taken into use",
    },
    {
      id: "restore-undo",
      when: (o) => isDown(o) && leadsWork(o, "undo") && retryAt(o, "restore") === null,
      then: () => ({ kind: "restore", step: "back" }),
      why: () => "it is undone: the old data directory is put back",
    },
    {
      id: "restore-clone-retry",
      when: (o) => isDown(o) && mayCopy(o) && retryAt(o, "clone") !== null,
      then: (o) => wait(retryAt(o, "clone") ?? o.now),
      why: (o) => `the copy of the new data failed: ${o.lastTask?.message}`,
    },
    {
      id: "restore-clone",
      when: (o) => isDown(o) && mayCopy(o),
      then: (o) => copyOfLeader(o, requestOf(o)?.id ?? null),
      why: (o) => `the cluster was ${textOf(o)}: the data is replaced by a copy of '${o.dcs.cluster?.leader?.name}'`,
    },
    {
      id: "restore-wait",
      when: isDown,
      then: (o) =>
        requestOf(o)?.phase === "failed" ? { ...waitAtMost(o, 1000), toldEvery: ms(FAILED_TOLD_EVERY_MS) } : waitAtMost(o, 1000),
      why: waitWhy,
    },
  ]),
  {
    id: "restore-done",
    when: (o) =>
      isRestoring(o) &&
      requestOf(o)?.phase === "clone" &&
      lockIsOurs(o) &&
      leadsRestored(o) &&
      uncopied(o).length === 0 &&
      isComplete(o) &&
      didThisCycle(o, "write-restore") === null,
    then: (o) => ({ kind: "write-restore", of: workOf(o), phase: "done" }),
    why: (o) => `every member has the new data: the cluster was ${textOf(o)}`,
  },
]);

/** The restore or the upgrade that is under way. */
function requestOf(o: Observation): Overhaul["request"] | null {
  return overhaulOf(clusterOf(o))?.request ?? null;
}

function workOf(o: Observation): Overhaul["of"] {
  return overhaulOf(clusterOf(o))?.of ?? "restore";
}

function textOf(o: Observation): string {
  const overhaul = overhaulOf(clusterOf(o));
  return overhaul === null ? "" : overhaulText(overhaul);
}

/** Only what the DCS says now counts: while it is away, the rules of an outage do. */
function isRestoring(o: Observation): boolean {
  return o.dcs.kind === "reachable" && requestOf(o) !== null;
}

/** Garbage stops no server that runs: in the middle of a restore those who must not run are down, and stay so. */
function isReadable(o: Observation): boolean {
  const overhaul = overhaulOf(clusterOf(o));
  return overhaul !== null && !isGarbage(overhaul);
}

/** The phase in which the last servers stop. */
function lastStop(o: Observation): "stop" | "drain" {
  return workOf(o) === "upgrade" ? "drain" : "stop";
}

/** A standby that lacks the last WAL of all stands against the work: whoever wants to go back may have nothing else. */
function beginWork(o: Observation): Effect {
  const overhaul = overhaulOf(clusterOf(o));
  if (overhaul?.of !== "upgrade") return { kind: "write-restore", of: "restore", phase: "restore" };
  return { kind: "write-restore", of: "upgrade", phase: lackingLastWal(overhaul.request).length === 0 ? "upgrade" : "failed" };
}

/** A standby serves its readers until its primary has stopped, and then gets its last WAL. */
function awaitsLastWal(o: Observation): boolean {
  const overhaul = overhaulOf(clusterOf(o));
  if (overhaul?.of !== "upgrade" || runsAsPrimary(o) || overhaul.request.node === o.self.name) return false;
  const { phase, checkpoint, direction, received } = overhaul.request;
  // A primary that ended without a shutdown checkpoint has sent what it will ever send.
  if (direction === "back" || (phase === "drain" && checkpoint === null)) return false;
  if (phase === "stop") return true;
  const since = o.local.notStreamingSince;
  return phase === "drain" && !received.includes(o.self.name) && (since === null || o.now - since < LAST_WAL_WITHIN_MS);
}

/** Nothing is left to do but for the copies. */
function isComplete(o: Observation): boolean {
  const overhaul = overhaulOf(clusterOf(o));
  return overhaul !== null && (overhaul.of === "restore" || overhaul.request.analyzed);
}

function isDown(o: Observation): boolean {
  return staysDown(o) && !isRunning(o);
}

/** This node has something to do for which it needs the lock. */
function worksHere(o: Observation): boolean {
  const request = requestOf(o);
  return request?.node === o.self.name && request.phase !== "failed";
}

/** The lock is ours and confirmed, and it is our turn in that phase. */
function leadsWork(o: Observation, phase: Overhaul["request"]["phase"]): boolean {
  return worksHere(o) && requestOf(o)?.phase === phase && lockIsOurs(o) && leaseIsValid(o);
}

/** The other members that have not said that they are stopped. */
function stillUp(o: Observation): readonly string[] {
  const others = (clusterOf(o)?.members ?? []).filter(({ name }) => name !== o.self.name);
  return others.filter(({ state }) => !DOWN_STATES.has(state)).map(({ name }) => name);
}

/** This primary is of the new data, whoever made it: somebody who had copied it may have taken over. */
function leadsRestored(o: Observation): boolean {
  const overhaul = overhaulOf(clusterOf(o));
  if (!runsAsPrimary(o) || overhaul === null) return false;
  if (overhaul.of === "upgrade") return o.local.systemIdentifier === identifierAfter(overhaul.request);
  const from = overhaul.request.timeline;
  const own = o.local.status?.timeline ?? null;
  return from !== null && own !== null && own >= from;
}

/** The other members that are here and whose data is neither what was restored nor yet a copy of it. */
function uncopied(o: Observation): readonly string[] {
  const request = requestOf(o);
  const others = (clusterOf(o)?.members ?? []).filter(({ name }) => name !== o.self.name && name !== request?.node);
  return others.filter(({ name }) => request?.cloned.includes(name) === false).map(({ name }) => name);
}

/** Somebody serves what was made, and it can be copied: its timeline, or the identifier, says that it is not the old cluster. */
function mayCopy(o: Observation): boolean {
  const overhaul = overhaulOf(clusterOf(o));
  const cluster = clusterOf(o);
  if (overhaul?.request.phase !== "clone" || cluster === null || !lockIsForeign(o)) return false;
  if (!leaderIsServing(o) || leaderTarget(o) === null || !isPublished(overhaul, cluster.initialize)) return false;
  if (overhaul.of === "restore") return (leaderMember(cluster)?.timeline ?? 0) >= (overhaul.request.timeline ?? 0);
  const { node, cloned } = overhaul.request;
  return cluster.leader !== null && [node, ...cloned].includes(cluster.leader.name);
}

function target(o: Observation): string {
  const overhaul = overhaulOf(clusterOf(o));
  if (overhaul?.of !== "restore" || overhaul.request.direction === "back") return "";
  const time = overhaul.request.target;
  return time === null ? ", to the end of the archive" : `, to ${time}`;
}

function waitWhy(o: Observation): string {
  const overhaul = overhaulOf(clusterOf(o));
  if (overhaul === null) return "";
  const { phase, node, message } = overhaul.request;
  if (isGarbage(overhaul)) return `PostgreSQL stays stopped: ${message}`;
  if (phase === "failed")
    return `the ${overhaul.of} failed, and an operator has to say how it goes on (${WAYS_ON[overhaul.of]}): ${message}`;
  if ((phase === "stop" || phase === "drain") && node === o.self.name)
    return `the cluster is to be ${textOf(o)}: waiting until ${stillUp(o).join(", ")} is stopped`;
  if (node === o.self.name && !lockIsOurs(o))
    return `the cluster is ${textOf(o)} on this node, but the lock is not its own: ${o.dcs.cluster?.leader?.name}`;
  if (phase === "clone") return `waiting for '${node}' to serve the new data`;
  return `the cluster is ${textOf(o)} on '${node}': PostgreSQL stays stopped`;
}

const WAYS_ON: Readonly<Record<Overhaul["of"], string>> = {
  restore: "ctl restore --retry or --undo",
  upgrade: "ctl upgrade --run or --rollback",
};
