// Publishes this member's key. Inside the supervisor: after each cycle, where something changed.
// Alone: `bun run workers/touch-member.ts node.yml` publishes it once; its session runs out by TTL.

import type { NodeContext } from "../lib/runtime/node-context.ts";
import { touchMember } from "../lib/runtime/touch-member.ts";

/** Writes the key where its text changed; once the signal is aborted, not any more. */
export async function run(context: NodeContext, signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await touchMember(context);
}

/** Alone. Value: the exit status. */
export async function main(): Promise<number> {
  const { mainOfTouchMember } = await import("../lib/runtime/alone/touch-member.ts");
  return await mainOfTouchMember();
}

if (import.meta.main) process.exit(await main());
