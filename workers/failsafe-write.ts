// Keeps the failsafe key. Inside the supervisor: with the leader's renewal, where failsafe_mode is on.
// Alone: `bun run workers/failsafe-write.ts node.yml` writes it once, where this node holds the lock.

import { mainOfFailsafeWrite } from "../lib/runtime/alone/failsafe-write.ts";

/** Alone. Value: the exit status. */
export const main = mainOfFailsafeWrite;

if (import.meta.main) process.exit(await main());
