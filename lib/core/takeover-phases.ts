// Owns the phases of a takeover as the node that takes over goes through them: when the free lock was seen, when it was taken, when
// PostgreSQL was promoted, when it takes writes. Pure: a fold over observations. Decides nothing.

import { type Ms, ms } from "../model/units.ts";
import { lockIsForeign, lockIsFree, runsAsStandby } from "./facts.ts";
import type { Observation } from "./observation.ts";

/** `switchover`, `manual`: somebody asked for it, the latter without naming a leader. */
export type TakeoverCause = "automatic" | "switchover" | "manual";

/** A takeover under way. */
export interface Takeover {
  readonly cause: TakeoverCause;
  /** Who led before; null where that is not known. */
  readonly former: string | null;
  /** The former leader's last sign of life in the DCS; null where none was seen. */
  readonly lastSignAt: Ms | null;
  /** The lock was seen to be free. */
  readonly detectedAt: Ms;
  readonly lockAt: Ms | null;
  readonly promotedAt: Ms | null;
}

export type PhaseName = "detected" | "lock" | "promoted" | "writable";

/** The end of a phase, and how long it took since the end of the one before. */
export interface Phase {
  readonly phase: PhaseName;
  /** Null for `detected` where the former leader's last sign was not seen. */
  readonly took: Ms | null;
}

export interface TakeoverStep {
  readonly takeover: Takeover | null;
  /** Phases that ended with this observation, in order. */
  readonly ended: readonly Phase[];
}

const NOTHING: TakeoverStep = { takeover: null, ended: [] };

/** Folds one observation in. The first two phases are told together, by whoever got the lock. */
export function foldTakeover(before: Takeover | null, o: Observation): TakeoverStep {
  if (before === null || before.lockAt === null) {
    const seen = detected(before, o);
    if (seen === null || o.lock.held === null) return seen === null ? NOTHING : { takeover: seen, ended: [] };
    const taken = { ...seen, lockAt: o.now };
    const { lastSignAt, detectedAt } = seen;
    const noticed = lastSignAt === null ? null : ms(Math.max(0, detectedAt - lastSignAt));
    return {
      takeover: taken,
      ended: [
        { phase: "detected", took: noticed },
        { phase: "lock", took: ms(o.now - detectedAt) },
      ],
    };
  }
  if (o.lock.held === null || lockIsForeign(o)) return NOTHING;
  return proceed({ ...before, lockAt: before.lockAt }, o);
}

function proceed(before: Takeover & { readonly lockAt: Ms }, o: Observation): TakeoverStep {
  const ended: Phase[] = [];
  let promotedAt = before.promotedAt;
  const { promotedAt: seenAt, status } = o.local;
  if (promotedAt === null && seenAt !== null && seenAt >= before.lockAt) {
    promotedAt = seenAt;
    ended.push({ phase: "promoted", took: ms(seenAt - before.lockAt) });
  }
  if (promotedAt === null || status === null || status.inRecovery) return { takeover: { ...before, promotedAt }, ended };
  return { takeover: null, ended: [...ended, { phase: "writable", took: ms(o.now - promotedAt) }] };
}

/** A standby that sees the free lock, or has just taken it. A standby cluster has nothing to promote. */
function detected(before: Takeover | null, o: Observation): Takeover | null {
  if (o.config.standbyCluster !== null || !runsAsStandby(o)) return null;
  if (!lockIsFree(o)) return o.lock.held === null ? null : before;
  const { trace } = o;
  const lastSignAt = trace.mark !== null && trace.mark.session === trace.session ? trace.markSeenAt : null;
  const detectedAt = before?.detectedAt ?? trace.vanishedAt ?? o.now;
  const cause = causeOf(o);
  return {
    cause: cause === "automatic" ? (before?.cause ?? cause) : cause,
    former: trace.name,
    lastSignAt,
    detectedAt,
    lockAt: null,
    promotedAt: null,
  };
}

function causeOf(o: Observation): TakeoverCause {
  const request = o.dcs.cluster?.failover ?? null;
  if (request === null || (request.scheduledAt !== null && o.wallNow < request.scheduledAt)) return "automatic";
  return request.leader === null ? "manual" : "switchover";
}
