// Owns an older major version of PostgreSQL for tests, beside the installed one: fetched where it is missing, never installed.

import { spawnSync } from "node:child_process";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const FETCH_WITHIN_MS = 300_000;

/** The folder of version 13's programs. Throws Error: why it cannot be had. */
export function postgres13(): string {
  const fetched = spawnSync(join(ROOT, "scripts/suite/get-postgresql"), { encoding: "utf8", timeout: FETCH_WITHIN_MS });
  if (fetched.status !== 0) throw new Error(fetched.stderr.trim().split("\n").at(-1) ?? "scripts/suite/get-postgresql failed");
  return join(ROOT, ".cache/postgresql-13/bin");
}
