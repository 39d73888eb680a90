// Owns one simulated cluster: its nodes, network, DCS and clients, the settings that a seed chose, and the running of time.

import { drainMicrotasks } from "bun:jsc";
import { ClusterDecoder } from "../../lib/dcs/cluster-decoder.ts";
import { type ClusterKeys, clusterKeys } from "../../lib/dcs/keys.ts";
import { MemoryCluster } from "../../lib/dcs/memory.ts";
import type { Cluster } from "../../lib/model/cluster.ts";
import type { DynamicConfig } from "../../lib/model/dynamic-config.ts";
import type { NodeConfig } from "../../lib/model/node-config.ts";
import { type Ms, ms } from "../../lib/model/units.ts";
import { type ApiPort, Network } from "./fake-network.ts";
import type { FakeServer } from "./fake-server.ts";
import { Invariants } from "./invariants.ts";
import { dynamicConfig, nodeConfig } from "./node-config.ts";
import type { Plants } from "./plants.ts";
import { Random } from "./random.ts";
import { remoteSite } from "./remote-site.ts";
import { acknowledges, Servers } from "./servers.ts";
import { chooseSettings, type Settings } from "./settings.ts";
import { SimNode } from "./sim-node.ts";
import { EventQueue, MachineClock, SimProcess } from "./virtual-clock.ts";

export interface WorldOptions {
  readonly seed: number;
  readonly template: NodeConfig;
  readonly plants: Plants;
  readonly nodes: number | null;
  /** The settings of the performance figure. */
  readonly figure: boolean;
  readonly onTrace: ((line: string) => void) | null;
  /** Each decision, by its rule's id; null: nobody counts. */
  readonly onRule: ((id: string) => void) | null;
}

export class World {
  readonly seed: number;
  readonly queue = new EventQueue();
  readonly random: Random;
  readonly settings: Settings;
  readonly plants: Plants;
  readonly network = new Network();
  readonly servers: Servers;
  readonly cluster: MemoryCluster;
  readonly keys: ClusterKeys;
  readonly decoder: ClusterDecoder;
  readonly nodes: SimNode[] = [];
  /** Whom a standby cluster follows; null in any other. */
  readonly site: FakeServer | null;
  /** A standby cluster that was promoted and not demoted again; that ever was. */
  ownLife = false;
  hasLeftSite = false;
  readonly apis = new Map<string, ApiPort>();
  readonly invariants: Invariants;
  readonly violations: string[] = [];
  readonly faults = new Map<string, number>();
  readonly guardBudget: number;
  steps = 0;
  /** Of every step's time, and of all that is traced: equal runs have equal hashes. */
  hash = 17;
  everLed = false;
  readonly onRule: WorldOptions["onRule"];
  readonly #onTrace: ((line: string) => void) | null;
  #dirty = false;
  /** Chosen by an operator's failover, whatever the synchronous standbys: until when it excuses. */
  readonly #chosen = new Map<string, number>();

  constructor(options: WorldOptions) {
    this.seed = options.seed;
    this.random = new Random(options.seed);
    this.settings = chooseSettings(this.random, { seed: options.seed, count: options.nodes, figure: options.figure });
    this.plants = options.plants;
    this.#onTrace = options.onTrace;
    this.onRule = options.onRule;
    this.guardBudget = this.random.between(450, 700);
    this.servers = new Servers({
      reuseTimelines: this.plants.timelinesReused,
      queue: this.queue,
      random: this.random,
      hooks: {
        reaches: (from, to) => this.reaches(from, to),
        becamePrimary: (server, how) => {
          if (server === this.site) return;
          this.invariants.becamePrimary(server, how);
          this.#dirty = true;
        },
        acknowledged: (server, lsn, synchronous) => {
          // Who has not heard yet that the cluster follows its site again promises what is given up with it.
          if (this.site === null || (server !== this.site && this.ownLife)) this.invariants.acknowledged(server, lsn, synchronous);
        },
        violation: (text) => this.violation(text),
        changed: () => {
          this.#dirty = true;
        },
        ticked: () => this.invariants.check(),
        trace: (server, text) => this.trace(server.name, text),
      },
    });
    const dcsClock = new SimProcess(
      this.queue,
      new MachineClock(this.queue, { rate: 1 + this.random.between(-this.clockError, this.clockError), uptime: 0 }),
    );
    this.cluster = new MemoryCluster({ clock: dcsClock, lifetimeMs: (ttl: Ms) => ms(ttl + this.random.between(0, 100)) });
    const { namespace, scope } = options.template;
    this.keys = clusterKeys({ namespace, scope, group: null });
    this.decoder = new ClusterDecoder(this.keys);
    this.invariants = new Invariants(this);
    this.site = this.settings.standbyCluster ? remoteSite(this.servers) : null;
    for (const choice of this.settings.nodes) this.nodes.push(new SimNode(this, nodeConfig(options.template, choice)));
  }

  get tracing(): boolean {
    return this.#onTrace !== null;
  }

  get latency(): number {
    return this.settings.latencyMs;
  }

  get clockError(): number {
    return this.settings.clockError;
  }

  reaches(from: string, to: string): boolean {
    return this.network.reaches(from, to) && this.powered(from) && this.powered(to);
  }

  powered(name: string): boolean {
    if (name === this.site?.name) return true;
    for (const node of this.nodes) if (node.name === name) return node.powered;
    return false;
  }

  /** Lets time pass, up to the instant or to the first violation. */
  runUntil(time: number): void {
    const { queue, servers } = this;
    while (this.violations.length === 0) {
      const next = queue.nextTime();
      servers.advance(Math.min(next, time));
      if (next > time) {
        queue.now = time;
        return;
      }
      queue.runNext();
      drainMicrotasks();
      this.steps += 1;
      this.hash = (Math.imul(this.hash, 31) + Math.floor(queue.now * 1000)) | 0;
      if (this.#dirty) {
        this.#dirty = false;
        this.invariants.check();
      }
    }
  }

  violation(text: string): void {
    this.trace("VIOLATION", text);
    this.violations.push(`${(this.queue.now / 1000).toFixed(3)} s: ${text}`);
  }

  trace(who: string, text: string): void {
    for (let index = 0; index < text.length; index += 1) this.hash = (Math.imul(this.hash, 31) + text.charCodeAt(index)) | 0;
    this.#onTrace?.(`${(this.queue.now / 1000).toFixed(3).padStart(10)} ${who.padEnd(6)} ${text}`);
  }

  view(): Cluster {
    const snapshot = this.cluster.snapshot(this.keys.prefix);
    if (!snapshot.ok) throw new Error("the memory store refused a snapshot");
    return this.decoder.cluster(snapshot.value);
  }

  dynamic(): DynamicConfig {
    return dynamicConfig(this.view().config?.data ?? {});
  }

  synchronousMode(): DynamicConfig["synchronousMode"] {
    return this.dynamic().synchronousMode;
  }

  maximumLag(): number {
    return this.dynamic().maximumLagOnFailoverBytes;
  }

  publishedPosition(): number | null {
    const { optime } = this.view().status;
    return optime === null ? null : Number(optime);
  }

  leader(): SimNode | null {
    const name = this.view().leader?.name;
    return this.nodes.find((node) => node.name === name) ?? null;
  }

  isUnfenced(name: string): boolean {
    return this.nodes.find((node) => node.name === name)?.unfenced() === true;
  }

  anyoneUnfenced(): boolean {
    return this.nodes.some((node) => node.unfenced());
  }

  operatorChose(name: string): boolean {
    return this.queue.now < (this.#chosen.get(name) ?? 0);
  }

  choose(name: string, until: number): void {
    this.#chosen.set(name, until);
  }

  /**
   * One primary that acknowledges and holds the lock, in a standby cluster one standby that streams from the site, everybody else streams from
   * it or from whom its tags name. The reason where not.
   */
  unsettled(): string | null {
    const leader = this.leader();
    if (leader === null) return "nobody holds the lock";
    if (this.site !== null && leader.server.link?.from !== this.site) return `${leader.name} does not stream from the site`;
    if (this.site === null && !acknowledges(leader.server)) return `${leader.name} holds the lock and does not acknowledge writes`;
    for (const node of this.nodes) {
      if (node.supervisor === null) return `${node.name} has no supervisor`;
      if (node.supervisor.terminating) return `${node.name} is shutting down`;
      if (node === leader) continue;
      if (node.server.writable) return `${node.name} is a second primary`;
      if (node.tags["nostream"] === true) continue;
      const source = this.#sourceOf(node, leader);
      if (node.server.link === null || node.server.link.stalled || node.server.link.from !== source.server)
        return `${node.name} does not stream from ${source.name}`;
    }
    return null;
  }

  /** Along the tags: whoever comes back to where he began is in a circle, and follows the leader. */
  #sourceOf(node: SimNode, leader: SimNode): SimNode {
    const next = (of: SimNode) => this.nodes.find(({ name }) => of !== leader && name === of.tags["replicatefrom"]);
    const first = next(node);
    let step = first;
    for (let steps = 0; step !== undefined && steps < this.nodes.length; steps += 1) {
      if (step === node) return leader;
      step = next(step);
    }
    return first ?? leader;
  }
}
