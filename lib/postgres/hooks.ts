// Owns the commands that are waited for: pre_promote and before_stop.

import type { PostgresError } from "../model/errors.ts";
import { err, type Result } from "../model/result.ts";
import type { Ms } from "../model/units.ts";
import type { PostgresContext } from "./context.ts";

export type HookName = "pre_promote" | "before_stop";

/** Runs the hook to its end; success where none is configured. Errors: failed (exit status not 0), timeout. */
export async function runHook(context: PostgresContext, name: HookName, deadline: Ms): Promise<Result<null, PostgresError>> {
  return err({ kind: "failed", message: `not written yet: ${context.scope} ${name} ${deadline}` });
}
