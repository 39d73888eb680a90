// Owns what the quickstart writes for its servers: one configuration file a node, the one for Consul, and the password
// file for psql. It must not start anything.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { give, ownedFolder, type QuickstartPaths, type ServerUser } from "./folder.ts";
import type { QuickstartNode, QuickstartState } from "./state.ts";

export const scope = "quickstart";
export const host = "127.0.0.1";
/** Shorter than the defaults, so that a failover tried out by hand is not a long wait; 20 is the least over Consul. */
const timeouts = {
  consul: { ttl: 20, loop_wait: 5, retry_timeout: 5 },
  raft: { ttl: 5, loop_wait: 1, retry_timeout: 2 },
} as const;

/** How long a takeover may take to begin after the primary's death. */
export function ttlSeconds(state: QuickstartState): number {
  return timeouts[state.consul === null ? "raft" : "consul"].ttl;
}

/** Where the things of one node are. */
export interface NodePaths {
  readonly folder: string;
  readonly configuration: string;
  readonly data: string;
  readonly log: string;
  readonly postgresLog: string;
}

export function nodePaths(paths: QuickstartPaths, name: string): NodePaths {
  const folder = join(paths.run, name);
  const configuration = join(folder, `${name}.yml`);
  return {
    folder,
    configuration,
    data: join(folder, "data"),
    log: join(folder, "supervisor.log"),
    postgresLog: join(folder, "log/postgresql.log"),
  };
}

export function consulPaths(paths: QuickstartPaths): { readonly folder: string; readonly configuration: string; readonly log: string } {
  const folder = join(paths.run, "consul");
  return { folder, configuration: join(folder, "consul.json"), log: join(folder, "consul.log") };
}

/** Writes the node's folder and file (mode 0600: it holds passwords). */
export function writeNodeFile(options: {
  readonly paths: QuickstartPaths;
  readonly state: QuickstartState;
  readonly node: QuickstartNode;
  readonly user: ServerUser;
  readonly postgresBin: string;
}): void {
  const { paths, state, node, user, postgresBin } = options;
  const place = nodePaths(paths, node.name);
  ownedFolder(place.folder, user);
  ownedFolder(join(place.folder, "log"), user);
  const document = {
    scope,
    name: node.name,
    restapi: { listen: `${host}:${node.apiPort}`, connect_address: `${host}:${node.apiPort}` },
    ...storeSection(place, state, node),
    bootstrap: {
      dcs: {
        ...timeouts[state.consul === null ? "raft" : "consul"],
        maximum_lag_on_failover: 1_048_576,
        postgresql: { use_pg_rewind: true, use_slots: true },
      },
      initdb: [{ encoding: "UTF8" }, { locale: "C" }, "data-checksums"],
    },
    postgresql: {
      listen: `${host}:${node.postgresPort}`,
      connect_address: `${host}:${node.postgresPort}`,
      data_dir: place.data,
      bin_dir: postgresBin,
      pgpass: join(place.folder, "pgpass"),
      authentication: {
        superuser: { username: "postgres", password: state.passwords.superuser },
        replication: { username: "replicator", password: state.passwords.replication },
      },
      pg_hba: [
        "local all all scram-sha-256",
        `host replication replicator ${host}/32 scram-sha-256`,
        `host all all ${host}/32 scram-sha-256`,
      ],
      parameters: {
        // No socket file: the folder's path may be longer than a socket's may be.
        unix_socket_directories: "",
        shared_buffers: "32MB",
        logging_collector: "on",
        log_directory: join(place.folder, "log"),
        log_filename: "postgresql.log",
      },
    },
  };
  writeSecret(place.configuration, stringify(document), user);
}

function storeSection(place: NodePaths, state: QuickstartState, node: QuickstartNode): Readonly<Record<string, unknown>> {
  if (state.consul !== null) return { consul: { host: `${host}:${state.consul.httpPort}`, register_service: true } };
  const others = state.nodes.filter((each) => each.name !== node.name);
  return {
    raft: {
      self_addr: raftAddress(node),
      partner_addrs: others.map(raftAddress),
      data_dir: join(place.folder, "raft"),
      // Also on the loopback address: other users of this machine are not meant to write here.
      password: state.passwords.raft,
    },
  };
}

/** `host:port` of the node's member of the Raft. */
export function raftAddress(node: QuickstartNode): string {
  return `${host}:${node.raftPort}`;
}

/** A single server that keeps its data, on the loopback address alone, without the ports that nobody asks here. */
export function writeConsulFile(paths: QuickstartPaths, consul: NonNullable<QuickstartState["consul"]>, user: ServerUser): void {
  const place = consulPaths(paths);
  ownedFolder(place.folder, user);
  const { httpPort, serverPort, serfPort } = consul;
  const document = {
    server: true,
    bootstrap_expect: 1,
    node_name: scope,
    data_dir: join(place.folder, "data"),
    bind_addr: host,
    client_addr: host,
    ports: { http: httpPort, server: serverPort, serf_lan: serfPort, serf_wan: -1, dns: -1, grpc: -1 },
    disable_update_check: true,
    log_level: "INFO",
    // One server has nobody to wait for; the defaults are made for slow networks.
    performance: { raft_multiplier: 1 },
  };
  writeSecret(place.configuration, JSON.stringify(document, null, 2), user);
}

/** Writes the password file that psql reads (mode 0600, the caller's). Source: PostgreSQL manual, "The Password File". */
export function writePasswordFile(paths: QuickstartPaths, state: QuickstartState): void {
  const lines = state.nodes.map((node) => `${host}:${node.postgresPort}:*:postgres:${state.passwords.superuser}\n`);
  writeSecret(paths.passwordFile, lines.join(""), { uid: null, gid: null });
}

/** The connection string over all nodes that finds the primary by itself. */
export function connectionString(state: QuickstartState): string {
  const hosts = state.nodes.map(() => host).join(",");
  const ports = state.nodes.map((node) => node.postgresPort).join(",");
  return `host=${hosts} port=${ports} user=postgres dbname=postgres target_session_attrs=read-write`;
}

function writeSecret(path: string, text: string, user: ServerUser): void {
  writeFileSync(path, text, { mode: 0o600 });
  give(path, user);
}
