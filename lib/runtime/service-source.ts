// Owns what a running node knows of itself for Consul's catalogue: its role, its health, what is told beyond them. Reads, changes nothing.

import { judgeHealth, NO_QUERY } from "../core/role-health.ts";
import { detailTags, type LagClass, lagClass, versionText } from "../core/service-details.ts";
import { type ServiceDetails, serviceId, type WantedService } from "../dcs/consul/service-entry.ts";
import { apiUrl } from "./member-record.ts";
import type { NodeFacts } from "./node-service.ts";
import type { NodeState } from "./node-state.ts";
import { postgresRole, postgresState } from "./postgres-words.ts";
import { healthFacts, synchronousStanding } from "./role-facts.ts";
import type { ServiceSource } from "./service-registration.ts";

export interface NodeServiceSourceOptions {
  readonly state: NodeState;
  /** As they are, and no older than a health check demands. */
  readonly factsNow: () => NodeFacts;
  readonly facts: () => Promise<NodeFacts>;
  /** As configured at this moment. */
  readonly options: () => ServiceWords;
}

export interface ServiceWords {
  readonly id: string;
  readonly service: string;
  readonly cluster: string;
  readonly details: "none" | "told";
  /** More tags for each role. */
  readonly roleTags: Readonly<Record<WantedService["role"], readonly string[]>>;
}

/** Names come and go with a platform that invents them. */
const MEMBERS_MAX = 1000;

export const NO_ROLE_TAGS: ServiceWords["roleTags"] = { primary: [], standby_leader: [], replica: [] };
/** What a client asks for, whatever the server is called. */
export const CLIENT_TAGS: ServiceWords["roleTags"] = {
  primary: ["writer", "any"],
  standby_leader: ["query", "any"],
  replica: ["query", "any"],
};

export class NodeServiceSource implements ServiceSource {
  readonly #options: NodeServiceSourceOptions;
  #lag: LagClass | null = null;
  /** IDs of those that were members at any time since this process began: a dead leader's member key may be gone with its lock. */
  readonly #members = new Set<string>();

  constructor(options: NodeServiceSourceOptions) {
    this.#options = options;
  }

  wanted(): WantedService | null | undefined {
    const { state, factsNow, options } = this.#options;
    this.#meetMembers();
    const postgres = postgresState(state);
    if (postgres === "stopped" || postgres === "crashed" || postgres === "start failed") return null;
    // A state on the way (starting, stopping) changes nothing.
    if (postgres !== "running" || state.local.status === null) return undefined;
    const { node, dynamic } = state.settings;
    const role = postgresRole(state);
    if (role !== "primary" && role !== "standby_leader" && role !== "replica") return undefined;
    // A lock whose lease is over may be somebody else's by now.
    if (role === "primary" && !state.leaseValid()) return undefined;
    // Promoted, and not looked at since: what is known of it is the standby that it was, which is not well as a primary.
    if ((role === "primary") === state.local.status.inRecovery) return undefined;
    const { host, port } = node.postgresql.connectAddress;
    const facts = factsNow();
    const { id, service, cluster, details } = options();
    return {
      id,
      service,
      cluster,
      connUrl: `postgres://${host}:${port}/postgres`,
      apiUrl: apiUrl(state),
      role,
      healthy: isHealthy(role, facts),
      ttl: dynamic.ttlMs,
      details: details === "none" ? null : this.#details(role, facts),
    };
  }

  async isHealthy(role: WantedService["role"]): Promise<boolean> {
    return isHealthy(role, await this.#options.facts());
  }

  holdsLock(): boolean {
    return this.#options.state.leaseValid();
  }

  isMember(id: string): boolean {
    return this.#members.has(id);
  }

  #meetMembers(): void {
    const { cluster, settings } = this.#options.state;
    for (const { name } of cluster?.members ?? []) {
      if (this.#members.size < MEMBERS_MAX) this.#members.add(serviceId({ scope: settings.node.scope, name }));
    }
  }

  #details(role: WantedService["role"], facts: NodeFacts): ServiceDetails {
    this.#lag = role === "replica" ? lagClass(healthFacts(facts), this.#lag) : null;
    const { postgres } = facts;
    return serviceDetails({
      role,
      standing: synchronousStanding(facts),
      lag: this.#lag ?? "unknown",
      site: facts.config.tags["site"] ?? null,
      timeline: postgres?.timeline ?? null,
      serverVersion: postgres?.serverVersion ?? null,
      roleTags: this.#options.options().roleTags,
    });
  }
}

/** Tags and Meta of what is known. */
export function serviceDetails(node: {
  readonly role: WantedService["role"];
  readonly standing: "sync" | "quorum" | "none";
  readonly lag: LagClass;
  readonly site: string | number | boolean | null;
  readonly timeline: number | null;
  readonly serverVersion: number | null;
  readonly roleTags: ServiceWords["roleTags"];
}): ServiceDetails {
  const { timeline, serverVersion, roleTags, site, ...rest } = node;
  return {
    tags: [...roleTags[node.role], ...detailTags({ ...rest, site: site === null ? null : String(site) })],
    meta: {
      ...(timeline === null ? {} : { timeline: String(timeline) }),
      ...(serverVersion === null ? {} : { version: versionText(serverVersion) }),
    },
  };
}

/** The check on our endpoint that the entry has, judged as that endpoint does. */
function isHealthy(role: WantedService["role"], facts: NodeFacts): boolean {
  return judgeHealth(role === "standby_leader" ? "standby-leader" : role, healthFacts(facts), NO_QUERY) === 200;
}
