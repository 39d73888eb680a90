// Owns which configuration is in force while a node runs: the file that is read again, the cluster's part, the store's limits, and what of
// it PostgreSQL was told. Decides nothing about HA.

import { reloadNodeConfig } from "../config/reload.ts";
import type { Cluster } from "../model/cluster.ts";
import type { Ms } from "../model/units.ts";
import { keepFenced } from "./fencing.ts";
import type { NodeLog } from "./log.ts";
import type { NodeContext } from "./node-context.ts";
import type { NodeSight } from "./node-sight.ts";
import type { NodeState, Settings } from "./node-state.ts";
import type { TaskEffect } from "./perform-postgres.ts";
import { postgresRole } from "./postgres-words.ts";
import type { LiveSettings } from "./settings.ts";
import type { TimeLimits } from "./time-limits.ts";

export interface NodeConfigurationOptions {
  readonly context: NodeContext;
  readonly settings: LiveSettings;
  readonly limits: TimeLimits;
  readonly log: NodeLog;
  readonly sight: NodeSight;
  /** Where the configuration came from, for a reload. */
  readonly path: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Told of the settings that are in force from now on, each time that they may be others. */
  readonly onChange: (settings: Settings) => void;
  /** Takes a file that was read again to everything that goes by it beside PostgreSQL: the API, the clients. */
  readonly takeOver: (settings: Settings) => Promise<void>;
}

export class NodeConfiguration {
  readonly #options: NodeConfigurationOptions;
  #reloading: Promise<void> = Promise.resolve();
  /** Asked for, and not begun yet. */
  #waiting: Promise<void> | null = null;
  #configured = "";
  /** The configuration in force was not taken to PostgreSQL yet. */
  #configureLater = false;
  /** An operator has asked for what has to wait. */
  #askedLater = false;

  constructor(options: NodeConfigurationOptions) {
    this.#options = options;
  }

  /**
   * SIGHUP, POST /reload, an upgrade. Reloads run one after the other; whoever asks while one waits for its turn gets that one, which reads the
   * file later. A broken file changes nothing. Never rejects.
   */
  reload(): Promise<void> {
    if (this.#waiting !== null) return this.#waiting;
    const next = this.#reloading
      .then(() => {
        this.#waiting = null;
        return this.#reloadNow();
      })
      .catch((reason: unknown) => this.#options.log.error(`the reload failed: ${String(reason)}`));
    this.#waiting = next;
    this.#reloading = next;
    return next;
  }

  async #reloadNow(): Promise<void> {
    const { context, env, log, onChange, path, settings, sight, takeOver } = this.#options;
    const { state, waker } = context;
    // What would take it over is being closed.
    if (state.requests.shutdown) return log.info("shutting down: the configuration is not loaded again");
    const reloaded = await reloadNodeConfig(settings.loaded, { path, env });
    for (const { path: option, message } of reloaded.faults) log.error(`${option}: ${message}`);
    if (reloaded.loaded === settings.loaded) return log.warning("the configuration stays as it was");
    if (reloaded.difference.changed.length === 0) log.info("No local configuration items changed.");
    settings.applyFile(reloaded.loaded);
    state.settings = settings.current;
    // What is not required any more is not missed.
    if (state.settings.node.watchdog.mode !== "required") state.fencingMissing = false;
    onChange(state.settings);
    log.reconfigure(state.settings.node.log);
    sight.hooks.configure(state.settings.node.hooks);
    await this.#tellPostgres({ asked: true });
    await takeOver(state.settings);
    log.info("the configuration was loaded again");
    waker.wake();
  }

  /** The cluster's part, and what the store can keep with these members. */
  takeCluster(cluster: Cluster): void {
    const { limits, settings } = this.#options;
    limits.note(cluster);
    const changed = settings.applyCluster(cluster);
    if (settings.applyLimits(limits.current) || changed) this.#settingsChanged();
  }

  #settingsChanged(): void {
    const { context, log, onChange, settings } = this.#options;
    const { state, waker } = context;
    state.settings = settings.current;
    onChange(state.settings);
    waker.wake();
    // A pause that is over ends at once, not with the cycle: the renewal in between may take long.
    keepFenced(context).catch((reason: unknown) => log.error(`PostgreSQL is not fenced: ${String(reason)}`));
    // What it means for PostgreSQL (a pending restart) is published as soon as it is known.
    this.tellPostgres();
  }

  /** Takes what is in force to PostgreSQL beside the caller, and wakes the loop when that is done. */
  tellPostgres(): void {
    void this.#tellPostgres({ asked: false }).then(() => this.#options.context.waker.wake());
  }

  /** What had to wait until now. */
  async catchUp(): Promise<void> {
    if (this.#configureLater) await this.#tellPostgres({ asked: this.#askedLater });
  }

  /** `asked`: an operator wants a reload, whether or not the configuration is another one. */
  async #tellPostgres({ asked }: { readonly asked: boolean }): Promise<void> {
    const { context, log } = this.#options;
    const { state, postgres } = context;
    const config = state.settings.node.postgresql;
    const standby = state.local.standbyRole === "standby_leader" ? "standby_leader" : "replica";
    const role = state.local.lastRole === "primary" ? "primary" : standby;
    const text = `${role} ${JSON.stringify(config)}`;
    if (this.#configured === text && !asked) return;
    // A server that runs while its data directory is being made is the maker's; where none runs, this is for its first start.
    this.#configureLater = state.local.dataDirectory.kind !== "valid" && state.local.process.kind !== "none";
    // Whatever else comes to tell it meanwhile, the reload stays asked for.
    this.#askedLater = asked || this.#askedLater;
    if (this.#configureLater) return;
    const wanted = this.#askedLater;
    this.#askedLater = false;
    this.#configured = text;
    const reloaded = () => postgres.callback("on_reload", postgresRole(state));
    const begun = context.clock.now();
    const done = await postgres.configure(config, { role, asked: wanted, reloaded });
    if (done.ok) return;
    if (done.error.kind === "unreachable" && stoppedSince(state, begun)) {
      // At its start the files are written again; where it is not stopped after all, this is tried again.
      this.#configureLater = true;
      this.#askedLater = wanted || this.#askedLater;
      this.#configured = "";
      log.info("PostgreSQL is being stopped: its configuration is written at its start");
    } else log.error(`the configuration of PostgreSQL was not changed: ${done.error.message}`);
  }
}

/** Tasks that stop PostgreSQL, and may start it again. */
const STOPPING: ReadonlySet<string> = new Set([
  "stop",
  "hand-over",
  "restart",
  "copy-slots",
  "restore",
] satisfies readonly TaskEffect["kind"][]);

/** One of them is under way, or was since then. */
function stoppedSince({ task, lastTask }: NodeState, begun: Ms): boolean {
  if (task !== null && STOPPING.has(task.kind)) return true;
  return lastTask !== null && STOPPING.has(lastTask.kind) && lastTask.finishedAt >= begun;
}
