// Owns a node's registrations in Consul's catalogues: the one beside its lock, and the one of its site. Decides nothing.

import { clusterIdentity, serviceId } from "../dcs/consul/service-entry.ts";
import type { Clock } from "../model/clock.ts";
import type { Log } from "../model/log.ts";
import type { ConsulConfig, NodeConfig } from "../model/node-config.ts";
import type { NodeService } from "./node-service.ts";
import type { NodeState } from "./node-state.ts";
import { ServiceRegistration } from "./service-registration.ts";
import { CLIENT_TAGS, NO_ROLE_TAGS, NodeServiceSource, type ServiceWords } from "./service-source.ts";

export interface CataloguesOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly state: NodeState;
  readonly service: Pick<NodeService, "facts" | "factsNow">;
}

export class Catalogues {
  readonly #options: CataloguesOptions;
  readonly #ofStore: ServiceRegistration | null;
  #ofSite: ServiceRegistration | null = null;
  #leaving: Promise<void> = Promise.resolve();

  constructor(options: CataloguesOptions) {
    this.#options = options;
    const { consul } = options.state.settings.node;
    this.#ofStore = consul === null ? null : this.#register(consul, "own", () => wordsOf(options.state.settings.node));
    this.#registerAtSite();
  }

  /** Something about the node may have changed. */
  note(): void {
    this.#ofStore?.note();
    this.#ofSite?.note();
  }

  /** Takes over a reloaded file. Throws Error where a certificate file cannot be read; the rest then is as it was. */
  reconfigure(node: NodeConfig): void {
    if (node.consul !== null) this.#ofStore?.reconfigure(node.consul);
    if (node.discovery === null) {
      const left = this.#ofSite;
      this.#ofSite = null;
      if (left !== null) this.#leaving = this.#leaving.then(() => left.close());
    } else if (this.#ofSite === null) this.#registerAtSite();
    else this.#ofSite.reconfigure(node.discovery.consul);
  }

  /** Takes this node out of them. */
  async close(): Promise<void> {
    await Promise.all([this.#ofStore?.close(), this.#ofSite?.close(), this.#leaving]);
  }

  #registerAtSite(): void {
    const { state } = this.#options;
    const { discovery } = state.settings.node;
    if (discovery === null) return;
    this.#ofSite = this.#register(discovery.consul, "all", () => siteWords(state.settings.node));
  }

  #register(config: ConsulConfig, datacenters: "own" | "all", options: () => ServiceWords): ServiceRegistration {
    const { clock, log, state, service } = this.#options;
    const facts = { factsNow: () => service.factsNow(), facts: () => service.facts() };
    const source = new NodeServiceSource({ state, ...facts, options });
    return new ServiceRegistration({ config, clock, log, id: options().id, source, datacenters });
  }
}

function wordsOf(node: NodeConfig): ServiceWords {
  return {
    id: serviceId(node),
    service: node.scope,
    cluster: clusterIdentity(node),
    details: node.consul?.serviceDetails === true ? "told" : "none",
    roleTags: NO_ROLE_TAGS,
  };
}

/** The site's entry tells everything that is known. */
export function siteWords(node: NodeConfig): ServiceWords {
  return {
    // Not that of the other entry: both may be at one agent.
    id: `${serviceId(node)}/site`,
    service: node.discovery?.service ?? node.scope,
    cluster: clusterIdentity(node),
    details: "told",
    roleTags: CLIENT_TAGS,
  };
}
