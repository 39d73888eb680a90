// Owns the configuration in force while the node runs: the file as last loaded, the `config` key as last seen, and what has to be
// done when one of them changes. A wrong value is reported once and never takes anything down.

import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { withCitusDefaults } from "../config/citus.ts";
import { type EffectiveConfig, effectiveConfig } from "../config/effective.ts";
import { type LoadedConfig, limitsOf } from "../config/load.ts";
import { isTree } from "../config/tree.ts";
import type { Cluster } from "../model/cluster.ts";
import type { DynamicLimits } from "../model/dynamic-config.ts";
import type { ConfigFault } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import type { Revision } from "../model/units.ts";
import type { Settings } from "./node-state.ts";

export class LiveSettings {
  readonly #log: Log;
  #loaded: LoadedConfig;
  #dynamic: Readonly<Record<string, unknown>> | null = null;
  #saved: Readonly<Record<string, unknown>> | null = null;
  #revision: Revision | null = null;
  #limits: DynamicLimits;
  #effective: EffectiveConfig;
  #reported = "";

  constructor(loaded: LoadedConfig, log: Log) {
    this.#loaded = loaded;
    this.#log = log;
    this.#dynamic = savedDynamic(loaded.config.postgresql.dataDir);
    this.#limits = limitsOf(loaded.config);
    this.#effective = effectiveConfig(loaded, this.#dynamicOrFirst(), this.#limits);
  }

  /** As last seen in the DCS, by this process or the one before it; null where none was seen. */
  get dynamic(): Readonly<Record<string, unknown>> | null {
    return this.#dynamic;
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

  /** Takes the floors as they are now. Value: whether that changed anything. */
  applyLimits(limits: DynamicLimits): boolean {
    const before = this.#limits;
    const same =
      before.ttlFloorMs === limits.ttlFloorMs &&
      before.loopWaitFloorMs === limits.loopWaitFloorMs &&
      before.retryTimeoutFloorMs === limits.retryTimeoutFloorMs;
    if (same) return false;
    this.#limits = limits;
    this.#compute();
    return true;
  }

  /** Takes a configuration file that was loaded anew; what it warns of is told where the one before did not. */
  applyFile(loaded: LoadedConfig): void {
    const told = new Set(this.#loaded.warnings.map(warningText));
    for (const warning of loaded.warnings) if (!told.has(warningText(warning))) this.#log.warning(warningText(warning));
    this.#loaded = loaded;
    this.#compute();
  }

  /** Kept beside the data, for a start without the DCS. Does nothing where it is there already. */
  async saveDynamic(): Promise<void> {
    if (this.#dynamic === null || this.#saved === this.#dynamic) return;
    this.#saved = this.#dynamic;
    const path = savedPath(this.#effective.node.postgresql.dataDir);
    try {
      await writeFile(path, JSON.stringify(this.#dynamic), { mode: 0o600 });
    } catch (error) {
      this.#log.debug(`${path} was not written: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Before the cluster has a configuration, the one that it will be founded with. */
  #dynamicOrFirst(): Readonly<Record<string, unknown>> {
    const { bootstrap, citus } = this.#loaded.config;
    return this.#dynamic ?? withCitusDefaults(bootstrap.dcs, citus);
  }

  #compute(): void {
    this.#effective = effectiveConfig(this.#loaded, this.#dynamicOrFirst(), this.#limits);
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

function savedPath(dataDir: string): string {
  return join(dataDir, "patroni.dynamic.json");
}

function savedDynamic(dataDir: string): Readonly<Record<string, unknown>> | null {
  try {
    const parsed: unknown = JSON.parse(readFileSync(savedPath(dataDir), "utf8"));
    return isTree(parsed) ? parsed : null;
  } catch {
    return null; // Not there yet, or half written when the machine died: the DCS has it.
  }
}

function warningText({ path, message }: ConfigFault): string {
  return `${path}: ${message}`;
}
