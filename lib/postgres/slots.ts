// Owns the statements that make, move and drop replication slots on the local server. Which ones is decided elsewhere.

import type { PostgresError } from "../model/errors.ts";
import { formatLsn } from "../model/lsn.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { SlotAction } from "../model/slots.ts";
import type { Row } from "./connection.ts";

/** One statement; `database` null = the kept connection to `postgres`. */
export type SlotSql = (
  text: string,
  values: readonly unknown[],
  options: { readonly database: string | null; readonly limit: "short" | "none" },
) => Promise<Result<readonly Row[], PostgresError>>;

/** A line for the log about one slot. */
export interface SlotNote {
  readonly level: "info" | "warning" | "error";
  readonly text: string;
}

const CREATE_PHYSICAL = "SELECT pg_catalog.pg_create_physical_replication_slot($1, true)";
const CREATE_LOGICAL = "SELECT pg_catalog.pg_create_logical_replication_slot($1, $2)";
const ADVANCE = "SELECT pg_catalog.pg_replication_slot_advance($1, $2::pg_lsn)";
/** The condition is asked again in the statement: a walsender may have taken it since. */
const DROP =
  "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND NOT active";
const IS_THERE = "SELECT active FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";

/**
 * Does the actions in their order; one that fails keeps no other from being done. Value: what was done or failed, in words.
 * Errors: unreachable, timeout (the server does not answer: the rest was not tried).
 */
export async function changeSlots(sql: SlotSql, actions: readonly SlotAction[]): Promise<Result<readonly SlotNote[], PostgresError>> {
  const notes: SlotNote[] = [];
  for (const action of actions) {
    const failure = await change(sql, action, notes);
    if (failure !== null && (failure.kind === "unreachable" || failure.kind === "timeout")) return err(failure);
  }
  return ok(notes);
}

async function change(sql: SlotSql, action: SlotAction, notes: SlotNote[]): Promise<PostgresError | null> {
  const note = (level: SlotNote["level"], text: string): void => void notes.push({ level, text });
  switch (action.kind) {
    case "drop":
      return await drop(sql, action, note);
    case "create-physical": {
      const made = await sql(CREATE_PHYSICAL, [action.name], { database: null, limit: "short" });
      if (made.ok) note("info", `Created physical replication slot '${action.name}'`);
      else note("error", `Failed to create physical replication slot '${action.name}': ${made.error.message}`);
      return made.ok ? null : made.error;
    }
    case "create-logical": {
      const { name, database, plugin } = action.slot;
      const made = await sql(CREATE_LOGICAL, [name, plugin], { database, limit: "none" });
      if (made.ok) note("info", `Created logical replication slot '${name}' plugin='${plugin}'`);
      else note("error", `Failed to create logical replication slot '${name}' plugin='${plugin}': ${made.error.message}`);
      return made.ok ? null : made.error;
    }
    case "advance": {
      const { name, to, database } = action;
      const moved = await sql(ADVANCE, [name, formatLsn(to)], { database, limit: database === null ? "short" : "none" });
      const what = database === null ? "replication" : "logical replication";
      if (!moved.ok) note("error", `Failed to advance ${what} slot '${name}' to position ${formatLsn(to)}: ${moved.error.message}`);
      return moved.ok ? null : moved.error;
    }
  }
}

async function drop(
  sql: SlotSql,
  action: Extract<SlotAction, { kind: "drop" }>,
  note: (level: SlotNote["level"], text: string) => void,
): Promise<PostgresError | null> {
  const { name, why } = action;
  note(why.startsWith("Dropping") ? "warning" : "info", why);
  const dropped = await sql(DROP, [name], { database: null, limit: "short" });
  if (!dropped.ok) {
    note("error", `Failed to drop replication slot '${name}': ${dropped.error.message}`);
    return dropped.error;
  }
  if (dropped.value.length > 0) {
    note("info", `Dropped replication slot '${name}'`);
    return null;
  }
  const there = await sql(IS_THERE, [name], { database: null, limit: "short" });
  if (there.ok && there.value.length > 0) note("warning", `Unable to drop replication slot '${name}', slot is active`);
  return there.ok ? null : there.error;
}
