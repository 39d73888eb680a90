// Owns the commands that are waited for: pre_promote and before_stop.

import type { PostgresError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { Ms } from "../model/units.ts";
import type { PostgresContext } from "./context.ts";
import { lastLines } from "./program-output.ts";
import { shellWords } from "./shell-words.ts";

export type HookName = "pre_promote" | "before_stop";

export interface HookLimits {
  readonly deadline: Ms;
  readonly signal?: AbortSignal;
}

/** Runs the hook to its end; success where none is configured. Errors: failed (exit status not 0), timeout, cancelled (by the signal). */
export async function runHook(context: PostgresContext, name: HookName, limits: HookLimits): Promise<Result<null, PostgresError>> {
  const command = name === "pre_promote" ? context.config.prePromote : context.config.beforeStop;
  if (command === null || command.trim() === "") return ok(null);
  const argv = shellWords(command);
  if (argv === null) return err({ kind: "failed", message: `postgresql.${name}: a quote is not closed` });
  const outcome = await context.run({ argv, ...limits });
  if (!outcome.ok) return outcome;
  const { exitCode, stderr } = outcome.value;
  if (exitCode === 0) return ok(null);
  return err({ kind: "failed", message: `postgresql.${name} ended with exit status ${exitCode ?? "of a signal"}: ${lastLines(stderr)}` });
}
