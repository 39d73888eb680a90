// Owns the schema of the `postgresql` section, the same for the node's file and for the `config` key in the DCS, and
// which of its options only the node may set.

import type * as v from "valibot";
import {
  connectAddress,
  defaultSection,
  duration,
  flag,
  lineList,
  listen,
  option,
  optionalSection,
  optionPairs,
  parameterMap,
  secret,
  section,
  text,
  textWithDefault,
} from "./option.ts";
import { readOptionPairs } from "./value.ts";

/** libpq's connection options that a user may carry, by their libpq names. */
export const CONNECTION_OPTIONS = [
  "sslmode",
  "sslcert",
  "sslkey",
  "sslpassword",
  "sslrootcert",
  "sslcrl",
  "sslcrldir",
  "sslnegotiation",
  "gssencmode",
  "channel_binding",
] as const;

/** Somebody to log in as, on a PostgreSQL or on a pooler in front of one. */
export const USER = {
  username: text("postgres"),
  password: secret(),
  sslmode: text("require"),
  sslcert: text("/etc/ssl/client.crt"),
  sslkey: text("/etc/ssl/client.key"),
  sslpassword: secret(),
  sslrootcert: text("/etc/ssl/ca.crt"),
  sslcrl: text("/etc/ssl/crl.pem"),
  sslcrldir: text("/etc/ssl/crl"),
  sslnegotiation: text("postgres"),
  gssencmode: text("prefer"),
  channel_binding: text("prefer"),
};

const PROGRAM_NAMES = ["pg_ctl", "initdb", "pg_controldata", "pg_basebackup", "postgres", "pg_isready", "pg_rewind"];

const CALLBACKS = {
  on_start: text("/usr/local/bin/callback"),
  on_stop: text("/usr/local/bin/callback"),
  on_restart: text("/usr/local/bin/callback"),
  on_reload: text("/usr/local/bin/callback"),
  on_role_change: text("/usr/local/bin/callback"),
};

const HBA_EXAMPLE = "['host all all all scram-sha-256']";
const IDENT_EXAMPLE = "['map1 system1 postgres']";

export const POSTGRESQL_ENTRIES = {
  listen: listen(null, 5432),
  connect_address: connectAddress("10.0.0.1:5432"),
  proxy_address: text("10.0.0.1:6432"),
  data_dir: text("/var/lib/postgresql/data"),
  config_dir: text("/etc/postgresql/demo"),
  bin_dir: textWithDefault("", "/usr/lib/postgresql/15/bin"),
  bin_name: defaultSection(Object.fromEntries(PROGRAM_NAMES.map((name) => [name, text(name)]))),
  pgpass: text("/var/lib/postgresql/.pgpass"),
  use_unix_socket: flag(false),
  use_unix_socket_repl: flag(false),
  authentication: defaultSection({
    superuser: optionalSection(USER),
    replication: optionalSection(USER),
    rewind: optionalSection(USER),
  }),
  parameters: parameterMap(),
  parameters_primary: parameterMap(),
  parameters_replica: parameterMap(),
  parameters_standby_leader: parameterMap(),
  pg_hba: lineList(HBA_EXAMPLE),
  pg_hba_primary: lineList(HBA_EXAMPLE),
  pg_hba_replica: lineList(HBA_EXAMPLE),
  pg_hba_standby_leader: lineList(HBA_EXAMPLE),
  pg_ident: lineList(IDENT_EXAMPLE),
  pg_ident_primary: lineList(IDENT_EXAMPLE),
  pg_ident_replica: lineList(IDENT_EXAMPLE),
  pg_ident_standby_leader: lineList(IDENT_EXAMPLE),
  recovery_conf: parameterMap(),
  custom_conf: text("/etc/postgresql/custom.conf"),
  callbacks: defaultSection(CALLBACKS),
  create_replica_methods: option({ ...methodListSpec(), fallback: ["basebackup"] }),
  basebackup: optionPairs("[checkpoint: fast]"),
  before_stop: text("/usr/local/bin/before_stop"),
  pre_promote: text("/usr/local/bin/fence"),
  use_slots: flag(true),
  use_pg_rewind: flag(false),
  rewind: option({
    wanted: "a list of options (words, or one-key mappings)",
    example: "[debug]",
    read: readProgramOptions,
    fallback: [],
    form: "list",
  }),
  remove_data_directory_on_rewind_failure: flag(false),
  remove_data_directory_on_diverged_timelines: flag(false),
  pg_ctl_timeout: duration(60, { min: 0 }),
};

export const POSTGRESQL_SECTION = section(POSTGRESQL_ENTRIES);
export type PostgresqlTree = v.InferOutput<typeof POSTGRESQL_SECTION>;

/** Options that describe this node alone: in the DCS they are ignored, and reported. */
export const LOCAL_ONLY: readonly string[] = [
  "listen",
  "connect_address",
  "proxy_address",
  "data_dir",
  "config_dir",
  "bin_dir",
  "bin_name",
  "pgpass",
  "authentication",
];

export const ROLES_WITH_OPTIONS = ["primary", "replica", "standby_leader"] as const;

function methodListSpec() {
  return {
    wanted: "a list of method names",
    example: "[basebackup]",
    form: "list" as const,
    read: (value: unknown) => {
      const names = Array.isArray(value) ? value : typeof value === "string" ? value.split(",").map((name) => name.trim()) : undefined;
      return names?.every((name) => typeof name === "string" && name !== "") ? (names as readonly string[]) : undefined;
    },
  };
}

function readProgramOptions(value: unknown): readonly string[] | undefined {
  return readOptionPairs(value)?.map(([name, argument]) => (argument === null ? `--${name}` : `--${name}=${argument}`));
}
