// Owns the statements that make and drop them on the local server.

import type { PostgresError } from "../model/errors.ts";
import { ok, type Result } from "../model/result.ts";
import { slotName } from "../model/slot-name.ts";
import type { RunSql } from "./context.ts";
import { literal } from "./sql-literal.ts";

/** Members whose names give one slot name: groups of two and more, each sorted. */
export function slotCollisions(memberNames: readonly string[]): readonly { readonly slot: string; readonly members: readonly string[] }[] {
  const bySlot = Map.groupBy([...memberNames].sort(), slotName);
  return [...bySlot].filter(([, members]) => members.length > 1).map(([slot, members]) => ({ slot, members }));
}

/**
 * Creates the missing ones of `wanted`, with WAL reserved at once, and drops inactive permanent physical slots outside
 * `wanted` and `keep`; logical ones are left alone. Both lists hold slot names. Works on a primary and on a standby.
 * Value: what was done, in words. Errors: those of the first statement that fails; a slot taken into use meanwhile is none.
 */
export async function syncMemberSlots(
  sql: RunSql,
  options: { readonly wanted: readonly string[]; readonly keep: readonly string[] },
): Promise<Result<readonly string[], PostgresError>> {
  const found = await sql("SELECT slot_name, slot_type, active, temporary FROM pg_catalog.pg_replication_slots");
  if (!found.ok) return found;
  const done: string[] = [];
  const names = new Set(found.value.map((row) => String(row["slot_name"])));
  const wanted = new Set(options.wanted);
  for (const name of wanted) {
    if (names.has(name)) continue;
    const created = await sql(`SELECT pg_catalog.pg_create_physical_replication_slot(${literal(name)}, true)`);
    if (!created.ok) return created;
    done.push(`created physical slot ${name}`);
  }
  const kept = new Set([...wanted, ...options.keep]);
  for (const row of found.value) {
    const name = String(row["slot_name"]);
    if (row["slot_type"] !== "physical" || row["temporary"] === true || row["active"] === true || kept.has(name)) continue;
    // The condition is asked again in the statement: a walsender may have taken it since.
    const dropped = await sql(
      `SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = ${literal(name)} AND NOT active`,
    );
    if (!dropped.ok) return dropped;
    if (dropped.value.length > 0) done.push(`dropped physical slot ${name}`);
  }
  return ok(done);
}
