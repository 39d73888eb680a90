// Owns the tags and the metadata of a registered service beyond its role: how a client may choose among replicas. Pure.

import type { HealthFacts } from "./role-health.ts";

/** By how much a replica is behind. `unknown` where it, or the leader, has published no position. */
const LAG_CLASSES = ["low", "medium", "high", "unknown"] as const;
export type LagClass = (typeof LAG_CLASSES)[number];

/** Those of the tags below that a replica alone has. */
export const REPLICA_DETAIL_TAGS: readonly string[] = ["sync", "quorum", "async", ...LAG_CLASSES.map((lag) => `lag-${lag}`)];

/** Upper ends of the classes, in bytes. A replica rises into a better class only at half of it, so that it does not flutter. */
const LOW_MAX_BYTES = 1024 * 1024;
const MEDIUM_MAX_BYTES = 16 * 1024 * 1024;

/** `before`: the class that was told last; null at first. */
export function lagClass(facts: Pick<HealthFacts, "replayedLsn" | "leaderLsn">, before: LagClass | null): LagClass {
  const { replayedLsn, leaderLsn } = facts;
  if (replayedLsn === null || leaderLsn === null) return "unknown";
  const lag = leaderLsn > replayedLsn ? Number(leaderLsn - replayedLsn) : 0;
  const low = before === "medium" || before === "high" ? LOW_MAX_BYTES / 2 : LOW_MAX_BYTES;
  const medium = before === "high" ? MEDIUM_MAX_BYTES / 2 : MEDIUM_MAX_BYTES;
  return lag <= low ? "low" : lag <= medium ? "medium" : "high";
}

/** Reads DNS labels out of a site's name: what a tag may hold and a client can ask for. */
function tagWord(text: string): string {
  return text.toLowerCase().replaceAll(/[^a-z0-9-]+/g, "-");
}

/**
 * The tags beyond the role's own: `read-only`, a replica's standing and lag, the site (the tag `site` of the node).
 *
 * @example detailTags({ role: "replica", standing: "sync", lag: "low", site: "East" }) // ["read-only", "sync", "lag-low", "site-east"]
 */
export function detailTags(node: {
  readonly role: "primary" | "replica" | "standby_leader";
  readonly standing: HealthFacts["synchronous"];
  readonly lag: LagClass;
  readonly site: string | null;
}): readonly string[] {
  const standing = node.standing === "none" ? "async" : node.standing;
  return [
    "read-only",
    ...(node.role === "replica" ? [standing, `lag-${node.lag}`] : []),
    ...(node.site === null || node.site === "" ? [] : [`site-${tagWord(node.site)}`]),
  ];
}

/** `15.18` of 150018. */
export function versionText(serverVersion: number): string {
  return `${Math.floor(serverVersion / 10_000)}.${serverVersion % 10_000}`;
}
