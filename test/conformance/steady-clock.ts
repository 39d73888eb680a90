// Owns a real-time clock for the conformance suite, which may not depend on lib/runtime.

import type { Clock } from "../../lib/model/clock.ts";
import { ms } from "../../lib/model/units.ts";

export function steadyClock(): Clock {
  return {
    now: () => ms(performance.now()),
    wallNow: () => Date.now(),
    sleepUntil: (at, signal) =>
      new Promise((resolve) => {
        if (signal?.aborted === true) return resolve();
        const finish = (): void => {
          clearTimeout(timer);
          signal?.removeEventListener("abort", finish);
          resolve();
        };
        const timer = setTimeout(finish, Math.max(0, Math.ceil(at - performance.now())));
        signal?.addEventListener("abort", finish);
      }),
  };
}
