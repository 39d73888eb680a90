// Owns the configuration in force while the node runs: the file as last loaded, the `config` key as last seen, and what has to be
// done when one of them changes. A wrong value is reported once and never takes anything down.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type EffectiveConfig, effectiveConfig } from "../config/effective.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Cluster } from "../model/cluster.ts";
import type { ConfigFault } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import type { Revision } from "../model/units.ts";
import type { Settings } from "./node-state.ts";

export class LiveSettings {
  readonly #log: Log;
  #loaded: LoadedConfig;
  #dynamic: Readonly<Record<string, unknown>> | null = null;
  #revision: Revision | null = null;
  #effective: EffectiveConfig;
  #reported = "";

  constructor(loaded: LoadedConfig, log: Log) {
    this.#loaded = loaded;
    this.#log = log;
    // Before the cluster has a configuration, the one that it will be founded with.
    this.#effective = effectiveConfig(loaded, loaded.config.bootstrap.dcs);
  }

  get loaded(): LoadedConfig {
    return this.#loaded;
  }

  get current(): Settings {
    return { node: this.#effective.node, dynamic: this.#effective.dynamic };
  }

  /** Takes the `config` key of a snapshot. Value: whether it changed anything. */
  applyCluster(cluster: Cluster): boolean {
    if (cluster.config === null || cluster.config.revision === this.#revision) return false;
    this.#revision = cluster.config.revision;
    this.#dynamic = cluster.config.data;
    this.#compute();
    return true;
  }

  /** Takes a configuration file that was loaded anew. */
  applyFile(loaded: LoadedConfig): void {
    this.#loaded = loaded;
    this.#compute();
  }

  /** Kept beside the data, for a start without the DCS. */
  async saveDynamic(): Promise<void> {
    if (this.#dynamic === null) return;
    const path = join(this.#effective.node.postgresql.dataDir, "patroni.dynamic.json");
    try {
      await writeFile(path, JSON.stringify(this.#dynamic), { mode: 0o600 });
    } catch (error) {
      this.#log.debug(`${path} was not written: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  #compute(): void {
    this.#effective = effectiveConfig(this.#loaded, this.#dynamic ?? this.#loaded.config.bootstrap.dcs);
    this.#report(this.#effective.faults);
  }

  /** The same faults are not told twice. */
  #report(faults: readonly ConfigFault[]): void {
    const text = faults.map(({ path, message }) => `${path}: ${message}`).join("\n");
    if (text === this.#reported) return;
    this.#reported = text;
    for (const { path, message } of faults) this.#log.warning(`${path}: ${message}`);
  }
}
