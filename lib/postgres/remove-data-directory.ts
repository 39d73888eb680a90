// Owns the deletion of a data directory, its WAL directory and its tablespaces. Nothing else in the product deletes data.

import type { PostgresError } from "../model/errors.ts";
import { err, type Result } from "../model/result.ts";
import type { PostgresContext } from "./context.ts";

/** Empties a valid or half-made directory (itself kept where it is a mount point or a link). A foreign one is refused. Errors: refused, failed. */
export async function removeDataDirectory(context: PostgresContext): Promise<Result<null, PostgresError>> {
  return err({ kind: "failed", message: `not written yet: ${context.scope}` });
}
