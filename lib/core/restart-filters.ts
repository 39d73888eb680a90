// Owns the conditions of a restart request: whether this node, as it is now, is meant by it. Pure.

export interface RestartFilters {
  /** primary, standby_leader or replica; null = any. */
  readonly role: string | null;
  /** Restart only where the running version is older than this: `15.4`, `9.6.3`; null = any. */
  readonly postgresVersion: string | null;
  /** Only where a restart is pending. */
  readonly restartPending: boolean;
}

export interface RestartFacts {
  readonly role: string;
  /** e.g. 150018; null when PostgreSQL is not running. */
  readonly serverVersion: number | null;
  readonly pendingRestart: boolean;
}

export function restartFiltersMatch(filters: RestartFilters, facts: RestartFacts): boolean {
  return restartObstacle(filters, facts) === null;
}

/** Why this node is not meant, in Patroni's words, which names the last condition that does not hold; null: it is. */
export function restartObstacle(filters: RestartFilters, facts: RestartFacts): string | null {
  if (filters.restartPending && !facts.pendingRestart) return "pending restart flag is not set";
  if (filters.postgresVersion !== null) {
    const wanted = parsePostgresVersion(filters.postgresVersion);
    if (wanted === null || facts.serverVersion === null || facts.serverVersion >= wanted) return "postgres version mismatch";
  }
  return filters.role !== null && filters.role !== facts.role ? "host role mismatch" : null;
}

/** `15.4` → 150004, `15` → 150000, `9.6.3` → 90603; null when it is no version. */
export function parsePostgresVersion(text: string): number | null {
  const match = /^(\d{1,3})(?:\.(\d{1,3}))?(?:\.(\d{1,3}))?$/.exec(text);
  if (match === null) return null;
  const [major, middle, last] = [Number(match[1]), Number(match[2] ?? 0), Number(match[3] ?? 0)];
  if (major >= 10) return match[3] === undefined ? major * 10000 + middle : null;
  return major * 10000 + middle * 100 + last;
}

/**
 * Why a version in a request is refused, in Patroni's words; null: it is one. A request names a release in full (`15.4`, `9.6.3`): a bare
 * `15` or `9.6` would mean every release or none of that line.
 */
export function restartVersionFault(text: string): string | null {
  if (!/^\d+(\.\d+)*$/.test(text)) return `Invalid PostgreSQL version: ${text}`;
  const format = `Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: ${text}`;
  const parts = text.split(".").length;
  return parsePostgresVersion(text) === null || parts !== (Number.parseInt(text, 10) >= 10 ? 2 : 3) ? format : null;
}
