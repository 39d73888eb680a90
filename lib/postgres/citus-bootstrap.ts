// Owns what a new cluster of a Citus group begins with: the database, the extension in it, how the nodes log in to each other, and on
// the coordinator its own address.

import type { PostgresError } from "../model/errors.ts";
import { COORDINATOR_GROUP } from "../model/mpp.ts";
import type { CitusConfig } from "../model/node-config.ts";
import { ok, type Result } from "../model/result.ts";
import { ms } from "../model/units.ts";
import { Connection, presentEndpoint } from "./connection.ts";
import { connInfo } from "./conninfo.ts";
import type { PostgresContext } from "./context.ts";
import { readPostmasterPid } from "./data-directory.ts";
import { identifier } from "./sql-literal.ts";

/** The script of the extension is long, and the disk may be slow. */
const LIMIT_MS = 120_000;
/** duplicate_database */
const EXISTS = /SQLSTATE 42P04/;
/** One of the statements holds a password: it reaches no log. */
const SESSION_SETTINGS = {
  synchronous_commit: "local",
  statement_timeout: "0",
  log_statement: "none",
  log_min_duration_statement: "-1",
  log_min_error_statement: "panic",
  log_error_verbosity: "terse",
} as const;
/** What one node needs to log in to another as superuser; the rest Citus takes from its own settings. */
const LOGIN_OPTIONS = ["sslcert", "sslkey"] as const;

/** The server runs as primary, and nobody uses it yet. Errors: unreachable, timeout, failed. */
export async function bootstrapCitus(
  context: PostgresContext,
  citus: CitusConfig,
  progress: (text: string) => void,
): Promise<Result<null, PostgresError>> {
  const { clock, config } = context;
  const deadline = ms(clock.now() + LIMIT_MS);
  progress(`creating the extension citus in database ${citus.database}`);
  if (citus.database !== "postgres") {
    const made = await inDatabase(context, "postgres", (connection) =>
      connection.query(`CREATE DATABASE ${identifier(citus.database)}`, [], deadline),
    );
    if (!made.ok && !EXISTS.test(made.error.message)) return made;
  }
  return await inDatabase(context, citus.database, async (connection) => {
    const extension = await connection.query("CREATE EXTENSION IF NOT EXISTS citus", [], deadline);
    if (!extension.ok) return extension;
    const login = loginOf(config.superuser);
    if (login !== null) {
      const text = "INSERT INTO pg_catalog.pg_dist_authinfo VALUES (0, pg_catalog.current_user(), $1)";
      const known = await connection.query(text, [login], deadline);
      if (!known.ok) return known;
    }
    if (citus.group !== COORDINATOR_GROUP) return ok(null);
    const { host, port } = config.connectAddress;
    const text = "SELECT pg_catalog.citus_set_coordinator_host($1::text, $2::int4, 'primary', 'default')";
    return await connection.query(text, [host, port], deadline);
  });
}

async function inDatabase(
  context: PostgresContext,
  database: string,
  use: (connection: Connection) => Promise<Result<unknown, PostgresError>>,
): Promise<Result<null, PostgresError>> {
  const { clock, config } = context;
  const endpoint = async () => {
    const file = await readPostmasterPid(config.dataDir);
    return file === null ? null : { ...(await presentEndpoint(config, file)), database };
  };
  const connection = new Connection({ clock, endpoint, settings: SESSION_SETTINGS });
  try {
    const done = await use(connection);
    return done.ok ? ok(null) : done;
  } finally {
    await connection.close();
  }
}

/** Null where nothing has to be said. */
function loginOf({ password, options }: PostgresContext["config"]["superuser"]): string | null {
  const known = Object.fromEntries(LOGIN_OPTIONS.flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]]])));
  const settings = { ...(password === null || password === "" ? {} : { password }), ...known };
  return Object.keys(settings).length === 0 ? null : connInfo(settings);
}
