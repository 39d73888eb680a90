// Owns when a logical slot that was copied to a standby may be used after a failover. Pure.
//
// Decoding needs the catalogs as they were at the slot's position. On the primary the slot itself holds them; on a standby nothing does
// until its feedback (hot_standby_feedback) has reached the primary and stands on the standby's physical slot there. From the moment on
// at which that slot holds at least what the primary's logical slot held, nothing more is lost: a copy whose own catalog_xmin has come
// that far is safe.

/** Copied slot → the catalog_xmin that the primary's had when its catalogs were first held for us; null = not yet. */
export type UnsafeSlots = ReadonlyMap<string, number | null>;

export interface SlotSafety {
  readonly unsafe: UnsafeSlots;
  /** Were unsafe until now. */
  readonly safe: readonly string[];
}

/** What the primary shows: the physical slot of this standby, and its logical slots. */
export interface PrimarySlots {
  readonly physicalXmin: number | null;
  readonly logicalXmin: ReadonlyMap<string, number>;
}

/** `local`: the standby's own logical slots; one that is gone is unsafe no more. */
export function slotSafety(unsafe: UnsafeSlots, primary: PrimarySlots, local: ReadonlyMap<string, number>): SlotSafety {
  const left = new Map<string, number | null>();
  const safe: string[] = [];
  for (const [name, before] of unsafe) {
    const own = local.get(name);
    if (own === undefined) continue;
    const held = before ?? heldFrom(primary, name);
    if (held !== null && !precedes(own, held)) safe.push(name);
    else left.set(name, held);
  }
  return { unsafe: left, safe };
}

function heldFrom({ physicalXmin, logicalXmin }: PrimarySlots, name: string): number | null {
  const xmin = logicalXmin.get(name);
  if (physicalXmin === null || xmin === undefined || precedes(xmin, physicalXmin)) return null;
  return xmin;
}

/** Transaction numbers go round: the nearer way decides. Source: PostgreSQL's manual, "Preventing Transaction ID Wraparound Failures". */
function precedes(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}
