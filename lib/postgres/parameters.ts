// Owns the knowledge about server parameters: who may set them, what a role gets, and which ones wait for a restart.
// What the installed version takes is asked of the program itself (parameter-check.ts).

import type { ConfigFault } from "../model/errors.ts";
import type { PendingRestartReason } from "../model/member.ts";
import type { ParameterValue, PostgresqlConfig } from "../model/node-config.ts";
import type { ControlData } from "../model/postgres.ts";
import type { ServerRole } from "./hba.ts";
import { parseNumber, sameValue } from "./parameter-values.ts";

/** Set by us from other options; a user's value is never taken. */
export const NEVER_SETTABLE: ReadonlySet<string> = new Set([
  "listen_addresses",
  "port",
  "cluster_name",
  "hot_standby",
  "data_directory",
  "config_file",
  "primary_conninfo",
  "primary_slot_name",
  "recovery_target_timeline",
]);

/** Lines that the server would read as commands to include another file, not as parameters. */
const INCLUDE_WORDS: ReadonlySet<string> = new Set(["include", "include_if_exists", "include_dir"]);

/** Words of recovery.conf that became signal files in version 12: taken silently, they say what we do anyway. */
const OBSOLETE_RECOVERY_WORDS: ReadonlySet<string> = new Set(["standby_mode", "trigger_file", "promote_trigger_file"]);

/** Controlled parameters that are not on the command line, so that a reload can change them (contract §5). */
const RELOADABLE_CONTROLLED: ReadonlySet<string> = new Set(["wal_keep_size", "wal_keep_segments"]);

/** Size of a WAL segment that wal_keep_segments counts. */
const WAL_SEGMENT_MB = 16;

/** What the primary had, a standby must have at least (PostgreSQL manual, "Hot Standby", administrator's overview). */
const STANDBY_FLOORS: Readonly<Record<string, (control: ControlData) => number>> = {
  max_connections: (control) => control.maxConnections,
  max_worker_processes: (control) => control.maxWorkerProcesses,
  max_wal_senders: (control) => control.maxWalSenders,
  max_prepared_transactions: (control) => control.maxPreparedTransactions,
  max_locks_per_transaction: (control) => control.maxLocksPerTransaction,
};

/** Names that a standby compares with the primary at start. */
export const STANDBY_FLOOR_NAMES: readonly string[] = Object.keys(STANDBY_FLOORS);

export interface WantedParameters {
  /** For postgresql.conf: the user's and the role's, checked for ownership only. */
  readonly file: Readonly<Record<string, string>>;
  /** Controlled ones and those made from other options, as configured (not raised to a standby's floor). */
  readonly controlled: Readonly<Record<string, string>>;
  readonly faults: readonly ConfigFault[];
}

/**
 * Values of ours where the user names none. A standby that lost its source looks for it again this often: with PostgreSQL's own
 * 5 s a new primary would wait that long for its first synchronous standby.
 */
const PRODUCT_DEFAULTS: Readonly<Record<string, string>> = { wal_retrieve_retry_interval: "500ms" };

/** Merges user, role and controlled parameters and applies ownership. */
export function wantedParameters(
  config: PostgresqlConfig,
  options: { readonly role: ServerRole; readonly scope: string },
): WantedParameters {
  const faults: ConfigFault[] = [];
  const controlled = controlledParameters(config, options.scope);
  const byRole = { primary: config.parametersPrimary, replica: config.parametersReplica, standby_leader: config.parametersStandbyLeader };
  const file: Record<string, string> = {};
  const merged = {
    ...PRODUCT_DEFAULTS,
    ...lowerNames(config.recoveryConf),
    ...lowerNames(config.parameters),
    ...lowerNames(byRole[options.role]),
    // What the cluster says wins: a standby leader with another archive than its replicas' would be no source for them.
    ...(options.role === "primary" ? {} : config.standbyCluster?.recovery),
    ...(options.role === "standby_leader" ? config.standbyCluster?.leaderRecovery : {}),
  };
  for (const [name, value] of Object.entries(merged)) {
    if (OBSOLETE_RECOVERY_WORDS.has(name) || NEVER_SETTABLE.has(name) || name in controlled) continue;
    if (name === "wal_keep_segments") continue;
    if (INCLUDE_WORDS.has(name)) {
      faults.push({
        path: `postgresql.parameters.${name}`,
        message: "not a parameter: write postgresql.custom_conf: FILE to include a file",
      });
    } else if (!/^[a-z_][a-z0-9_$]*(\.[a-z_][a-z0-9_$]*)*$/.test(name)) {
      faults.push({ path: `postgresql.parameters.${name}`, message: "not a parameter's name; it is left out" });
    } else {
      file[name] = parameterText(value);
    }
  }
  if (config.enforcesFeedback && options.role !== "primary") file["hot_standby_feedback"] = "on";
  return { file, controlled, faults };
}

function controlledParameters(config: PostgresqlConfig, scope: string): Record<string, string> {
  const { wal_keep_segments: segments, ...rest } = config.controlledParameters;
  const keepSize = rest["wal_keep_size"] ?? (segments === undefined ? undefined : `${Number(segments) * WAL_SEGMENT_MB}MB`);
  return {
    ...rest,
    ...(keepSize === undefined ? {} : { wal_keep_size: keepSize }),
    listen_addresses: config.listenHosts.join(","),
    port: String(config.port),
    cluster_name: scope,
    hot_standby: "on",
  };
}

/** Which of the controlled parameters go onto the postmaster's command line, where nothing but a restart changes them. */
export function commandLineParameters(controlled: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(controlled).filter(([name]) => !RELOADABLE_CONTROLLED.has(name)));
}

/** Raises to what the primary had, or the standby would refuse to start. */
export function raisedForStandby(parameters: Readonly<Record<string, string>>, control: ControlData): Readonly<Record<string, string>> {
  const raised = Object.entries(STANDBY_FLOORS)
    .map(([name, floor]) => [name, floor(control)] as const)
    .filter(([name, floor]) => (parseNumber(parameters[name] ?? "", null) ?? 0) < floor)
    .map(([name, floor]) => [name, String(floor)] as const);
  return { ...parameters, ...Object.fromEntries(raised) };
}

/** Value as the configuration file and YAML's booleans mean it. */
export function parameterText(value: ParameterValue): string {
  return typeof value === "boolean" ? (value ? "on" : "off") : String(value);
}

/** One row of pg_settings, as far as it is needed to see a pending restart. */
export interface SettingRow {
  readonly name: string;
  readonly setting: string | null;
  /** The setting with its unit, as SHOW prints it. */
  readonly shown: string | null;
  readonly unit: string | null;
  readonly vartype: string;
  readonly boot_val: string | null;
  /** The server's own word: its files ask for another value than it runs with. */
  readonly pending_restart: boolean;
  /** Value in the files; null where they are silent. */
  readonly file_value: string | null;
}

/** The columns of a SettingRow, and where they come from; a condition follows. */
export const SETTING_ROWS = `SELECT s.name, s.setting, pg_catalog.current_setting(s.name, true) AS shown, s.unit, s.vartype, s.boot_val,
  s.pending_restart, f.setting AS file_value
FROM pg_catalog.pg_settings s
LEFT JOIN LATERAL (SELECT setting FROM pg_catalog.pg_file_settings WHERE name = s.name ORDER BY seqno DESC LIMIT 1) f ON s.pending_restart`;

/** Statement whose rows are SettingRow: every parameter that only a restart changes. */
export const RESTART_SETTINGS_QUERY = `${SETTING_ROWS}
WHERE s.context = 'postmaster'`;

/** Parameters whose wanted value differs from the running one and that only a restart changes. */
export function pendingRestartReason(wanted: Readonly<Record<string, string>>, rows: readonly SettingRow[]): PendingRestartReason {
  const reason: Record<string, { old_value: string; new_value: string }> = {};
  for (const row of rows) {
    const running = row.setting ?? "";
    const target = wanted[row.name] ?? (row.pending_restart ? (row.file_value ?? row.boot_val ?? "") : running);
    if (!sameValue(target, running, row)) reason[row.name] = { old_value: row.shown ?? running, new_value: target };
  }
  return reason;
}

function lowerNames(values: Readonly<Record<string, ParameterValue>>): Record<string, ParameterValue> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name.toLowerCase(), value]));
}
