// Rules for the time in which the cluster is restored from a backup (docs/adr/0009): everybody stops, nobody races, the named node keeps
// the lock, restores and leads, the others copy it. The phase in the DCS says where it stands, so any of them may die at any step. Pure.

import { leaderMember } from "../../model/cluster.ts";
import { isUnderWay, isUnreadable, type RestoreRequest } from "../../model/restore.ts";
import { ms } from "../../model/units.ts";
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
import { inSection, type Rule, wait, waitAtMost, waitCycle } from "../rule.ts";
import { copyOfLeader } from "./member.ts";
import { stopWithinLease } from "./outage.ts";
import { mustRenew } from "./process.ts";

/** Of the stop of a busy standby; a primary has the time that its lease leaves it. */
const STOP_LIMIT_MS = 60_000;

/** Member states in which nothing of PostgreSQL runs. */
const DOWN_STATES: ReadonlySet<string> = new Set(["stopped", "crashed", "start failed", "restart failed", "custom bootstrap failed"]);

export const restoreRules: readonly Rule[] = inSection(isRestoring, [
  {
    id: "restore-renew",
    when: (o) => isRestoring(o) && mustRenew(o),
    then: () => ({ kind: "renew-lock" }),
    why: () => "the lock is renewed: nobody else is to lead while the cluster is restored",
  },
  {
    id: "restore-paused",
    when: (o) => isRestoring(o) && isPaused(o) && !isRunning(o),
    then: waitCycle,
    why: () => "paused: the restore of the cluster waits",
  },
  {
    id: "restore-stop",
    when: (o) => staysDown(o) && isReadable(o) && isRunning(o) && (!runsAsPrimary(o) || (lockIsOurs(o) && leaseIsValid(o))),
    then: (o) => (runsAsPrimary(o) ? stopWithinLease(o) : { kind: "stop", mode: "fast", within: ms(STOP_LIMIT_MS) }),
    why: (o) => `the cluster is restored from backup ${requestOf(o)?.label}: PostgreSQL is stopped`,
  },
  ...inSection(isDown, [
    {
      id: "restore-acquire",
      when: (o) => isDown(o) && worksHere(o) && lockIsFree(o) && didThisCycle(o, "acquire-lock") === null,
      then: () => ({ kind: "acquire-lock" }),
      why: () => "this node restores the cluster: it keeps the lock meanwhile",
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
      why: (o) => (isReadable(o) ? `${requestOf(o)?.node} restores the cluster: the lock is released` : waitWhy(o)),
    },
    {
      id: "restore-begin",
      when: (o) => isDown(o) && leadsWork(o, "stop") && stillUp(o).length === 0 && didThisCycle(o, "write-restore") === null,
      then: () => ({ kind: "write-restore", phase: "restore" }),
      why: () => "every server of the cluster is stopped: the restore begins",
    },
    {
      id: "restore-run",
      when: (o) => isDown(o) && leadsWork(o, "restore") && retryAt(o, "restore") === null,
      then: () => ({ kind: "restore", step: "forward" }),
      why: (o) => `restoring backup ${requestOf(o)?.label}${target(o)}`,
    },
    {
      id: "restore-finish",
      when: (o) => isDown(o) && leadsWork(o, "clone") && retryAt(o, "restore") === null,
      then: () => ({ kind: "restore", step: "forward" }),
      why: () => "what was restored is taken into use",
    },
    {
      id: "restore-undo",
      when: (o) => isDown(o) && leadsWork(o, "undo") && retryAt(o, "restore") === null,
      then: () => ({ kind: "restore", step: "back" }),
      why: () => "the restore is undone: the old data directory is put back",
    },
    {
      id: "restore-clone-retry",
      when: (o) => isDown(o) && mayCopy(o) && retryAt(o, "clone") !== null,
      then: (o) => wait(retryAt(o, "clone") ?? o.now),
      why: (o) => `the copy of the restored cluster failed: ${o.lastTask?.message}`,
    },
    {
      id: "restore-clone",
      when: (o) => isDown(o) && mayCopy(o),
      then: (o) => copyOfLeader(o, requestOf(o)?.id ?? null),
      why: (o) => `the cluster was restored: the data is replaced by a copy of '${o.dcs.cluster?.leader?.name}'`,
    },
    {
      id: "restore-wait",
      when: isDown,
      then: (o) => waitAtMost(o, 1000),
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
      didThisCycle(o, "write-restore") === null,
    then: () => ({ kind: "write-restore", phase: "done" }),
    why: () => "every member follows the restored cluster: the restore is done",
  },
]);

function requestOf(o: Observation): RestoreRequest | null {
  return clusterOf(o)?.restore ?? null;
}

/** Only what the DCS says now counts: while it is away, the rules of an outage do. */
function isRestoring(o: Observation): boolean {
  return o.dcs.kind === "reachable" && isUnderWay(requestOf(o));
}

/** Garbage stops no server that runs: in the middle of a restore those who must not run are down, and stay so. */
function isReadable(o: Observation): boolean {
  const request = requestOf(o);
  return request !== null && !isUnreadable(request);
}

/** Nothing of this node's PostgreSQL is to run now. */
function staysDown(o: Observation): boolean {
  const request = requestOf(o);
  if (!isRestoring(o) || request === null || isPaused(o)) return false;
  if (request.phase !== "clone") return true;
  // Once it has served, the node is one like any other: what is half-made by something else is not for it to lead with.
  if (request.node === o.self.name) return isRestoredHere(o);
  return !request.cloned.includes(o.self.name);
}

/** What was restored lies here and was not taken into use yet. */
function isRestoredHere({ local: { dataDirectory } }: Observation): boolean {
  return dataDirectory.kind === "half-made" && dataDirectory.by === "restored";
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
function leadsWork(o: Observation, phase: RestoreRequest["phase"]): boolean {
  return worksHere(o) && requestOf(o)?.phase === phase && lockIsOurs(o) && leaseIsValid(o);
}

/** The other members that have not said that they are stopped. */
function stillUp(o: Observation): readonly string[] {
  const others = (clusterOf(o)?.members ?? []).filter(({ name }) => name !== o.self.name);
  return others.filter(({ state }) => !DOWN_STATES.has(state)).map(({ name }) => name);
}

/** This primary is of the restored cluster, whoever restored it: somebody who had copied it may have taken over. */
function leadsRestored(o: Observation): boolean {
  const from = requestOf(o)?.timeline ?? null;
  const own = o.local.status?.timeline ?? null;
  return runsAsPrimary(o) && from !== null && own !== null && own >= from;
}

/** The other members that are here and whose data is neither what was restored nor yet a copy of it. */
function uncopied(o: Observation): readonly string[] {
  const request = requestOf(o);
  const others = (clusterOf(o)?.members ?? []).filter(({ name }) => name !== o.self.name && name !== request?.node);
  return others.filter(({ name }) => request?.cloned.includes(name) === false).map(({ name }) => name);
}

/** Somebody serves what was restored, and it can be copied: its timeline says that it is not the old cluster. */
function mayCopy(o: Observation): boolean {
  const request = requestOf(o);
  const cluster = clusterOf(o);
  if (request?.phase !== "clone" || cluster === null || !lockIsForeign(o)) return false;
  const timeline = leaderMember(cluster)?.timeline ?? 0;
  return leaderIsServing(o) && leaderTarget(o) !== null && request.timeline !== null && timeline >= request.timeline;
}

function target(o: Observation): string {
  const time = requestOf(o)?.target ?? null;
  return time === null ? ", to the end of the archive" : `, to ${time}`;
}

function waitWhy(o: Observation): string {
  const request = requestOf(o);
  if (request === null) return "";
  const { phase, node, message } = request;
  if (isUnreadable(request)) return `PostgreSQL stays stopped: ${message}`;
  if (phase === "failed")
    return `the restore failed, and an operator has to say how it goes on (ctl restore --retry or --undo): ${message}`;
  if (phase === "stop" && node === o.self.name) return `the cluster is to be restored: waiting until ${stillUp(o).join(", ")} is stopped`;
  if (node === o.self.name && !lockIsOurs(o))
    return `this node restores the cluster, but the lock is not its own: ${o.dcs.cluster?.leader?.name}`;
  if (phase === "clone") return `waiting for '${node}' to serve the restored cluster`;
  return `the cluster is being restored on '${node}': PostgreSQL stays stopped`;
}
