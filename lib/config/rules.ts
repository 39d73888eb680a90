// Owns the rules that span several options of the node's file, and what must not be missing. Each gives a fault with the
// option to blame, or a warning. Judges single values nowhere; touches no file.

import type { ConfigFault } from "../model/errors.ts";
import { canonicalAddress, isIpv6Text, isWildcard } from "../model/host-port.ts";
import { isNofailover, type Tags, tagEnabled } from "../model/member.ts";
import { accessFaults, accessWarnings } from "./rules-access.ts";
import { scheduleFaults } from "./rules-backup.ts";
import { PGBOUNCER_LINE, pgbouncerFaults } from "./rules-pgbouncer.ts";
import { RAFT_LINE, raftFaults, raftWarnings } from "./rules-raft.ts";
import type { NodeTree } from "./schema-node.ts";
import { isTree, type Tree, treeAt } from "./tree.ts";
import { readHostPort } from "./value.ts";

/**
 * A node needs everything; tools only need the way to the store; a witness needs what makes it a member of the Raft; a pooler needs
 * the way to the store, the cluster's name and its own section.
 */
export type Purpose = "node" | "store" | "witness" | "pooler";

const MISSING = "no store is configured";

export interface RuleFindings {
  readonly faults: readonly ConfigFault[];
  readonly warnings: readonly ConfigFault[];
}

export function applyRules(tree: NodeTree, raw: Tree, purpose: Purpose): RuleFindings {
  const faults: ConfigFault[] = [...storeFaults(tree, raw, purpose)];
  if (tree.discovery?.consul) faults.push(...addressFaults("discovery.consul", tree.discovery.consul));
  const warnings: ConfigFault[] = [];
  if (tree.scope === null && (purpose === "node" || purpose === "pooler"))
    faults.push({ path: "scope", message: "missing; write scope: CLUSTER" });
  if (tree.scope?.includes("/")) faults.push({ path: "scope", message: "holds a slash; write scope: CLUSTER" });
  if (purpose === "node") faults.push(...nodeFaults(tree, raw));
  if (purpose === "pooler" && tree.pgbouncer === null) faults.push({ path: "pgbouncer", message: `missing; ${PGBOUNCER_LINE}` });
  if (tree.pgbackrest !== null && tree.pgbackrest.schedule !== null) faults.push(...scheduleFaults(tree.pgbackrest.schedule));
  if (tree.pgbouncer !== null) faults.push(...pgbouncerFaults(tree.pgbouncer));
  faults.push(...tlsFaults(tree), ...accessFaults(tree, purpose), ...hookFaults(tree), ...vipFaults(tree));
  if (tree.consul !== null && tree.raft !== null && purpose !== "witness") {
    warnings.push({ path: "raft", message: "ignored: consul is configured too; keep the section of the store to use" });
  } else if (tree.raft !== null) warnings.push(...raftWarnings(tree.raft));
  warnings.push(...accessWarnings(tree, purpose), ...tagConflicts(treeAt(raw, "tags") as Tags), ...placeholders(raw));
  return { faults, warnings };
}

function nodeFaults(tree: NodeTree, raw: Tree): readonly ConfigFault[] {
  const faults: ConfigFault[] = [];
  const { postgresql, restapi, bootstrap } = tree;
  const missing = (path: string, line: string) => faults.push({ path, message: `missing; write ${line}` });
  if (tree.name === null) missing("name", "name: NODE, unique in the cluster");
  if (tree.name?.includes("/")) faults.push({ path: "name", message: "holds a slash; write name: NODE" });
  if (postgresql.listen === null) missing("postgresql.listen", "listen: 0.0.0.0:5432");
  if (postgresql.data_dir === null) missing("postgresql.data_dir", "data_dir: /var/lib/postgresql/data");
  if ((postgresql.authentication.replication?.username ?? null) === null) {
    missing("postgresql.authentication.replication.username", "username: replicator");
  }
  faults.push(...unreachable("postgresql.connect_address", postgresql.connect_address, postgresql.listen?.hosts, 5432));
  faults.push(...unreachable("restapi.connect_address", restapi.connect_address, restapi.listen?.hosts, 8008));
  if (bootstrap.method !== "initdb") {
    const section = treeAt(raw, "bootstrap")[bootstrap.method];
    if (!isTree(section) || typeof section["command"] !== "string") {
      missing(`bootstrap.${bootstrap.method}`, `${bootstrap.method}: {command: /path/to/script}, or method: initdb`);
    }
  }
  return faults;
}

function hookFaults({ hooks }: NodeTree): readonly ConfigFault[] {
  return Object.entries(hooks)
    .filter(([, { command, url }]) => (command === null) === (url === null))
    .map(([name]) => ({
      path: `hooks.${name}`,
      message: "wants either a program or an address; write command: /path/to/program, or url: https://…",
    }));
}

/** It comes and goes: what has to stay must not be the same. */
function vipFaults({ vip, postgresql, restapi }: NodeTree): readonly ConfigFault[] {
  if (vip === null) return [];
  const faults: ConfigFault[] = [];
  if (vip.address === null) faults.push({ path: "vip.address", message: "missing; write address: 10.0.0.100/24" });
  if (vip.interface === null) faults.push({ path: "vip.interface", message: "missing; write interface: eth0" });
  const own = [
    ["postgresql.listen", ...(postgresql.listen?.hosts ?? [])],
    ["postgresql.connect_address", postgresql.connect_address?.host],
    ["restapi.listen", ...(restapi.listen?.hosts ?? [])],
    ["restapi.connect_address", restapi.connect_address?.host],
  ] as const;
  if (vip.address === null) return faults;
  const { address, prefixLength } = vip.address;
  for (const [path, ...hosts] of own) {
    if (!hosts.some((host) => host !== undefined && (canonicalAddress(host) ?? host) === address)) continue;
    const message = `${address} is ${path} too, but it is on the primary's host alone; name an address that no host has of its own`;
    faults.push({ path: "vip.address", message });
  }
  const end = endOfNetwork(address, prefixLength);
  if (end !== null) faults.push({ path: "vip.address", message: `${address} is the ${end} address of its network /${prefixLength}` });
  return faults;
}

/** Those that no host can have; null for any other. Two addresses, or one, are a network without them (RFC 3021). */
function endOfNetwork(address: string, prefixLength: number): "first" | "broadcast" | null {
  if (isIpv6Text(address) || prefixLength > 30) return null;
  const bits = address.split(".").reduce((value, part) => value * 256 + Number(part), 0);
  const size = 2 ** (32 - prefixLength);
  if (bits % size === 0) return "first";
  return bits % size === size - 1 ? "broadcast" : null;
}

/** Nobody can connect to a wildcard: an address must be named. */
function unreachable(
  path: string,
  connect: { readonly host: string } | null,
  listenHosts: readonly string[] | undefined,
  port: number,
): readonly ConfigFault[] {
  const line = `write connect_address: 10.0.0.1:${port}, the address at which the other nodes reach this one`;
  if (connect !== null)
    return isWildcard(connect.host) ? [{ path, message: `"${connect.host}" is no address to connect to; ${line}` }] : [];
  if (listenHosts === undefined || listenHosts.some((host) => !isWildcard(host))) return [];
  return [{ path, message: `missing, and listen names no single address; ${line}` }];
}

function addressFaults(
  path: string,
  { host, port }: { readonly host: string | null; readonly port: number | null },
): readonly ConfigFault[] {
  if (host === null || readHostPort(host, port ?? 8500) !== undefined) return [];
  return [{ path: `${path}.host`, message: `${JSON.stringify(host.slice(0, 60))} is not an address; write host: 127.0.0.1:8500` }];
}

function storeFaults(tree: NodeTree, raw: Tree, purpose: Purpose): readonly ConfigFault[] {
  if (purpose === "witness") {
    if (tree.raft !== null) return raftFaults(tree.raft, { data: null, purpose });
    return [{ path: "raft", message: `missing; ${RAFT_LINE}` }];
  }
  if (tree.consul !== null) return addressFaults("consul", tree.consul);
  if (tree.raft !== null) return raftFaults(tree.raft, { data: tree.postgresql.data_dir, purpose });
  if (Object.keys(raw).some((key) => ["consul", "raft", "etcd", "etcd3", "zookeeper", "exhibitor", "kubernetes"].includes(key))) return [];
  return [{ path: "raft", message: `${MISSING}; ${RAFT_LINE}; or consul: {host: 127.0.0.1:8500}` }];
}

/** A configuration that is well but for naming no store: `faults` as loading it gave them, not empty. */
export function missesOnlyItsStore(faults: readonly ConfigFault[]): boolean {
  return faults.every((fault) => fault.path === "raft" && fault.message.startsWith(MISSING));
}

function tlsFaults(tree: NodeTree): readonly ConfigFault[] {
  const faults: ConfigFault[] = [];
  const { restapi, ctl } = tree;
  if (restapi.keyfile !== null && restapi.certfile === null) {
    faults.push({ path: "restapi.certfile", message: "missing, but keyfile is set; write certfile: /etc/ssl/server.crt" });
  }
  if (restapi.verify_client !== "none" && (restapi.certfile === null || restapi.cafile === null)) {
    const message = `${restapi.verify_client} needs certfile and cafile; write both, or verify_client: none`;
    faults.push({ path: "restapi.verify_client", message });
  }
  if (ctl.keyfile !== null && ctl.certfile === null) {
    faults.push({ path: "ctl.certfile", message: "missing, but keyfile is set; write certfile: /etc/ssl/client.crt" });
  }
  for (const [path, section] of [
    ["restapi.authentication", restapi.authentication],
    ["ctl.authentication", ctl.authentication],
  ] as const) {
    if (section === null || (section.username === null) === (section.password === null)) continue;
    const absent = section.username === null ? "username" : "password";
    faults.push({ path: `${path}.${absent}`, message: `missing beside the other one; write ${absent}: ${absent.toUpperCase()}` });
  }
  return faults;
}

const PRIORITY_TAGS = [
  ["nofailover", "failover_priority"],
  ["nosync", "sync_priority"],
] as const;

/** The boolean tag and its priority contradict each other: the boolean wins (contract §10 fixes the text). */
function tagConflicts(tags: Tags): readonly ConfigFault[] {
  return PRIORITY_TAGS.flatMap(([name, priority]) => {
    const value = tags[name];
    const number = Number(tags[priority]);
    if (value === undefined || value === null || tags[priority] === undefined || tags[priority] === null || !Number.isFinite(number))
      return [];
    if (tagEnabled(tags, name) === isNofailover({ failover_priority: number })) return [];
    const shown = `${name}: ${pythonWord(value)}`;
    return [
      {
        path: `tags.${name}`,
        message: `Conflicting configuration between ${shown} and ${priority}: ${tags[priority]}. Defaulting to ${shown}`,
      },
    ];
  });
}

function pythonWord(value: string | number | boolean): string {
  return typeof value === "boolean" ? (value ? "True" : "False") : String(value);
}

const PLACEHOLDER = "#FIXME";

/** What a generated sample leaves to its user. */
function placeholders(tree: Tree, prefix: readonly string[] = []): readonly ConfigFault[] {
  return Object.entries(tree).flatMap(([key, value]) => {
    const path = [...prefix, key];
    if (isTree(value)) return placeholders(value, path);
    const left = Array.isArray(value) ? value.some((item) => String(item).startsWith(PLACEHOLDER)) : value === PLACEHOLDER;
    return left ? [{ path: path.join("."), message: `still says ${PLACEHOLDER}; write its value` }] : [];
  });
}
