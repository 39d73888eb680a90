// Owns the questions to another server: over the replication protocol IDENTIFY_SYSTEM and TIMELINE_HISTORY, and the
// checkpoint that a rewind needs. psql asks, so that every libpq option (sslmode, certificates, GSS) means what it means there.

import type { PostgresError } from "../model/errors.ts";
import { parseLsn } from "../model/lsn.ts";
import type { PostgresUser } from "../model/node-config.ts";
import type { FollowTarget, UpstreamHistory } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, timeline } from "../model/units.ts";
import { programConninfo } from "./conninfo.ts";
import type { PostgresContext } from "./context.ts";
import { secretEnvironment } from "./secret-environment.ts";
import { parseTimelineHistory } from "./timeline-history.ts";

/** psql exits with 2 where the connection could not be made or was lost. */
const PSQL_NO_CONNECTION = 2;
/** Characters that separate fields and records in psql's output: they do not occur in a history file. */
const FIELD = "\x1f";
const RECORD = "\x1e";

/** Stands between the answers of one script; no history file has it. */
const NEXT_ANSWER = "\x1d";

/**
 * One psql and one connection for all of it: commits wait while a standby asks this. A standby's transactions are read-only, which is
 * the one word about its role that a replication connection has in every version. On timeline 1 there is no history to show.
 */
const HISTORY_SCRIPT = `IDENTIFY_SYSTEM \\gset
\\echo :systemid :timeline :xlogpos
SHOW transaction_read_only;
\\echo ${NEXT_ANSWER}
TIMELINE_HISTORY :timeline;
`;

/** Asks once, on a connection of its own. Errors: unreachable, timeout, failed (an answer that cannot be understood). */
export async function readUpstreamHistory(
  context: PostgresContext,
  source: FollowTarget,
  deadline: Ms,
): Promise<Result<UpstreamHistory, PostgresError>> {
  const at = `${source.host}:${source.port}`;
  const asked = await runPsql(context, {
    user: context.config.replication,
    target: source,
    deadline,
    extra: { replication: "true" },
    arguments: [],
    stdin: HISTORY_SCRIPT,
  });
  if (!asked.ok) return asked;
  const [identity = "", history = ""] = asked.value.stdout.split(NEXT_ANSWER);
  const [systemIdentifier, number, position, readOnly] = identity.trim().split(/\s+/);
  const walLsn = parseLsn(position ?? "");
  const current = Number(number);
  if (systemIdentifier === undefined || walLsn === null || !Number.isInteger(current) || current < 1) {
    return err({ kind: "failed", message: `${at} gave an answer to IDENTIFY_SYSTEM that cannot be read: ${asked.value.stderr.trim()}` });
  }
  const value = { systemIdentifier, timeline: timeline(current), walLsn, inRecovery: readOnly === "on" };
  if (current === 1) return ok({ ...value, switches: [] });
  const [, content] = history.trim().split(FIELD);
  if (content === undefined)
    return err({ kind: "failed", message: `${at} does not show the history of timeline ${current}: ${asked.value.stderr.trim()}` });
  return ok({ ...value, switches: parseTimelineHistory(content) });
}

interface ServerQuestion {
  readonly user: PostgresUser;
  readonly target: FollowTarget;
  readonly deadline: Ms;
  readonly signal?: AbortSignal;
  readonly extra?: Readonly<Record<string, string>>;
}

/** Runs commands on another server; rows of text fields, a line between two commands' rows. Errors: unreachable, timeout, cancelled, failed. */
export async function askServer(
  context: PostgresContext,
  options: ServerQuestion & {
    readonly commands: readonly string[];
    /** File that gets the rows instead, where they are many. */
    readonly output?: string;
  },
): Promise<Result<readonly (readonly string[])[], PostgresError>> {
  const answer = await runPsql(context, {
    ...options,
    arguments: [...(options.output === undefined ? [] : ["-o", options.output]), ...options.commands.flatMap((command) => ["-c", command])],
    stdin: "",
  });
  if (!answer.ok) return answer;
  const text = answer.value.stdout.replace(/\n$/, "");
  return ok(text === "" ? [] : text.split(RECORD).map((record) => record.split(FIELD)));
}

/** Errors: unreachable, timeout, cancelled, failed. */
async function runPsql(
  context: PostgresContext,
  options: ServerQuestion & { readonly arguments: readonly string[]; readonly stdin: string },
): Promise<Result<{ readonly stdout: string; readonly stderr: string }, PostgresError>> {
  const { user, target } = options;
  const left = Math.max(2, Math.ceil((options.deadline - context.clock.now()) / 1000));
  const conninfo = programConninfo(context, {
    user,
    target,
    extra: { dbname: "postgres", connect_timeout: left, application_name: "matriarch", ...options.extra },
  });
  const secret = await secretEnvironment(context, user);
  if (!secret.ok) return secret;
  const outcome = await context.run({
    argv: ["psql", "-X", "-A", "-t", "-q", "-F", FIELD, "-R", RECORD, "-d", conninfo, ...options.arguments],
    env: { LC_ALL: "C", ...secret.value },
    stdin: options.stdin,
    deadline: options.deadline,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  if (!outcome.ok) return outcome;
  const { exitCode, stdout, stderr } = outcome.value;
  if (exitCode === 0) return ok({ stdout, stderr });
  const kind = exitCode === PSQL_NO_CONNECTION ? "unreachable" : "failed";
  return err({ kind, message: `${target.host}:${target.port}: ${stderr.trim().replace(/^psql: error: /, "")}` });
}
