// Owns the status document of a member: what it is made of, and how it is put together. For people and tools, never for
// decisions.

import type { MemberId, RaftMember } from "../../../model/raft.ts";
import { logIndex } from "../../../model/raft.ts";
import { contains, everyMember } from "../core/configuration.ts";
import type { CoreStatus } from "../core/raft.ts";
import type { MemberStatus, RaftStatus } from "../kv/client-protocol.ts";
import type { KeyValueMachine } from "../kv/machine.ts";

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
    elections: source.elections,
  };
}
