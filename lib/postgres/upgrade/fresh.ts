// Owns the making of an empty cluster of the new version, for a rehearsal and for the upgrade itself. Nobody connects to it before its
// access rules are replaced: it listens nowhere but in a folder of its maker's.

import { mkdir } from "node:fs/promises";
import type { PostgresError } from "../../model/errors.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { reasonOf } from "../atomic-file.ts";
import type { ProgramRequest, RunProgram } from "../context.ts";

/** The end of what pg_upgrade says: the check that failed, and in which file its objects are named. */
const TOLD_LINES = 25;
const NO_INSTRUCTIONS_SINCE = 14;

export interface FreshOptions {
  readonly dataDir: string;
  readonly newMajor: number;
  /** Words that make it like the old cluster (initdbOptions). */
  readonly initdb: readonly string[];
  readonly how: Pick<ProgramRequest, "deadline" | "signal" | "env">;
}

/** `run` starts the new version's programs. The folder is made where it is missing. Errors: failed, cancelled, timeout. */
export async function makeFresh(run: RunProgram, { dataDir, newMajor, initdb, how }: FreshOptions): Promise<Result<null, PostgresError>> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
  } catch (error) {
    return err({ kind: "failed", message: reasonOf(error) });
  }
  const quiet = newMajor >= NO_INSTRUCTIONS_SINCE ? ["--no-instructions"] : [];
  const argv = ["initdb", `--pgdata=${dataDir}`, "--auth=trust", "--no-sync", ...quiet, ...initdb];
  const made = await run({ ...how, argv, withoutSecrets: true });
  if (!made.ok) return made;
  if (made.value.exitCode === 0) return ok(null);
  return err({ kind: "failed", message: `initdb of version ${newMajor}: ${lastOf(made.value.stderr)}` });
}

/** The last lines of what a program said that are not empty. */
export function lastOf(text: string): string {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  return lines.slice(-TOLD_LINES).join("\n");
}
