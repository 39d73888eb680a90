// Owns the effective `postgresql` section: what the DCS and the node each say, merged (weakest first: defaults, DCS, file,
// environment), and turned into typed values. Pure; wrong values were taken out before.

import type { StandbyClusterConfig } from "../model/dynamic-config.ts";
import type { ConfigFault } from "../model/errors.ts";
import { isWildcard } from "../model/host-port.ts";
import type { MethodOptions, ParameterValue, PostgresqlConfig, PostgresUser, StandbyClusterServer } from "../model/node-config.ts";
import { checkTree } from "./check.ts";
import { controlledParameters, userParameters } from "./controlled.ts";
import {
  CONNECTION_OPTIONS,
  LOCAL_ONLY,
  POSTGRESQL_ENTRIES,
  POSTGRESQL_SECTION,
  type PostgresqlTree,
  ROLES_WITH_OPTIONS,
} from "./schema-postgresql.ts";
import { entriesOf, isTree, mergeTrees, type Tree, treeAt, withoutNulls } from "./tree.ts";

/** Sections whose keys are merged one by one; every other option is taken whole from the strongest source. */
const MERGED_BY_KEY: readonly string[] = ["parameters", ...ROLES_WITH_OPTIONS.map((role) => `parameters_${role}`)];

export interface MergedPostgresql {
  /** File form, without defaults. Controlled parameters are not in it. */
  readonly tree: Tree;
  readonly controlled: ReturnType<typeof controlledParameters>;
  readonly faults: readonly ConfigFault[];
}

/** Both arguments are checked trees of the `postgresql` section. */
export function mergePostgresql(dcs: Tree, local: Tree): MergedPostgresql {
  const faults: ConfigFault[] = [];
  const below: Record<string, unknown> = {};
  for (const [name, value] of entriesOf(withoutNulls(dcs))) {
    if (!LOCAL_ONLY.includes(name)) below[name] = value;
    else faults.push({ path: `postgresql.${name}`, message: "ignored in the DCS: it belongs to one node; set it in the node's file" });
  }
  const above = Object.fromEntries(entriesOf(withoutNulls(local)).filter(([name]) => name !== "use_slots"));
  const merged: Record<string, unknown> = { ...below, ...above };
  for (const name of MERGED_BY_KEY) {
    const path = `postgresql.${name}`;
    const weaker = userParameters(treeAt(below, name), name === "parameters" ? "dcs" : "local", path);
    const stronger = userParameters(treeAt(above, name), "local", path);
    faults.push(...weaker.faults, ...stronger.faults);
    if (name in merged) merged[name] = mergeParameters(weaker.parameters, stronger.parameters);
  }
  const controlled = controlledParameters(treeAt(below, "parameters"));
  return { tree: merged, controlled, faults: [...faults, ...controlled.faults] };
}

/** Parameter names are the same in any case; the stronger spelling stays. */
function mergeParameters(weaker: Tree, stronger: Tree): Tree {
  const overridden = new Set(Object.keys(stronger).map((name) => name.toLowerCase()));
  const kept = Object.fromEntries(entriesOf(weaker).filter(([name]) => !overridden.has(name.toLowerCase())));
  return mergeTrees(kept, stronger);
}

/** Typed values of a merged section. `node` supplies what the section's defaults depend on. Throws where a value is wrong. */
export function buildPostgresql(
  merged: MergedPostgresql,
  node: { readonly pgpass: string; readonly standbyCluster: StandbyClusterConfig | null },
): PostgresqlConfig {
  const checked = checkTree(POSTGRESQL_SECTION, merged.tree);
  if (!checked.ok) throw new Error(`the merged postgresql section is wrong: ${checked.wrong.map(({ fault }) => fault.path).join(", ")}`);
  const read = checked.value;
  const superuser = user(read.authentication.superuser, "postgres");
  const port = read.listen?.port ?? 5432;
  return {
    listenHosts: read.listen?.hosts ?? [],
    port,
    connectAddress: {
      host: read.connect_address?.host ?? read.listen?.hosts.find((host) => !isWildcard(host)) ?? "localhost",
      port: read.connect_address?.port ?? port,
    },
    proxyAddress: read.proxy_address,
    dataDir: read.data_dir ?? "",
    configDir: read.config_dir ?? read.data_dir ?? "",
    binDir: read.bin_dir,
    binName: withoutNulls(read.bin_name) as Readonly<Record<string, string>>,
    pgpass: read.pgpass ?? node.pgpass,
    useUnixSocket: read.use_unix_socket,
    useUnixSocketRepl: read.use_unix_socket_repl,
    superuser,
    replication: user(read.authentication.replication, null),
    rewind: read.authentication.rewind === null ? superuser : user(read.authentication.rewind, superuser.username),
    ...parametersOf(read, merged),
    pgHba: read.pg_hba,
    pgHbaByRole: byRole({ primary: read.pg_hba_primary, replica: read.pg_hba_replica, standby_leader: read.pg_hba_standby_leader }),
    pgIdent: read.pg_ident,
    pgIdentByRole: byRole({ primary: read.pg_ident_primary, replica: read.pg_ident_replica, standby_leader: read.pg_ident_standby_leader }),
    recoveryConf: present(read.recovery_conf),
    standbyCluster: node.standbyCluster === null ? null : standbyClusterServer(node.standbyCluster),
    citus: null,
    customConf: read.custom_conf,
    callbacks: withoutNulls(read.callbacks) as Readonly<Record<string, string>>,
    createReplicaMethods: read.create_replica_methods,
    methodOptions: methodSections(merged.tree, read.create_replica_methods),
    basebackup: read.basebackup,
    beforeStop: read.before_stop,
    prePromote: read.pre_promote,
    useSlots: read.use_slots,
    enforcesFeedback: false,
    usePgRewind: read.use_pg_rewind,
    rewindOptions: read.rewind,
    removeDataDirectoryOnRewindFailure: read.remove_data_directory_on_rewind_failure,
    removeDataDirectoryOnDivergedTimelines: read.remove_data_directory_on_diverged_timelines,
    pgCtlTimeoutMs: read.pg_ctl_timeout,
  };
}

function standbyClusterServer(section: StandbyClusterConfig): StandbyClusterServer {
  const { restore_command, archive_cleanup_command, recovery_min_apply_delay } = section;
  return {
    createReplicaMethods: section.create_replica_methods ?? [],
    recovery: present({ restore_command, archive_cleanup_command }),
    leaderRecovery: present({ recovery_min_apply_delay }),
  };
}

function parametersOf(read: PostgresqlTree, merged: MergedPostgresql) {
  return {
    parameters: present(read.parameters),
    controlledParameters: merged.controlled.values,
    parametersPrimary: present(read.parameters_primary),
    parametersReplica: present(read.parameters_replica),
    parametersStandbyLeader: present(read.parameters_standby_leader),
  };
}

function present(parameters: Readonly<Record<string, ParameterValue | null>>): Readonly<Record<string, ParameterValue>> {
  return Object.fromEntries(Object.entries(parameters).filter((entry): entry is [string, ParameterValue] => entry[1] !== null));
}

/** A login from its section; null = nothing of it is set. */
export function user(section: PostgresqlTree["authentication"]["superuser"], usernameFallback: string | null): PostgresUser {
  const options = CONNECTION_OPTIONS.flatMap((name) => {
    const value = section?.[name] ?? null;
    return value === null ? [] : [[name, value] as const];
  });
  return { username: section?.username ?? usernameFallback, password: section?.password ?? null, options: Object.fromEntries(options) };
}

function byRole(lines: Readonly<Record<string, readonly string[] | null>>): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(Object.entries(lines).filter((entry): entry is [string, readonly string[]] => entry[1] !== null));
}

/** Sections that a method names, and every section with a command: the DCS's standby_cluster may name it later. */
function methodSections(tree: Tree, methods: readonly string[]): Readonly<Record<string, MethodOptions>> {
  const sections = entriesOf(tree).filter(
    ([name, value]) =>
      name !== "basebackup" && isTree(value) && !(name in POSTGRESQL_ENTRIES) && (methods.includes(name) || "command" in value),
  );
  return Object.fromEntries(sections) as Readonly<Record<string, MethodOptions>>;
}
