// Owns the situations that several scenarios begin from: who holds the lock, what runs here, what was done. Built on observations.ts.

import type { FinishedTask, LocalFacts, Observation } from "../../../../lib/core/observation.ts";
import type { RewindPlan } from "../../../../lib/core/rewind-plan.ts";
import { ms, revision } from "../../../../lib/model/units.ts";
import { CONFIG, cluster, leading, local, observation, primaryStatus, released, unlocked } from "../observations.ts";

type Fields = Parameters<typeof observation>[0];
/** One observation for each rule, by its id: it has to be that rule's to decide. */
export type Scenarios = Readonly<Record<string, Observation>>;

/** Node b holds the lock; its PostgreSQL is a standby, unless `fields` say otherwise. */
export const holding = {
  cluster: cluster({ leader: { name: "b", session: "s-b", revision: revision(4) } }),
  lock: leading().lock,
};
export const down = local({ process: { kind: "none" }, status: null });
export const empty = local({ process: { kind: "none" }, status: null, dataDirectory: { kind: "empty" } });
export const asPrimary = local({ status: primaryStatus(), lastRole: "primary", upstream: "" });
export const self = observation().self;
export const paused = { ...CONFIG, pause: true };
export const synchronous = { ...CONFIG, synchronousMode: "on" as const };
export const asked = [{ kind: "ask-peers" as const, ok: true, message: "" }];
/** Its end is here, and the renewal was tried in vain. */
export const over = { session: "s-b", revision: revision(4), confirmedAt: ms(70_000), leaseEndsAt: ms(99_000) };
export const renewedInVain = [{ kind: "renew-lock" as const, ok: false, message: "" }];
export const shutdown = { shutdown: true, restart: false, reinitialize: null };
export const restart = { shutdown: false, restart: true, reinitialize: null };
export const reinitialize = { shutdown: false, restart: false, reinitialize: { fromLeader: true } };
export const toUs = { revision: revision(9), leader: null, candidate: "b", scheduledAt: null, scheduledAtText: null };

export function failed(kind: FinishedTask["kind"], failures = 1): FinishedTask {
  return { kind, finishedAt: ms(99_999), ok: false, message: "no", failures, plan: null };
}

export function running(kind: "promote" | "start" | "hand-over" | "clone"): NonNullable<Observation["task"]> {
  return { kind, startedAt: ms(90_000), aborting: false };
}

/** The last task was a plan for following this leader. */
export function planned(kind: "follow" | "rewind" | "clone", leader = { name: "a", session: "s-a" as string | null }): FinishedTask {
  const plan: RewindPlan = kind === "clone" ? { kind, allowed: false, why: "" } : { kind, why: "" };
  const task = { kind: "plan-rejoin", finishedAt: ms(99_999), ok: true, message: "", failures: 0 } as const;
  return { ...task, plan: { leader: leader.name, leaderSession: leader.session, plan } };
}

/** The DCS is out of reach; `view` is what was seen last. */
export function away(view: NonNullable<Observation["dcs"]["cluster"]>, fields: Fields = {}): Observation {
  return observation({ dcs: { kind: "unreachable", since: ms(99_000), cluster: view, reason: "no" }, ...fields });
}

/** Nobody leads; a released the lock a moment ago, and everybody was asked. */
export function racing(fields: Fields = {}): Observation {
  return observation({ cluster: unlocked, trace: released, done: asked, ...fields });
}

/** A stopped server of the holder's, as its control file tells of it. */
export function stopped(state: "in production" | "in archive recovery", fields: Partial<LocalFacts> = {}): LocalFacts {
  const control = { state } as NonNullable<LocalFacts["control"]>;
  return local({ process: { kind: "none" }, status: null, lastRole: "primary", control, ...fields });
}
