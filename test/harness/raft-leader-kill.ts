// Owns a background that stops the leader of Raft members at once, again and again, and starts it anew each time.

import { ms } from "../../lib/model/units.ts";
import type { RaftMembers } from "./raft-members.ts";

/** From a new leader until it is stopped. */
const LEAD_MS = 400;
const DOWN_MS = 200;

export interface LeaderKiller {
  /** How often it was done so far. */
  readonly kills: number;
  /** Resolves, once the last one runs again, with how often it was done. Rejects with what went wrong meanwhile. */
  stop(): Promise<number>;
}

export function killLeaders(members: RaftMembers): LeaderKiller {
  const stopping = new AbortController();
  const sleep = (durationMs: number): Promise<void> => members.clock.sleepUntil(ms(members.clock.now() + durationMs), stopping.signal);
  let kills = 0;
  const run = async (): Promise<number> => {
    for (; ; kills++) {
      const leader = await members.leader();
      await sleep(LEAD_MS);
      if (stopping.signal.aborted) return kills;
      await leader.stop("immediate");
      await sleep(DOWN_MS);
      await leader.start();
    }
  };
  const running = run();
  // Told by `stop`; until then it must not end the process.
  running.catch(() => {});
  return {
    get kills() {
      return kills;
    },
    stop: () => {
      stopping.abort();
      return running;
    },
  };
}
