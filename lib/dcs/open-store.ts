// Owns the choice of the store: from a node's configuration or from a URL, the one place that knows all of them. A Raft that is
// opened here is asked over the network; a member of its own is the supervisor's (lib/runtime/raft-member.ts).

import type { Store } from "./store.ts";
import { explained, NO_STORE, type OpenStoreOptions, StoreChoiceError, type StoreSections } from "./store-choice.ts";

/** Sections of a node's configuration, or a URL. */
export type StoreSource = StoreSections | string;

/**
 * Opens a client of the store, of whose kind alone the modules are loaded; nothing is sent yet. Rejects with StoreChoiceError where the
 * source names no store that we have, or a certificate file that cannot be read.
 *
 * @example await openStore("consul://127.0.0.1:8500", { clock, log })
 */
export async function openStore(source: StoreSource, options: OpenStoreOptions): Promise<Store> {
  if (typeof source === "string") return await openUrl(source, options);
  if (source.consul !== null) return (await import("./open-consul.ts")).openConsul(source.consul, options);
  if (source.raft !== null) return (await import("./open-raft.ts")).openRaft(source.raft, options);
  throw new StoreChoiceError(NO_STORE);
}

/**
 * Takes over the store's changed section on reload, from the next request on; sessions live on. `needs-restart` where this
 * kind of store cannot, or the section is gone. Rejects with StoreChoiceError where a certificate file cannot be read: the old
 * section then stays in force.
 */
export async function reconfigureStore(store: Store, source: Exclude<StoreSource, string>): Promise<"taken-over" | "needs-restart"> {
  const { consul } = source;
  if (store.kind !== "consul" || consul === null) return "needs-restart";
  const { ConsulStore } = await import("./consul/store.ts");
  if (!(store instanceof ConsulStore)) return "needs-restart";
  explained(() => store.reconfigure(consul));
  return "taken-over";
}

async function openUrl(url: string, options: OpenStoreOptions): Promise<Store> {
  if (/^raft:/i.test(url)) {
    const { clientConfig, parseRaftUrl } = await import("./raft/url.ts");
    const raft = parseRaftUrl(url);
    if (!raft.ok) throw new StoreChoiceError(`${raft.error.path}: ${raft.error.message}`);
    return await openStore({ consul: null, raft: clientConfig(raft.value, null) }, options);
  }
  const { parseConsulUrl } = await import("./consul/url.ts");
  const config = parseConsulUrl(url);
  if (!config.ok) throw new StoreChoiceError(`${config.error.path}: ${config.error.message}`);
  return await openStore({ consul: config.value, raft: null }, options);
}
