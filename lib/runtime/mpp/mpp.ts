// Owns what a node does for its MPP cluster (Citus) beside the HA loop: the coordinator's leader keeps pg_dist_node, a worker's leader
// tells it what is coming. Nothing of it decides about HA, and nothing of it that fails holds the loop up.

import type { Store } from "../../dcs/store.ts";
import type { Member } from "../../model/member.ts";
import { COORDINATOR_GROUP, type PrimaryChanges } from "../../model/mpp.ts";
import type { NodeContext } from "../node-context.ts";
import type { OperatorAnswer } from "../node-service.ts";
import type { PeerClient } from "../peer-client.ts";

export interface MppPart extends PrimaryChanges {
  /** After each cycle. */
  note(): void;
  /** Who may send events: the members of all groups, as last read. */
  members(): readonly Member[];
  /** POST /mpp, POST /citus. */
  event(body: Readonly<Record<string, unknown>>): Promise<OperatorAnswer>;
  close(): Promise<void>;
}

const NOBODY: readonly Member[] = [];

/** For nodes that are in no MPP cluster: an event means nothing to them, as to a Patroni's. */
export const NO_MPP: MppPart = {
  beforeDemote: async () => undefined,
  beforePromote: () => undefined,
  note: () => undefined,
  members: () => NOBODY,
  event: async () => ({ status: 200, text: "OK" }),
  close: async () => undefined,
};

/** Its modules are loaded for a node that is in an MPP cluster alone. */
export async function mppPart(parts: {
  readonly context: NodeContext;
  readonly store: Store;
  readonly peers: PeerClient;
}): Promise<MppPart> {
  const { context, store, peers } = parts;
  const { citus, namespace, scope } = context.state.settings.node;
  if (citus === null) return NO_MPP;
  const { GroupReader } = await import("../../dcs/group-reader.ts");
  const groups = new GroupReader({ store, namespace, scope, one: COORDINATOR_GROUP });
  if (citus.group !== COORDINATOR_GROUP) {
    const { WorkerNotifier } = await import("./worker.ts");
    return new WorkerNotifier({ context, groups, peers, group: citus.group });
  }
  const { CoordinatorKeeper } = await import("./coordinator.ts");
  const { DistNodes } = await import("../../postgres/dist-nodes.ts");
  const config = () => context.state.settings.node.postgresql;
  const nodes = new DistNodes({ clock: context.clock, config, database: citus.database });
  return new CoordinatorKeeper({ context, groups, nodes });
}
