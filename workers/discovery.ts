// Keeps the node's entry in the Consul of its site (discovery.consul). Inside the supervisor: after each cycle and each promotion.
// Alone: `bun run workers/discovery.ts node.yml` asks the node's REST API, a Patroni's as well, and keeps the entry until interrupted.

import { mainOfDiscovery } from "../lib/runtime/alone/discovery.ts";

/** Alone. Value: the exit status. */
export const main = mainOfDiscovery;

if (import.meta.main) process.exit(await main());
