// Owns what a cron expression means: whether it is one, and when it comes next. Pure; no timer of the library's is used.

import { Cron } from "croner";

/** Expressions remembered; beyond it all are read anew. */
const REMEMBERED_MAX = 64;

/** With the last answer: asked in each cycle, it is nearly always the same. */
const remembered = new Map<string, { readonly cron: Cron; after: number; next: number | null }>();

/** Why it can be no schedule; null where it can. Five fields, or six with seconds before them. `timezone` as in the IANA's list. */
export function cronFault(expression: string, timezone: string): string | null {
  try {
    return nextAfter(expression, timezone, 0) === null ? "it never comes" : null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** The first time behind `after`, both in epoch milliseconds; null where none comes. The expression must have no fault. */
export function nextAfter(expression: string, timezone: string, after: number): number | null {
  const name = `${timezone}\0${expression}`;
  let known = remembered.get(name);
  if (known === undefined) {
    if (remembered.size >= REMEMBERED_MAX) remembered.clear();
    known = { cron: new Cron(expression, { timezone, paused: true }), after: Number.NaN, next: null };
    remembered.set(name, known);
  }
  if (known.after !== after) {
    known.next = known.cron.nextRun(new Date(after))?.getTime() ?? null;
    known.after = after;
  }
  return known.next;
}
