// Owns opening a client of a Raft that others run: it is asked over the network. Apart from the choice among stores, so that a
// program which knows what it wants loads nothing else.

import { randomBytes } from "node:crypto";
import type { RaftConfig } from "../model/node-config.ts";
import { RemoteMembers } from "./raft/client/remote.ts";
import { clientAddresses, securityOf } from "./raft/section.ts";
import { RaftStore } from "./raft/store.ts";
import { tcpNetwork } from "./raft/transport/tcp-network.ts";
import { DEFAULT_TRANSPORT_TIMINGS } from "./raft/transport/transport.ts";
import { explained, type OpenStoreOptions, StoreChoiceError } from "./store-choice.ts";

/** A client of the members that the section names; nothing is sent yet. Throws StoreChoiceError: no member, or a file that cannot be read. */
export function openRaft(config: RaftConfig, { clock, log }: OpenStoreOptions): RaftStore {
  const security = securityOf(config);
  if (!security.ok) throw new StoreChoiceError(`${security.error.path}: ${security.error.message}`);
  const addresses = clientAddresses(config);
  if (addresses.length === 0) throw new StoreChoiceError("raft.partner_addrs: missing; write the members to ask");
  return explained(() => {
    const network = tcpNetwork({ clock, security: security.value, log });
    const { silentMs } = DEFAULT_TRANSPORT_TIMINGS;
    const channel = new RemoteMembers({ network, clock, random: randomBytes, security: security.value, silentMs, addresses, log });
    return new RaftStore({ channel, clock, random: randomBytes, close: () => channel.close() });
  });
}
