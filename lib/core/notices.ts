// Owns what is told once a loop_wait beside the decision, in Patroni's words where it has some: a DCS that is away, appointments that are
// waited for, what a pause hides, and a server that hangs. Pure.

import { clusterOf, isPaused, lockIsOurs } from "./facts.ts";
import type { Observation } from "./observation.ts";

export interface Notice {
  readonly level: "info" | "warning" | "error";
  readonly text: string;
}

/** `restart`: when one is scheduled for this node. */
export function notices(o: Observation, restart: { readonly schedule: string; readonly at: number } | null): readonly Notice[] {
  const told: Notice[] = [];
  if (o.dcs.kind === "unreachable") told.push({ level: "error", text: `Error communicating with DCS: ${o.dcs.reason}` });
  const mismatch = pausedMismatch(o);
  if (mismatch !== null) told.push({ level: "warning", text: mismatch });
  const unserved = o.local.unservedSince;
  if (unserved !== null) told.push({ level: "warning", text: unservedText(o, Math.round((o.now - unserved) / 1000)) });
  const request = clusterOf(o)?.failover ?? null;
  if (request?.scheduledAt != null && lockIsOurs(o) && !isPaused(o))
    told.push(...awaiting("switchover", request.scheduledAtText ?? "", request.scheduledAt - o.wallNow));
  if (restart !== null && !isPaused(o)) told.push(...awaiting("restart", restart.schedule, restart.at - o.wallNow));
  return told;
}

function unservedText(o: Observation, seconds: number): string {
  const stopped = o.local.process.kind === "running" && o.local.process.stopped;
  return stopped
    ? `PostgreSQL takes no new connections: its postmaster is stopped (by a signal or a debugger), seen for ${seconds} s`
    : `PostgreSQL runs, but has not answered for ${seconds} s`;
}

function awaiting(what: string, at: string, leftMs: number): readonly Notice[] {
  return leftMs <= 0 ? [] : [{ level: "info", text: `Awaiting ${what} at ${at} (in ${Math.floor(leftMs / 1000)} seconds)` }];
}

/** The data belongs to another cluster than the DCS says: outside pause the node would end. */
export function hasForeignIdentifier(o: Observation): boolean {
  const wanted = o.dcs.cluster?.initialize ?? null;
  return wanted !== null && wanted !== "" && o.local.systemIdentifier !== null && o.local.systemIdentifier !== wanted;
}

function pausedMismatch(o: Observation): string | null {
  if (!isPaused(o) || lockIsOurs(o) || !hasForeignIdentifier(o)) return null;
  const [wanted, own] = [o.dcs.cluster?.initialize, o.local.systemIdentifier];
  return `system ID has changed while in paused mode. It will exit when resuming unless system ID is reset: ${wanted} != ${own}`;
}
