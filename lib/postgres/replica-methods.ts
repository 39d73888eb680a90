// Owns which methods make a copy, in which order, and which of them need nobody to copy from. Pure.

import type { MethodOptions, PostgresqlConfig } from "../model/node-config.ts";
import { isEnabled } from "./method-command.ts";

export interface ReplicaMethod {
  readonly name: string;
  readonly section: MethodOptions;
}

export const BASEBACKUP = "basebackup";

/** In the configured order. `remote`: those of standby_cluster, which makes its leader's copy by basebackup where it names none. */
export function replicaMethods(config: PostgresqlConfig, of: "members" | "remote" | "basebackup"): readonly ReplicaMethod[] {
  if (of === "basebackup") return [{ name: BASEBACKUP, section: {} }];
  const configured = of === "remote" ? (config.standbyCluster?.createReplicaMethods ?? []) : config.createReplicaMethods;
  const names = configured.length > 0 ? configured : [BASEBACKUP];
  return names.map((name) => ({ name, section: config.methodOptions[name] ?? {} }));
}

export function needsSource({ name, section }: ReplicaMethod): boolean {
  return name === BASEBACKUP || !isEnabled(section["no_leader"]);
}

/** Those that can work, with somebody to copy from or without. */
export function usableMethods(
  config: PostgresqlConfig,
  options: { readonly of: "members" | "remote" | "basebackup"; readonly hasSource: boolean },
): readonly ReplicaMethod[] {
  return replicaMethods(config, options.of).filter((method) => options.hasSource || !needsSource(method));
}

/** The first of them is to find the data directory as it is, so that it copies no more than it has to. */
export function keepsData(methods: readonly ReplicaMethod[]): boolean {
  const [first] = methods;
  return first !== undefined && first.name !== BASEBACKUP && isEnabled(first.section["keep_data"]);
}

/** In a standby cluster its own methods count. */
export function clonesWithoutLeader(config: PostgresqlConfig): boolean {
  let answer = withoutLeader.get(config);
  if (answer === undefined) {
    answer = replicaMethods(config, config.standbyCluster === null ? "members" : "remote").some((method) => !needsSource(method));
    withoutLeader.set(config, answer);
  }
  return answer;
}

/** Asked with every observation; a configuration is immutable. */
const withoutLeader = new WeakMap<PostgresqlConfig, boolean>();
