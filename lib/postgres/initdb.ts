// Owns initdb and the users that the cluster needs: made in single-user mode, before any connection can be accepted.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import type { PostgresqlConfig, PostgresUser } from "../model/node-config.ts";
import { err, ok, type Result } from "../model/result.ts";
import { readIfThere, reasonOf, replaceFile } from "./atomic-file.ts";
import type { PostgresContext } from "./context.ts";
import { makingEnvironment } from "./making-processes.ts";
import { longOptions } from "./method-command.ts";
import { parameterText } from "./parameters.ts";
import { lastLines } from "./program-output.ts";
import { identifier, literal } from "./sql-literal.ts";

/** What pg_rewind's source user needs (PostgreSQL manual, pg_rewind, "Notes"). */
const REWIND_FUNCTIONS = [
  "pg_catalog.pg_ls_dir(text, boolean, boolean)",
  "pg_catalog.pg_stat_file(text, boolean)",
  "pg_catalog.pg_read_binary_file(text)",
  "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)",
];

export interface MakingOptions {
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
}

/** Runs initdb into the (empty or absent) data directory. The superuser's password goes through a file. Errors: failed, cancelled. */
export async function runInitdb(
  context: PostgresContext,
  initdbOptions: readonly (readonly [string, string | null])[],
  options: MakingOptions,
): Promise<Result<null, PostgresError>> {
  const { config } = context;
  const given = longOptions(initdbOptions);
  const isGiven = (name: string): boolean => initdbOptions.some(([option]) => option === name);
  const folder = await mkdtemp(join(tmpdir(), "matriarch-initdb-"));
  try {
    const { username, password } = config.superuser;
    const user = username === null || isGiven("username") ? [] : [`--username=${username}`];
    const passwordFile = join(folder, "password");
    const withPassword = password !== null && password !== "" && !isGiven("pwfile");
    if (withPassword) await replaceFile(passwordFile, `${password}\n`);
    const outcome = await context.run({
      argv: ["initdb", `--pgdata=${config.dataDir}`, ...user, ...(withPassword ? [`--pwfile=${passwordFile}`] : []), ...given],
      env: makingEnvironment(config.dataDir),
      signal: options.signal,
      onLine: options.progress,
    });
    if (!outcome.ok) return outcome;
    const { exitCode, stderr } = outcome.value;
    return exitCode === 0 ? ok(null) : err({ kind: "failed", message: `initdb: ${lastLines(stderr)}` });
  } catch (error) {
    return err({ kind: "failed", message: `initdb: ${reasonOf(error)}` });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Lines of bootstrap.pg_hba go behind initdb's own, where postgresql.pg_hba does not replace the file anyway. Throws the system's error. */
export async function appendHba(context: PostgresContext, lines: readonly string[]): Promise<void> {
  if (context.config.pgHba !== null || lines.length === 0) return;
  const path = join(context.config.dataDir, "pg_hba.conf");
  await replaceFile(path, `${(await readIfThere(path)) ?? ""}\n${lines.join("\n")}\n`);
}

/**
 * Makes the configured users exist with the configured passwords and rights: single-user mode, statements through its
 * standard input, so that no password is an argument or reaches a log. The server is stopped, and stopped cleanly afterwards.
 * Errors: failed, cancelled.
 */
export async function createUsers(
  context: PostgresContext,
  options: MakingOptions & { readonly configFile: string | null },
): Promise<Result<null, PostgresError>> {
  const statements = userStatements(context.config);
  if (statements.length === 0) return ok(null);
  const encryption = context.config.parameters["password_encryption"];
  const settings = {
    exit_on_error: "on",
    log_statement: "none",
    log_min_duration_statement: "-1",
    log_min_error_statement: "panic",
    // The context of an error would repeat the statement, password included.
    log_error_verbosity: "terse",
    log_min_messages: "warning",
    synchronous_standby_names: "",
    ...(encryption === undefined ? {} : { password_encryption: parameterText(encryption) }),
    ...(options.configFile === null ? {} : { config_file: options.configFile }),
  };
  const outcome = await context.run({
    argv: [
      "postgres",
      "--single",
      "-j",
      "-D",
      context.config.dataDir,
      ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
      "postgres",
    ],
    env: { LC_ALL: "C", ...makingEnvironment(context.config.dataDir) },
    // With -j a statement ends at a semicolon and an empty line.
    stdin: statements.map((statement) => `${statement};\n\n`).join(""),
    signal: options.signal,
  });
  if (!outcome.ok) return outcome;
  const { exitCode, stderr } = outcome.value;
  return exitCode === 0 ? ok(null) : err({ kind: "failed", message: `creating the users: ${lastLines(stderr)}` });
}

/** Statements on one line each. The superuser first, in case another entry names the same user. */
export function userStatements(config: PostgresqlConfig): readonly string[] {
  const statements: string[] = [];
  const { superuser, replication, rewind } = config;
  if (superuser.username !== null) statements.push(upsertRole(superuser, "SUPERUSER"));
  if (replication.username !== null && replication.username !== superuser.username) statements.push(upsertRole(replication, "REPLICATION"));
  if (rewind.username !== null && rewind.username !== superuser.username) {
    if (rewind.username !== replication.username) statements.push(upsertRole(rewind, ""));
    for (const name of REWIND_FUNCTIONS) statements.push(`GRANT EXECUTE ON FUNCTION ${name} TO ${identifier(rewind.username)}`);
  }
  return statements;
}

function upsertRole(user: PostgresUser, attribute: string): string {
  const name = user.username ?? "";
  const password = user.password === null || user.password === "" ? "" : ` PASSWORD ${literal(user.password)}`;
  const rest = `${identifier(name)} WITH LOGIN ${attribute}${password}`;
  const body = `BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = ${literal(name)}) THEN ALTER ROLE ${rest}; ELSE CREATE ROLE ${rest}; END IF; END`;
  return `DO ${literal(body)}`;
}
