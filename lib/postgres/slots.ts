// Owns the names of member slots (contract §9) and the statements that make and drop them on the local server.

import type { PostgresError } from "../model/errors.ts";
import { err, type Result } from "../model/result.ts";
import type { RunSql } from "./context.ts";

/** PostgreSQL's limit for names, in bytes (NAMEDATALEN - 1). */
const SLOT_NAME_LENGTH_MAX = 63;

/** Slot of a member: lower case, dash and dot become `_`, any other character outside [a-z0-9_] becomes `u` and its code point, cut to 63. */
export function slotName(memberName: string): string {
  const mapped = Array.from(memberName.toLowerCase(), (character) => {
    if (/^[a-z0-9_]$/.test(character)) return character;
    if (character === "-" || character === ".") return "_";
    return `u${(character.codePointAt(0) ?? 0).toString(10).padStart(4, "0")}`;
  });
  return mapped.join("").slice(0, SLOT_NAME_LENGTH_MAX);
}

/** Members whose names give one slot name: groups of two and more, each sorted. */
export function slotCollisions(memberNames: readonly string[]): readonly { readonly slot: string; readonly members: readonly string[] }[] {
  const bySlot = Map.groupBy([...memberNames].sort(), slotName);
  return [...bySlot].filter(([, members]) => members.length > 1).map(([slot, members]) => ({ slot, members }));
}

/** Creates the missing ones of `wanted` and drops inactive physical slots outside `wanted` and `keep`. Value: what was done, in words. */
export async function syncMemberSlots(
  sql: RunSql,
  options: { readonly wanted: readonly string[]; readonly keep: readonly string[] },
): Promise<Result<readonly string[], PostgresError>> {
  return err({ kind: "failed", message: `not written yet ${sql.name} ${options.wanted}` });
}
