// Owns the answer to "why is node X not promoted?": for each member what would stand against it if the lock were free now, and what
// stands against a switchover to it. It asks the very rules of the race, on an observation as that member would make it. Pure.

import type { Cluster } from "../model/cluster.ts";
import { formatLsn } from "../model/lsn.ts";
import type { Member } from "../model/member.ts";
import type { PostgresStatus } from "../model/postgres.ts";
import { lsn, ms } from "../model/units.ts";
import { lineageOf, sharedPosition } from "./candidates.ts";
import { promisedTo } from "./failsafe.ts";
import { primaryThatWaitsFor, raceVerdict } from "./leader-trace.ts";
import type { Observation, PeerAnswer, PeerStatus } from "./observation.ts";
import { leaderlessRules } from "./rules/leaderless.ts";
import { previewSwitchover } from "./switchover-preview.ts";
import { votesNeeded, votesOf } from "./votes.ts";

export interface Obstacle {
  /** The rule that would decide so; `silent`, `down`, `leader` and `race-wait` need none. */
  readonly rule: string;
  readonly reason: string;
}

export interface MemberExplained {
  readonly name: string;
  /** As it says itself; null where it did not answer. */
  readonly role: string | null;
  readonly state: string | null;
  readonly timeline: number | null;
  readonly wal: string | null;
  readonly leads: boolean;
  /** It could be promoted now if nobody led. */
  readonly promotable: boolean;
  /** Each of them alone would be enough. */
  readonly obstacles: readonly Obstacle[];
  readonly switchover: { readonly possible: boolean; readonly obstacles: readonly string[] };
}

/** Rules of the race that keep a node from the free lock because of what it is, not because a question is open. */
export const RACE_VETOES: ReadonlySet<string> = new Set([
  "race-paused",
  "race-failsafe-promised",
  "race-failsafe-unknown",
  "race-nofailover",
  "race-fencing-missing",
  "race-not-synchronous",
  "race-lagging",
  "race-promotion-failed",
  "race-backoff",
  "race-not-healthiest",
  "race-without-quorum",
]);

const VETOES = leaderlessRules.filter(({ id }) => RACE_VETOES.has(id));

/** `answers`: what every member just said, the asked node included. Members in the order of the snapshot. */
export function explainMembers(o: Observation, answers: readonly PeerAnswer[]): readonly MemberExplained[] {
  const cluster = o.dcs.cluster;
  if (cluster === null) return [];
  const planned = switchoverReasons(o, cluster, answers);
  return cluster.members.map((member) => {
    const status = answers.find(({ name }) => name === member.name)?.status ?? null;
    const leads = cluster.leader?.name === member.name;
    const obstacles = leads ? LEADS : obstaclesOf(o, cluster, { member, status, answers });
    const switchover = leads ? [] : (planned.get(member.name) ?? NOBODY_LEADS);
    return {
      name: member.name,
      role: status?.role ?? null,
      state: status?.state ?? null,
      timeline: status?.timeline ?? null,
      wal: status?.lsn == null ? null : formatLsn(status.lsn),
      leads,
      promotable: obstacles.length === 0,
      obstacles,
      switchover: { possible: !leads && switchover.length === 0, obstacles: switchover },
    };
  });
}

const NOBODY_LEADS: readonly string[] = ["nobody leads: a failover is possible, a switchover is not"];

/** By name, as `ctl switchover --dry-run` tells them. Empty where nobody leads. */
function switchoverReasons(o: Observation, cluster: Cluster, answers: readonly PeerAnswer[]): ReadonlyMap<string, readonly string[]> {
  const { synchronousMode, maximumLagOnFailoverBytes, checkTimeline, pause: paused } = o.config;
  if (cluster.leader === null) return new Map();
  const plan = { action: "switchover", leader: cluster.leader.name, candidate: null } as const;
  const limits = { synchronousMode, maximumLagOnFailoverBytes, checkTimeline, paused };
  const { candidates } = previewSwitchover({ plan, cluster, limits, scheduled: false, answers });
  return new Map(candidates.map(({ name, reasons }) => [name, reasons]));
}

const LEADS: readonly Obstacle[] = [{ rule: "leader", reason: "it leads already" }];

interface Asked {
  readonly member: Member;
  readonly status: PeerStatus | null;
  readonly answers: readonly PeerAnswer[];
}

function obstaclesOf(o: Observation, cluster: Cluster, { member, status, answers }: Asked): readonly Obstacle[] {
  if (status === null) return [{ rule: "silent", reason: "it does not answer" }];
  if (status.state !== "running") return [{ rule: "down", reason: `its PostgreSQL is ${status.state}` }];
  if (status.role === "primary") return [{ rule: "down", reason: "it runs as a primary without the lock" }];
  const seen = asSeenBy(o, cluster, { member, status, answers });
  const found = VETOES.filter((rule) => rule.when(seen)).map((rule) => ({
    rule: rule.id,
    reason: reasonOf(rule.id, rule.why(seen), seen),
  }));
  return [...openLease(o, cluster, member.name), ...found];
}

/** Where nobody leads: the former leader's lease may still run. */
function openLease(o: Observation, cluster: Cluster, name: string): readonly Obstacle[] {
  if (cluster.leader !== null) return [];
  const waitedForBy = primaryThatWaitsFor(name, cluster.sync, o.config);
  const verdict = raceVerdict(o.trace, { now: o.now, ttl: o.config.ttlMs, self: name, waitedForBy });
  if (verdict.kind === "go") return [];
  const reason =
    verdict.kind === "wait" ? verdict.why : `${o.trace.name ?? "the old leader"} has to be asked first whether it is still primary`;
  return [{ rule: "race-wait", reason }];
}

const RUNNING = { kind: "running", pid: 1, startTicks: 0, stopped: false } as const;
const OTHERS_WERE_ASKED: Observation["done"] = [{ kind: "ask-peers", ok: true, message: "" }];

/** The observation that this member would make with the lock free, the leader gone, and no request of an operator. */
function asSeenBy(o: Observation, cluster: Cluster, asked: Asked & { readonly status: PeerStatus }): Observation {
  const { member, status } = asked;
  const own = member.name === o.self.name;
  const leader = cluster.leader?.name ?? null;
  const others = asked.answers.filter(({ name }) => name !== member.name);
  return {
    ...o,
    self: { ...o.self, name: member.name, tags: status.tags, fencingMissing: status.watchdogFailed },
    dcs: { kind: "reachable", cluster: { ...cluster, leader: null, failover: null }, readAt: o.now },
    lock: { held: null },
    local: { ...o.local, process: RUNNING, status: standbyAt(status), state: "running", lastRole: "replica" },
    task: null,
    lastTask: own ? o.lastTask : null,
    trace: leader === null ? o.trace : { ...o.trace, name: leader, vanishedAt: o.now },
    peers: { answers: others.map((answer) => (answer.name === leader ? { ...answer, status: null } : answer)) },
    failsafe: own ? o.failsafe : { ...o.failsafe, promise: null },
    requests: { shutdown: false, restart: false, reinitialize: null },
    done: OTHERS_WERE_ASKED,
  };
}

function standbyAt({ lsn: position, timeline }: PeerStatus): PostgresStatus {
  return {
    askedAt: ms(0),
    backendPid: 0,
    postmasterStartTime: "",
    postmasterStartEpochSeconds: 0,
    serverVersion: 0,
    systemIdentifier: "",
    inRecovery: true,
    walLsn: null,
    receivedLsn: position,
    replayedLsn: position,
    replayTimestamp: null,
    replayPaused: false,
    timeline,
    replicationState: null,
    walReceiver: null,
    replication: [],
    slots: [],
    synchronousStandbyNames: "",
    primaryConninfo: "",
    primarySlotName: "",
    restoreCommand: "",
  };
}

/** A rule speaks of itself; this speaks of the member, with the figures that it was judged by. */
function reasonOf(rule: string, why: string, seen: Observation): string {
  switch (rule) {
    case "race-paused":
      return "the cluster is paused: nobody takes over by itself";
    case "race-failsafe-promised":
      return `it has agreed that ${promisedTo(seen)?.leader} goes on as the leader without the DCS`;
    case "race-failsafe-unknown":
      return "the failsafe key does not name it";
    case "race-nofailover":
      return "it is tagged nofailover, or has failover_priority 0";
    case "race-fencing-missing":
      return "the watchdog is required there and not usable";
    case "race-not-synchronous":
      return `it is not a synchronous standby; ${syncText(seen)}`;
    case "race-lagging":
      return lagText(seen);
    case "race-without-quorum":
      return quorumText(seen);
    default:
      return why.replace("following a different leader because i am not the healthiest node: ", "").replace(" my ", " its ");
  }
}

function syncText({ dcs }: Observation): string {
  const { leader, standbys } = dcs.cluster?.sync ?? { leader: null, standbys: [] };
  return `the sync key names ${[leader, ...standbys].filter((name) => name !== null).join(", ")}`;
}

function lagText(seen: Observation): string {
  const cluster = seen.dcs.cluster;
  const optime = cluster?.status.optime ?? null;
  const { status } = seen.local;
  const position = status?.receivedLsn ?? null;
  if (cluster === null || optime === null || position === null) return "its WAL position is not known";
  const shared = sharedPosition(lineageOf(cluster, seen.trace.mark, seen.config), status?.timeline ?? null, lsn(position));
  return (
    `its WAL is ${optime - shared} bytes behind the last published position ${formatLsn(optime)} (it has ${formatLsn(position)} on timeline ` +
    `${status?.timeline ?? "unknown"}); maximum_lag_on_failover allows ${seen.config.maximumLagOnFailoverBytes}`
  );
}

function quorumText(seen: Observation): string {
  const sync = seen.dcs.cluster?.sync;
  const votes = votesOf(seen);
  const needed = sync === undefined ? 0 : votesNeeded(sync, seen.self.name);
  return `${needed} votes of voters with no more WAL are needed, it would get ${votes.length}${votes.length === 0 ? "" : ` (${votes.join(", ")})`}`;
}
