// Owns making a configuration from a PostgreSQL that runs: reads its settings over one connection and writes them in the form
// of a node's file. Changes nothing in that server.

import { existsSync } from "node:fs";
import { isWildcard } from "../model/host-port.ts";
import { err, ok, type Result } from "../model/result.ts";
import { controlledParameters, isControlled, isNeverSettable } from "./controlled.ts";
import { readDsn } from "./dsn.ts";
import { type Environment, readEnvironment } from "./environment.ts";
import { FIXME, type Machine, sampleStore, sampleTree, writeConfig } from "./sample.ts";
import { CONNECTION_OPTIONS } from "./schema-postgresql.ts";
import { mergeTrees, type Tree, treeAt } from "./tree.ts";

const CONNECT_TIMEOUT_SECONDS = 10;

/** Commands and files are this node's own; everything else is the cluster's. */
const LOCAL_PARAMETERS: readonly string[] = [
  "archive_command",
  "restore_command",
  "archive_cleanup_command",
  "recovery_end_command",
  "ssl_passphrase_command",
  "config_file",
  "hba_file",
  "ident_file",
];

/** Set by the server's start or by us, never by a configuration. */
const LEFT_OUT: readonly string[] = [
  "data_directory",
  "primary_conninfo",
  "primary_slot_name",
  "promote_trigger_file",
  "transaction_deferrable",
];

/** Where Debian and where PostgreSQL itself put the socket: tried when no host is named, as libpq does. */
const SOCKET_FOLDERS: readonly string[] = ["/var/run/postgresql", "/tmp"];

interface ServerFacts {
  readonly settings: ReadonlyMap<string, string>;
  readonly binDir: string;
  readonly pgHba: readonly string[];
  readonly pgIdent: readonly string[];
}

/** The text of a file. Errors: a DSN that cannot be read, a server that cannot be reached or asked; without secrets. */
export async function generateConfig(dsn: string | null, machine: Machine, env: Environment): Promise<Result<string, string>> {
  const options = readDsn(dsn, env);
  if (!options.ok) return options;
  const facts = await askServer(options.value);
  if (!facts.ok) return facts;
  const { tree } = readEnvironment(env);
  const found = describeServer(facts.value, options.value, machine, tree);
  return ok(writeConfig(mergeTrees({ ...found, ...sampleStore(machine, tree) }, tree)));
}

async function askServer(options: ReadonlyMap<string, string>): Promise<Result<ServerFacts, string>> {
  const port = Number(options.get("port") ?? 5432);
  const host =
    options.get("hostaddr") ??
    options.get("host") ??
    SOCKET_FOLDERS.find((folder) => existsSync(`${folder}/.s.PGSQL.${port}`)) ??
    "localhost";
  const username = options.get("user") ?? "postgres";
  const sql = new Bun.SQL({
    adapter: "postgres",
    url: urlOf(options, { host: host.startsWith("/") ? "localhost" : host, port, username }),
    ...(host.startsWith("/") ? { path: `${host}/.s.PGSQL.${port}` } : {}),
    max: 1,
    connectionTimeout: CONNECT_TIMEOUT_SECONDS,
  });
  try {
    const settings: { name: string; value: string }[] = await sql`
      SELECT name, current_setting(name) AS value FROM pg_settings
      WHERE context <> 'internal' AND (source NOT IN ('default', 'client', 'session', 'override')
        OR name IN ('listen_addresses', 'port', 'data_directory', 'hba_file', 'ident_file', 'config_file', 'wal_level',
          'max_connections', 'max_locks_per_transaction', 'max_worker_processes', 'max_prepared_transactions', 'max_wal_senders',
          'max_replication_slots', 'wal_keep_size', 'track_commit_timestamp', 'wal_log_hints'))
      ORDER BY lower(name)`;
    const [files]: { bindir: string; hba: string; ident: string }[] = await sql`
      SELECT (SELECT setting FROM pg_config WHERE name = 'BINDIR') AS bindir,
        pg_read_file(current_setting('hba_file')) AS hba, pg_read_file(current_setting('ident_file')) AS ident`;
    return ok({
      settings: new Map(settings.map(({ name, value }) => [name, value])),
      binDir: files?.bindir ?? "",
      pgHba: linesOf(files?.hba),
      pgIdent: linesOf(files?.ident),
    });
  } catch (error) {
    const user = `as ${username} (a superuser is needed; set PGPASSWORD where it has a password)`;
    return err(`cannot ask PostgreSQL at ${host}:${port} ${user}: ${error instanceof Error ? error.message : "no answer"}`);
  } finally {
    await sql.close({ timeout: 0 });
  }
}

/** As a URL, which carries the TLS mode and its files under libpq's names. */
function urlOf(
  options: ReadonlyMap<string, string>,
  at: { readonly host: string; readonly port: number; readonly username: string },
): string {
  const url = new URL(`postgres://${at.host.includes(":") ? `[${at.host}]` : at.host}:${at.port}`);
  url.username = encodeURIComponent(at.username);
  url.password = encodeURIComponent(options.get("password") ?? "");
  url.pathname = `/${encodeURIComponent(options.get("dbname") ?? "postgres")}`;
  url.searchParams.set("sslmode", options.get("sslmode") ?? "prefer");
  for (const name of ["sslcert", "sslkey", "sslpassword", "sslrootcert"]) {
    const value = options.get(name);
    if (value !== undefined) url.searchParams.set(name, value);
  }
  return url.href;
}

/** Lines that say something. */
function linesOf(text: string | undefined): readonly string[] {
  return (text ?? "")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

function describeServer(facts: ServerFacts, options: ReadonlyMap<string, string>, machine: Machine, environment: Tree): Tree {
  const setting = (name: string): string => facts.settings.get(name) ?? "";
  const dataDir = setting("data_directory") || (treeAt(environment, "postgresql")["data_dir"] ?? FIXME);
  const listen = setting("listen_addresses")
    .split(/\s*,\s*/)
    .filter((host) => host !== "");
  const port = setting("port") || "5432";
  const connectHost = listen.length === 1 && !isWildcard(listen[0] ?? "") ? listen[0] : machine.address;
  const sample = sampleTree(machine);
  const { initdb: _initdb, ...bootstrap } = treeAt(sample, "bootstrap");
  const { use_pg_rewind: _rewind, ...dcsPostgresql } = treeAt(bootstrap, "dcs", "postgresql");
  const dcs = { ...treeAt(bootstrap, "dcs"), postgresql: { ...dcsPostgresql, parameters: sharedParameters(facts) } };
  return {
    ...sample,
    scope: setting("cluster_name") || (environment["scope"] ?? FIXME),
    bootstrap: { dcs },
    postgresql: {
      listen: `${listen.length === 0 ? "127.0.0.1" : listen.join(",")}:${port}`,
      connect_address: `${connectHost}:${port}`,
      data_dir: dataDir,
      bin_dir: facts.binDir,
      authentication: {
        superuser: superuser(options),
        replication: { username: FIXME, password: FIXME },
      },
      parameters: localParameters(facts, String(dataDir)),
      pg_hba: facts.pgHba,
      ...(facts.pgIdent.length > 0 ? { pg_ident: facts.pgIdent } : {}),
    },
  };
}

/** What all nodes share. Controlled parameters below our minimum are left to their defaults. */
function sharedParameters(facts: ServerFacts): Tree {
  const all = [...facts.settings].filter(
    ([name]) =>
      !LOCAL_PARAMETERS.includes(name) && !LEFT_OUT.includes(name) && !name.startsWith("recovery_target") && !isNeverSettable(name),
  );
  const controlled = controlledParameters(Object.fromEntries(all));
  return Object.fromEntries(all.filter(([name]) => !isControlled(name) || controlled.fromDcs.includes(name)));
}

/** Files at their default place inside the data directory are not worth a line. */
function localParameters(facts: ServerFacts, dataDir: string): Tree {
  const names = LOCAL_PARAMETERS.filter((name) => {
    const value = facts.settings.get(name) ?? "";
    const defaultFile = name === "config_file" ? "postgresql.conf" : name === "hba_file" ? "pg_hba.conf" : "pg_ident.conf";
    return value !== "" && value !== "(disabled)" && !(name.endsWith("_file") && value === `${dataDir}/${defaultFile}`);
  });
  return Object.fromEntries(names.map((name) => [name, facts.settings.get(name)]));
}

function superuser(options: ReadonlyMap<string, string>): Tree {
  const connection = CONNECTION_OPTIONS.flatMap((name) => (options.has(name) ? [[name, options.get(name)] as const] : []));
  return { username: options.get("user") ?? "postgres", password: options.get("password") ?? FIXME, ...Object.fromEntries(connection) };
}
