// The address of the primary's host. Inside the supervisor: there while PostgreSQL is primary and the lease runs, gone before it ends.
// Alone: `bun run workers/vip.ts node.yml` says whether it is on this host; `--release` takes it off.

import type { NodeContext } from "../lib/runtime/node-context.ts";
import { Vip } from "../lib/runtime/vip/vip.ts";

/** For the node's composition: told after each cycle, and before the primary stops. */
export function run(context: NodeContext): Vip {
  return new Vip(context);
}

/** Alone. Value: the exit status. */
export async function main(): Promise<number> {
  const { mainOfVip } = await import("../lib/runtime/alone/vip.ts");
  return await mainOfVip();
}

if (import.meta.main) process.exit(await main());
