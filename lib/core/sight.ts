// Owns what is seen of a node and its cluster from outside, and what between two such sights others want to be told of: leader, role,
// store, pause, sync key, members, requests. Pure.

import type { EventBody } from "../model/event.ts";
import { isPaused } from "./facts.ts";
import type { Observation } from "./observation.ts";

type Request = Extract<EventBody, { kind: "request" }>["request"];

export interface Sight {
  readonly leader: string | null;
  readonly role: string | null;
  readonly state: string;
  readonly reachable: boolean;
  readonly paused: boolean;
  readonly sync: { readonly leader: string | null; readonly standbys: readonly string[]; readonly quorum: number };
  readonly members: readonly string[];
  readonly request: Request;
}

/** Null before the cluster was read for the first time. */
export function sightOf(o: Observation): Sight | null {
  const cluster = o.dcs.cluster;
  if (cluster === null) return null;
  const { failover: request, sync } = cluster;
  return {
    leader: cluster.leader?.name ?? null,
    role: o.local.lastRole,
    state: o.local.state,
    reachable: o.dcs.kind === "reachable",
    paused: isPaused(o),
    sync: { leader: sync.leader, standbys: sync.standbys, quorum: sync.quorum },
    members: cluster.members.map(({ name }) => name),
    request: request === null ? null : { leader: request.leader, candidate: request.candidate, scheduled_at: request.scheduledAtText },
  };
}

/** What happened, in words and as an event. */
export interface Happening {
  readonly text: string;
  readonly body: EventBody;
}

/** In the order in which one follows from the other. `reason`: why the store cannot be reached. */
export function changesBetween(before: Sight | null, now: Sight, reason: string): readonly Happening[] {
  const found: Happening[] = [];
  const tell = (text: string, body: EventBody): void => {
    found.push({ text, body });
  };
  if (before !== null && before.reachable !== now.reachable) {
    const text = now.reachable ? "the DCS is reachable again" : `the DCS is out of reach: ${reason}`;
    tell(text, { kind: "dcs", reachable: now.reachable });
  }
  if (before !== null && before.paused !== now.paused)
    tell(now.paused ? "the cluster is paused" : "the pause is over", { kind: "pause", paused: now.paused });
  if (before !== null) membersBetween(before.members, now.members, tell);
  if (before?.leader !== now.leader && (before !== null || now.leader !== null)) {
    const former = before?.leader ?? null;
    const text = now.leader === null ? `nobody leads any more${former === null ? "" : `; it was ${former}`}` : `${now.leader} leads`;
    tell(text, { kind: "leader", leader: now.leader, former });
  }
  if (!sameJson(before?.request ?? null, now.request)) tell(requestText(now.request), { kind: "request", request: now.request });
  if (before !== null && !sameJson(before.sync, now.sync)) {
    const { leader, standbys, quorum } = now.sync;
    tell(`synchronous standbys: ${standbys.length === 0 ? "none" : standbys.join(", ")}`, { kind: "sync", leader, standbys, quorum });
  }
  if (before?.state !== now.state) tell(`PostgreSQL: ${now.state}`, { kind: "state", state: now.state, former: before?.state ?? null });
  if (now.role !== null && before?.role !== now.role)
    tell(`PostgreSQL is a ${now.role}`, { kind: "role", role: now.role, former: before?.role ?? null });
  return found;
}

function membersBetween(before: readonly string[], now: readonly string[], tell: (text: string, body: EventBody) => void): void {
  const joined = now.filter((name) => !before.includes(name));
  const left = before.filter((name) => !now.includes(name));
  if (joined.length + left.length === 0) return;
  const parts = [...joined.map((name) => `${name} has joined`), ...left.map((name) => `${name} has left`)];
  tell(parts.join(", "), { kind: "members", joined, left });
}

function requestText(request: Request): string {
  if (request === null) return "the request for a switchover or failover is gone";
  const what = request.leader === null ? "a failover" : `a switchover from ${request.leader}`;
  const to = request.candidate === null ? "" : ` to ${request.candidate}`;
  return `${what}${to} was asked for${request.scheduled_at === null ? "" : `, at ${request.scheduled_at}`}`;
}

/** Small values of plain data. */
function sameJson(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
