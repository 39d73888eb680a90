// Owns the planner's statistics after a major upgrade, which pg_upgrade does not carry over: in stages, so that the first rough ones are
// there soon. Runs beside the clients.

import type { PostgresError } from "../../model/errors.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { localEndpoint } from "../connection.ts";
import type { PostgresContext } from "../context.ts";
import { readPostmasterPid } from "../data-directory.ts";
import { lastLines } from "../program-output.ts";
import { programPath } from "../programs.ts";
import { secretEnvironment } from "../secret-environment.ts";

/** Of every database, asked of the running primary. Errors: failed, cancelled. */
export async function analyzeInStages(context: PostgresContext, signal: AbortSignal): Promise<Result<null, PostgresError>> {
  const { config, run, log } = context;
  const pidFile = await readPostmasterPid(config.dataDir);
  if (pidFile === null) return err({ kind: "failed", message: "the server does not run here" });
  const { at, port, user } = localEndpoint(config, pidFile);
  const secret = await secretEnvironment(context, user);
  if (!secret.ok) return secret;
  const done = await run({
    argv: [
      programPath(config, "vacuumdb"),
      "--all",
      "--analyze-in-stages",
      "--no-password",
      `--host=${at.kind === "unix" ? at.directory : at.host}`,
      `--port=${port}`,
      ...(user.username === null ? [] : [`--username=${user.username}`]),
    ],
    env: { LC_ALL: "C", ...secret.value },
    withoutSecrets: true,
    signal,
    onLine: (line) => log.info(line),
  });
  if (!done.ok) return done;
  return done.value.exitCode === 0 ? ok(null) : err({ kind: "failed", message: `vacuumdb: ${lastLines(done.value.stderr)}` });
}
