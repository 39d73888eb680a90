// Owns pg_rewind and the clean single-user recovery before it. Does not decide whether to rewind (lib/core/rewind-plan.ts).

import type { PostgresError } from "../model/errors.ts";
import type { FollowTarget } from "../model/postgres.ts";
import { err, type Result } from "../model/result.ts";
import type { PostgresContext } from "./context.ts";

export interface RewindOptions {
  readonly source: FollowTarget;
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
}

/** Checkpoint on the source where its control file may be behind its timeline, then pg_rewind. Errors: failed, cancelled. */
export async function rewindTo(context: PostgresContext, options: RewindOptions): Promise<Result<null, PostgresError>> {
  return err({ kind: "failed", message: `not written yet: ${context.scope} ${options.source}` });
}

/** Single-user mode until recovery is done and it has shut down cleanly. The server must be stopped. Errors: failed, cancelled. */
export async function crashRecover(context: PostgresContext, signal: AbortSignal): Promise<Result<null, PostgresError>> {
  return err({ kind: "failed", message: `not written yet: ${context.scope} ${signal.aborted}` });
}
