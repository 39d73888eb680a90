// Owns the discovery that runs alone: it asks a node's own REST API what that is, and keeps its entry in the catalogue of its site. So
// it also stands beside a node of Patroni. It reads from the node and changes nothing there.

import { loadNodeConfig } from "../../config/load.ts";
import { pushEvery, type WantedService } from "../../dcs/consul/service-entry.ts";
import type { NodeConfig } from "../../model/node-config.ts";
import { type Ms, ms, seconds } from "../../model/units.ts";
import { siteWords } from "../catalogues.ts";
import { realClock } from "../clock.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { createLog } from "../log.ts";
import { PeerClient } from "../peer-client.ts";
import type { PeerDocument } from "../peer-document.ts";
import { runLockOwner, runLockPath } from "../run-lock.ts";
import { ServiceRegistration, type ServiceSource } from "../service-registration.ts";
import { serviceDetails } from "../service-source.ts";
import { complain, interruption, readArguments } from "./open.ts";

/** A node that does not answer by then is not there. */
const ANSWER_WITHIN_MS = 2_000;
/** A change of role is seen by the next look. */
const LOOK_EVERY_MS = 1_000;
/** An entry that stays critical for five times this is removed; the cluster's own ttl is not asked for. */
const TTL = seconds(30);

/** Exit status: 0 interrupted, 1 refused, 2 usage, 4 the node's supervisor registers itself. */
export async function mainOfDiscovery(): Promise<ExitCode> {
  const words = readArguments({ worker: "discovery" });
  if (!words.ok) return words.error;
  const loaded = await loadNodeConfig({ path: words.value.path, env: process.env });
  if (!loaded.ok) {
    for (const fault of loaded.error) complain(`${fault.path}: ${fault.message}`);
    return EXIT.failed;
  }
  const node = loaded.value.config;
  if (node.discovery === null) {
    complain("discovery.consul: missing; write discovery: {consul: {host: 127.0.0.1:8500}}");
    return EXIT.failed;
  }
  const owner = runLockOwner(runLockPath(node.postgresql.dataDir));
  if (owner !== null && owner.worker === null) {
    complain(`a supervisor of this node is running (pid ${owner.pid}), and registers it by itself`);
    return EXIT.alreadyRunning;
  }
  await keepRegistered(node, node.discovery, interruption());
  return EXIT.ok;
}

async function keepRegistered(node: NodeConfig, { consul }: NonNullable<NodeConfig["discovery"]>, signal: AbortSignal): Promise<void> {
  const clock = realClock();
  const log = createLog({ ...node.log, dir: null });
  const peers = new PeerClient({ restapi: node.restapi, ctl: node.ctl, clock });
  const source = new ApiSource(node, peers, () => ms(clock.now() + ANSWER_WITHIN_MS));
  const { id } = siteWords(node);
  const registration = new ServiceRegistration({ config: consul, clock, log, id, source, datacenters: "all" });
  const everyMs = Math.min(LOOK_EVERY_MS, pushEvery(consul));
  while (!signal.aborted) {
    await source.look();
    registration.note();
    await clock.sleepUntil(ms(clock.now() + everyMs), signal);
  }
  await registration.close();
  await peers.close();
  log.close();
}

type Role = WantedService["role"];

/** Of each role, in the words of the status document. */
const ROLES: Readonly<Record<string, Role>> = {
  primary: "primary",
  master: "primary",
  standby_leader: "standby_leader",
  replica: "replica",
};
const HEALTH: Readonly<Record<Role, string>> = { primary: "/primary", standby_leader: "/standby-leader", replica: "/replica" };

/** What the node says of itself over its API. */
export class ApiSource implements ServiceSource {
  readonly #node: NodeConfig;
  readonly #peers: PeerClient;
  readonly #deadline: () => Ms;
  readonly #apiUrl: string;
  #wanted: WantedService | null | undefined = undefined;

  constructor(node: NodeConfig, peers: PeerClient, deadline: () => Ms) {
    this.#node = node;
    this.#peers = peers;
    this.#deadline = deadline;
    const { host, port } = node.restapi.connectAddress;
    this.#apiUrl = `${node.restapi.certfile === null ? "http" : "https"}://${host.includes(":") ? `[${host}]` : host}:${port}/patroni`;
  }

  async look(): Promise<void> {
    const document = await this.#peers.status(this.#apiUrl, this.#deadline());
    if (!document.ok) return this.#doubt();
    const role = ROLES[document.value.role];
    if (document.value.state === "stopped" || document.value.state === "crashed") this.#wanted = null;
    else if (document.value.state === "running" && role !== undefined) this.#wanted = await this.#entry(document.value, role);
    else this.#doubt();
  }

  /** What the node was may be over: its entry stays, with the check to judge it, but its word on the entries of others is no leader's. */
  #doubt(): void {
    if (this.#wanted) this.#wanted = { ...this.#wanted, healthy: false };
  }

  wanted(): WantedService | null | undefined {
    return this.#wanted;
  }

  isHealthy(role: Role): Promise<boolean> {
    return this.#says(HEALTH[role]);
  }

  holdsLock(): boolean {
    return this.#wanted?.role !== "replica" && this.#wanted?.healthy === true;
  }

  /** Nothing is known here of the others: their entries say it themselves. */
  isMember(): boolean {
    return false;
  }

  async #entry(document: PeerDocument, role: Role): Promise<WantedService> {
    const { postgresql, tags } = this.#node;
    const { host, port } = postgresql.connectAddress;
    const { id, service, cluster, roleTags } = siteWords(this.#node);
    const [healthy, sync, quorum, low, medium] = await Promise.all(
      [HEALTH[role], "/sync", "/quorum", "/replica?lag=1MB", "/replica?lag=16MB"].map((path) => this.#says(path)),
    );
    return {
      id,
      service,
      cluster,
      connUrl: `postgres://${host}:${port}/postgres`,
      apiUrl: this.#apiUrl,
      role,
      healthy: healthy === true,
      ttl: TTL,
      details: serviceDetails({
        role,
        standing: sync === true ? "sync" : quorum === true ? "quorum" : "none",
        lag: low === true ? "low" : medium === true ? "medium" : "high",
        site: tags["site"] ?? null,
        timeline: document.timeline,
        serverVersion: document.serverVersion,
        roleTags,
      }),
    };
  }

  async #says(path: string): Promise<boolean> {
    const answer = await this.#peers.send("GET", this.#apiUrl, path, null, this.#deadline());
    return answer.ok && answer.value.status === 200;
  }
}
