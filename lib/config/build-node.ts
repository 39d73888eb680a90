// Owns the typed node configuration from a checked tree: renames to the model's names and fills in what one option takes
// from another. Pure. `postgresql` is in build-postgresql.ts.

import { type ApiToken, roleCovers } from "../model/api-access.ts";
import { BACKUP_TYPES, type BackupSchedule, type BackupType } from "../model/backup-run.ts";
import { formatHostPort, isIpv6Text, isWildcard } from "../model/host-port.ts";
import type {
  BasicAuth,
  BootstrapConfig,
  CitusConfig,
  ConsulConfig,
  CtlConfig,
  DiscoveryConfig,
  HookConfig,
  HostPort,
  LogConfig,
  NodeConfig,
  PgBackRestConfig,
  PostgresqlConfig,
  RaftConfig,
  RestApiConfig,
  VipConfig,
  WatchdogConfig,
} from "../model/node-config.ts";
import { buildPgbouncer } from "./build-pgbouncer.ts";
import type { ConsulTree, LogTree, NodeTree, RaftTree } from "./schema-node.ts";
import { isTree, type Tree, treeAt } from "./tree.ts";
import { readHostPort } from "./value.ts";

/** `raw` is the tree that `tree` was read from: sections whose names the file chooses are taken from there. */
export function buildNode(tree: NodeTree, raw: Tree, postgresql: PostgresqlConfig): NodeConfig {
  const restapi = buildRestApi(tree.restapi);
  return {
    scope: tree.scope ?? "",
    namespace: tree.namespace.replace(/^\/+|\/+$/g, ""),
    name: tree.name ?? "",
    log: buildLog(tree.log),
    restapi,
    ctl: buildCtl(tree.ctl, restapi),
    bootstrap: buildBootstrap(tree.bootstrap, treeAt(raw, "bootstrap")),
    consul: tree.consul === null ? null : buildConsul(tree.consul),
    raft: tree.raft === null ? null : buildRaft(tree.raft),
    postgresql,
    watchdog: buildWatchdog(tree.watchdog),
    pgbackrest: buildPgBackRest(tree.pgbackrest, tree.scope ?? ""),
    tags: orderedTags(tree.tags, treeAt(raw, "tags")),
    discovery: buildDiscovery(tree.discovery?.consul ?? null),
    hooks: Object.entries(tree.hooks).map(([name, hook]) => buildHook(name, hook)),
    citus: buildCitus(tree.citus),
    pgbouncer: tree.pgbouncer === null ? null : buildPgbouncer(tree.pgbouncer),
    vip: buildVip(tree.vip),
  };
}

function buildLog(log: LogTree): LogConfig {
  return {
    type: log.type,
    level: log.level,
    format: log.format,
    dateformat: log.dateformat,
    staticFields: log.static_fields,
    dir: log.dir,
    fileNum: log.file_num,
    fileSizeBytes: log.file_size,
    mode: log.mode,
    loggers: log.loggers,
    deduplicateHeartbeatLogs: log.deduplicate_heartbeat_logs,
  };
}

function buildRestApi(restapi: NodeTree["restapi"]): RestApiConfig {
  const listen: HostPort = { host: restapi.listen?.hosts[0] ?? "127.0.0.1", port: restapi.listen?.port ?? 8008 };
  return {
    listen,
    connectAddress: {
      host: restapi.connect_address?.host ?? (isWildcard(listen.host) ? "localhost" : listen.host),
      port: restapi.connect_address?.port ?? listen.port,
    },
    authentication: basicAuth(restapi.authentication),
    tokens: Object.entries(restapi.tokens).map(([name, { role, token }]) => ({ name, role, token: token ?? "" })),
    protectedPaths: restapi.protected_paths,
    certfile: restapi.certfile,
    keyfile: restapi.keyfile ?? restapi.certfile,
    keyfilePassword: restapi.keyfile_password,
    cafile: restapi.cafile,
    ciphers: restapi.ciphers,
    verifyClient: restapi.verify_client,
    allowlist: restapi.allowlist,
    allowlistIncludeMembers: restapi.allowlist_include_members,
    httpExtraHeaders: restapi.http_extra_headers,
    httpsExtraHeaders: restapi.https_extra_headers,
    serverTokens: restapi.server_tokens,
    requestQueueSize: restapi.request_queue_size,
  };
}

/** Where ctl says nothing, the API's own credentials and CA serve the client side too: members ask one another with them. */
function buildCtl(ctl: NodeTree["ctl"], restapi: RestApiConfig): CtlConfig {
  const authentication = basicAuth(ctl.authentication) ?? restapi.authentication;
  return {
    authentication,
    token: ctl.token ?? (authentication === null ? strongest(restapi.tokens) : null),
    insecure: ctl.insecure,
    cacert: ctl.cacert ?? restapi.cafile,
    certfile: ctl.certfile,
    keyfile: ctl.keyfile ?? ctl.certfile,
    keyfilePassword: ctl.keyfile_password,
  };
}

/** The first of those with the strongest role; null where there is none. */
function strongest(tokens: readonly ApiToken[]): string | null {
  return tokens.toSorted((a, b) => Number(roleCovers(b.role, a.role)) - Number(roleCovers(a.role, b.role)))[0]?.token ?? null;
}

function basicAuth(section: { readonly username: string | null; readonly password: string | null } | null): BasicAuth | null {
  if (section === null || section.username === null || section.password === null) return null;
  return { username: section.username, password: section.password };
}

function buildBootstrap(bootstrap: NodeTree["bootstrap"], raw: Tree): BootstrapConfig {
  const options = bootstrap.method === "initdb" ? null : raw[bootstrap.method];
  return {
    dcs: bootstrap.dcs,
    initdb: bootstrap.initdb,
    method: bootstrap.method,
    methodOptions: isTree(options) ? options : null,
    postBootstrap: bootstrap.post_bootstrap ?? bootstrap.post_init,
    pgHba: bootstrap.pg_hba ?? [],
  };
}

function buildConsul(consul: ConsulTree): ConsulConfig {
  return {
    url: consulUrl(consul),
    token: consul.token,
    verify: consul.verify,
    cacert: consul.cacert,
    cert: consul.cert,
    key: consul.key ?? consul.cert,
    dc: consul.dc,
    checks: consul.checks,
    sessionCheckTtlMs: consul.session_check_ttl,
    consistency: consul.consistency,
    registerService: consul.register_service,
    serviceTags: consul.service_tags,
    serviceCheck: consul.service_check,
    serviceDetails: consul.service_details,
    serviceCheckInterval: consul.service_check_interval,
    serviceCheckTlsServerName: consul.service_check_tls_server_name,
  };
}

function buildDiscovery(consul: NonNullable<NodeTree["discovery"]>["consul"]): DiscoveryConfig | null {
  if (consul === null) return null;
  const { service, ...section } = consul;
  const unused = { dc: null, checks: [], session_check_ttl: null, consistency: "default" as const };
  return { consul: buildConsul({ ...section, ...unused, register_service: true, service_details: true }), service };
}

/** `url`, or scheme, host and port. The agent on this host at Consul's port where nothing is said. */
function consulUrl(consul: Pick<ConsulTree, "url" | "scheme" | "host" | "port">): string {
  if (consul.url !== null) {
    const url = new URL(consul.url);
    const port =
      url.port === "" ? (consul.port ?? (/:\d+\/?$/.test(consul.url) ? (url.protocol === "https:" ? 443 : 80) : 8500)) : url.port;
    return `${url.protocol}//${url.hostname}:${port}`;
  }
  const address = readHostPort(consul.host ?? "127.0.0.1", consul.port ?? 8500);
  return `${consul.scheme}://${formatHostPort(address ?? { host: "127.0.0.1", port: 8500 })}`;
}

function buildRaft(raft: RaftTree): RaftConfig {
  return {
    selfAddr: raft.self_addr,
    bindAddr: raft.bind_addr ?? raft.self_addr,
    partnerAddrs: raft.partner_addrs,
    dataDir: raft.data_dir,
    password: raft.password,
    insecure: raft.insecure,
    cafile: raft.cafile,
    certfile: raft.certfile,
    keyfile: raft.keyfile ?? raft.certfile,
    keyfilePassword: raft.keyfile_password,
    minTimeoutMs: raft.min_timeout,
    maxTimeoutMs: raft.max_timeout,
    appendEntriesPeriodMs: raft.append_entries_period,
    connectionTimeoutMs: raft.connection_timeout,
    connectionRetryTimeMs: raft.connection_retry_time,
    leaderFallbackTimeoutMs: raft.leader_fallback_timeout,
  };
}

function buildHook(name: string, hook: NodeTree["hooks"][string]): HookConfig {
  const { command, url, headers, events, timeout: timeoutMs, retries } = hook;
  return { name, command, url, headers, events, timeoutMs, retries };
}

/** A stanza bears the cluster's name where no other is given. */
function buildPgBackRest(section: NodeTree["pgbackrest"], scope: string): PgBackRestConfig | null {
  if (section === null) return null;
  const { command, config, schedule, stanza } = section;
  return { stanza: stanza ?? scope, config, command, schedule: schedule === null ? null : buildBackupSchedule(schedule) };
}

function buildBackupSchedule(section: NonNullable<NonNullable<NodeTree["pgbackrest"]>["schedule"]>): BackupSchedule {
  const times: Partial<Record<BackupType, string>> = {};
  for (const type of BACKUP_TYPES) {
    const time = section[type];
    if (time !== null) times[type] = time;
  }
  return { times, timezone: section.timezone, onLeader: section.on_leader, retryAfterMs: section.retry_after };
}

function buildWatchdog(watchdog: NodeTree["watchdog"]): WatchdogConfig {
  const { mode, driver, device, safety_margin: safetyMarginSeconds } = watchdog;
  return { mode, driver, device, safetyMarginSeconds };
}

function buildCitus(citus: NodeTree["citus"]): CitusConfig | null {
  return citus === null || citus.group === null || citus.database === null ? null : { group: citus.group, database: citus.database };
}

function buildVip(vip: NodeTree["vip"]): VipConfig | null {
  if (vip === null || vip.address === null || vip.interface === null) return null;
  const { address, interface: name, ip_command: ipCommand, arping_command: arpingCommand, ndptool_command: ndptoolCommand } = vip;
  return { ...address, interface: name, ipCommand, arpingCommand, ...(isIpv6Text(address.address) ? { ndptoolCommand } : {}) };
}

/** The order and the types of the file; tags without a value are left out. */
function orderedTags(tags: NodeTree["tags"], raw: Tree): NodeConfig["tags"] {
  const read = tags as Readonly<Record<string, string | number | boolean | null | undefined>>;
  return Object.fromEntries(
    Object.keys(raw).flatMap((name) => (read[name] === undefined || read[name] === null ? [] : [[name, read[name]]])),
  );
}
