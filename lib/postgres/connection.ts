// Owns one kept connection to a PostgreSQL server: opened where needed, every statement under a deadline, errors as
// values. It knows how to reach a server, not what to ask it. No error of it holds a password.

import { readFileSync } from "node:fs";
import { userInfo } from "node:os";
import { SQL } from "bun";
import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import type { PostgresqlConfig, PostgresUser } from "../model/node-config.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { Ms } from "../model/units.ts";
import { isThere } from "./atomic-file.ts";
import type { PostmasterPidFile } from "./data-directory.ts";

export type Row = Readonly<Record<string, unknown>>;

/** One statement under way. */
interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
  /** The client it was sent through; null before that. */
  client: SQL | null;
  /** Its deadline has passed: it must not be sent any more. */
  givenUp: boolean;
}

/** With Bun's own code beside it, for this file. */
interface CodedError extends PostgresError {
  readonly code: string | null;
}

/** Where a server is and who we are there. */
export interface Endpoint {
  readonly at: { readonly kind: "unix"; readonly directory: string } | { readonly kind: "tcp"; readonly host: string };
  readonly port: number;
  readonly user: PostgresUser;
  readonly database: string;
}

export const APPLICATION_NAME = "matriarch";
/** Our own statements neither wait for a synchronous standby nor meet a function of somebody else's schema. */
const OWN_SETTINGS = { synchronous_commit: "local", search_path: "pg_catalog" } as const;
/** Beyond every deadline of ours: Bun's own limit must not come first, and 0 would mean the default. */
const CONNECT_TIMEOUT_SECONDS = 600;
/** SQLSTATE classes and codes that say "not now" rather than "your statement is wrong". */
const UNREACHABLE_SQLSTATES = /^(08|28|57P0[1-5]|53300|3D000)/;
/** Starting up, in recovery, or shutting down. */
const CANNOT_CONNECT_NOW = "57P03";

export class Connection {
  readonly #clock: Clock;
  readonly #endpoint: () => Promise<Endpoint | null>;
  readonly #settings: Readonly<Record<string, string>>;
  #client: { readonly sql: SQL; readonly key: string } | null = null;
  /** The endpoint for which the server has said that it does no TLS although the mode would prefer it. */
  #plainFor: string | null = null;

  /**
   * `endpoint` is asked before each statement: it changes with the server's settings; null = nothing runs. `settings` are
   * those of the session: by default what our own statements need; {} for statements of somebody else.
   */
  constructor(options: {
    readonly clock: Clock;
    readonly endpoint: () => Promise<Endpoint | null>;
    readonly settings?: Readonly<Record<string, string>>;
  }) {
    this.#clock = options.clock;
    this.#endpoint = options.endpoint;
    this.#settings = options.settings ?? OWN_SETTINGS;
  }

  /**
   * Runs one statement. At the deadline the connection is dropped (the next statement opens another), so nothing that
   * was given up arrives later. Errors: unreachable (cannot connect, starting up, shutting down, login refused, the
   * connection ended), timeout, failed (message with SQLSTATE).
   */
  async query(text: string, values: readonly unknown[], deadline: Ms): Promise<Result<readonly Row[], PostgresError>> {
    const remaining = deadline - this.#clock.now();
    if (remaining <= 0) return err({ kind: "timeout", message: "no time was left to ask PostgreSQL" });
    const statement: Statement = { text, values, client: null, givenUp: false };
    const expired = Promise.withResolvers<null>();
    const timer = setTimeout(expired.resolve, remaining, null);
    try {
      // The endpoint is read from a file: a disk that hangs must not outlast the deadline either.
      const outcome = await Promise.race([this.#run(statement), expired.promise]);
      if (outcome !== null) return outcome;
      statement.givenUp = true;
      if (this.#client !== null && this.#client.sql === statement.client) this.drop();
      return err({ kind: "timeout", message: `PostgreSQL did not answer within ${Math.round(remaining)} ms` });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the connection at once, whatever runs on it; the next statement opens another. */
  drop(): void {
    const client = this.#client;
    this.#client = null;
    if (client !== null) void closeNow(client.sql);
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    if (client !== null) await closeNow(client.sql);
  }

  async #run(statement: Statement): Promise<Result<readonly Row[], PostgresError>> {
    const endpoint = await this.#endpoint();
    if (endpoint === null) return err({ kind: "unreachable", message: "no PostgreSQL is running here" });
    const first = await this.#attempt(endpoint, statement);
    if (first.ok || first.error.code !== "ERR_POSTGRES_TLS_NOT_AVAILABLE" || !isTlsOptional(endpoint)) return withoutCode(first);
    this.#plainFor = endpointKey(endpoint);
    this.drop();
    return withoutCode(await this.#attempt(endpoint, statement));
  }

  async #attempt(endpoint: Endpoint, statement: Statement): Promise<Result<readonly Row[], CodedError>> {
    if (statement.givenUp) return err({ kind: "timeout", message: "given up before it was sent", code: null });
    try {
      statement.client = this.#open(endpoint);
      const rows: readonly Row[] = await statement.client.unsafe(statement.text, [...statement.values]);
      return ok(rows);
    } catch (error) {
      return err(describe(error));
    }
  }

  #open(endpoint: Endpoint): SQL {
    const key = endpointKey(endpoint);
    if (this.#client !== null && this.#client.key === key) return this.#client.sql;
    this.drop();
    const sql = new SQL(clientOptions(endpoint, this.#plainFor === key, this.#settings));
    this.#client = { sql, key };
    return sql;
  }
}

/**
 * As localEndpoint, but for a socket that is not there any more (what cleans /tmp takes it, and only a restart makes it again): then where
 * the server listens on TCP, if it does.
 */
export async function presentEndpoint(config: PostgresqlConfig, pidFile: PostmasterPidFile): Promise<Endpoint> {
  const endpoint = localEndpoint(config, pidFile);
  if (endpoint.at.kind === "tcp" || pidFile.listenAddress === null || (await isThere(socketPath(endpoint.at.directory, endpoint.port)))) {
    return endpoint;
  }
  return localEndpoint({ ...config, useUnixSocket: false }, pidFile);
}

function socketPath(directory: string, port: number): string {
  return `${directory}/.s.PGSQL.${port}`;
}

/** How to reach the local server: over the socket it really made, where so configured; else where it really listens. */
export function localEndpoint(config: PostgresqlConfig, pidFile: PostmasterPidFile): Endpoint {
  const port = pidFile.port ?? config.port;
  const common = { port, user: config.superuser, database: "postgres" };
  if (config.useUnixSocket && pidFile.socketDirectory !== null) {
    return { ...common, at: { kind: "unix", directory: pidFile.socketDirectory } };
  }
  return { ...common, at: { kind: "tcp", host: reachableHost(pidFile.listenAddress ?? config.listenHosts[0] ?? "localhost") } };
}

/** A wildcard to listen on is not an address to connect to. */
function reachableHost(listenAddress: string): string {
  if (listenAddress === "*" || listenAddress === "0.0.0.0") return "127.0.0.1";
  return listenAddress === "::" ? "::1" : listenAddress;
}

function clientOptions(endpoint: Endpoint, plain: boolean, settings: Readonly<Record<string, string>>): Bun.SQL.Options {
  const { user, at } = endpoint;
  const tls = at.kind === "unix" || plain ? null : tlsOptions(user);
  const channelBinding = user.options["channel_binding"];
  return {
    adapter: "postgres",
    // A URL of our own keeps DATABASE_URL and its like out of it; the options below win over it. The mode stands in
    // it because an options object alone means at least "require".
    url: `postgres://localhost/?sslmode=${tls?.mode ?? "disable"}`,
    ...(at.kind === "unix" ? { path: socketPath(at.directory, endpoint.port) } : { hostname: at.host }),
    ...(tls === null || tls.files === null ? {} : { tls: tls.files }),
    ...(channelBinding === "prefer" || channelBinding === "require" || channelBinding === "disable" ? { channelBinding } : {}),
    port: endpoint.port,
    username: user.username ?? userInfo().username,
    password: user.password ?? "",
    database: endpoint.database,
    max: 1,
    connectionTimeout: CONNECT_TIMEOUT_SECONDS,
    connection: { application_name: APPLICATION_NAME, ...settings },
  };
}

/** libpq's options as Bun has them; sslcrl, sslnegotiation and gssencmode have no counterpart and are not used. */
function tlsOptions(user: PostgresUser): { readonly mode: string; readonly files: Bun.SQL.TLSOptions | null } {
  const { options } = user;
  const rootFile = options["sslrootcert"];
  const asked = options["sslmode"] ?? (rootFile === "system" ? "verify-full" : "prefer");
  // libpq: `require` with a root certificate verifies as verify-ca does.
  const mode = asked === "require" && rootFile !== undefined ? "verify-ca" : asked;
  if (mode === "disable") return { mode, files: null };
  const files: Bun.SQL.TLSOptions = {
    ...(mode.startsWith("verify-") && rootFile !== undefined && rootFile !== "system" ? { ca: readFileSync(rootFile) } : {}),
    ...(options["sslcert"] === undefined ? {} : { cert: readFileSync(options["sslcert"]) }),
    ...(options["sslkey"] === undefined ? {} : { key: readFileSync(options["sslkey"]) }),
    ...(options["sslpassword"] === undefined ? {} : { passphrase: options["sslpassword"] }),
  };
  return { mode, files: Object.keys(files).length === 0 ? null : files };
}

function isTlsOptional(endpoint: Endpoint): boolean {
  return ["prefer", "allow"].includes(endpoint.user.options["sslmode"] ?? "prefer");
}

/** Tells whether a kept client still fits; it stays in memory only, because the password is part of it. */
function endpointKey(endpoint: Endpoint): string {
  return JSON.stringify(endpoint);
}

function describe(error: unknown): CodedError {
  const message = messageOf(error);
  // A certificate file that cannot be read, or an option that does not fit.
  if (!(error instanceof SQL.PostgresError)) return { kind: "unreachable", message: `cannot connect: ${message}`, code: null };
  const sqlState = error.errno;
  if (sqlState === undefined) return { kind: "unreachable", message, code: error.code };
  if (sqlState === CANNOT_CONNECT_NOW) return { kind: "unreachable", message, answered: true, passing: true, code: error.code };
  if (UNREACHABLE_SQLSTATES.test(sqlState)) return { kind: "unreachable", message, answered: true, code: error.code };
  return { kind: "failed", message: `${message} (SQLSTATE ${sqlState})`, code: error.code };
}

function withoutCode(result: Result<readonly Row[], CodedError>): Result<readonly Row[], PostgresError> {
  if (result.ok) return result;
  const { code: _, ...error } = result.error;
  return err(error);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function closeNow(sql: SQL): Promise<void> {
  try {
    await sql.close({ timeout: 0 });
  } catch {
    // It was closing or broken already: exactly what was wanted.
  }
}
