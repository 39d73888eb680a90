// Owns the two stores of a move as a command sees them: what is there, and which step of a move that makes next. Changes nothing.

import { type ClusterSnapshot, isEmpty, readWhole } from "../../dcs/cluster-export.ts";
import { isSealed, readSeal, SEALING_HOLDER, type Seal } from "../../dcs/cluster-seal.ts";
import type { ClusterKeys } from "../../dcs/keys.ts";
import { redactUrl } from "../../dcs/redact-url.ts";
import { type CtlContext, orRefuse, type ReadCluster } from "./context.ts";
import { CtlRefusal } from "./refusal.ts";
import { restoreObstacle } from "./restore-plan.ts";

/** A store, and the cluster's place in it. */
export interface MovePlace {
  readonly context: CtlContext;
  readonly keys: ClusterKeys;
  /** For people. */
  readonly name: string;
}

export interface MoveSight {
  readonly read: ReadCluster;
  readonly snapshot: ClusterSnapshot;
  readonly seal: Seal | null;
  /** No node decides by it. */
  readonly sealed: boolean;
}

/**
 * What is next:
 * - `leave`: the cluster is decided by the old store; supervisors have to be stopped, then the place is sealed.
 * - `arrive`: both are sealed; the state is written into the new store.
 * - `settle`: the state is there; supervisors have to be started, and the pause ended.
 */
export type MovePhase = "leave" | "arrive" | "settle";

export function placeOf(context: CtlContext, scope: string): MovePlace {
  const { consul, raft } = context.config;
  if (context.store.kind === "api")
    throw new CtlRefusal("a move needs both stores themselves; name them with a file, or consul:// or raft://");
  const where = consul === null ? (raft?.partnerAddrs ?? []).map(({ host, port }) => `${host}:${port}`).join(", ") : redactUrl(consul.url);
  return { context, keys: context.clusterStore(scope, null).keys, name: `${context.store.kind} (${where})` };
}

/** Throws CtlRefusal where the store does not answer. */
export async function lookAt({ context, keys }: MovePlace, scope: string): Promise<MoveSight> {
  const read = await context.readGroup(scope, null);
  const snapshot = orRefuse(await readWhole(context.store, keys, context.storeDeadline()));
  const seal = orRefuse(await readSeal(context.store, keys, context.storeDeadline()));
  return { read, snapshot, seal, sealed: isSealed(snapshot, keys) };
}

/** Throws CtlRefusal where these two are not the ends of one move. */
export function phaseOf(
  from: { readonly place: MovePlace; readonly sight: MoveSight },
  to: { readonly place: MovePlace; readonly sight: MoveSight },
): MovePhase {
  const { scope } = from.sight.read;
  if (Object.keys(from.sight.read.cluster.groups).length > 0)
    throw new CtlRefusal("a Citus cluster is not moved: its groups would have to move at one moment");
  if (!from.sight.sealed) {
    const restore = restoreObstacle(from.sight.read.cluster);
    if (restore !== null) throw new CtlRefusal(restore);
    const identifier = from.sight.read.cluster.initialize ?? "";
    if (identifier === "") throw new CtlRefusal(`${from.place.name} has no cluster ${scope} that has been founded`);
    const patronis = from.sight.read.cluster.members.filter(({ product }) => product === null).map(({ name }) => name);
    if (patronis.length > 0)
      throw new CtlRefusal(`a Patroni knows nothing of a move, and would decide by ${from.place.name} again: ${patronis.join(", ")}`);
    if (to.sight.sealed || isEmpty(to.sight.snapshot)) return "leave";
    throw new CtlRefusal(`${to.place.name} has a cluster ${scope} already: remove it there first, or name another namespace`);
  }
  const seal = from.sight.seal;
  if (seal === null || seal.record.state !== "left")
    throw new CtlRefusal(`${from.place.name} is reserved for ${scope}, which has not come there yet`);
  if (to.sight.sealed) return "arrive";
  if (to.sight.read.cluster.initialize === seal.record.systemIdentifier) return "settle";
  throw new CtlRefusal(
    `${scope} has left ${from.place.name}, and ${to.place.name} is neither reserved for it nor has it: is this the store that it was moved to (${seal.record.other})?`,
  );
}

/** Who is not gone yet: keys of members, and the leader's. */
export function stillThere({ read }: MoveSight): readonly string[] {
  const { leader, members } = read.cluster;
  const names = members.map(({ name }) => name);
  return leader === null || leader.name === SEALING_HOLDER || names.includes(leader.name) ? names : [...names, leader.name];
}
