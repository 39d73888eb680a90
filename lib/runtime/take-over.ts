// Owns what a reloaded file means for the running parts of a node that hold a configuration of their own. Each keeps its old one where
// the new one cannot be used, and the log says so.

import { reconfigureStore } from "../dcs/open-store.ts";
import type { Store } from "../dcs/store.ts";
import { StoreChoiceError } from "../dcs/store-choice.ts";
import type { Log } from "../model/log.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { Catalogues } from "./catalogues.ts";
import type { PeerClient } from "./peer-client.ts";

export interface ReloadableParts {
  readonly store: Store;
  readonly peers: PeerClient;
  /** Null for a node that is in none. */
  readonly catalogues: Catalogues | null;
  readonly log: Log;
}

/** The store's section, the client of requests between members, the registrations as a service. */
export async function takeOver({ store, peers, catalogues, log }: ReloadableParts, node: NodeConfig): Promise<void> {
  const reloaded = await peers.reload({ ctl: node.ctl, restapi: node.restapi });
  if (!reloaded.ok) log.error(`${reloaded.error.path}: ${reloaded.error.message}; requests to other members go on as before`);
  if (node.consul !== null) {
    try {
      await reconfigureStore(store, node);
    } catch (error) {
      if (!(error instanceof StoreChoiceError)) throw error;
      log.error(`${error.message}; the store is asked as before`);
      return;
    }
  }
  try {
    catalogues?.reconfigure(node);
  } catch (error) {
    // A certificate that cannot be read.
    log.error(`${error instanceof Error ? error.message : String(error)}; the node's entries stay as they were`);
  }
}
