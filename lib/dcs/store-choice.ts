// Owns what the openings of all stores have in common: what they are given, and how they say that nothing can be opened.

import type { Clock } from "../model/clock.ts";
import type { Log } from "../model/log.ts";
import type { NodeConfig } from "../model/node-config.ts";

export interface OpenStoreOptions {
  readonly clock: Clock;
  readonly log: Log;
}

/** The `consul` and `raft` sections: as much of a node's configuration as the choice needs. */
export type StoreSections = Pick<NodeConfig, "consul" | "raft">;

/** No store can be opened from what was given; the message names the option, and holds no secret. */
export class StoreChoiceError extends Error {
  override readonly name = "StoreChoiceError";
}

export const NO_STORE = "raft: no store is configured; write a raft section, or consul with its host";

/** A failure of `act` becomes a StoreChoiceError. */
export function explained<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof StoreChoiceError) throw error;
    throw new StoreChoiceError(error instanceof Error ? error.message : String(error));
  }
}
