// Owns from whom a node gets its WAL and its copies: the leader, the member that replicatefrom names, the remote primary of a
// standby cluster, a member tagged clonefrom, or nobody. Pure.

import { type Cluster, findMember, leaderMember } from "../model/cluster.ts";
import type { DynamicConfig } from "../model/dynamic-config.ts";
import { type Member, type Tags, tagEnabled } from "../model/member.ts";
import type { FollowTarget } from "../model/postgres.ts";
import { slotName } from "../model/slot-name.ts";
import { isPaused, isServingRole, leaderTarget, lockIsFree, lockIsOurs, targetOf } from "./facts.ts";
import type { Observation } from "./observation.ts";

/** Every member is a standby of somebody outside; the leader too. */
export function isStandbyCluster(o: Observation): boolean {
  return o.config.standbyCluster !== null;
}

const DEFAULT_PORT = 5432;

/** The remote primary of a standby cluster; null where there is none, or only an archive. */
export function remoteTarget(config: DynamicConfig): FollowTarget | null {
  const remote = config.standbyCluster;
  if (remote === null || remote.host === null) return null;
  return { name: null, host: remote.host, port: remote.port ?? DEFAULT_PORT, slotName: remote.primary_slot_name };
}

/** The standby leader follows the remote primary; without one so does everybody, to come as far as possible before the race. */
export function followsRemote(o: Observation): boolean {
  return isStandbyCluster(o) && (lockIsOurs(o) || (lockIsFree(o) && !isPaused(o)));
}

/** Where this node streams from; null: from nobody (nostream, or nobody to follow is known). */
export function sourceTarget(o: Observation): FollowTarget | null {
  if (tagEnabled(o.self.tags, "nostream")) return null;
  if (followsRemote(o)) return remoteTarget(o.config);
  const { cluster } = o.dcs;
  const source = cluster === null ? null : followedMember(cluster, o.self);
  return source === null ? null : memberTarget(o, source);
}

/** A stop for a restart is worth waiting for: going to the leader and back costs more. */
const COMES_BACK: ReadonlySet<string> = new Set(["running", "starting", "restarting", "stopping"]);

/**
 * The member that `self` replicates from: the one that replicatefrom names while that is a standby on the leader's timeline, else
 * the leader. A circle of tags is broken by all of its members: each follows the leader.
 */
export function followedMember(cluster: Cluster, self: { readonly name: string; readonly tags: Tags }): Member | null {
  const leader = leaderMember(cluster);
  const name = self.tags["replicatefrom"];
  if (typeof name !== "string" || name === self.name || name === leader?.name) return leader;
  const source = findMember(cluster, name);
  if (source === null || source.connUrl === null || !COMES_BACK.has(source.state) || isServingRole(source.role)) return leader;
  // What a server on another timeline has may be what the leader has left behind.
  if (leader !== null && source.timeline !== null && leader.timeline !== null && source.timeline !== leader.timeline) return leader;
  return leadsBack(cluster, source, self.name) ? leader : source;
}

function leadsBack(cluster: Cluster, from: Member, self: string): boolean {
  const passed = new Set<string>();
  for (let member: Member | null = from; member !== null && !passed.has(member.name); ) {
    passed.add(member.name);
    if (member.name === cluster.leader?.name) return false;
    const next: unknown = member.tags["replicatefrom"];
    if (next === self) return true;
    if (typeof next !== "string") return false;
    member = findMember(cluster, next);
  }
  return false;
}

/** Where a new copy comes from, and whose it is: for the log, as `leader 'a'` or `replica 'b'`. */
export interface CloneSource {
  readonly target: FollowTarget;
  readonly words: string;
}

/**
 * A member tagged clonefrom, so that the leader is spared; else the leader. Also the leader where the operator or a failure of the
 * last attempt says so. Null while the leader's address is not known.
 */
export function cloneSource(o: Observation): CloneSource | null {
  const { cluster } = o.dcs;
  const leader = leaderTarget(o);
  if (cluster === null || leader === null) return null;
  const failed = o.lastTask?.kind === "clone" && !o.lastTask.ok;
  const member = failed || o.requests.reinitialize?.fromLeader === true ? null : clonedMember(o, cluster);
  const target = member === null ? null : memberTarget(o, member);
  if (member === null || target === null) return { target: leader, words: `leader '${cluster.leader?.name}'` };
  return { target, words: `replica '${member.name}'` };
}

/** Several that are equally good are shared among those who copy. */
function clonedMember(o: Observation, cluster: Cluster): Member | null {
  const leader = leaderMember(cluster);
  const optime = cluster.status.optime;
  const near = cluster.members.filter((member) => {
    if (member.name === o.self.name || member.name === leader?.name || !tagEnabled(member.tags, "clonefrom")) return false;
    if (member.state !== "running" || isServingRole(member.role) || member.connUrl === null) return false;
    if (member.replicationState !== null && member.replicationState !== "streaming") return false;
    if (leader !== null && member.timeline !== null && leader.timeline !== null && member.timeline !== leader.timeline) return false;
    const lag = optime === null || member.xlogLocation === null ? 0 : Number(optime - member.xlogLocation);
    return lag <= o.config.maximumLagOnFailoverBytes;
  });
  const own = cluster.members.findIndex(({ name }) => name === o.self.name);
  return near.length === 0 ? null : (near[Math.max(0, own) % near.length] ?? null);
}

/** A member as a source, with our slot there. */
function memberTarget(o: Observation, member: Member): FollowTarget | null {
  return member.name === o.self.name ? null : targetOf(member, slotName(o.self.name));
}
