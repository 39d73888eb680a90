// Owns keeping Consul's service catalogue in step with this node, beside the HA loop: it never makes the loop wait.

import { ConsulServices, type WantedService } from "../dcs/consul/service.ts";
import type { Clock } from "../model/clock.ts";
import { describeStoreError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import type { ConsulConfig, NodeConfig } from "../model/node-config.ts";
import { type Ms, ms } from "../model/units.ts";
import { apiUrl } from "./member-record.ts";
import type { NodeState } from "./node-state.ts";

/** How often the agent is asked whether it still has the entry, where nothing changed. */
const RECONCILE_EVERY_MS = 60_000;
const DEADLINE_MS = 5000;

export class ServiceRegistration {
  readonly #services: ConsulServices;
  readonly #clock: Clock;
  readonly #log: Log;
  #config: ConsulConfig;
  #last = "";
  #reconciledAt: Ms = ms(0);
  #running: Promise<void> | null = null;

  constructor(options: { readonly config: ConsulConfig; readonly clock: Clock; readonly log: Log; readonly node: NodeConfig }) {
    const { config, clock, log, node } = options;
    this.#config = config;
    this.#clock = clock;
    this.#log = log;
    this.#services = new ConsulServices({ config, clock, log, scope: node.scope, name: node.name });
  }

  reconfigure(config: ConsulConfig): void {
    this.#config = config;
    this.#services.reconfigure(config);
    this.#last = "";
  }

  /** Looks whether the entry is to change; if so, or from time to time, brings the agent in step. */
  note(state: NodeState): void {
    const wanted = this.#wanted(state);
    // A state on the way (starting, stopping) changes nothing.
    if (wanted === undefined || this.#running !== null) return;
    const text = JSON.stringify(wanted);
    const due = wanted !== null && this.#clock.now() - this.#reconciledAt >= RECONCILE_EVERY_MS;
    if (text === this.#last && !due) return;
    this.#running = this.#reconcile(wanted, text).finally(() => {
      this.#running = null;
    });
  }

  async close(): Promise<void> {
    await this.#running;
    if (this.#last !== "" && this.#last !== "null") await this.#reconcile(null, "null");
    await this.#services.close();
  }

  async #reconcile(wanted: WantedService | null, text: string): Promise<void> {
    const done = await this.#services.reconcile(wanted, { deadline: ms(this.#clock.now() + DEADLINE_MS) });
    if (done.ok) {
      this.#last = text;
      this.#reconciledAt = this.#clock.now();
    } else {
      this.#log.warning(`the Consul service was not brought in step: ${describeStoreError(done.error)}`);
    }
  }

  /** undefined: leave it as it is. null: no entry. */
  #wanted(state: NodeState): WantedService | null | undefined {
    if (!this.#config.registerService) return this.#last === "" ? undefined : null;
    const postgres = state.postgresState();
    if (postgres === "stopped" || postgres === "crashed" || postgres === "start failed") return this.#last === "" ? undefined : null;
    if (postgres !== "running" || state.local.status === null) return undefined;
    const { node, dynamic } = state.settings;
    const role = state.postgresRole();
    if (role !== "primary" && role !== "standby_leader" && role !== "replica") return undefined;
    if (role === "primary" && state.held === null) return undefined;
    const { host, port } = node.postgresql.connectAddress;
    return {
      scope: node.scope,
      name: node.name,
      connUrl: `postgres://${host}:${port}/postgres`,
      apiUrl: apiUrl(state),
      role,
      healthy: role === "replica" ? true : state.leaseValid(),
      ttl: dynamic.ttlMs,
    };
  }
}
