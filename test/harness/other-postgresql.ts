// Owns other major versions of PostgreSQL for tests, beside the installed one: fetched where they are missing, never installed.

import { spawnSync } from "node:child_process";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const FETCH_WITHIN_MS = 300_000;

/** The folder of version 13's programs. Throws Error: why it cannot be had. */
export function postgres13(): string {
  return fetched("13");
}

/** The folder of version 17's programs. Throws Error: why it cannot be had. */
export function postgres17(): string {
  return fetched("17");
}

function fetched(version: "13" | "17"): string {
  const done = spawnSync(join(ROOT, "scripts/suite/get-postgresql"), [version], { encoding: "utf8", timeout: FETCH_WITHIN_MS });
  if (done.status !== 0) throw new Error(done.stderr.trim().split("\n").at(-1) ?? "scripts/suite/get-postgresql failed");
  return join(ROOT, `.cache/postgresql-${version}/bin`);
}
