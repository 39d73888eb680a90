// Owns the choice of the store: from a node's configuration or from a URL, the one place that knows all of them. A Raft that is
// opened here is asked over the network; a member of its own is the supervisor's (lib/runtime/raft-member.ts).

import { randomBytes } from "node:crypto";
import type { Clock } from "../model/clock.ts";
import type { Log } from "../model/log.ts";
import type { NodeConfig, RaftConfig } from "../model/node-config.ts";
import { ConsulStore } from "./consul/store.ts";
import { parseConsulUrl } from "./consul/url.ts";
import { RemoteMembers } from "./raft/client/remote.ts";
import { clientAddresses, securityOf } from "./raft/section.ts";
import { RaftStore } from "./raft/store.ts";
import { tcpNetwork } from "./raft/transport/tcp-network.ts";
import { DEFAULT_TRANSPORT_TIMINGS } from "./raft/transport/transport.ts";
import { clientConfig, parseRaftUrl } from "./raft/url.ts";
import type { Store } from "./store.ts";

export interface OpenStoreOptions {
  readonly clock: Clock;
  readonly log: Log;
}

/** The `consul` and `raft` sections, as much of a node's configuration as the choice needs. */
export type StoreSource = Pick<NodeConfig, "consul" | "raft"> | string;

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
  throw new StoreChoiceError("raft: no store is configured; write a raft section, or consul with its host");
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

/** No store can be opened from what was given; the message names the option, and holds no secret. */
export class StoreChoiceError extends Error {
  override readonly name = "StoreChoiceError";
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

function openConsul(config: NonNullable<NodeConfig["consul"]>, options: OpenStoreOptions): Store {
  return explained(() => new ConsulStore({ config, ...options }));
}

/** A client of the members that the section names. */
function openRaft(config: RaftConfig, { clock, log }: OpenStoreOptions): Store {
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

function explained<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw new StoreChoiceError(error instanceof Error ? error.message : String(error));
  }
}
