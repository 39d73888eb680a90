// Owns keeping Consul's service catalogue in step with a node, beside the HA loop: it never makes the loop wait. What the node is comes
// from its source.

import { ConsulServices } from "../dcs/consul/service.ts";
import type { Standing } from "../dcs/consul/service-catalogue.ts";
import { pushEvery, type WantedService } from "../dcs/consul/service-entry.ts";
import type { Clock } from "../model/clock.ts";
import { describeStoreError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import type { ConsulConfig } from "../model/node-config.ts";
import { type Ms, ms } from "../model/units.ts";
import { HealthPushes } from "./health-pushes.ts";

/** How often the agent is asked whether it still has the entry, where nothing changed. */
const RECONCILE_EVERY_MS = 60_000;
const DEADLINE_MS = 5000;
/** How often a leader's entry is looked for that the agent has yet to tell the servers of: so often at once, the rest with later cycles. */
const LOOKS_AT_CATALOGUE = 5;
const LOOKS_IN_ALL = 20;
/** The agent tells its servers within milliseconds, on a quiet machine; each further look is twice as late. */
const CATALOGUE_PAUSE_MS = 20;

export interface ServiceRegistrationOptions {
  readonly config: ConsulConfig;
  readonly clock: Clock;
  readonly log: Log;
  /** Of the entry that this node may have. */
  readonly id: string;
  readonly source: ServiceSource;
  /** Where a former leader's entry may be. */
  readonly datacenters: "own" | "all";
}

/** What is known of the node that is registered. */
export interface ServiceSource {
  /** undefined: on the way, leave the entry as it is. null: no entry. */
  wanted(): WantedService | null | undefined;
  /** As a health check of this role would be answered now. */
  isHealthy(role: WantedService["role"]): Promise<boolean>;
  /** Whether an entry of this ID that does not say so is of this cluster, as far as is known here. */
  isMember(id: string): boolean;
  /** Holds the lock at this instant. */
  holdsLock(): boolean;
}

export class ServiceRegistration {
  readonly #services: ConsulServices;
  readonly #options: ServiceRegistrationOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  #config: ConsulConfig;
  #last = "";
  /** An entry of this process may be at the agent. */
  #mayStand = false;
  #reconciledAt: Ms = ms(0);
  #running: Promise<void> | null = null;
  /** Something was noted while a call was under way. */
  #again = false;
  /** As a leader: so often it is still to be looked whether anybody else's entry has a leader's tags; 0: nobody's has. */
  #looksLeft = LOOKS_IN_ALL;
  readonly #pushing: HealthPushes<WantedService["role"]>;
  /** The push that is under way, and how many entries were wanted so far: a health is told of the entry that it was judged for. */
  #pushed: Promise<unknown> = Promise.resolve();
  #entries = 0;
  #role: WantedService["role"] | null = null;

  constructor(options: ServiceRegistrationOptions) {
    const { config, clock, log, id } = options;
    this.#options = options;
    this.#config = config;
    this.#clock = clock;
    this.#log = log;
    this.#services = new ConsulServices({ config, clock, log, id });
    this.#pushing = new HealthPushes({
      clock,
      push: (role) => this.#push(role),
      onFailure: (reason) => log.warning(reason),
    });
  }

  reconfigure(config: ConsulConfig): void {
    this.#config = config;
    this.#services.reconfigure(config);
    this.#last = "";
  }

  /** Looks whether the entry is to change; if so, or from time to time, brings the agent in step. */
  note(): void {
    if (this.#running !== null) {
      this.#again = true;
      return;
    }
    const wanted = this.#wanted();
    // A state on the way (starting, stopping) changes nothing.
    if (wanted === undefined) return;
    const text = textOf(wanted);
    const due = wanted !== null && this.#clock.now() - this.#reconciledAt >= RECONCILE_EVERY_MS;
    if (text === this.#last && !due && (this.#looksLeft === 0 || !leads(wanted))) return;
    this.#running = this.#reconcile(wanted, text).finally(() => {
      this.#running = null;
      if (!this.#again) return;
      this.#again = false;
      this.note();
    });
  }

  async close(): Promise<void> {
    this.#again = false;
    await this.#running;
    await this.#pushing.stop();
    if (this.#mayStand) await this.#reconcile(null, "null");
    await this.#services.close();
  }

  async #reconcile(wanted: WantedService | null, text: string): Promise<void> {
    if (text !== this.#last) this.#looksLeft = LOOKS_IN_ALL;
    this.#entries += 1;
    this.#role = wanted?.role ?? null;
    await this.#pushed;
    if (wanted !== null) this.#mayStand = true;
    // Our entry is known to the servers, as a replica's: they are told of the new leader, and the old one's tags are gone, in one write beside it.
    const ahead = text !== this.#last && leads(wanted) ? this.#look(wanted) : null;
    const done = await this.#services.reconcile(wanted, this.#within());
    // What it came to is looked at below.
    await ahead;
    if (!done.ok) {
      this.#log.warning(`the Consul service was not brought in step: ${describeStoreError(done.error)}`);
      return;
    }
    if (wanted === null) this.#mayStand = false;
    this.#last = text;
    this.#reconciledAt = this.#clock.now();
    this.#pushing.follow(wanted === null || this.#config.serviceCheck === "http" ? null : wanted.role, pushEvery(this.#config));
    if (leads(wanted)) await this.#beAlone(wanted);
  }

  /** The entry of a former leader that is dead, or cut off, goes on saying so: who holds the lock takes the tags from it. */
  async #beAlone(wanted: WantedService): Promise<void> {
    let pauseMs = CATALOGUE_PAUSE_MS;
    let stale = false;
    this.#looksLeft = Math.max(1, this.#looksLeft);
    for (let look = 1; look <= LOOKS_AT_CATALOGUE && this.#looksLeft > 0 && !this.#again; look++) {
      // An entry that changed meanwhile is as it will be.
      if (look > 1 && !stale) {
        await this.#clock.sleepUntil(ms(this.#clock.now() + pauseMs));
        pauseMs *= 2;
      }
      const stands = await this.#look(wanted);
      stale = !stands.ok && stands.error.kind === "condition-failed";
      this.#looksLeft -= 1;
      if (!stands.ok && stands.error.kind !== "condition-failed") {
        this.#log.warning(`the entries of other nodes were not looked at: ${describeStoreError(stands.error)}`);
        return;
      }
      if (stands.ok && stands.value.kind === "not-leading") return;
      if (stands.ok && (stands.value.kind === "there" || stands.value.kind === "corrected")) this.#looksLeft = 0;
      else if (this.#looksLeft === 0 && stands.ok) this.#log.warning(reasonOf(stands.value));
    }
  }

  #look(wanted: WantedService): ReturnType<ConsulServices["leaderEntryStands"]> {
    const { datacenters, source } = this.#options;
    return this.#services.leaderEntryStands(wanted, {
      ...this.#within(),
      datacenters,
      isMember: (id) => source.isMember(id),
      mayCorrect: () => source.holdsLock(),
    });
  }

  /** Of a check that is ours to push. */
  async #push(role: WantedService["role"]): Promise<string | null> {
    // The entry of another role is being registered; its health is told next.
    if (role !== this.#role) return null;
    const judgedFor = this.#entries;
    const healthy = await this.#options.source.isHealthy(role);
    // Of a former role it would say that the new one is not well.
    if (judgedFor !== this.#entries) return null;
    const health = { status: healthy ? "passing" : "critical", output: `${healthy ? "serves" : "does not serve"} as ${role}` } as const;
    const push = this.#services.push(health, this.#within());
    this.#pushed = push;
    const pushed = await push;
    if (!pushed.ok) return describeStoreError(pushed.error);
    // The agent has lost it: the next note registers it again.
    if (!pushed.value) this.#last = "";
    return null;
  }

  #wanted(): WantedService | null | undefined {
    const wanted = this.#config.registerService ? this.#options.source.wanted() : null;
    return wanted === null && !this.#mayStand ? undefined : wanted;
  }

  #within(): { readonly deadline: Ms } {
    return { deadline: ms(this.#clock.now() + DEADLINE_MS) };
  }
}

/** What is a reason to register again: the health of the moment is not. */
function textOf(wanted: WantedService | null): string {
  return wanted === null ? "null" : JSON.stringify({ ...wanted, healthy: undefined });
}

function leads(wanted: WantedService | null): wanted is WantedService {
  return wanted !== null && wanted.role !== "replica";
}

/** Why it is not known that no other entry has a leader's tags. */
function reasonOf(standing: Standing): string {
  if (standing.kind === "unseen")
    return `entries of a former leader may be left in ${standing.datacenters.join(", ")}, which cannot be seen`;
  return "the catalogue does not show this node's own entry: does the token have node:read?";
}
