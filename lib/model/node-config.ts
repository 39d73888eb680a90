// Owns the shape of a node's own configuration after loading (contract §5): plain data, read-only, every default filled in.
// Loading, checking and merging are in lib/config.

import type { ApiToken, ProtectablePath } from "./api-access.ts";
import type { BackupSchedule } from "./backup-run.ts";
import type { EventKind } from "./event.ts";
import type { Tags } from "./member.ts";
import type { PgbouncerConfig } from "./pgbouncer.ts";
import type { Ms } from "./units.ts";

export interface TlsClientFiles {
  readonly cacert: string | null;
  readonly certfile: string | null;
  readonly keyfile: string | null;
  readonly keyfilePassword: string | null;
}

export interface BasicAuth {
  readonly username: string;
  readonly password: string;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export interface LogConfig {
  readonly type: "plain" | "json";
  readonly level: "DEBUG" | "INFO" | "WARNING" | "ERROR" | "CRITICAL";
  /** Patroni's %(name)s format; a list of fields for json. */
  readonly format: string | readonly (string | Readonly<Record<string, string>>)[];
  readonly dateformat: string | null;
  readonly staticFields: Readonly<Record<string, unknown>>;
  /** Folder for log files; null = stderr. */
  readonly dir: string | null;
  readonly fileNum: number;
  readonly fileSizeBytes: number;
  /** Octal permission of log files, e.g. 0o644; null = umask decides. */
  readonly mode: number | null;
  readonly loggers: Readonly<Record<string, string>>;
  readonly deduplicateHeartbeatLogs: boolean;
}

export interface RestApiConfig {
  readonly listen: HostPort;
  readonly connectAddress: HostPort;
  readonly authentication: BasicAuth | null;
  /** In the order of the file. With one or more of them nobody calls an unsafe method without a credential. */
  readonly tokens: readonly ApiToken[];
  /** Safe methods on these need a credential too. */
  readonly protectedPaths: readonly ProtectablePath[];
  readonly certfile: string | null;
  readonly keyfile: string | null;
  readonly keyfilePassword: string | null;
  readonly cafile: string | null;
  readonly ciphers: string | null;
  readonly verifyClient: "none" | "optional" | "required";
  readonly allowlist: readonly string[];
  readonly allowlistIncludeMembers: boolean;
  readonly httpExtraHeaders: Readonly<Record<string, string>>;
  readonly httpsExtraHeaders: Readonly<Record<string, string>>;
  /** original | productonly | minimal */
  readonly serverTokens: string;
  readonly requestQueueSize: number;
}

export interface CtlConfig extends TlsClientFiles {
  readonly insecure: boolean;
  readonly authentication: BasicAuth | null;
  /** Of the API; goes before `authentication` where both are set. */
  readonly token: string | null;
}

export interface BootstrapConfig {
  /** First dynamic configuration, as written. */
  readonly dcs: Readonly<Record<string, unknown>>;
  /** initdb options, normalised to pairs: `["data-checksums", null]`, `["encoding", "UTF8"]`. */
  readonly initdb: readonly (readonly [string, string | null])[];
  readonly method: string;
  /** The section named by `method`; null for initdb. */
  readonly methodOptions: Readonly<Record<string, unknown>> | null;
  readonly postBootstrap: string | null;
  readonly pgHba: readonly string[];
}

export interface ConsulConfig {
  /** http(s)://host:port without trailing slash. */
  readonly url: string;
  readonly token: string | null;
  readonly verify: boolean;
  readonly cacert: string | null;
  readonly cert: string | null;
  readonly key: string | null;
  readonly dc: string | null;
  readonly checks: readonly string[];
  /** Of the check that ends this node's session with its supervisor; null: none is bound. */
  readonly sessionCheckTtlMs: Ms | null;
  readonly consistency: "default" | "consistent" | "stale";
  readonly registerService: boolean;
  readonly serviceTags: readonly string[];
  /** Who judges the entry's health: Consul by a request to our endpoint, or this node, which tells its agent. */
  readonly serviceCheck: "http" | "ttl";
  /** Tags and Meta beyond Patroni's (docs/service-discovery.md). */
  readonly serviceDetails: boolean;
  readonly serviceCheckInterval: string;
  readonly serviceCheckTlsServerName: string | null;
}

/** Registration in a catalogue beside the store's: any store, any agent (docs/several-sites.md). */
export interface DiscoveryConfig {
  readonly consul: ConsulConfig;
  /** Of the service; the scope where nothing is said. */
  readonly service: string | null;
}

export interface RaftConfig {
  readonly selfAddr: HostPort | null;
  readonly bindAddr: HostPort | null;
  readonly partnerAddrs: readonly HostPort[];
  readonly dataDir: string | null;
  readonly password: string | null;
  readonly insecure: boolean;
  readonly cafile: string | null;
  readonly certfile: string | null;
  readonly keyfile: string | null;
  readonly keyfilePassword: string | null;
  readonly minTimeoutMs: Ms;
  readonly maxTimeoutMs: Ms;
  readonly appendEntriesPeriodMs: Ms;
  readonly connectionTimeoutMs: Ms;
  readonly connectionRetryTimeMs: Ms;
  readonly leaderFallbackTimeoutMs: Ms;
}

/** One database user of `postgresql.authentication`, with libpq's connection options by their libpq names. */
export interface PostgresUser {
  readonly username: string | null;
  readonly password: string | null;
  /** sslmode, sslcert, sslkey, sslpassword, sslrootcert, sslcrl, sslcrldir, sslnegotiation, gssencmode, channel_binding. */
  readonly options: Readonly<Record<string, string>>;
}

export type ParameterValue = string | number | boolean;

/** Script or built-in way to make a replica: section of its name, as written (strings, numbers, booleans). */
export type MethodOptions = Readonly<Record<string, unknown>>;

export interface StandbyClusterServer {
  /** How the standby leader is copied from the remote primary; [] = basebackup. */
  readonly createReplicaMethods: readonly string[];
  /** restore_command and archive_cleanup_command, for every standby. */
  readonly recovery: Readonly<Record<string, ParameterValue>>;
  /** recovery_min_apply_delay: who follows the standby leader has its delay already. */
  readonly leaderRecovery: Readonly<Record<string, ParameterValue>>;
}

/**
 * The `postgresql` section after merging (weakest first): defaults, `config` in the DCS, file, environment.
 * Controlled parameters and use_slots come from the DCS alone.
 */
export interface PostgresqlConfig {
  /** Hosts as written (`*`, `0.0.0.0`, several separated by commas) and the port. */
  readonly listenHosts: readonly string[];
  readonly port: number;
  readonly connectAddress: HostPort;
  readonly proxyAddress: string | null;
  readonly dataDir: string;
  readonly configDir: string;
  /** "" = search PATH. */
  readonly binDir: string;
  /** Replacement names of programs, e.g. postgres → my_postgres. */
  readonly binName: Readonly<Record<string, string>>;
  readonly pgpass: string;
  readonly useUnixSocket: boolean;
  readonly useUnixSocketRepl: boolean;
  readonly superuser: PostgresUser;
  readonly replication: PostgresUser;
  /** Equals superuser where not configured. */
  readonly rewind: PostgresUser;
  /** User parameters: DCS then local file; controlled ones not included. */
  readonly parameters: Readonly<Record<string, ParameterValue>>;
  /** Controlled parameters with their effective values (from the DCS or default), e.g. max_connections → "100". */
  readonly controlledParameters: Readonly<Record<string, string>>;
  readonly parametersPrimary: Readonly<Record<string, ParameterValue>>;
  readonly parametersReplica: Readonly<Record<string, ParameterValue>>;
  readonly parametersStandbyLeader: Readonly<Record<string, ParameterValue>>;
  /** null = keep the file that is there. */
  readonly pgHba: readonly string[] | null;
  readonly pgHbaByRole: Readonly<Record<string, readonly string[]>>;
  readonly pgIdent: readonly string[] | null;
  readonly pgIdentByRole: Readonly<Record<string, readonly string[]>>;
  readonly recoveryConf: Readonly<Record<string, ParameterValue>>;
  /** What the cluster's being a standby cluster means for each of its servers; null where it is none. */
  readonly standbyCluster: StandbyClusterServer | null;
  /** Set where the server is a node of a Citus cluster; what that means for the parameters is in them. */
  readonly citus: CitusConfig | null;
  readonly customConf: string | null;
  /** Keys on_start, on_stop, on_restart, on_reload, on_role_change. */
  readonly callbacks: Readonly<Record<string, string>>;
  readonly createReplicaMethods: readonly string[];
  readonly methodOptions: Readonly<Record<string, MethodOptions>>;
  /** Options of basebackup, normalised to pairs as in bootstrap.initdb. */
  readonly basebackup: readonly (readonly [string, string | null])[];
  readonly beforeStop: string | null;
  readonly prePromote: string | null;
  readonly useSlots: boolean;
  /** A standby sends hot_standby_feedback whatever the parameters say: copies of logical slots depend on it. */
  readonly enforcesFeedback: boolean;
  readonly usePgRewind: boolean;
  readonly rewindOptions: readonly string[];
  readonly removeDataDirectoryOnRewindFailure: boolean;
  readonly removeDataDirectoryOnDivergedTimelines: boolean;
  readonly pgCtlTimeoutMs: Ms;
}

/** How pgBackRest is called on this node: hooks, backups and restores (docs/backups.md). */
export interface PgBackRestConfig {
  readonly stanza: string;
  /** Its configuration file; null = where pgBackRest looks itself. */
  readonly config: string | null;
  /** The program. */
  readonly command: string;
  /** Null: no backup is taken by itself. */
  readonly schedule: BackupSchedule | null;
}

export interface WatchdogConfig {
  readonly mode: "off" | "automatic" | "required";
  /** linux: kernel device; process: our guard; testing: a FIFO. null = linux where usable, else process. */
  readonly driver: "linux" | "process" | "testing" | null;
  readonly device: string;
  /** Seconds; -1 = half of ttl. */
  readonly safetyMarginSeconds: number;
}

export interface CitusConfig {
  readonly group: number;
  readonly database: string;
}

/** An address of the host that runs the primary (docs/vip.md). */
export interface VipConfig {
  /** IPv4 or IPv6 in canonical form, without its prefix. */
  readonly address: string;
  readonly prefixLength: number;
  readonly interface: string;
  /** Words as a shell splits them; the arguments of ip(8) follow. */
  readonly ipCommand: string;
  /** The same for arping(8), which tells neighbours of an IPv4 address. */
  readonly arpingCommand: string;
  /** The same for ndptool(8), which tells them of an IPv6 address; absent for the other. */
  readonly ndptoolCommand?: string;
}

/** Told of events, one after the other (docs/observability.md). One of command and url is set. */
export interface HookConfig {
  readonly name: string;
  /** Words as a shell splits them; the event comes on its standard input. */
  readonly command: string | null;
  /** The event is sent there by POST. */
  readonly url: string | null;
  /** Of the request; may hold secrets. */
  readonly headers: Readonly<Record<string, string>>;
  readonly events: readonly EventKind[];
  /** Of one attempt. */
  readonly timeoutMs: Ms;
  /** After the first attempt. */
  readonly retries: number;
}

export interface NodeConfig {
  readonly scope: string;
  /** Without leading or trailing slash, e.g. `service`. */
  readonly namespace: string;
  readonly name: string;
  readonly log: LogConfig;
  readonly restapi: RestApiConfig;
  readonly ctl: CtlConfig;
  readonly bootstrap: BootstrapConfig;
  readonly consul: ConsulConfig | null;
  readonly raft: RaftConfig | null;
  readonly postgresql: PostgresqlConfig;
  readonly watchdog: WatchdogConfig;
  readonly pgbackrest: PgBackRestConfig | null;
  readonly tags: Tags;
  readonly discovery: DiscoveryConfig | null;
  /** In the order of the file. */
  readonly hooks: readonly HookConfig[];
  readonly citus: CitusConfig | null;
  /** Of the worker that leads a PgBouncer to the leader; the supervisor does not use it. */
  readonly pgbouncer: PgbouncerConfig | null;
  readonly vip: VipConfig | null;
}
