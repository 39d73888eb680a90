// Owns what a node's entry in Consul's service catalogue says: names, tags, checks. Pure: sends nothing.

import { REPLICA_DETAIL_TAGS } from "../../core/service-details.ts";
import type { ConsulConfig, NodeConfig } from "../../model/node-config.ts";
import { type Ms, ms } from "../../model/units.ts";
import { parseDuration } from "./answers.ts";
import { TTL_FACTOR } from "./session.ts";

/** What the node wants to be known as. */
export interface WantedService {
  readonly id: string;
  /** Its name, before what DNS asks of it; mostly the scope. */
  readonly service: string;
  /** clusterIdentity: several clusters may have one service's name. */
  readonly cluster: string;
  /** `postgres://host:port/…` of this member. */
  readonly connUrl: string;
  /** `http[s]://host:port/patroni` of this member. */
  readonly apiUrl: string;
  readonly role: "primary" | "replica" | "standby_leader";
  /** Our own health says that the check would pass: the service then starts passing, and DNS has it in milliseconds. */
  readonly healthy: boolean;
  /** The cluster's ttl: an entry critical for five of them is removed. */
  readonly ttl: Ms;
  /** Beyond what Patroni registers; null where that is not switched on. */
  readonly details: ServiceDetails | null;
}

export interface ServiceDetails {
  readonly tags: readonly string[];
  readonly meta: Readonly<Record<string, string>>;
}

export type ServiceOptions = Pick<ConsulConfig, "serviceTags" | "serviceCheck" | "serviceCheckInterval" | "serviceCheckTlsServerName">;

/** As `PUT /v1/agent/service/register` takes it. */
export interface ServiceDefinition {
  readonly ID: string;
  readonly Name: string;
  readonly Address: string;
  readonly Port: number;
  readonly Tags: readonly string[];
  readonly Meta: Readonly<Record<string, string>>;
  readonly EnableTagOverride: true;
  readonly Check: ServiceCheck;
}

export type ServiceCheck = {
  readonly DeregisterCriticalServiceAfter: string;
  readonly Status?: "passing";
} & ({ readonly HTTP: string; readonly Interval: string; readonly TLSServerName?: string } | { readonly TTL: string });

/** Tags that only the holder of the lock may have. */
export const LEADER_TAGS: ReadonlySet<string> = new Set(["primary", "master", "standby-leader", "writer"]);

/** Tags of our own making that only a replica has; `query` also a standby leader. */
export const REPLICA_TAGS: ReadonlySet<string> = new Set(["replica", "query", ...REPLICA_DETAIL_TAGS]);

/** Key of Meta: whose the entry is. Patroni's entries have none. */
export const CLUSTER_META = "cluster";
/** Consul refuses a longer value in Meta. */
const META_MAX_CHARS = 512;

/**
 * Where the cluster has its keys: its scope alone does not tell it from one of another namespace, nor a group of Citus from the others.
 *
 * @example clusterIdentity({ namespace: "service", scope: "demo", citus: null }) // "service/demo"
 */
export function clusterIdentity(node: Pick<NodeConfig, "namespace" | "scope" | "citus">): string {
  const group = node.citus === null ? "" : `/${node.citus.group}`;
  return `${node.namespace}/${node.scope}`.slice(0, META_MAX_CHARS - group.length) + group;
}

/** A check that we push ends this many pushes after the last one: one may be late, or lost. */
const PUSHES_PER_TTL = 3;
/** Whatever the interval: an agent is not to be flooded. */
const PUSH_EVERY_MIN_MS = 100;

/** How often a check that we push is pushed. `service_check_interval` is how long Consul waits for it. */
export function pushEvery(options: Pick<ServiceOptions, "serviceCheckInterval">): Ms {
  return ms(Math.max(PUSH_EVERY_MIN_MS, (parseDuration(options.serviceCheckInterval) ?? 0) / PUSHES_PER_TTL));
}

/** Consul's limit on the part of a DNS name, with room for what it puts around it. */
const NAME_MAX_CHARS = 230;

/**
 * The service's name: the scope in lower case, `.`, `_` and space as `-`, any other character outside a-z, 0-9 and `-` as
 * `u` and its code point in decimal, padded to four digits.
 *
 * @example serviceName("My_Db.1") // "my-db-1"
 */
export function serviceName(scope: string): string {
  const characters = [...scope.toLowerCase()].map((character) => {
    if (/^[._ ]$/.test(character)) return "-";
    if (/^[a-z0-9-]$/.test(character)) return character;
    return `u${String(character.codePointAt(0)).padStart(4, "0")}`;
  });
  return characters.join("").slice(0, NAME_MAX_CHARS);
}

export function serviceId(member: { readonly scope: string; readonly name: string }): string {
  return `${member.scope}/${member.name}`;
}

/** The role as tag and as path of our endpoint. */
export function roleWord(role: WantedService["role"]): string {
  return role.replaceAll("_", "-");
}

/** The entry for a member. Throws TypeError where a url of the member is none: they come from our own configuration. */
export function serviceDefinition(wanted: WantedService, options: ServiceOptions): ServiceDefinition {
  const connection = new URL(wanted.connUrl);
  const role = roleWord(wanted.role);
  const { details } = wanted;
  return {
    ID: wanted.id,
    Name: serviceName(wanted.service),
    Address: connection.hostname.replace(/^\[(.*)\]$/, "$1"),
    Port: Number(connection.port === "" ? "5432" : connection.port),
    Tags: [...options.serviceTags, role, ...(wanted.role === "primary" ? ["master"] : []), ...(details?.tags ?? [])],
    Meta: { ...details?.meta, [CLUSTER_META]: wanted.cluster },
    EnableTagOverride: true,
    Check: serviceCheck(wanted, options),
  };
}

function serviceCheck(wanted: WantedService, options: ServiceOptions): ServiceCheck {
  const common = {
    DeregisterCriticalServiceAfter: `${(wanted.ttl / TTL_FACTOR / 1000) * 10}s`,
    ...(wanted.healthy ? { Status: "passing" as const } : {}),
  };
  if (options.serviceCheck === "ttl") return { TTL: options.serviceCheckInterval, ...common };
  const tlsServerName = options.serviceCheckTlsServerName;
  return {
    HTTP: new URL(`/${roleWord(wanted.role)}`, wanted.apiUrl).href,
    Interval: options.serviceCheckInterval,
    ...common,
    ...(tlsServerName === null ? {} : { TLSServerName: tlsServerName }),
  };
}

/** The health of the moment is Consul's to follow: it is no reason to register again. */
export function withoutStatus(definition: ServiceDefinition): ServiceDefinition {
  const { Status: _, ...Check } = definition.Check;
  return { ...definition, Check };
}
