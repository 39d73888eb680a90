// Rules about the process itself: faults that end it, shutdown, and a task that is running. Pure.

import { assertNever } from "../../model/result.ts";
import { ms } from "../../model/units.ts";
import {
  didThisCycle,
  hasData,
  isPaused,
  isRunning,
  leaseRemaining,
  lockIsForeign,
  lockIsFree,
  lockIsOurs,
  ownLsn,
  runsAsPrimary,
} from "../facts.ts";
import { renewalDue } from "../lease.ts";
import { hasForeignIdentifier } from "../notices.ts";
import type { Observation } from "../observation.ts";
import { isAtWork, overhaulOf } from "../overhaul.ts";
import { isStandbyCluster } from "../replication-source.ts";
import { inSection, type Rule, waitAtMost } from "../rule.ts";
import { slotsChanged } from "../slots-plan.ts";
import { otherNames, overdueSinceCrash, someoneCanTakeOver } from "../takeover.ts";
import { stopWithinLease } from "./outage.ts";
import { releaseRules } from "./release.ts";

/** Long enough for a fast stop of a busy server; the lease goes on being renewed meanwhile. */
const STOP_LIMIT_MS = 60_000;

export const processRules: readonly Rule[] = [
  {
    id: "foreign-data-directory",
    when: (o) => o.local.dataDirectory.kind === "foreign",
    then: (o) => ({ kind: "exit", code: 1, message: foreignText(o) }),
    why: foreignText,
  },
  {
    id: "read-control",
    when: (o) =>
      !isRunning(o) && hasData(o) && o.local.systemIdentifier === null && o.task === null && didThisCycle(o, "read-control") === null,
    then: () => ({ kind: "read-control" }),
    why: () => "which cluster does the local data belong to?",
  },
  {
    id: "system-identifier-mismatch",
    when: (o) => !isPaused(o) && !o.requests.shutdown && hasForeignIdentifier(o) && !isOverhauled(o) && !lockIsOurs(o) && o.task === null,
    then: (o) => ({ kind: "exit", code: 1, message: identifierText(o) }),
    why: identifierText,
  },
  {
    id: "hand-over-lease-over",
    when: (o) =>
      o.task?.kind === "hand-over" &&
      !o.task.aborting &&
      !isPaused(o) &&
      !mustRenew(o) &&
      o.lock.held !== null &&
      leaseRemaining(o) <= o.self.stopBudgetMs,
    then: () => ({ kind: "abort-task" }),
    why: () => "the lease ends before the hand-over does: PostgreSQL is stopped at once",
  },
  {
    id: "task-lost-lock",
    when: (o) => makesPrimary(o) && lockIsForeign(o),
    then: () => ({ kind: "abort-task" }),
    why: (o) => `the lock went to ${o.dcs.cluster?.leader?.name}: ${o.task?.kind} is given up`,
  },
  {
    id: "task-lease-over",
    when: (o) => makesPrimary(o) && leaseRemaining(o) <= o.self.stopBudgetMs && !mustRenew(o) && !isTakenAgain(o),
    then: () => ({ kind: "abort-task" }),
    why: (o) => `the lease is over: ${o.task?.kind} is given up`,
  },
  ...releaseRules,
  ...inSection(isShuttingDown, [
    {
      id: "shutdown-abort-task",
      when: (o) => o.requests.shutdown && o.task !== null && !o.task.aborting && isAbortable(o),
      then: () => ({ kind: "abort-task" }),
      why: (o) => `shutting down: ${o.task?.kind} is given up`,
    },
    {
      id: "shutdown-wait",
      when: (o) => o.requests.shutdown && o.task !== null,
      then: (o) => (mustRenew(o) ? { kind: "renew-lock" } : waitAtMost(o, 1000)),
      why: (o) => `shutting down: waiting for ${o.task?.kind}`,
    },
    {
      id: "shutdown-paused-mark",
      when: (o) => o.requests.shutdown && isPaused(o) && o.self.markStale && mustRenew(o),
      then: () => ({ kind: "renew-lock" }),
      why: () => "shutting down in pause: the lease mark has to say first that nothing fences PostgreSQL",
    },
    {
      id: "shutdown-paused",
      when: (o) => o.requests.shutdown && isPaused(o),
      then: () => ({ kind: "exit", code: 0, message: "paused: PostgreSQL is left running" }),
      why: () => "Leader key is not deleted and Postgresql is not stopped due paused state",
    },
    {
      id: "shutdown-hand-over",
      when: (o) => o.requests.shutdown && runsAsPrimary(o) && lockIsOurs(o) && o.dcs.kind === "reachable",
      then: () => ({ kind: "hand-over", within: ms(STOP_LIMIT_MS) }),
      why: () => "shutting down: PostgreSQL is stopped and the lock handed over",
    },
    {
      id: "shutdown-stop",
      when: (o) => o.requests.shutdown && isRunning(o),
      // Without a lease (PostgreSQL was left running in a pause, and was not taken over since) nothing else stops a primary that hangs.
      then: (o) => (runsAsPrimary(o) ? stopWithinLease(o) : { kind: "stop", mode: "fast", within: ms(STOP_LIMIT_MS) }),
      why: () => "shutting down: PostgreSQL is stopped",
    },
    {
      id: "shutdown-release",
      when: (o) => o.requests.shutdown && lockIsOurs(o) && o.dcs.kind === "reachable" && didThisCycle(o, "release-lock") === null,
      then: () => ({ kind: "release-lock" }),
      why: () => "shutting down: the lock is released",
    },
    {
      id: "shutdown-leave",
      when: (o) => o.requests.shutdown && o.dcs.kind === "reachable" && didThisCycle(o, "leave") === null,
      then: () => ({ kind: "leave" }),
      why: () => "shutting down: the member key and session are given up",
    },
    {
      id: "shutdown-exit",
      when: (o) => o.requests.shutdown,
      then: () => ({ kind: "exit", code: 0, message: "stopped" }),
      why: () => "shutting down: done",
    },
  ]),
  ...inSection(hasTask, [
    {
      id: "task-restore-over",
      when: (o) => o.task?.kind === "restore" && !o.task.aborting && o.dcs.kind === "reachable" && !isRestored(o),
      then: () => ({ kind: "abort-task" }),
      why: () => "an operator has taken the restore back: what is being restored is given up",
    },
    {
      id: "task-renew",
      when: (o) => o.task !== null && mustRenew(o),
      then: () => ({ kind: "renew-lock" }),
      why: (o) => `updated leader lock during ${o.task?.kind}`,
    },
    {
      id: "task-lock-vanished",
      when: isTakenAgain,
      then: () => ({ kind: "acquire-lock" }),
      why: (o) => `the lock is gone during ${o.task?.kind}: it is taken again at once`,
    },
    {
      id: "task-overdue-ask",
      when: (o) => startIsOverdue(o) && otherNames(o).length > 0 && didThisCycle(o, "ask-peers") === null,
      then: (o) => ({ kind: "ask-peers", names: otherNames(o) }),
      why: () => "PostgreSQL has not come back within primary_start_timeout: is there a replica to take over?",
    },
    {
      id: "task-overdue",
      when: (o) => startIsOverdue(o) && someoneCanTakeOver(o),
      then: () => ({ kind: "abort-task" }),
      why: () => "PostgreSQL has not come back within primary_start_timeout and a replica can take over",
    },
    {
      id: "task-wait",
      when: (o) => o.task !== null,
      then: (o) => waitAtMost(o, 1000),
      why: (o) => `${o.task?.words ?? o.task?.kind} in progress`,
    },
  ]),
];

function isShuttingDown(o: Observation): boolean {
  return o.requests.shutdown;
}

function hasTask(o: Observation): boolean {
  return o.task !== null;
}

/**
 * Nobody knows our position yet; or what is published is ahead of us, from a leader whose last WAL was given up: measured by that,
 * we would lag for ever.
 */
function isUnpublished(o: Observation): boolean {
  const optime = o.dcs.cluster?.status.optime ?? null;
  const written = isStandbyCluster(o) ? ownLsn(o) : (o.local.status?.walLsn ?? null);
  return written !== null && (optime === null || optime > written);
}

/** A task that ends with a server that takes writes: it needs the lock and a lease for as long as it lasts. */
function makesPrimary(o: Observation): boolean {
  const { task } = o;
  if (task === null || task.aborting || isPaused(o)) return false;
  return task.kind === "promote" || ((task.kind === "start" || task.kind === "restart") && o.local.lastRole === "primary");
}

/** The lock of such a task vanished, and nobody has it: whoever shuts down leaves it at that. */
function isTakenAgain(o: Observation): boolean {
  return makesPrimary(o) && !o.requests.shutdown && o.dcs.kind === "reachable" && lockIsFree(o) && didThisCycle(o, "acquire-lock") === null;
}

/** The request by which the data here is being replaced, or put back, still stands. */
function isRestored(o: Observation): boolean {
  // What was left of one that is over needs none.
  if (o.task?.step === "settle") return true;
  const overhaul = overhaulOf(o.dcs.cluster);
  if (overhaul === null) return false;
  if (o.task?.step === "back") return overhaul.request.phase === "undo";
  return isAtWork(overhaul) || overhaul.request.phase === "clone";
}

/** The cluster's identifier changes in an upgrade, before the members' data does. */
function isOverhauled(o: Observation): boolean {
  return overhaulOf(o.dcs.cluster) !== null;
}

function startIsOverdue(o: Observation): boolean {
  return makesPrimary(o) && o.task?.kind === "start" && o.dcs.kind === "reachable" && lockIsOurs(o) && overdueSinceCrash(o);
}

/** The lock is ours, it was not confirmed in this cycle, and that is due; or nobody knows our position yet. */
export function mustRenew(o: Observation): boolean {
  if (o.dcs.kind === "unreachable" || !lockIsOurs(o)) return false;
  const held = o.lock.held;
  const renewed = didThisCycle(o, "renew-lock");
  // Confirmed in this cycle, and in doubt since: the process was asleep for a moment. A demotion would be out of proportion.
  if (renewed !== null) return renewed.ok && held !== null && held.leaseEndsAt <= o.now;
  if (held === null || held.leaseEndsAt <= o.now || o.self.markStale) return true;
  const age = o.now - held.confirmedAt;
  // Who has just joined knows of the lease mark only that it is there: a new one tells him when this lease began.
  if (age >= NEWCOMER_AGE_MS && o.local.slotsFor !== null && slotsChanged(o)) return true;
  // Who is missing from the failsafe key can neither lead nor be asked.
  if (o.failsafe.keyStale && runsAsPrimary(o)) return true;
  // From a longer ttl: counted with the one in force from this confirmation on.
  if (held.leaseEndsAt - held.confirmedAt > o.config.leaseTtlMs) return true;
  return isUnpublished(o) || o.now >= renewalDue(held, o.config.loopWaitMs);
}

/** A confirmation as young as this serves a newcomer as well. */
const NEWCOMER_AGE_MS = 200;

function isAbortable(o: Observation): boolean {
  const kind = o.task?.kind;
  switch (kind) {
    case "bootstrap":
    case "bootstrap-standby":
    case "clone":
    case "plan-rejoin":
    case "rewind":
    case "start":
    case "restore":
      return true;
    case undefined:
    case "stop":
    case "hand-over":
    case "ask-release":
    case "pre-promote":
    case "promote":
    case "restart":
    case "copy-slots":
    case "wait":
    case "exit":
    case "renew-lock":
    case "acquire-lock":
    case "release-lock":
    case "claim-initialize":
    case "cancel-initialize":
    case "write-initialize":
    case "write-config":
    case "write-sync":
    case "write-restore":
    case "clear-failover":
    case "write-history":
    case "leave":
    case "ask-peers":
    case "ask-old-leader":
    case "ask-failsafe":
    case "read-control":
    case "follow":
    case "set-sync-names":
    case "sync-slots":
    case "resume-replay":
    case "abort-task":
      return false;
    default:
      return assertNever(kind);
  }
}

function identifierText(o: Observation): string {
  const text = `system ID mismatch, node ${o.self.name} belongs to a different cluster: ${o.dcs.cluster?.initialize} != ${o.local.systemIdentifier}`;
  const upgrade = o.dcs.cluster?.upgrade ?? null;
  if (upgrade === null || o.local.systemIdentifier !== upgrade.fromIdentifier) return text;
  return `${text}: the cluster was upgraded to PostgreSQL ${upgrade.toMajor} while this node was away; set postgresql.bin_dir to ${upgrade.binDir} and remove the old data directory, so that it is copied again`;
}

function foreignText(o: Observation): string {
  const { dataDirectory } = o.local;
  const sample = dataDirectory.kind === "foreign" ? dataDirectory.sample : "";
  if (dataDirectory.kind === "foreign" && dataDirectory.unread === true) return `postgresql.data_dir: ${sample}`;
  return `postgresql.data_dir: the directory is not empty and not a PostgreSQL data directory (it holds ${sample}); name an empty directory or PostgreSQL's own`;
}
