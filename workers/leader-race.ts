// The leader race of a node: observe → decide → perform. Inside the supervisor: the HA loop.
// Alone: `bun run workers/leader-race.ts node.yml` judges one pass, performs nothing and prints decision, rule and facts;
// with --perform it is the holder in the foreground, guarded, and stops PostgreSQL before it releases, whatever ends it.

import { HaLoop, type LoopEnd } from "../lib/runtime/ha-loop.ts";
import type { NodeContext } from "../lib/runtime/node-context.ts";

/** Runs until a decision ends it; the signal asks for a hand-over and a stop. Throws where an invariant is broken. */
export async function run(context: NodeContext, signal: AbortSignal, afterCycle: () => Promise<void> = async () => {}): Promise<LoopEnd> {
  const { state, waker } = context;
  const shutDown = (): void => {
    state.requests = { ...state.requests, shutdown: true };
    state.shutdownAsked.abort();
    waker.wake();
  };
  signal.addEventListener("abort", shutDown, { once: true });
  if (signal.aborted) shutDown();
  try {
    return await new HaLoop(context, afterCycle).run();
  } finally {
    signal.removeEventListener("abort", shutDown);
  }
}

/** Alone. Value: the exit status. */
export async function main(): Promise<number> {
  const { mainOfLeaderRace } = await import("../lib/runtime/alone/leader-race.ts");
  const { run: watch } = await import("./watch.ts");
  const { run: vip } = await import("./vip.ts");
  return await mainOfLeaderRace({ leaderRace: run, watch, vip });
}

if (import.meta.main) process.exit(await main());
