// Owns the last resort after a majority of the voters is lost for good: the folder of one survivor becomes a cluster of one. It
// runs while no member runs on the folder. What the lost majority had acknowledged and this survivor had not received is lost.

import type { Log } from "../../../model/log.ts";
import { logIndex, type RaftClusterId, raftClusterId, term } from "../../../model/raft.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import { encodeConfiguration } from "../core/configuration.ts";
import type { Configuration, LogWrite } from "../core/types.ts";
import { type Disk, DiskError } from "../storage/disk.ts";
import { type OpenedStorage, openStorage } from "../storage/open-storage.ts";

export interface Recovery {
  /** New: whoever comes back from the old cluster is refused by it, and joins only with an empty folder. */
  readonly clusterId: RaftClusterId;
  readonly formerClusterId: RaftClusterId;
  /** Everything up to here is kept, whether it was committed or not. */
  readonly lastIndex: number;
  readonly address: string;
}

export interface RecoverOptions {
  readonly disk: Disk;
  readonly log: Log;
  readonly random: (bytes: number) => Uint8Array;
}

const CLUSTER_ID_BYTES = 16;

/**
 * Makes this folder's member the only voter of a cluster with a new id. Safe to repeat after an interruption. The error says
 * why it cannot be done; nothing was changed then, or a repetition completes it.
 */
export async function recoverAlone(options: RecoverOptions): Promise<Result<Recovery, string>> {
  const opened = await openStorage({ disk: options.disk, log: options.log });
  if (!opened.ok) return err(opened.error.message);
  try {
    return await recover(options, opened.value);
  } catch (thrown) {
    if (thrown instanceof DiskError) return err(thrown.message);
    throw thrown;
  } finally {
    await opened.value.storage.close();
  }
}

async function recover({ random, log }: RecoverOptions, opened: OpenedStorage): Promise<Result<Recovery, string>> {
  const { identity, storage, hardState, entries, snapshot } = opened;
  if (identity === null || identity.clusterId === null) return err("this folder belongs to no cluster: there is nothing to recover");
  if (opened.log === "damaged") {
    return err(`the log of this folder is damaged (${opened.damage ?? "unknown"}): recover from another survivor, or restore a backup`);
  }
  const last = entries.at(-1);
  const lastIndex = last?.index ?? snapshot?.meta.index ?? 0;
  if (lastIndex === 0 && identity.founding === null)
    return err("this member has received nothing of its cluster yet: recover from another");
  const clusterId = raftClusterId(Buffer.from(random(CLUSTER_ID_BYTES)).toString("hex"));
  if (clusterId === null) throw new Error("the random source gives no identity");
  const { memberId: id, address } = identity;
  // First the new name, then the new configuration: in the other order a crash between would leave a second majority of the old cluster.
  await storage.writeIdentity({ ...identity, clusterId });
  const configuration: Configuration = { voters: [{ id, address }], outgoing: null, learners: [] };
  const next = term(hardState.term + 1);
  const time = last?.time ?? snapshot?.meta.time ?? 0;
  const writes: readonly LogWrite[] = [
    { kind: "hard-state", state: { term: next, votedFor: id } },
    {
      kind: "append",
      entries: [{ index: logIndex(lastIndex + 1), term: next, kind: "configuration", time, payload: encodeConfiguration(configuration) }],
    },
  ];
  await new Promise<void>((resolve, reject) => {
    storage.onDurable = () => resolve();
    storage.onFailure = reject;
    storage.write({ sequence: 1, writes });
  });
  log.warning(
    `raft: ${address} is now the only member of cluster ${clusterId} (before: ${identity.clusterId}). What the lost members had acknowledged and this one had not received is lost. Start every other member with an empty folder`,
  );
  return ok({ clusterId, formerClusterId: identity.clusterId, lastIndex, address });
}
