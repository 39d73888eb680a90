// Owns opening a client of Consul. Apart from the choice among stores, so that a program which knows what it wants loads nothing else.

import type { ConsulConfig } from "../model/node-config.ts";
import { ConsulStore } from "./consul/store.ts";
import { explained, type OpenStoreOptions } from "./store-choice.ts";

/** Nothing is sent yet. Throws StoreChoiceError: a certificate file that cannot be read. */
export function openConsul(config: ConsulConfig, options: OpenStoreOptions): ConsulStore {
  return explained(() => new ConsulStore({ config, ...options }));
}
