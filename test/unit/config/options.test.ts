// Goal: every option of the node's file reaches its place in the configuration, from the file and from the environment.
// Method: one table; each row is read once through YAML, and once through its variable with either prefix.

import { afterAll, describe, expect, test } from "bun:test";
import { NODE_SCHEMA } from "../../../lib/config/schema-node.ts";
import { CONNECTION_OPTIONS } from "../../../lib/config/schema-postgresql.ts";
import { optionsOf } from "../../../lib/config/schema-walk.ts";
import { type Tree, withValue } from "../../../lib/config/tree.ts";
import type { BackupSchedule } from "../../../lib/model/backup-run.ts";
import type { NodeConfig, PostgresUser } from "../../../lib/model/node-config.ts";
import { BASE, loadTree, removeFiles } from "./fixtures.ts";

afterAll(removeFiles);

interface Row {
  readonly option: string;
  readonly value: unknown;
  /** Without prefix; null = Patroni has none and neither have we. */
  readonly variable: string | null;
  /** The variable's text; the value's own text where left out. */
  readonly text?: string;
  readonly expected: unknown;
  readonly at: (config: NodeConfig) => unknown;
}

const row = (option: string, value: unknown, variable: string | null, expected: unknown, at: Row["at"], text?: string): Row => ({
  option,
  value,
  variable,
  expected,
  at,
  ...(text === undefined ? {} : { text }),
});

const HEADERS = { "X-Frame-Options": "SAMEORIGIN" };

const ROWS: readonly Row[] = [
  row("scope", "other", "SCOPE", "other", (c) => c.scope),
  row("namespace", "/db/prod/", "NAMESPACE", "db/prod", (c) => c.namespace),
  row("name", "n9", "NAME", "n9", (c) => c.name),
  row("log.type", "json", "LOG_TYPE", "json", (c) => c.log.type),
  row("log.level", "debug", "LOG_LEVEL", "DEBUG", (c) => c.log.level),
  row(
    "log.format",
    ["message", { levelname: "level" }],
    "LOG_FORMAT",
    ["message", { levelname: "level" }],
    (c) => c.log.format,
    "[message, {levelname: level}]",
  ),
  row("log.dateformat", "%H", "LOG_DATEFORMAT", "%H", (c) => c.log.dateformat),
  row("log.static_fields", { app: "x" }, "LOG_STATIC_FIELDS", { app: "x" }, (c) => c.log.staticFields, "{app: x}"),
  row("log.dir", "/var/log/m", "LOG_DIR", "/var/log/m", (c) => c.log.dir),
  row("log.file_num", 7, "LOG_FILE_NUM", 7, (c) => c.log.fileNum),
  row("log.file_size", "1MB", "LOG_FILE_SIZE", 1_048_576, (c) => c.log.fileSizeBytes),
  row("log.mode", "0640", "LOG_MODE", 0o640, (c) => c.log.mode),
  row("log.loggers", { "a.b": "DEBUG" }, "LOG_LOGGERS", { "a.b": "DEBUG" }, (c) => c.log.loggers, "{a.b: DEBUG}"),
  row("log.deduplicate_heartbeat_logs", true, "LOG_DEDUPLICATE_HEARTBEAT_LOGS", true, (c) => c.log.deduplicateHeartbeatLogs, "on"),
  row("ctl.authentication", { username: "u", password: "p" }, null, { username: "u", password: "p" }, (c) => c.ctl.authentication),
  row("ctl.token", "0123456789abcdef", "CTL_TOKEN", "0123456789abcdef", (c) => c.ctl.token),
  row("ctl.insecure", true, "CTL_INSECURE", true, (c) => c.ctl.insecure, "yes"),
  row("ctl.cacert", "/c", "CTL_CACERT", "/c", (c) => c.ctl.cacert),
  row("ctl.certfile", "/c", "CTL_CERTFILE", "/c", (c) => c.ctl.certfile),
  row("ctl.keyfile", "/k", "CTL_KEYFILE", "/k", (c) => c.ctl.keyfile),
  row("ctl.keyfile_password", "p", "CTL_KEYFILE_PASSWORD", "p", (c) => c.ctl.keyfilePassword),
  row("restapi.listen", "0.0.0.0:8009", "RESTAPI_LISTEN", { host: "0.0.0.0", port: 8009 }, (c) => c.restapi.listen),
  row("restapi.connect_address", "h:1", "RESTAPI_CONNECT_ADDRESS", { host: "h", port: 1 }, (c) => c.restapi.connectAddress),
  row("restapi.authentication", { username: "u", password: "p" }, null, { username: "u", password: "p" }, (c) => c.restapi.authentication),
  row(
    "restapi.protected_paths",
    ["/events", "/config"],
    "RESTAPI_PROTECTED_PATHS",
    ["/config", "/events"],
    (c) => c.restapi.protectedPaths,
    "/config, /events",
  ),
  row("restapi.certfile", "/c", "RESTAPI_CERTFILE", "/c", (c) => c.restapi.certfile),
  row("restapi.keyfile", "/k", "RESTAPI_KEYFILE", "/k", (c) => c.restapi.keyfile),
  row("restapi.keyfile_password", "p", "RESTAPI_KEYFILE_PASSWORD", "p", (c) => c.restapi.keyfilePassword),
  row("restapi.cafile", "/c", "RESTAPI_CAFILE", "/c", (c) => c.restapi.cafile),
  row("restapi.ciphers", "A:B", "RESTAPI_CIPHERS", "A:B", (c) => c.restapi.ciphers),
  row("restapi.verify_client", "required", "RESTAPI_VERIFY_CLIENT", "required", (c) => c.restapi.verifyClient),
  row("restapi.allowlist", ["10.0.0.0/8", "h"], "RESTAPI_ALLOWLIST", ["10.0.0.0/8", "h"], (c) => c.restapi.allowlist, "'10.0.0.0/8','h'"),
  row("restapi.allowlist_include_members", true, "RESTAPI_ALLOWLIST_INCLUDE_MEMBERS", true, (c) => c.restapi.allowlistIncludeMembers),
  row(
    "restapi.http_extra_headers",
    HEADERS,
    "RESTAPI_HTTP_EXTRA_HEADERS",
    HEADERS,
    (c) => c.restapi.httpExtraHeaders,
    JSON.stringify(HEADERS),
  ),
  row(
    "restapi.https_extra_headers",
    HEADERS,
    "RESTAPI_HTTPS_EXTRA_HEADERS",
    HEADERS,
    (c) => c.restapi.httpsExtraHeaders,
    JSON.stringify(HEADERS),
  ),
  row("restapi.server_tokens", "Minimal", "RESTAPI_SERVER_TOKENS", "minimal", (c) => c.restapi.serverTokens),
  row("restapi.request_queue_size", 50, "RESTAPI_REQUEST_QUEUE_SIZE", 50, (c) => c.restapi.requestQueueSize),
  row("bootstrap.dcs", { ttl: 40 }, "BOOTSTRAP_DCS", { ttl: 40 }, (c) => c.bootstrap.dcs, "{ttl: 40}"),
  row("bootstrap.initdb", ["data-checksums"], "BOOTSTRAP_INITDB", [["data-checksums", null]], (c) => c.bootstrap.initdb, "data-checksums"),
  row("bootstrap.method", "initdb", "BOOTSTRAP_METHOD", "initdb", (c) => c.bootstrap.method),
  row("bootstrap.post_bootstrap", "/s", "BOOTSTRAP_POST_BOOTSTRAP", "/s", (c) => c.bootstrap.postBootstrap),
  row("bootstrap.post_init", "/s", "BOOTSTRAP_POST_INIT", "/s", (c) => c.bootstrap.postBootstrap),
  row("bootstrap.pg_hba", ["a b"], "BOOTSTRAP_PG_HBA", ["a b"], (c) => c.bootstrap.pgHba, "'a b'"),
  row("consul.host", "c1:8501", "CONSUL_HOST", "http://c1:8501", (c) => c.consul?.url),
  row("consul.port", 8502, "CONSUL_PORT", "http://127.0.0.1:8502", (c) => c.consul?.url),
  row("consul.scheme", "https", "CONSUL_SCHEME", "https://127.0.0.1:8500", (c) => c.consul?.url),
  row("consul.url", "https://c1:1", "CONSUL_URL", "https://c1:1", (c) => c.consul?.url),
  row("consul.token", "t", "CONSUL_TOKEN", "t", (c) => c.consul?.token),
  row("consul.verify", false, "CONSUL_VERIFY", false, (c) => c.consul?.verify, "off"),
  row("consul.cacert", "/c", "CONSUL_CACERT", "/c", (c) => c.consul?.cacert),
  row("consul.cert", "/c", "CONSUL_CERT", "/c", (c) => c.consul?.cert),
  row("consul.key", "/k", "CONSUL_KEY", "/k", (c) => c.consul?.key),
  row("consul.dc", "dc2", "CONSUL_DC", "dc2", (c) => c.consul?.dc),
  row("consul.checks", ["x", "y"], "CONSUL_CHECKS", ["x", "y"], (c) => c.consul?.checks, "'x','y'"),
  row("consul.session_check_ttl", "6s", "CONSUL_SESSION_CHECK_TTL", 6000, (c) => c.consul?.sessionCheckTtlMs),
  row("consul.consistency", "stale", "CONSUL_CONSISTENCY", "stale", (c) => c.consul?.consistency),
  row("consul.register_service", true, "CONSUL_REGISTER_SERVICE", true, (c) => c.consul?.registerService, "on"),
  row("consul.service_tags", ["x"], "CONSUL_SERVICE_TAGS", ["x"], (c) => c.consul?.serviceTags, "x"),
  row("consul.service_check", "ttl", "CONSUL_SERVICE_CHECK", "ttl", (c) => c.consul?.serviceCheck),
  row("consul.service_details", true, "CONSUL_SERVICE_DETAILS", true, (c) => c.consul?.serviceDetails, "on"),
  row("consul.service_check_interval", "10s", "CONSUL_SERVICE_CHECK_INTERVAL", "10s", (c) => c.consul?.serviceCheckInterval),
  row("consul.service_check_tls_server_name", "n", "CONSUL_SERVICE_CHECK_TLS_SERVER_NAME", "n", (c) => c.consul?.serviceCheckTlsServerName),
  row("discovery.consul.host", "c1:8501", "DISCOVERY_CONSUL_HOST", "http://c1:8501", (c) => c.discovery?.consul.url),
  row("discovery.consul.port", 8502, "DISCOVERY_CONSUL_PORT", "http://127.0.0.1:8502", (c) => c.discovery?.consul.url),
  row("discovery.consul.scheme", "https", "DISCOVERY_CONSUL_SCHEME", "https://127.0.0.1:8500", (c) => c.discovery?.consul.url),
  row("discovery.consul.url", "https://c1:1", "DISCOVERY_CONSUL_URL", "https://c1:1", (c) => c.discovery?.consul.url),
  row("discovery.consul.token", "t", "DISCOVERY_CONSUL_TOKEN", "t", (c) => c.discovery?.consul.token),
  row("discovery.consul.verify", false, "DISCOVERY_CONSUL_VERIFY", false, (c) => c.discovery?.consul.verify, "off"),
  row("discovery.consul.cacert", "/c", "DISCOVERY_CONSUL_CACERT", "/c", (c) => c.discovery?.consul.cacert),
  row("discovery.consul.cert", "/c", "DISCOVERY_CONSUL_CERT", "/c", (c) => c.discovery?.consul.cert),
  row("discovery.consul.key", "/c", "DISCOVERY_CONSUL_KEY", "/c", (c) => c.discovery?.consul.key),
  row("discovery.consul.service", "raddb", "DISCOVERY_CONSUL_SERVICE", "raddb", (c) => c.discovery?.service),
  row("discovery.consul.service_tags", ["x"], "DISCOVERY_CONSUL_SERVICE_TAGS", ["x"], (c) => c.discovery?.consul.serviceTags, "x"),
  row("discovery.consul.service_check", "http", "DISCOVERY_CONSUL_SERVICE_CHECK", "http", (c) => c.discovery?.consul.serviceCheck),
  row(
    "discovery.consul.service_check_interval",
    "10s",
    "DISCOVERY_CONSUL_SERVICE_CHECK_INTERVAL",
    "10s",
    (c) => c.discovery?.consul.serviceCheckInterval,
  ),
  row(
    "discovery.consul.service_check_tls_server_name",
    "n",
    "DISCOVERY_CONSUL_SERVICE_CHECK_TLS_SERVER_NAME",
    "n",
    (c) => c.discovery?.consul.serviceCheckTlsServerName,
  ),
  row("raft.self_addr", "127.0.0.1:1", "RAFT_SELF_ADDR", { host: "127.0.0.1", port: 1 }, (c) => c.raft?.selfAddr),
  row("raft.bind_addr", "127.0.0.1:2", "RAFT_BIND_ADDR", { host: "127.0.0.1", port: 2 }, (c) => c.raft?.bindAddr),
  row(
    "raft.partner_addrs",
    ["127.0.0.1:3"],
    "RAFT_PARTNER_ADDRS",
    [{ host: "127.0.0.1", port: 3 }],
    (c) => c.raft?.partnerAddrs,
    "'127.0.0.1:3'",
  ),
  row("raft.data_dir", "/r", "RAFT_DATA_DIR", "/r", (c) => c.raft?.dataDir),
  row("raft.password", "p", "RAFT_PASSWORD", "p", (c) => c.raft?.password),
  row("raft.insecure", true, "RAFT_INSECURE", true, (c) => c.raft?.insecure),
  row("raft.cafile", "/c", "RAFT_CAFILE", "/c", (c) => c.raft?.cafile),
  row("raft.certfile", "/c", "RAFT_CERTFILE", "/c", (c) => c.raft?.certfile),
  row("raft.keyfile", "/k", "RAFT_KEYFILE", "/k", (c) => c.raft?.keyfile),
  row("raft.keyfile_password", "p", "RAFT_KEYFILE_PASSWORD", "p", (c) => c.raft?.keyfilePassword),
  row("raft.min_timeout", 0.4, "RAFT_MIN_TIMEOUT", 400, (c) => c.raft?.minTimeoutMs),
  row("raft.max_timeout", "2s", "RAFT_MAX_TIMEOUT", 2000, (c) => c.raft?.maxTimeoutMs),
  row("raft.append_entries_period", 0.2, "RAFT_APPEND_ENTRIES_PERIOD", 200, (c) => c.raft?.appendEntriesPeriodMs),
  row("raft.connection_timeout", 3, "RAFT_CONNECTION_TIMEOUT", 3000, (c) => c.raft?.connectionTimeoutMs),
  row("raft.connection_retry_time", 3, "RAFT_CONNECTION_RETRY_TIME", 3000, (c) => c.raft?.connectionRetryTimeMs),
  row("raft.leader_fallback_timeout", 3, "RAFT_LEADER_FALLBACK_TIMEOUT", 3000, (c) => c.raft?.leaderFallbackTimeoutMs),
  row("postgresql.listen", "a,b:5433", "POSTGRESQL_LISTEN", [["a", "b"], 5433], (c) => [c.postgresql.listenHosts, c.postgresql.port]),
  row("postgresql.connect_address", "h:5", "POSTGRESQL_CONNECT_ADDRESS", { host: "h", port: 5 }, (c) => c.postgresql.connectAddress),
  row("postgresql.proxy_address", "h:6", "POSTGRESQL_PROXY_ADDRESS", "h:6", (c) => c.postgresql.proxyAddress),
  row("postgresql.data_dir", "/d", "POSTGRESQL_DATA_DIR", "/d", (c) => c.postgresql.dataDir),
  row("postgresql.config_dir", "/cd", "POSTGRESQL_CONFIG_DIR", "/cd", (c) => c.postgresql.configDir),
  row("postgresql.bin_dir", "/b", "POSTGRESQL_BIN_DIR", "/b", (c) => c.postgresql.binDir),
  ...["pg_ctl", "initdb", "pg_controldata", "pg_basebackup", "postgres", "pg_rewind"].map((program) =>
    row(`postgresql.bin_name.${program}`, "my", `POSTGRESQL_BIN_${program.toUpperCase()}`, "my", (c) => c.postgresql.binName[program]),
  ),
  row("postgresql.bin_name.pg_isready", "my", "POSTGRESQL_BIN_IS_READY", "my", (c) => c.postgresql.binName["pg_isready"]),
  row("postgresql.pgpass", "/p", "POSTGRESQL_PGPASS", "/p", (c) => c.postgresql.pgpass),
  row("postgresql.use_unix_socket", true, "POSTGRESQL_USE_UNIX_SOCKET", true, (c) => c.postgresql.useUnixSocket),
  row("postgresql.use_unix_socket_repl", true, "POSTGRESQL_USE_UNIX_SOCKET_REPL", true, (c) => c.postgresql.useUnixSocketRepl),
  ...(["superuser", "replication", "rewind"] as const).flatMap((kind) => [
    row(`postgresql.authentication.${kind}.username`, "u", `${kind.toUpperCase()}_USERNAME`, "u", (c) => c.postgresql[kind].username),
    row(`postgresql.authentication.${kind}.password`, "123", `${kind.toUpperCase()}_PASSWORD`, "123", (c) => c.postgresql[kind].password),
    ...[
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
    ].map((name) =>
      row(
        `postgresql.authentication.${kind}.${name}`,
        "v",
        `${kind.toUpperCase()}_${name.toUpperCase()}`,
        "v",
        (c) => c.postgresql[kind].options[name],
      ),
    ),
  ]),
  row(
    "postgresql.parameters",
    { work_mem: "8MB" },
    "POSTGRESQL_PARAMETERS",
    { work_mem: "8MB" },
    (c) => c.postgresql.parameters,
    "{work_mem: 8MB}",
  ),
  row("postgresql.parameters_primary", { work_mem: 1 }, null, { work_mem: 1 }, (c) => c.postgresql.parametersPrimary),
  row("postgresql.parameters_replica", { work_mem: 2 }, null, { work_mem: 2 }, (c) => c.postgresql.parametersReplica),
  row("postgresql.parameters_standby_leader", { a: true }, null, { a: true }, (c) => c.postgresql.parametersStandbyLeader),
  row("postgresql.pg_hba", ["l"], "POSTGRESQL_PG_HBA", ["l"], (c) => c.postgresql.pgHba, "'l'"),
  row("postgresql.pg_ident", ["l"], "POSTGRESQL_PG_IDENT", ["l"], (c) => c.postgresql.pgIdent, "'l'"),
  ...["primary", "replica", "standby_leader"].flatMap((role) => [
    row(`postgresql.pg_hba_${role}`, ["l"], null, ["l"], (c) => c.postgresql.pgHbaByRole[role]),
    row(`postgresql.pg_ident_${role}`, ["l"], null, ["l"], (c) => c.postgresql.pgIdentByRole[role]),
  ]),
  row(
    "postgresql.recovery_conf",
    { restore_command: "cp" },
    "POSTGRESQL_RECOVERY_CONF",
    { restore_command: "cp" },
    (c) => c.postgresql.recoveryConf,
    "{restore_command: cp}",
  ),
  row("postgresql.custom_conf", "/x", "POSTGRESQL_CUSTOM_CONF", "/x", (c) => c.postgresql.customConf),
  ...["on_start", "on_stop", "on_restart", "on_reload", "on_role_change"].map((name) =>
    row(`postgresql.callbacks.${name}`, "/cb", `POSTGRESQL_CALLBACKS_${name.toUpperCase()}`, "/cb", (c) => c.postgresql.callbacks[name]),
  ),
  row(
    "postgresql.create_replica_methods",
    ["basebackup"],
    "POSTGRESQL_CREATE_REPLICA_METHODS",
    ["basebackup"],
    (c) => c.postgresql.createReplicaMethods,
    "basebackup",
  ),
  row(
    "postgresql.basebackup",
    [{ "max-rate": "10M" }, "verbose"],
    null,
    [
      ["max-rate", "10M"],
      ["verbose", null],
    ],
    (c) => c.postgresql.basebackup,
  ),
  row("postgresql.before_stop", "/s", "POSTGRESQL_BEFORE_STOP", "/s", (c) => c.postgresql.beforeStop),
  row("postgresql.pre_promote", "/s", "POSTGRESQL_PRE_PROMOTE", "/s", (c) => c.postgresql.prePromote),
  row("postgresql.use_pg_rewind", true, "POSTGRESQL_USE_PG_REWIND", true, (c) => c.postgresql.usePgRewind, "true"),
  row("postgresql.rewind", ["debug", { "config-file": "/c" }], null, ["--debug", "--config-file=/c"], (c) => c.postgresql.rewindOptions),
  row(
    "postgresql.remove_data_directory_on_rewind_failure",
    true,
    "POSTGRESQL_REMOVE_DATA_DIRECTORY_ON_REWIND_FAILURE",
    true,
    (c) => c.postgresql.removeDataDirectoryOnRewindFailure,
  ),
  row(
    "postgresql.remove_data_directory_on_diverged_timelines",
    true,
    "POSTGRESQL_REMOVE_DATA_DIRECTORY_ON_DIVERGED_TIMELINES",
    true,
    (c) => c.postgresql.removeDataDirectoryOnDivergedTimelines,
  ),
  row("postgresql.pg_ctl_timeout", "2min", "POSTGRESQL_PG_CTL_TIMEOUT", 120_000, (c) => c.postgresql.pgCtlTimeoutMs),
  row("pgbackrest.stanza", "s", "PGBACKREST_STANZA", "s", (c) => c.pgbackrest?.stanza),
  row("pgbackrest.config", "/c", "PGBACKREST_CONFIG", "/c", (c) => c.pgbackrest?.config),
  row("pgbackrest.command", "/p", "PGBACKREST_COMMAND", "/p", (c) => c.pgbackrest?.command),
  ...(["full", "diff", "incr"] as const).map((type) =>
    row(
      `pgbackrest.schedule.${type}`,
      "1 2 * * *",
      `PGBACKREST_SCHEDULE_${type.toUpperCase()}`,
      "1 2 * * *",
      (c) => scheduled(c)?.times[type],
    ),
  ),
  row("pgbackrest.schedule.timezone", "Asia/Tokyo", "PGBACKREST_SCHEDULE_TIMEZONE", "Asia/Tokyo", (c) => scheduled(c)?.timezone),
  row(
    "pgbackrest.schedule.on_leader",
    "without-replica",
    "PGBACKREST_SCHEDULE_ON_LEADER",
    "without-replica",
    (c) => scheduled(c)?.onLeader,
  ),
  row("pgbackrest.schedule.retry_after", "2min", "PGBACKREST_SCHEDULE_RETRY_AFTER", 120_000, (c) => scheduled(c)?.retryAfterMs),
  row("watchdog.mode", "off", "WATCHDOG_MODE", "off", (c) => c.watchdog.mode),
  row("watchdog.driver", "testing", "WATCHDOG_DRIVER", "testing", (c) => c.watchdog.driver),
  row("watchdog.device", "/w", "WATCHDOG_DEVICE", "/w", (c) => c.watchdog.device),
  row("watchdog.safety_margin", -1, "WATCHDOG_SAFETY_MARGIN", -1, (c) => c.watchdog.safetyMarginSeconds),
  row("tags", { nofailover: "true", x: 1.4 }, "TAGS", { nofailover: "true", x: 1.4 }, (c) => c.tags, "{nofailover: 'true', x: 1.4}"),
  row(
    "vip",
    { address: "10.0.0.100/24", interface: "eth0", ip_command: "sudo -n ip", arping_command: "a" },
    null,
    { address: "10.0.0.100", prefixLength: 24, interface: "eth0", ipCommand: "sudo -n ip", arpingCommand: "a" },
    (c) => c.vip,
  ),
  row("citus", { group: 1, database: "d" }, null, { group: 1, database: "d" }, (c) => c.citus),
  row("pgbouncer.name", "p1", "PGBOUNCER_NAME", "p1", (c) => c.pgbouncer?.name),
  row("pgbouncer.host", "/run/pg", "PGBOUNCER_HOST", "/run/pg", (c) => c.pgbouncer?.host),
  row("pgbouncer.port", 6433, "PGBOUNCER_PORT", 6433, (c) => c.pgbouncer?.port),
  row("pgbouncer.databases_file", "/f", "PGBOUNCER_DATABASES_FILE", "/f", (c) => c.pgbouncer?.databasesFile),
  row("pgbouncer.databases", ["a", "b"], "PGBOUNCER_DATABASES", ["a", "b"], (c) => c.pgbouncer?.databases, "a, b"),
  row("pgbouncer.template", "x = host={host}", "PGBOUNCER_TEMPLATE", "x = host={host}", (c) => c.pgbouncer?.template),
  row("pgbouncer.users.file", "/u", "PGBOUNCER_USERS_FILE", "/u", (c) => c.pgbouncer?.users?.file),
  row("pgbouncer.users.database", "d", "PGBOUNCER_USERS_DATABASE", "d", (c) => c.pgbouncer?.users?.database),
  row("pgbouncer.users.query", "SELECT 1", "PGBOUNCER_USERS_QUERY", "SELECT 1", (c) => c.pgbouncer?.users?.query),
  row("pgbouncer.users.interval", "2min", "PGBOUNCER_USERS_INTERVAL", 120_000, (c) => c.pgbouncer?.users?.intervalMs),
  row("pgbouncer.pause", "off", "PGBOUNCER_PAUSE", "off", (c) => c.pgbouncer?.pause),
  row("pgbouncer.pause_timeout", 1.5, "PGBOUNCER_PAUSE_TIMEOUT", 1500, (c) => c.pgbouncer?.pauseTimeoutMs),
  row("pgbouncer.pause_limit", "20s", "PGBOUNCER_PAUSE_LIMIT", 20_000, (c) => c.pgbouncer?.pauseLimitMs),
  row("pgbouncer.pause_failed", "abandon", "PGBOUNCER_PAUSE_FAILED", "abandon", (c) => c.pgbouncer?.pauseFailed),
  ...loginRows("pgbouncer", (c) => c.pgbouncer?.admin),
  ...loginRows("pgbouncer.users", (c) => c.pgbouncer?.users?.login),
];

function scheduled(config: NodeConfig): BackupSchedule | null | undefined {
  return config.pgbackrest?.schedule;
}

/** Somebody to log in as, on PgBouncer's console or on the leader. */
function loginRows(section: string, at: (config: NodeConfig) => PostgresUser | undefined): readonly Row[] {
  const variable = section.toUpperCase().replace(".", "_");
  return [
    row(`${section}.username`, "u", `${variable}_USERNAME`, "u", (c) => at(c)?.username),
    row(`${section}.password`, "p", `${variable}_PASSWORD`, "p", (c) => at(c)?.password),
    ...CONNECTION_OPTIONS.map((name) =>
      row(`${section}.${name}`, "x", `${variable}_${name.toUpperCase()}`, "x", (c) => at(c)?.options[name]),
    ),
  ];
}

/** Written another way in the table, or only meaningful together with another option. */
const COVERED_TOGETHER = new Set([
  "restapi.authentication.username",
  "restapi.authentication.password",
  "ctl.authentication.username",
  "ctl.authentication.password",
  "vip.address",
  "vip.interface",
  "vip.ip_command",
  "vip.arping_command",
  "vip.ndptool_command",
  "citus.group",
  "citus.database",
  "postgresql.use_slots",
]);

/** What an option needs beside itself to make a valid configuration. */
function beside(option: string): Tree {
  if (option === "raft.certfile") return { consul: null, raft: { self_addr: "127.0.0.1:9", data_dir: "/r", cafile: "/a" } };
  if (option === "raft.cafile") return { consul: null, raft: { self_addr: "127.0.0.1:9", data_dir: "/r", certfile: "/c" } };
  if (option === "raft.keyfile") return { consul: null, raft: { self_addr: "127.0.0.1:9", data_dir: "/r", certfile: "/c", cafile: "/a" } };
  if (option.startsWith("raft.")) return { consul: null, raft: { self_addr: "127.0.0.1:9", data_dir: "/r" } };
  if (option.startsWith("pgbackrest.schedule.")) return { pgbackrest: { schedule: { full: "0 1 * * 0" } } };
  if (option.startsWith("pgbouncer.")) return { pgbouncer: besideInPgbouncer(option) };
  if (option === "consul.port" || option === "consul.scheme") return { consul: {} };
  if (option === "restapi.protected_paths") return { restapi: { authentication: { username: "u", password: "p" } } };
  if (option === "restapi.verify_client") return { restapi: { certfile: "/c", cafile: "/a" } };
  if (option === "restapi.keyfile") return { restapi: { certfile: "/c" } };
  if (option === "ctl.keyfile") return { ctl: { certfile: "/c" } };
  if (option === "restapi.listen") return { restapi: { connect_address: "10.0.0.1:8009" } };
  return {};
}

function besideInPgbouncer(option: string): Tree {
  const databases = option === "pgbouncer.template" ? {} : { databases: ["app"] };
  const users = option.startsWith("pgbouncer.users.") ? { users: { file: "/users", username: "reader" } } : {};
  return { databases_file: "/databases", ...databases, ...users };
}

function base(option: string): Tree {
  return { ...BASE, ...beside(option) };
}

describe("from the file", () => {
  test.each(ROWS.map((item) => [item.option, item] as const))("%s", async (_, { option, value, expected, at }) => {
    const result = await loadTree(withValue(base(option), option.split("."), value));
    expect(result).toMatchObject({ ok: true });
    if (result.ok) expect(at(result.value.config)).toEqual(expected);
  });
});

describe.each(["PATRONI_", "MATRIARCH_"])("from the environment, %s", (prefix) => {
  const rows = ROWS.filter((item) => item.variable !== null);
  test.each(rows.map((item) => [`${prefix}${item.variable}`, item] as const))("%s wins over the file", async (variable, item) => {
    const result = await loadTree(base(item.option), { [variable]: item.text ?? String(item.value) });
    expect(result).toMatchObject({ ok: true, value: { warnings: [] } });
    if (!result.ok) return;
    expect(item.at(result.value.config)).toEqual(item.expected);
    expect(result.value.sources.get(item.option)).toBe(`environment ${variable}`);
  });
});

test("credentials of the API and of ctl come from their variables, and ctl takes those of the API where it has none", async () => {
  const env = { PATRONI_RESTAPI_USERNAME: "u", PATRONI_RESTAPI_PASSWORD: "123", PATRONI_CTL_USERNAME: "c", MATRIARCH_CTL_PASSWORD: "d" };
  const both = await loadTree(BASE, env);
  expect(both).toMatchObject({
    ok: true,
    value: {
      config: {
        restapi: { authentication: { username: "u", password: "123" } },
        ctl: { authentication: { username: "c", password: "d" } },
      },
    },
  });
  const api = await loadTree(BASE, { PATRONI_RESTAPI_USERNAME: "u", PATRONI_RESTAPI_PASSWORD: "123" });
  expect(api).toMatchObject({ ok: true, value: { config: { ctl: { authentication: { username: "u", password: "123" } } } } });
  const vip = await loadTree(BASE, { PATRONI_VIP_ADDRESS: "10.0.0.100/24", PATRONI_VIP_INTERFACE: "eth0" });
  expect(vip).toMatchObject({ ok: true, value: { config: { vip: { address: "10.0.0.100", interface: "eth0" } } } });
  const citus = await loadTree(BASE, { PATRONI_CITUS_GROUP: "2", PATRONI_CITUS_DATABASE: "d" });
  expect(citus).toMatchObject({ ok: true, value: { config: { citus: { group: 2, database: "d" } } } });
});

test("the table above names every option of the schema", () => {
  const named = new Set(ROWS.map((item) => item.option));
  const missing = optionsOf(NODE_SCHEMA)
    .map(({ path }) => path.join("."))
    .filter((option) => !named.has(option) && !COVERED_TOGETHER.has(option) && !option.startsWith("tags."));
  expect(missing).toEqual([]);
});
