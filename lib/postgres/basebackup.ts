// Owns the making of a replica by copying: the configured methods in their order. Does not start what it made.

import type { PostgresError } from "../model/errors.ts";
import type { FollowTarget } from "../model/postgres.ts";
import { err, type Result } from "../model/result.ts";
import type { PostgresContext } from "./context.ts";

export interface CloneOptions {
  /** null: only methods with no_leader are tried. */
  readonly source: FollowTarget | null;
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
}

/**
 * Fills an absent, empty or half-made directory from `source` by the first method that succeeds; a `valid` directory is
 * accepted where a method with keep_data comes first. Aborted: the child is ended and the marker stays.
 * Errors: refused (directory in use), failed (every method's reason), cancelled.
 */
export async function cloneReplica(context: PostgresContext, options: CloneOptions): Promise<Result<null, PostgresError>> {
  return err({ kind: "failed", message: `not written yet: ${context.scope} ${options.source}` });
}
