// Owns what each role of a token may do: the least role for each request. What is not named here needs the strongest.

import type { TokenRole } from "../model/api-access.ts";

/**
 * What the members of a cluster ask of one another while they lead, fail over or restart; a token that may not do this is no
 * member's.
 */
const MEMBERS_REQUESTS: ReadonlySet<string> = new Set(["POST /failsafe", "POST /mpp", "POST /citus"]);

/** Work on the cluster as it is configured, which loses no commit that was acknowledged to wait for a standby. */
const OPERATIONS: ReadonlySet<string> = new Set([
  "POST /restart",
  "DELETE /restart",
  "POST /reload",
  "POST /reinitialize",
  "POST /switchover",
  "DELETE /switchover",
]);

/**
 * - `read`: the paths that restapi.protected_paths closes.
 * - `operate`: the operations above, and what members ask of one another.
 * - `admin`: the rest. PATCH and PUT /config are the right to run commands as the database's user (archive_command); POST
 *   /failover may lose commits.
 */
export function roleNeeded(method: string, path: string): TokenRole {
  const request = `${method} ${path}`;
  return OPERATIONS.has(request) || MEMBERS_REQUESTS.has(request) ? "operate" : "admin";
}

/** Comes again and again without an operator: nothing to tell of in the log. */
export function isMembersRequest(method: string, path: string): boolean {
  return MEMBERS_REQUESTS.has(`${method} ${path}`);
}
