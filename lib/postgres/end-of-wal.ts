// Owns the question how far the WAL of a stopped server reaches.

import type { PostgresError } from "../model/errors.ts";
import type { ControlData } from "../model/postgres.ts";
import { err, type Result } from "../model/result.ts";
import type { Lsn, Timeline } from "../model/units.ts";
import type { PostgresContext } from "./context.ts";

/** From control data after a clean shutdown, else by reading the WAL from the last checkpoint's redo to its first invalid record. Errors: failed. */
export async function localEndOfWal(
  context: PostgresContext,
  control: ControlData,
): Promise<Result<{ readonly timeline: Timeline; readonly lsn: Lsn }, PostgresError>> {
  return err({ kind: "failed", message: `not written yet: ${context.scope} ${control.state}` });
}
