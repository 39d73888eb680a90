// Owns what a node remembers of failsafe mode between two looks. Decides nothing; lib/runtime/failsafe.ts reads and writes it.

import { type KeyTrace, NO_KEY_TRACE } from "../core/failsafe.ts";
import type { FailsafePromise } from "../model/failsafe.ts";
import { type Lsn, type Ms, ms } from "../model/units.ts";

export class FailsafeMemory {
  /** As the holder: before the last unanimous round was sent. Null since the lock was confirmed. */
  roundAt: Ms | null = null;
  /** What it promised; a ttl that a reload has changed since counts from the next round on. */
  roundTtl: Ms = ms(0);
  /** As the holder: what it wrote of the key. */
  key: KeyTrace = NO_KEY_TRACE;
  /** As another member: the promise that ends last. */
  promise: FailsafePromise | null = null;
  /** The slots' positions on the primary that it was given to. */
  slots: Readonly<Record<string, Lsn>> = {};
  /** Where the members were when they agreed. */
  positions: Readonly<Record<string, Lsn>> = {};

  /** The lock was confirmed, given up or lost: what was agreed upon without the DCS counts no more. */
  roundOver(): void {
    this.roundAt = null;
    this.positions = {};
  }
}
