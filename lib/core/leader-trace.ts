// Owns what a node remembers of the last leader, and the answer to "may I race for the lock now?" (safety.md, "When the lock is
// gone or foreign"; docs/adr/0002). Pure: the trace is folded from snapshots, marks and answers.

import { type Cluster, findMember, type LeaseMark } from "../model/cluster.ts";
import type { DynamicConfig } from "../model/dynamic-config.ts";
import { isSyncStandby, type SyncState } from "../model/sync-state.ts";
import { type Ms, ms } from "../model/units.ts";

export interface LeaderTrace {
  /** The last holder; null before any was seen. */
  readonly name: string | null;
  readonly session: string | null;
  readonly apiUrl: string | null;
  /** When the lock was seen to vanish; null while it is held. */
  readonly vanishedAt: Ms | null;
  /** The holder's lease mark as last seen, and when its revision was first seen. */
  readonly mark: LeaseMark | null;
  readonly markSeenAt: Ms | null;
  /** Before the last read of the mark was sent; null where none was. A watch tells of changes only while it works. */
  readonly markReadAt: Ms | null;
  /** Whether the PostgreSQL that the mark calls unfenced still runs as primary, `since` when, as last looked at. */
  readonly unfenced: { readonly kind: UnfencedKind; readonly since: Ms; readonly at: Ms } | null;
  /** What the old leader says of itself since the lock vanished. */
  readonly answer: { readonly kind: "primary" | "not-primary" | "silent"; readonly at: Ms } | null;
}

/** `alive`: it may write. `down`: it is stopped, or a standby. `silent`: nothing answers at its address. */
/** `starved`: its supervisor is silent, and by its own settings it acknowledges no commit without this node. */
export type UnfencedKind = "alive" | "starved" | "down" | "silent";

export const NO_TRACE: LeaderTrace = {
  unfenced: null,
  name: null,
  session: null,
  apiUrl: null,
  vanishedAt: null,
  mark: null,
  markSeenAt: null,
  markReadAt: null,
  answer: null,
};

/** Folds a new snapshot in. */
export function traceCluster(trace: LeaderTrace, cluster: Cluster, now: Ms): LeaderTrace {
  const leader = cluster.leader;
  if (leader === null) {
    if (trace.vanishedAt !== null) return trace;
    return { ...trace, vanishedAt: now, answer: null, unfenced: null };
  }
  const apiUrl = findMember(cluster, leader.name)?.apiUrl ?? null;
  if (leader.name === trace.name && leader.session === trace.session) {
    if (trace.vanishedAt === null && (apiUrl === null || apiUrl === trace.apiUrl)) return trace;
    return { ...trace, vanishedAt: null, answer: null, apiUrl: apiUrl ?? trace.apiUrl };
  }
  return { ...trace, name: leader.name, session: leader.session, apiUrl, vanishedAt: null, answer: null };
}

/** Folds the lease mark in: `now` is when its revision was first seen, so it is later than the renewal that it confirms. */
export function traceMark(trace: LeaderTrace, mark: LeaseMark | null, now: Ms): LeaderTrace {
  if (mark === null) return trace.mark === null ? trace : { ...trace, mark: null, markSeenAt: null };
  if (trace.mark !== null && trace.mark.revision === mark.revision) return trace;
  return { ...trace, mark, markSeenAt: now };
}

/** Folds a look at the unfenced primary in. */
export function traceUnfenced(trace: LeaderTrace, kind: UnfencedKind, now: Ms): LeaderTrace {
  const since = trace.unfenced?.kind === kind ? trace.unfenced.since : now;
  return { ...trace, unfenced: { kind, since, at: now } };
}

/** Has the mark to be read before the race is judged? */
export function needsMark(trace: LeaderTrace): boolean {
  return trace.vanishedAt !== null && (trace.markReadAt === null || trace.markReadAt < trace.vanishedAt);
}

export type RaceVerdict =
  | { readonly kind: "go"; readonly why: string }
  /** Ask the old leader first. */
  | { readonly kind: "ask" }
  | { readonly kind: "wait"; readonly until: Ms; readonly why: string };

/** How long an answer of the old leader counts. */
export const ANSWER_FRESH_MS = ms(500);

const NOT_WORTH_ASKING_MS = 300;

export interface RaceQuestion {
  readonly now: Ms;
  /** The one in force here; a mark carries its holder's own. */
  readonly ttl: Ms;
  readonly self: string;
  /** The primary whose commits all wait for this node by the `sync` key (primaryThatWaitsFor); null where there is none. */
  readonly waitedForBy: string | null;
}

/**
 * The primary that acknowledges no commit without this node, which the `sync` key names: a key without a quorum names those alone of whom each
 * is waited for. Null where nothing says so.
 */
export function primaryThatWaitsFor(name: string, sync: SyncState, config: DynamicConfig): string | null {
  return config.synchronousMode !== "off" && sync.quorum === 0 && isSyncStandby(sync, name) ? sync.leader : null;
}

/** May this node race for the free lock now? */
export function raceVerdict(trace: LeaderTrace, options: RaceQuestion): RaceVerdict {
  const { now, self } = options;
  const mark = trace.mark;
  const markFits = mark !== null && (trace.session === null || mark.session === trace.session);
  const vanishedAt = trace.vanishedAt ?? now;
  // The mark stands still once the lock is gone: only one that was read since is surely the last that its holder wrote.
  const markIsLast = trace.markReadAt !== null && trace.markReadAt >= vanishedAt;
  // Somebody has led whom we never saw, cut off as we were: his lease counts, whoever led before him.
  const unseenUntil = mark !== null && !markFits && !mark.released && trace.markSeenAt !== null ? trace.markSeenAt + mark.ttl : 0;
  if (markIsLast && now < unseenUntil)
    return { kind: "wait", until: ms(unseenUntil), why: "the lease of a leader that was not seen may still run" };
  const unfenced = unfencedVerdict(trace, options);
  if (markIsLast && unfenced !== null) return unfenced;
  if (trace.name === self) return { kind: "go", why: "the lock was my own" };
  if (markFits && markIsLast && mark.released) return { kind: "go", why: "the old leader released the lock" };
  if (trace.name === null && mark === null) return { kind: "go", why: "no leader is known" };
  const ttl = ms(Math.max(options.ttl, markFits ? mark.ttl : 0));
  // A mark that came to be seen later may tell of somebody who held the lock since, of whom the snapshots showed nothing: his lease
  // counts from there, and what was answered before says nothing of it.
  const heldAt = mark !== null && !mark.released && trace.markSeenAt !== null ? trace.markSeenAt : 0;
  const waitEnd = ms(Math.max(vanishedAt, heldAt) + ttl);
  if (now >= waitEnd) return { kind: "go", why: "the lock has been free for ttl" };
  const leaseOver = markFits && markIsLast && trace.markSeenAt !== null ? ms(trace.markSeenAt + mark.ttl) : null;
  if (leaseOver !== null && now >= leaseOver) return { kind: "go", why: "the old leader's lease is over" };
  const answer = trace.answer !== null && trace.answer.at >= heldAt ? trace.answer : null;
  const fresh = answer !== null && now - answer.at < ANSWER_FRESH_MS;
  if (fresh && answer.kind === "primary") {
    return { kind: "wait", until: ms(Math.min(waitEnd, answer.at + ANSWER_FRESH_MS)), why: `${trace.name} still answers as primary` };
  }
  if (answer !== null && answer.kind === "not-primary") return { kind: "go", why: `${trace.name} is not primary any more` };
  const until = leaseOver === null ? waitEnd : ms(Math.min(waitEnd, leaseOver));
  // A session that ended by its TTL vanishes just before the lease is provably over: not worth a question.
  if (until - now <= NOT_WORTH_ASKING_MS) return { kind: "wait", until, why: "the old leader's lease ends within a moment" };
  if (trace.apiUrl !== null && !fresh) return { kind: "ask" };
  const again = fresh ? ms(answer.at + ANSWER_FRESH_MS) : until;
  return {
    kind: "wait",
    until: ms(Math.min(until, again)),
    why: `${trace.name ?? "the old leader"} is silent and its lease may still run`,
  };
}

/** How long a look at an unfenced primary counts. */
export const UNFENCED_FRESH_MS = ms(2_000);
/** Nothing has to answer at its address for this long: one packet that was lost is no proof of its end. */
const UNFENCED_SILENCE_MS = 5_000;

/**
 * The lease of a holder that nothing fences ends on paper only: its PostgreSQL takes writes for as long as it runs. It is looked at
 * before anybody is promoted (docs/adr/0004). Null where it is in nobody's way; as is one whose commits wait for this node, by the key and
 * by what it says itself: it can acknowledge none of them from the promotion on.
 */
function unfencedVerdict(trace: LeaderTrace, { now, self, waitedForBy }: RaceQuestion): RaceVerdict | null {
  const { mark, unfenced: seen } = trace;
  const place = mark?.unfenced ?? null;
  if (mark === null || place === null || mark.released || place.name === self) return null;
  if (seen === null || now - seen.at >= UNFENCED_FRESH_MS) return { kind: "ask" };
  if (seen.kind === "down" || (seen.kind === "silent" && now - seen.since >= UNFENCED_SILENCE_MS)) return null;
  if (seen.kind === "starved" && place.name === waitedForBy) return null;
  const until = ms(seen.at + UNFENCED_FRESH_MS);
  if (seen.kind === "silent") return { kind: "wait", until, why: `does the PostgreSQL of ${place.name}, which nothing fences, still run?` };
  return {
    kind: "wait",
    until,
    why:
      `the PostgreSQL of ${place.name} still runs and nothing fences it: a promotion would make a second primary; ` +
      "start its supervisor, or stop that PostgreSQL",
  };
}
