// Owns what WAL is in the simulator: branches with positions. Two branches may carry the same timeline number, as PostgreSQL's
// may; only the simulator knows that they differ.

import { parseSyncSetting, type SyncSetting } from "../../lib/core/sync-names.ts";
import type { TimelineSwitch } from "../../lib/model/history.ts";
import { lsn, timeline } from "../../lib/model/units.ts";

export interface Branch {
  readonly id: number;
  readonly timeline: number;
  readonly parent: Branch | null;
  /** Position at which it left its parent. */
  readonly forkedAt: number;
  readonly systemIdentifier: string;
}

export interface WalEnd {
  readonly branch: Branch;
  readonly lsn: number;
}

/** Is everything up to `part` in the WAL that ends at `whole`? */
export function containsWal(whole: WalEnd, part: WalEnd): boolean {
  let limit = whole.lsn;
  for (let branch: Branch | null = whole.branch; branch !== null; branch = branch.parent) {
    if (branch === part.branch) return part.lsn <= limit;
    limit = Math.min(limit, branch.forkedAt);
  }
  return false;
}

/** How much of `part`'s WAL is missing in `whole`, in bytes; 0 where it is contained. */
export function missingWal(whole: WalEnd, part: WalEnd): number {
  return Math.max(0, part.lsn - commonEnd(whole, part));
}

/** Where the two part, or the end of the shorter one. */
export function commonEnd(a: WalEnd, b: WalEnd): number {
  const limits = new Map<Branch, number>();
  let limit = a.lsn;
  for (let branch: Branch | null = a.branch; branch !== null; branch = branch.parent) {
    limits.set(branch, limit);
    limit = Math.min(limit, branch.forkedAt);
  }
  limit = b.lsn;
  for (let branch: Branch | null = b.branch; branch !== null; branch = branch.parent) {
    const other = limits.get(branch);
    if (other !== undefined) return Math.min(other, limit);
    limit = Math.min(limit, branch.forkedAt);
  }
  return 0;
}

/** As NNNNNNNN.history has it, oldest first. */
export function switchesOf(branch: Branch): readonly TimelineSwitch[] {
  const switches: TimelineSwitch[] = [];
  for (let each = branch; each.parent !== null; each = each.parent) {
    // A server that was started as primary without a promotion wrote no history file.
    if (each.parent.timeline === each.timeline) continue;
    switches.push({ timeline: timeline(each.parent.timeline), switchpoint: lsn(each.forkedAt), reason: "no recovery target specified" });
  }
  return switches.reverse();
}

/** The PostgreSQL errors that keep a walreceiver from streaming; null where PostgreSQL would stream. It compares numbers only. */
export function streamingError(local: WalEnd, upstream: WalEnd): string | null {
  if (local.branch.systemIdentifier !== upstream.branch.systemIdentifier) return "database system identifier differs";
  if (local.branch.timeline > upstream.branch.timeline) return "highest timeline of the primary is behind recovery timeline";
  if (local.branch.timeline === upstream.branch.timeline) {
    return local.lsn > upstream.lsn ? "requested starting point is ahead of the WAL flush position" : null;
  }
  const end = switchesOf(upstream.branch).find((entry) => entry.timeline === local.branch.timeline);
  if (end === undefined) return "requested timeline is not in this server's history";
  return BigInt(local.lsn) > end.switchpoint ? "the timeline forked off before the current recovery point" : null;
}

export interface ServerSetting extends SyncSetting {
  readonly text: string;
}

export const NO_SYNC_SETTING: ServerSetting = { text: "", ...parseSyncSetting("") };

export function syncSetting(text: string): ServerSetting {
  return { text, ...parseSyncSetting(text) };
}
