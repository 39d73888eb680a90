// Owns which times the dynamic configuration may set at least (what the store can keep, unless a Patroni is among the members), and
// which of them count in which mode. Pure.

import { type DynamicConfig, type DynamicLimits, PATRONI_LIMITS } from "../model/dynamic-config.ts";
import type { Member } from "../model/member.ts";
import { type Ms, ms } from "../model/units.ts";

/**
 * For so long after its key is gone a Patroni still counts: the key may have gone with the session of one that leads, and it stops
 * itself no earlier than its own ttl, of 20 s at least, after its last renewal.
 */
export const PATRONI_REMEMBERED_MS = ms(2 * PATRONI_LIMITS.ttlFloorMs);

/** What a node remembers of Patronis among the members. */
export interface PatroniTrace {
  readonly names: readonly string[];
  readonly lastSeenAt: Ms;
}

/** The trace after a look at the members; null where none was seen for long enough. */
export function tracePatroni(trace: PatroniTrace | null, members: readonly Member[], options: { readonly self: string; readonly now: Ms }) {
  const names = members.filter((member) => member.product === null && member.name !== options.self).map(({ name }) => name);
  if (names.length > 0) return { names, lastSeenAt: options.now };
  return trace !== null && options.now - trace.lastSeenAt < PATRONI_REMEMBERED_MS ? trace : null;
}

/** Each floor is the store's; beside a Patroni it is at least what that makes of shorter values. */
export function limitsBeside(store: DynamicLimits, patroni: PatroniTrace | null): DynamicLimits {
  if (patroni === null) return store;
  return {
    ttlFloorMs: ms(Math.max(store.ttlFloorMs, PATRONI_LIMITS.ttlFloorMs)),
    loopWaitFloorMs: ms(Math.max(store.loopWaitFloorMs, PATRONI_LIMITS.loopWaitFloorMs)),
    retryTimeoutFloorMs: ms(Math.max(store.retryTimeoutFloorMs, PATRONI_LIMITS.retryTimeoutFloorMs)),
  };
}

/**
 * How long the stop of a primary may take before it is ended by force; null: no limit of its own. In synchronous mode alone: what was
 * acknowledged is on a standby there, and an operator may rather have that one lead than wait for a checkpoint.
 */
export function primaryStopTimeout(config: DynamicConfig): Ms | null {
  return config.synchronousMode !== "off" && config.primaryStopTimeoutMs > 0 ? config.primaryStopTimeoutMs : null;
}
