// Owns what the rest of the node knows of the address of the primary's host: where it stands, and that it can be released.

/** As the interface says. */
export interface AddressStanding {
  /** With its prefix, `10.0.0.100/24`. */
  readonly address: string;
  readonly interface: string;
  readonly here: boolean;
}

/** An address that is on the primary's host alone. */
export interface ServiceAddress {
  /** Takes it off this host. Resolves when it is surely gone: at the latest when the lease ends for which it was put there. Never rejects. */
  release(): Promise<void>;
  /** At most a second old; the same value as long as nothing changed. Null where none is configured. */
  standing(): AddressStanding | null;
}

/** For nodes that have none. */
export const NO_ADDRESS: ServiceAddress = { release: async () => undefined, standing: () => null };
