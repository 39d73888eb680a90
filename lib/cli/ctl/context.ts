// Owns what every command works with: the terminal, the configuration, the clusters in the DCS, and the members' REST
// APIs. Retries nothing: a command says what happened, and the operator decides.

import { type ClusterView, clusterView, type MemberView } from "../../core/cluster-view.ts";
import { ClusterStore } from "../../dcs/cluster-store.ts";
import { redactUrl } from "../../dcs/redact-url.ts";
import type { Store } from "../../dcs/store.ts";
import { NO_STORE, type OpenStoreOptions, StoreChoiceError } from "../../dcs/store-choice.ts";
import type { Cluster } from "../../model/cluster.ts";
import { describeStoreError, type StoreError } from "../../model/errors.ts";
import type { Log } from "../../model/log.ts";
import type { Result } from "../../model/result.ts";
import { type Ms, ms, seconds } from "../../model/units.ts";
import { type CtlConfig, findConfiguration, type GlobalOptions } from "./configuration.ts";
import { LatePeers } from "./late-peers.ts";
import { type ListedCluster, type ListingOptions, memberListing, treeOrder } from "./member-table.ts";
import { CtlRefusal, usageRefusal } from "./refusal.ts";
import type { CtlTerminal } from "./terminal.ts";

/** For one request to the DCS. */
const STORE_ANSWERS_WITHIN = seconds(10);
/** Never opened here; a store wants to know it. */
const SESSION_TTL = seconds(30);

/** A cluster, or one MPP group of it, as it was read at one moment. */
export interface ReadCluster {
  readonly scope: string;
  readonly group: number | null;
  readonly store: ClusterStore;
  readonly cluster: Cluster;
  readonly view: ClusterView;
}

export class CtlContext {
  readonly terminal: CtlTerminal;
  readonly config: CtlConfig;
  readonly group: number | null;
  readonly peers: LatePeers;
  /** What no ClusterStore has a word for goes to the store itself. */
  readonly store: Store;

  private constructor(parts: Pick<CtlContext, "terminal" | "config" | "group" | "store" | "peers">) {
    this.terminal = parts.terminal;
    this.config = parts.config;
    this.group = parts.group;
    this.store = parts.store;
    this.peers = parts.peers;
  }

  /** Throws CtlRefusal: no usable configuration, or no node whose API was to be asked answers. */
  static async open(terminal: CtlTerminal, options: GlobalOptions): Promise<CtlContext> {
    const config = await findConfiguration(options, terminal.env);
    const group = options.group ?? null;
    const peers = new LatePeers({ clock: terminal.clock, ctl: config.ctl, restapi: config.restapi });
    if (config.api.length === 0) return new CtlContext({ terminal, config, group, peers, store: await openOnly(config, terminal) });
    const { NodeApiStore } = await import("./api-store.ts");
    const store = new NodeApiStore({ peers, clock: terminal.clock, urls: config.api });
    const context = new CtlContext({ terminal, config, group, peers, store });
    if (config.scope !== "") return context;
    const scope = orRefuse(await store.scope(context.storeDeadline()));
    return new CtlContext({ terminal, config: { ...config, scope }, group, peers, store });
  }

  async close(): Promise<void> {
    await Promise.all([this.peers.close(), this.store.close()]);
  }

  /** The name given, or the configured `scope`. Throws CtlRefusal where there is neither. */
  scopeOf(given: string | undefined): string {
    if (given !== undefined && given !== "") return given;
    if (this.config.scope !== "") return this.config.scope;
    throw usageRefusal("no cluster name: write it behind the command, or `scope: NAME` in the configuration");
  }

  /** Absolute, for a request from now on. */
  within(time: Ms): Ms {
    return ms(this.terminal.clock.now() + time);
  }

  storeDeadline(): { readonly deadline: Ms } {
    return { deadline: this.within(STORE_ANSWERS_WITHIN) };
  }

  clusterStore(scope: string, group: number | null): ClusterStore {
    return new ClusterStore({
      store: this.store,
      clock: this.terminal.clock,
      log: complaintsOnly(this.terminal),
      namespace: this.config.namespace,
      scope,
      group,
      name: "ctl",
      ttl: SESSION_TTL,
    });
  }

  /** The cluster, or the group that -g or the configuration names. Throws CtlRefusal where the DCS does not answer. */
  read(scope: string): Promise<ReadCluster> {
    return this.readGroup(scope, this.group ?? this.config.citus?.group ?? null);
  }

  /** One entry, or where no group is named, one for each MPP group found. Throws as `read`. */
  async readAll(scope: string): Promise<readonly ReadCluster[]> {
    if (this.group !== null) return [await this.readGroup(scope, this.group)];
    const whole = await this.readGroup(scope, null);
    const groups = Object.keys(whole.cluster.groups);
    if (groups.length === 0) return [whole];
    return groups
      .map(Number)
      .sort((a, b) => a - b)
      .map((group) => {
        const cluster = whole.cluster.groups[String(group)] ?? whole.cluster;
        return { scope, group, store: this.clusterStore(scope, group), cluster, view: clusterView(cluster, scope) };
      });
  }

  async readGroup(scope: string, group: number | null): Promise<ReadCluster> {
    const store = this.clusterStore(scope, group);
    const answer = await store.getCluster({ ...this.storeDeadline(), consistency: "consistent" });
    if (!answer.ok && answer.error.kind === "unavailable") throw new CtlRefusal(`${describeStoreError(answer.error)}\n${this.#wayOn()}`);
    const cluster = orRefuse(answer);
    return { scope, group, store, cluster, view: clusterView(cluster, scope) };
  }

  /** Names of clusters that the store has; for whoever asked for another one. Empty where it does not say. */
  async otherScopes(): Promise<readonly string[]> {
    const { namespace } = this.config;
    const prefix = namespace === "" ? "" : `${namespace}/`;
    const read = await this.store.snapshot(prefix, this.storeDeadline());
    if (!read.ok) return [];
    const names = read.value.entries.map(({ key }) => /^([^/]+)\/initialize$/.exec(key.slice(prefix.length))?.[1]);
    return [...new Set(names.filter((name) => name !== undefined))];
  }

  /** What to try where the store does not answer. */
  #wayOn(): string {
    if (this.store.kind === "api") return "Is one of these nodes up? -d consul:// or raft:// asks the store itself.";
    const { consul, raft } = this.config;
    const where =
      consul !== null ? `Is Consul up at ${consul.url}?` : `Do a majority of the Raft's ${raft?.partnerAddrs.length ?? ""} members run?`;
    return `${where} -d names another address; -d api://NODE:8008 asks a node instead.`;
  }

  /** Prints the members as a table (or as asked). */
  list(parts: readonly ReadCluster[], options: ListingOptions = { format: "pretty", extended: false, names: "plain" }): void {
    this.terminal.out(this.listing(parts, options));
  }

  listing(parts: readonly ReadCluster[], options: ListingOptions): string {
    const listed = parts.map((part): ListedCluster => {
      const members = options.names === "tree" ? treeOrder(part.view.members) : part.view.members;
      return { ...part.view, members, group: part.group, systemIdentifier: part.cluster.initialize };
    });
    return memberListing(listed, options);
  }
}

/** Throws CtlRefusal with what the store said. */
export function orRefuse<T>(answer: Result<T, StoreError>): T {
  if (answer.ok) return answer.value;
  throw new CtlRefusal(describeStoreError(answer.error));
}

/** The leader's entry; null where nobody leads, or where its key names no member. */
export function leaderOf(read: ReadCluster): MemberView | null {
  return read.view.members.find((member) => member.role === "leader" || member.role === "standby_leader") ?? null;
}

/** Loads the one store that is wanted: the code of the others would cost a command more time than its work. */
async function openOnly(config: CtlConfig, terminal: CtlTerminal): Promise<Store> {
  const options: OpenStoreOptions = { clock: terminal.clock, log: complaintsOnly(terminal) };
  const { consul, raft } = config;
  try {
    if (consul !== null) return (await import("../../dcs/open-consul.ts")).openConsul(consul, options);
    if (raft !== null) return (await import("../../dcs/open-raft.ts")).openRaft(raft, options);
  } catch (error) {
    if (error instanceof StoreChoiceError) throw new CtlRefusal(error.message);
    throw error;
  }
  throw new CtlRefusal(NO_STORE);
}

/** What the store or a decoder has to say goes to the operator; the rest of a log is not for a terminal. */
function complaintsOnly(terminal: CtlTerminal): Log {
  const complain = (message: string): void => terminal.complain(`Warning: ${redactUrl(message)}\n`);
  return { debug: () => {}, info: () => {}, warning: complain, error: complain, critical: complain };
}
