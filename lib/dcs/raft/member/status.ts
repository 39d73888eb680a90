// Owns the status document of a member: what it is made of, and how it is put together. For people and tools, never for
// decisions.

import type { Distribution } from "../../../model/metric.ts";
import type { MemberId, RaftMember } from "../../../model/raft.ts";
import { logIndex, term } from "../../../model/raft.ts";
import { revision } from "../../../model/units.ts";
import { contains, everyMember } from "../core/configuration.ts";
import type { CoreStatus } from "../core/raft.ts";
import type { MemberStatus, RaftStatus } from "../kv/client-protocol.ts";
import type { KeyValueMachine } from "../kv/machine.ts";
import { NO_FSYNCS } from "./sync-times.ts";

export interface StatusSource {
  readonly core: CoreStatus;
  readonly machine: KeyValueMachine;
  readonly leader: RaftMember | null;
  /** Null once it is in the configuration. */
  readonly detail: string | null;
  readonly isConnected: (id: MemberId) => boolean;
  /** How often this member stood for election. */
  readonly elections: number;
  /** Mean time in ms until a write is durable; null before the first. */
  readonly syncMs: number | null;
  readonly fsyncs: Distribution;
  readonly room: "room" | "full";
}

export function memberStatuses(source: StatusSource, self: RaftMember): readonly MemberStatus[] {
  const { configuration, followers, role, durable } = source.core;
  return everyMember(configuration).map(({ id, address }) => {
    const part = contains(configuration.voters, id) ? "voter" : contains(configuration.learners, id) ? "learner" : "outgoing";
    const follower = followers.find((one) => one.id === id);
    const own = id === self.id;
    const matched = own ? (role === "leader" ? durable : null) : follower === undefined ? null : logIndex(follower.match);
    const silentMs = follower === undefined || !Number.isFinite(follower.silentMs) ? null : Math.max(0, follower.silentMs);
    return { id, address, part, link: own ? null : source.isConnected(id) ? "up" : "down", matched, silentMs };
  });
}

/** Of a member that serves, or is on its way into its cluster's configuration. */
export function servingStatus(source: StatusSource, self: RaftMember, cluster: RaftStatus["cluster"]): RaftStatus {
  const { core, machine } = source;
  return {
    member: self,
    cluster,
    state: source.detail === null ? "serving" : "joining",
    detail: source.detail,
    role: core.role,
    term: core.term,
    leader: source.leader,
    members: memberStatuses(source, self),
    commit: core.commit,
    applied: machine.appliedIndex,
    lastIndex: core.lastIndex,
    snapshotIndex: core.snapshotIndex,
    log: core.health,
    disk: source.room,
    revision: machine.revision,
    clusterTimeMs: core.clusterTime,
    ...machine.counts,
    snapshotBytes: core.snapshotBytes,
    logBytes: core.logBytes,
    syncMs: source.syncMs,
    fsyncs: source.fsyncs,
    elections: source.elections,
  };
}

/** Of a member that is in no configuration and has no log. */
export const EMPTY_STATUS = {
  state: "waiting",
  role: "follower",
  term: term(0),
  leader: null,
  members: [],
  commit: logIndex(0),
  applied: logIndex(0),
  lastIndex: logIndex(0),
  snapshotIndex: logIndex(0),
  log: "whole",
  disk: "room",
  revision: revision(0),
  clusterTimeMs: 0,
  keys: 0,
  sessions: 0,
  clients: 0,
  watches: 0,
  snapshotBytes: 0,
  logBytes: 0,
  syncMs: null,
  fsyncs: NO_FSYNCS,
  elections: 0,
} as const satisfies Omit<RaftStatus, "member" | "cluster" | "detail">;
