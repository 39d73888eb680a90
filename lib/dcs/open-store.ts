// Owns the choice of the store: from a node's configuration or from a URL, the one place that knows all of them. A Raft that is
// opened here is asked over the network; a member of its own is the supervisor's (lib/runtime/raft-member.ts).

import { ConsulStore } from "./consul/store.ts";
import { parseConsulUrl } from "./consul/url.ts";
import { openConsul } from "./open-consul.ts";
import { openRaft } from "./open-raft.ts";
import { clientConfig, parseRaftUrl } from "./raft/url.ts";
import type { Store } from "./store.ts";
import { explained, NO_STORE, type OpenStoreOptions, StoreChoiceError, type StoreSections } from "./store-choice.ts";

/** Sections of a node's configuration, or a URL. */
export type StoreSource = StoreSections | string;

/**
 * Opens a client of the store; nothing is sent yet. Throws StoreChoiceError where the source names no store that we have,
 * or a certificate file that cannot be read.
 *
 * @example openStore("consul://127.0.0.1:8500", { clock, log })
 */
export function openStore(source: StoreSource, options: OpenStoreOptions): Store {
  if (typeof source === "string") return openUrl(source, options);
  if (source.consul !== null) return openConsul(source.consul, options);
  if (source.raft !== null) return openRaft(source.raft, options);
  throw new StoreChoiceError(NO_STORE);
}

/**
 * Takes over the store's changed section on reload, from the next request on; sessions live on. `needs-restart` where this
 * kind of store cannot, or the section is gone. Throws StoreChoiceError where a certificate file cannot be read: the old
 * section then stays in force.
 */
export function reconfigureStore(store: Store, source: Exclude<StoreSource, string>): "taken-over" | "needs-restart" {
  if (!(store instanceof ConsulStore) || source.consul === null) return "needs-restart";
  const { consul } = source;
  explained(() => store.reconfigure(consul));
  return "taken-over";
}

function openUrl(url: string, options: OpenStoreOptions): Store {
  if (/^raft:/i.test(url)) {
    const raft = parseRaftUrl(url);
    if (!raft.ok) throw new StoreChoiceError(`${raft.error.path}: ${raft.error.message}`);
    return openRaft(clientConfig(raft.value, null), options);
  }
  const config = parseConsulUrl(url);
  if (!config.ok) throw new StoreChoiceError(`${config.error.path}: ${config.error.message}`);
  return openConsul(config.value, options);
}
