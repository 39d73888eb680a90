// Owns what a restore and a major upgrade have in common: one node replaces its data while everybody is stopped, leads with it, and the
// others copy it. The key that is under way, seen as that, and who stays down for it. Pure.

import type { Cluster } from "../model/cluster.ts";
import { isUnderWay, isUnreadable, type RestoreRequest } from "../model/restore.ts";
import { identifierAfter, isUnreadableUpgrade, isUpgrading, type UpgradeRequest } from "../model/upgrade.ts";
import { clusterOf, isPaused } from "./facts.ts";
import type { Observation } from "./observation.ts";

export type Overhaul =
  | { readonly of: "restore"; readonly request: RestoreRequest }
  | { readonly of: "upgrade"; readonly request: UpgradeRequest };

type Keys = Pick<Cluster, "restore" | "upgrade">;

/** Null where none is under way. A restore comes first: ctl begins neither beside the other. */
export function overhaulOf(cluster: Keys | null): Overhaul | null {
  if (cluster === null) return null;
  if (isUnderWay(cluster.restore)) return { of: "restore", request: cluster.restore };
  return isUpgrading(cluster.upgrade) ? { of: "upgrade", request: cluster.upgrade } : null;
}

/** The node replaces its data in this phase. */
export function isAtWork({ of, request }: Overhaul): boolean {
  return request.phase === of;
}

/** Garbage that stands for one. */
export function isGarbage({ of, request }: Overhaul): boolean {
  return of === "restore" ? isUnreadable(request) : isUnreadableUpgrade(request);
}

/** Nothing of this node's PostgreSQL is to run, as far as the cluster was seen last. */
export function staysDown(o: Observation): boolean {
  const overhaul = overhaulOf(clusterOf(o));
  if (overhaul === null || isPaused(o)) return false;
  const { phase, node, cloned } = overhaul.request;
  if (phase !== "clone") return true;
  // Once it has served, the node is one like any other: what is half-made by something else is not for it to lead with.
  return node === o.self.name ? isMadeHere(o) : !cloned.includes(o.self.name);
}

/** What was made lies here and was not taken into use yet. */
function isMadeHere({ local: { dataDirectory } }: Observation): boolean {
  return dataDirectory.kind === "half-made" && (dataDirectory.by === "restored" || dataDirectory.by === "upgraded");
}

/** What was made is in force: where the cluster has another identifier than before, everybody can see that. */
export function isPublished(overhaul: Overhaul, initialize: string | null): boolean {
  if (overhaul.of === "restore") return overhaul.request.timeline !== null;
  const identifier = identifierAfter(overhaul.request);
  return identifier !== null && initialize === identifier;
}

/** What is done to the cluster, for people: `restored from backup X`, `upgraded to PostgreSQL 15`. */
export function overhaulText({ of, request }: Overhaul): string {
  if (of === "restore")
    return request.direction === "back" ? `taken back to before restore ${request.id}` : `restored from backup ${request.label}`;
  return request.direction === "back"
    ? `taken back to PostgreSQL ${request.fromMajor}`
    : `upgraded from PostgreSQL ${request.fromMajor} to ${request.toMajor}`;
}
