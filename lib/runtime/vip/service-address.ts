// Owns what the rest of the node knows of the address of the primary's host: that it can be released.

/** An address that is on the primary's host alone. */
export interface ServiceAddress {
  /** Takes it off this host. Resolves when it is surely gone: at the latest when the lease ends for which it was put there. Never rejects. */
  release(): Promise<void>;
}

/** For nodes that have none. */
export const NO_ADDRESS: ServiceAddress = { release: async () => undefined };
