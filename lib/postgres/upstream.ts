// Owns the questions to another server over the replication protocol: IDENTIFY_SYSTEM and TIMELINE_HISTORY.

import type { PostgresError } from "../model/errors.ts";
import type { FollowTarget, UpstreamHistory } from "../model/postgres.ts";
import { err, type Result } from "../model/result.ts";
import type { Ms } from "../model/units.ts";
import type { PostgresContext } from "./context.ts";

/** Asks once, on a connection of its own. Errors: unreachable, timeout. */
export async function readUpstreamHistory(
  context: PostgresContext,
  source: FollowTarget,
  deadline: Ms,
): Promise<Result<UpstreamHistory, PostgresError>> {
  return err({ kind: "unreachable", message: `not written yet: ${context.scope} ${source.host} ${deadline}` });
}
