// Owns the schemas of the node's own file (contract §5) outside `postgresql`: every option, its default and its form.
// Says nothing about where a value came from; rules that span options are in check.ts.

import * as v from "valibot";
import { PROTECTABLE_PATHS, TOKEN_ROLES } from "../model/api-access.ts";
import { EVENT_KINDS, type EventKind } from "../model/event.ts";
import {
  address,
  addressList,
  anyMap,
  bytes,
  choice,
  connectAddress,
  defaultSection,
  duration,
  fileMode,
  flag,
  lineList,
  listen,
  mapOf,
  mapping,
  number,
  type Option,
  option,
  optional,
  optionalDuration,
  optionalSection,
  optionPairs,
  readWord,
  secret,
  section,
  text,
  textMap,
  textWithDefault,
  whole,
  wordList,
} from "./option.ts";
import { PGBOUNCER } from "./schema-pgbouncer.ts";
import { POSTGRESQL_ENTRIES } from "./schema-postgresql.ts";
import { isTree } from "./tree.ts";
import {
  readBoolean,
  readInteger,
  readInterfaceAddress,
  readInterfaceName,
  readPort,
  readText,
  readTextList,
  readTextMap,
} from "./value.ts";

const LOG_LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
const LOG_LEVEL_SYNONYMS: Readonly<Record<string, LogLevel>> = { WARN: "WARNING", FATAL: "CRITICAL", NOTSET: "DEBUG" };

export type LogFormat = string | readonly (string | Readonly<Record<string, string>>)[];

const LOG = {
  type: choice(["plain", "json"], "plain"),
  level: option<LogLevel>({ wanted: `one of ${LOG_LEVELS.join(", ")}`, example: "INFO", read: readLogLevel, fallback: "INFO" }),
  format: option<LogFormat>({
    wanted: "a format text, or (type json) a list of fields",
    example: "'%(asctime)s %(levelname)s: %(message)s'",
    read: readLogFormat,
    form: "text-or-list",
    fallback: "%(asctime)s %(levelname)s: %(message)s",
  }),
  dateformat: text("'%Y-%m-%d %H:%M:%S'"),
  static_fields: anyMap("{app: matriarch}"),
  dir: text("/var/log/matriarch"),
  file_num: whole(4, { min: 0 }),
  file_size: bytes(25_000_000, { min: 0 }),
  mode: fileMode(),
  loggers: textMap("{patroni.postmaster: WARNING}"),
  deduplicate_heartbeat_logs: flag(false),
};

function readLogLevel(value: unknown): LogLevel | undefined {
  const word = String(value).trim().toUpperCase();
  return LOG_LEVEL_SYNONYMS[word] ?? LOG_LEVELS.find((level) => level === word);
}

function readLogFormat(value: unknown): LogFormat | undefined {
  if (!Array.isArray(value)) return readText(value);
  const fields = value.map((item) => (isTree(item) ? readPlainTextMap(item) : readText(item)));
  return fields.every((field) => field !== undefined) ? fields : undefined;
}

function readPlainTextMap(value: object): Readonly<Record<string, string>> | undefined {
  const pairs = Object.entries(value).map(([key, item]) => [key, readText(item)] as const);
  return pairs.every(([, item]) => item !== undefined) ? (Object.fromEntries(pairs) as Record<string, string>) : undefined;
}

const AUTHENTICATION = optionalSection({ username: text("admin"), password: secret() });

/** What a header can carry (RFC 6750), and long enough not to be guessed. */
const TOKEN_MIN_CHARS = 16;
const apiToken = optional({
  wanted: `a token of ${TOKEN_MIN_CHARS} or more of A-Z a-z 0-9 - . _ ~ + / =`,
  example: "'SECRET'",
  read: (value) => (typeof value === "string" && value.length >= TOKEN_MIN_CHARS && /^[\w.~+/-]+=*$/.test(value) ? value : undefined),
  secret: true,
});

const TOKEN = { role: choice(TOKEN_ROLES, "read"), token: apiToken };

const CTL = {
  authentication: AUTHENTICATION,
  token: apiToken,
  insecure: flag(false),
  cacert: text("/etc/ssl/ca.crt"),
  certfile: text("/etc/ssl/client.crt"),
  keyfile: text("/etc/ssl/client.key"),
  keyfile_password: secret(),
};

const RESTAPI = {
  listen: listen("127.0.0.1:8008", 8008),
  connect_address: connectAddress("10.0.0.1:8008"),
  authentication: AUTHENTICATION,
  tokens: mapOf(section(TOKEN)),
  protected_paths: option({
    wanted: `a list of ${PROTECTABLE_PATHS.join(", ")}`,
    example: "[/config, /events]",
    read: (value) => readWords(value, PROTECTABLE_PATHS),
    fallback: [],
    form: "list",
  }),
  certfile: text("/etc/ssl/server.crt"),
  keyfile: text("/etc/ssl/server.key"),
  keyfile_password: secret(),
  cafile: text("/etc/ssl/ca.crt"),
  ciphers: text("ECDHE-RSA-AES256-GCM-SHA384"),
  verify_client: choice(["none", "optional", "required"], "none"),
  allowlist: wordList("[10.0.0.0/8]"),
  allowlist_include_members: flag(false),
  http_extra_headers: textMap("{X-Frame-Options: SAMEORIGIN}"),
  https_extra_headers: textMap("{Strict-Transport-Security: max-age=31536000}"),
  server_tokens: choice(["original", "productonly", "minimal"], "original"),
  request_queue_size: whole(5, { min: 1 }),
};

const BOOTSTRAP = {
  dcs: anyMap("{ttl: 30}"),
  initdb: optionPairs("[data-checksums, encoding: UTF8]"),
  method: textWithDefault("initdb"),
  post_bootstrap: text("/usr/local/bin/post_bootstrap"),
  post_init: text("/usr/local/bin/post_bootstrap"),
  pg_hba: lineList("['host all all all scram-sha-256']"),
};

const CONSUL = {
  host: text("127.0.0.1:8500"),
  port: optional({ wanted: "a port from 1 to 65535", example: "8500", read: readPort }),
  scheme: choice(["http", "https"], "http"),
  url: optional({ wanted: "an http or https URL", example: "http://127.0.0.1:8500", read: readHttpUrl }),
  token: secret(),
  verify: flag(true),
  cacert: text("/etc/ssl/consul-ca.crt"),
  cert: text("/etc/ssl/consul.crt"),
  key: text("/etc/ssl/consul.key"),
  dc: text("dc1"),
  checks: wordList("[]"),
  // Below it a lease leaves no time for two tries of a request and a stop.
  session_check_ttl: optionalDuration("6", { min: 3 }),
  consistency: choice(["default", "consistent", "stale"], "default"),
  register_service: flag(false),
  service_tags: wordList("[blue]"),
  service_check: choice(["http", "ttl"], "http"),
  service_details: flag(false),
  service_check_interval: option({ wanted: "a duration with a unit", example: "5s", read: readGoDuration, fallback: "5s" }),
  service_check_tls_server_name: text("node1.example.com"),
};

/** An agent of the node's own site; the store's is another matter. */
const DISCOVERY_CONSUL = {
  host: CONSUL.host,
  port: CONSUL.port,
  scheme: CONSUL.scheme,
  url: CONSUL.url,
  token: CONSUL.token,
  verify: CONSUL.verify,
  cacert: CONSUL.cacert,
  cert: CONSUL.cert,
  key: CONSUL.key,
  service: text("raddb"),
  service_tags: CONSUL.service_tags,
  service_check: choice(["http", "ttl"], "ttl"),
  service_check_interval: CONSUL.service_check_interval,
  service_check_tls_server_name: CONSUL.service_check_tls_server_name,
};

function readHttpUrl(value: unknown): string | undefined {
  const url = typeof value === "string" && URL.canParse(value) ? new URL(value) : undefined;
  return url !== undefined && ["http:", "https:"].includes(url.protocol) && url.hostname !== "" ? (value as string) : undefined;
}

function readGoDuration(value: unknown): string | undefined {
  const duration = typeof value === "number" ? `${value}s` : value;
  return typeof duration === "string" && /^(\d+(\.\d+)?(ms|s|m|h))+$/.test(duration) ? duration : undefined;
}

const RAFT = {
  self_addr: address("10.0.0.1:5010"),
  bind_addr: address("0.0.0.0:5010"),
  partner_addrs: addressList("['10.0.0.2:5010', '10.0.0.3:5010']"),
  data_dir: text("/var/lib/matriarch/raft"),
  password: secret(),
  insecure: flag(false),
  cafile: text("/etc/ssl/ca.crt"),
  certfile: text("/etc/ssl/raft.crt"),
  keyfile: text("/etc/ssl/raft.key"),
  keyfile_password: secret(),
  min_timeout: duration(0.5, { min: 0.01 }),
  max_timeout: duration(1, { min: 0.01 }),
  append_entries_period: duration(0.1, { min: 0.001 }),
  connection_timeout: duration(5, { min: 0.01 }),
  connection_retry_time: duration(1, { min: 0.01 }),
  leader_fallback_timeout: duration(2, { min: 0.01 }),
};

const WATCHDOG = {
  mode: choice(["off", "automatic", "required"], "automatic"),
  driver: optional({
    wanted: "one of linux, process, testing",
    example: "process",
    read: (value) => readWord(value, ["linux", "process", "testing"] as const),
  }),
  device: textWithDefault("/dev/watchdog"),
  safety_margin: number(5),
};

/** A tag that is a boolean; the value keeps the type that it was written in. */
const booleanTag = optional({ wanted: "a boolean (true or false)", example: "true", read: whereReadable(readBoolean) });
const integerTag = optional({ wanted: "a whole number", example: "1", read: whereReadable(readInteger) });

function whereReadable(read: (value: unknown) => unknown): (value: unknown) => string | number | boolean | undefined {
  return (value) => (read(value) === undefined ? undefined : (value as string | number | boolean));
}

/** Decisions and single failures are for people who look for a reason, not for a pager. */
const EVENTS_BY_DEFAULT: readonly EventKind[] = EVENT_KINDS.filter((kind) => kind !== "decision" && kind !== "effect");

const TAG_ENTRIES = {
  nofailover: booleanTag,
  failover_priority: integerTag,
  nosync: booleanTag,
  sync_priority: integerTag,
  noloadbalance: booleanTag,
  clonefrom: booleanTag,
  nostream: booleanTag,
  replicatefrom: text("node2"),
};

const freeTag: Option<string | number | boolean | null> = optional({
  wanted: "text, a number or a boolean",
  example: "blue",
  read: (value) => (["string", "number", "boolean"].includes(typeof value) ? (value as string | number | boolean) : undefined),
});

const HOOK = {
  command: text("/usr/local/bin/page"),
  url: optional({ wanted: "an http or https URL", example: "https://hooks.example.com/pg", read: readHttpUrl, secret: true }),
  headers: option({
    wanted: "a mapping of names to text",
    example: "{X-Team: dba}",
    read: readTextMap,
    fallback: {},
    form: "map",
    secret: true,
  }),
  events: option({
    wanted: `a list of ${EVENT_KINDS.join(", ")}`,
    example: "[failover, fencing]",
    read: (value) => readWords(value, EVENT_KINDS),
    fallback: EVENTS_BY_DEFAULT,
    form: "list",
  }),
  timeout: duration(10, { min: 0.1 }),
  retries: whole(5, { min: 0, max: 100 }),
};

/** Some of the words, in their own order. */
function readWords<const T extends string>(value: unknown, known: readonly T[]): readonly T[] | undefined {
  const words = readTextList(value);
  if (words === undefined || !words.every((word) => known.some((one) => one === word))) return undefined;
  return known.filter((one) => words.includes(one));
}

/** The whole file. Stores that we do not have, obsolete options and unknown ones are dealt with in check.ts. */
export const NODE_SCHEMA = v.object(
  {
    scope: text("demo"),
    namespace: textWithDefault("/service"),
    name: text("node1"),
    log: defaultSection(LOG),
    ctl: defaultSection(CTL),
    restapi: defaultSection(RESTAPI),
    bootstrap: defaultSection(BOOTSTRAP),
    consul: optionalSection(CONSUL),
    raft: optionalSection(RAFT),
    postgresql: defaultSection(POSTGRESQL_ENTRIES),
    watchdog: defaultSection(WATCHDOG),
    pgbackrest: optionalSection({
      stanza: text("demo"),
      config: text("/etc/pgbackrest/pgbackrest.conf"),
      command: textWithDefault("pgbackrest"),
      schedule: optionalSection({
        full: text("0 1 * * 0"),
        diff: text("0 1 * * 1-6"),
        incr: text("0 */6 * * *"),
        timezone: textWithDefault("UTC", "Europe/Berlin"),
        on_leader: choice(["never", "without-replica"], "never"),
        retry_after: duration(60, { min: 1 }),
      }),
    }),
    tags: v.pipe(v.nullish(v.unknown(), {}), mapping(), v.objectWithRest(TAG_ENTRIES, freeTag, "is not a mapping")),
    discovery: optionalSection({ consul: optionalSection(DISCOVERY_CONSUL) }),
    hooks: mapOf(section(HOOK)),
    citus: optionalSection({
      group: optional({ wanted: "a whole number from 0 on", example: "0", read: readGroup }),
      database: text("postgres"),
    }),
    pgbouncer: optionalSection(PGBOUNCER),
    vip: optionalSection({
      address: optional({
        wanted: "an IPv4 or IPv6 address with the length of its prefix",
        example: "10.0.0.100/24",
        read: readInterfaceAddress,
      }),
      interface: optional({ wanted: "the name of a network interface", example: "eth0", read: readInterfaceName }),
      ip_command: textWithDefault("ip"),
      arping_command: textWithDefault("arping"),
      ndptool_command: textWithDefault("ndptool"),
    }),
  },
  "is not a mapping",
);

function readGroup(value: unknown): number | undefined {
  const group = readInteger(value);
  return group !== undefined && group >= 0 ? group : undefined;
}

export type NodeTree = v.InferOutput<typeof NODE_SCHEMA>;
export type LogTree = NodeTree["log"];
export type ConsulTree = NonNullable<NodeTree["consul"]>;
export type RaftTree = NonNullable<NodeTree["raft"]>;
export type PgbouncerTree = NonNullable<NodeTree["pgbouncer"]>;
