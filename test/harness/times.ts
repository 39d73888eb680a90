// Owns what differs between the tiers inside a test file: how long the leases are for whose end a test waits, and which cases are
// left to the full tier because the default one shows the same claim in another. Which files run is in scripts/suite/stages.ts.

import { wordFromEnvironment } from "./from-environment.ts";

/** `full` in the full tier. */
const FULL = wordFromEnvironment("MATRIARCH_TEST_TIER", ["default", "full"]) === "full";

/** `inDefault` in both tiers, `more` in the full tier alone. */
export function cases<T>(inDefault: readonly T[], more: readonly T[]): readonly T[] {
  return FULL ? [...inDefault, ...more] : inDefault;
}

/** A bound that says more about the machine in the default tier, which any machine runs. */
export function inTier<T>(values: { readonly full: T; readonly byDefault: T }): T {
  return FULL ? values.full : values.byDefault;
}

/**
 * In seconds. Both stores of the tests keep a few (docs/adr/0003): the default tier waits less than Patroni's least of 20 s, which the
 * full tier waits for. Below 8 a busy machine ends leases that the test does not want to end.
 */
export const TTL_S = FULL ? 20 : 8;
export const TTL_MS = TTL_S * 1000;

/** A holder that renews every 2 s, and peers that look as often. */
export const PROMPT = { ttl: TTL_S, loop_wait: 2, retry_timeout: 3 } as const;
/** The longest loop_wait of such a lease: what is faster than that was woken. */
export const LAZY = { ttl: TTL_S, loop_wait: TTL_S / 2, retry_timeout: TTL_S / 4 } as const;
