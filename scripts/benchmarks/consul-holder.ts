// Owns a process that holds locks in Consul as a supervisor does, without PostgreSQL: one lock for each choice of checks, each confirmed
// as often as a supervisor does. For consul-deaths.ts, which kills it; tells on standard output when a primary would have to stop.

import { leaseEnd, leaseMiddle, stopBudgetLimit, stopInstant } from "../../lib/core/lease.ts";
import { ClusterStore, type HeldLock } from "../../lib/dcs/cluster-store.ts";
import { ConsulStore } from "../../lib/dcs/consul/store.ts";
import type { Clock } from "../../lib/model/clock.ts";
import type { StoreError } from "../../lib/model/errors.ts";
import type { Result } from "../../lib/model/result.ts";
import { type Ms, ms, seconds } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { consulConfig } from "../../test/harness/consul-config.ts";
import { recordingLog } from "../../test/harness/recording-log.ts";

/** What ends a session beside its TTL. */
export const CHOICES = [
  { scope: "none", checks: [], checkTtl: null },
  { scope: "serf", checks: ["serfHealth"], checkTtl: null },
  { scope: "check", checks: [], checkTtl: seconds(3) },
  { scope: "both", checks: ["serfHealth"], checkTtl: seconds(3) },
] as const;

export const TTL = seconds(20);
/** What the rule between the timeouts makes of loop_wait where the lease is short. */
const loopWaitOf = ({ checkTtl }: Choice): number => (checkTtl === null ? 10_000 : 1_000);
const TRY_MAX_MS = 1_000;
const AGAIN_MS = 200;

type Choice = (typeof CHOICES)[number];

/** One line for each thing that an operator would notice. */
function tell(choice: Choice, event: "holds" | "stops" | "lost"): void {
  console.log(JSON.stringify({ choice: choice.scope, event }));
}

async function hold(choice: Choice, { url, name, clock }: { readonly url: string; readonly name: string; readonly clock: Clock }) {
  const store = new ConsulStore({ config: consulConfig(url, { checks: choice.checks }), clock, log: recordingLog() });
  const place = { namespace: "deaths", scope: `${name}-${choice.scope}`, group: null, name };
  const cluster = new ClusterStore({ store, clock, log: recordingLog(), ...place, ttl: TTL, sessionCheckTtl: choice.checkTtl });
  const leaseTtl = ms(Math.min(TTL, choice.checkTtl ?? TTL));
  let lock: HeldLock | null = null;
  let stopped = true;
  const countsUntil = (held: HeldLock): Ms => leaseEnd({ confirmedAt: held.confirmedAt, ttl: leaseTtl, promised: held.promisedMs });
  const stopsAt = (held: HeldLock): Ms =>
    stopInstant({ leaseEndsAt: countsUntil(held), stopBudgetMs: stopBudgetLimit(leaseTtl), ttl: leaseTtl });
  // Beside the renewals, as the guard is: a request may be waited for when the time comes.
  void (async () => {
    for (;;) {
      await clock.sleepUntil(ms(clock.now() + 20));
      if (lock === null || stopped || clock.now() < stopsAt(lock)) continue;
      stopped = true;
      tell(choice, "stops");
    }
  })();
  for (;;) {
    const deadline = ms(clock.now() + TRY_MAX_MS);
    const answer: Result<HeldLock, StoreError> =
      lock === null ? await cluster.attemptToAcquireLeader({ deadline }) : await cluster.updateLeader({ deadline });
    if (answer.ok) {
      const held: HeldLock = answer.value;
      lock = held;
      if (stopped) tell(choice, "holds");
      stopped = false;
      const lease = { confirmedAt: held.confirmedAt, leaseEndsAt: countsUntil(held) };
      await clock.sleepUntil(ms(Math.min(held.confirmedAt + loopWaitOf(choice) * 0.9, leaseMiddle(lease))));
      continue;
    }
    if (lock !== null && (answer.error.kind === "session-gone" || answer.error.kind === "condition-failed")) {
      tell(choice, "lost");
      lock = null;
    }
    await clock.sleepUntil(ms(clock.now() + AGAIN_MS));
  }
}

if (import.meta.main) {
  const [url = "", name = ""] = process.argv.slice(2);
  const clock = realClock();
  await Promise.all(CHOICES.map((choice) => hold(choice, { url, name, clock })));
}
