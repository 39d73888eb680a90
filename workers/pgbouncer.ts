// Leads a PgBouncer to the leader: redirects it, pauses its clients for a planned handover, keeps its list of users (docs/pgbouncer.md).
// Alone, on whatever machine PgBouncer runs: `bun run workers/pgbouncer.ts [--check] pooler.yml`.

import { GUARD_FLAG } from "../lib/model/pgbouncer.ts";

/** Alone. Value: the exit status. */
export async function main(): Promise<number> {
  // The guard of a PAUSE is this program too, and loads as little as it needs.
  if (process.argv[2] === GUARD_FLAG) return await (await import("../lib/runtime/pgbouncer/resume-guard.ts")).mainOfResumeGuard();
  const { mainOfPgbouncer } = await import("../lib/runtime/alone/pgbouncer.ts");
  return await mainOfPgbouncer();
}

if (import.meta.main) process.exit(await main());
