// Follows the DCS. Inside the supervisor: keeps the node's view of the cluster and wakes the HA loop; it never acts.
// Alone: `bun run workers/watch.ts node.yml` prints what changes as JSON lines, the holder's lease mark included.

import type { Cluster } from "../lib/model/cluster.ts";
import type { NodeContext } from "../lib/runtime/node-context.ts";
import { WatchLoop } from "../lib/runtime/watch-loop.ts";

/** Runs until the signal ends it. `onChange` gets each newer view, before the loop is woken. */
export async function run(context: NodeContext, signal: AbortSignal, onChange: (cluster: Cluster) => void = () => {}): Promise<void> {
  const loop = new WatchLoop(context, onChange);
  loop.start();
  if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  await loop.stop();
}

/** Alone. Value: the exit status. */
export async function main(): Promise<number> {
  const { mainOfWatch } = await import("../lib/runtime/alone/watch.ts");
  return await mainOfWatch();
}

if (import.meta.main) process.exit(await main());
