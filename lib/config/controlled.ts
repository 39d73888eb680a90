// Owns the PostgreSQL parameters that are equal on all nodes and come from the DCS alone: defaults, minimums, accepted
// values, and those that nobody may set. Which of the wal_keep forms a version takes is not decided here.

import type { ConfigFault } from "../model/errors.ts";
import { entriesOf, type Tree } from "./tree.ts";
import { readBoolean, readBytes, readInteger } from "./value.ts";

interface Controlled {
  readonly fallback: string;
  readonly wanted: string;
  /** The value in the form that PostgreSQL takes; undefined when it is wrong or too small. */
  readonly read: (value: unknown) => string | undefined;
}

const WAL_SEGMENT_MB = 16;

/** Source: Patroni's documentation, "PostgreSQL parameters controlled by Patroni". */
const CONTROLLED: Readonly<Record<string, Controlled>> = {
  max_connections: atLeast(25, 100),
  max_locks_per_transaction: atLeast(32, 64),
  max_worker_processes: atLeast(2, 8),
  max_prepared_transactions: atLeast(0, 0),
  max_wal_senders: atLeast(3, 10),
  max_replication_slots: atLeast(4, 10),
  wal_keep_segments: atLeast(1, 8),
  wal_keep_size: { fallback: "128MB", wanted: "a size from 16MB on", read: readWalKeepSize },
  wal_level: { fallback: "replica", wanted: "replica or logical", read: readWalLevel },
  track_commit_timestamp: { fallback: "off", wanted: "on or off", read: readOnOff },
  wal_log_hints: { fallback: "on", wanted: "on or off", read: readOnOff },
};

/** Parameters that follow from `listen`, `scope` and the node's role. */
const NEVER_SETTABLE: Readonly<Record<string, string>> = {
  listen_addresses: "it follows postgresql.listen",
  port: "it follows postgresql.listen",
  cluster_name: "it is the scope",
  hot_standby: "it is always on",
};

export function isControlled(name: string): boolean {
  return Object.hasOwn(CONTROLLED, name.toLowerCase());
}

export function isNeverSettable(name: string): boolean {
  return Object.hasOwn(NEVER_SETTABLE, name.toLowerCase());
}

export interface ControlledParameters {
  readonly values: Readonly<Record<string, string>>;
  /** Names whose value is the one that the DCS gives. */
  readonly fromDcs: readonly string[];
  readonly faults: readonly ConfigFault[];
}

/** Effective values of all controlled parameters from the DCS's `postgresql.parameters`; what is wrong there becomes the default. */
export function controlledParameters(dcsParameters: Tree): ControlledParameters {
  const given = new Map(entriesOf(dcsParameters).map(([name, value]) => [name.toLowerCase(), value]));
  const values: Record<string, string> = {};
  const fromDcs: string[] = [];
  const faults: ConfigFault[] = [];
  for (const [name, rule] of Object.entries(CONTROLLED)) {
    const value = given.get(name);
    const read = value === undefined || value === null ? undefined : rule.read(value);
    values[name] = read ?? rule.fallback;
    if (read !== undefined) fromDcs.push(name);
    else if (value !== undefined && value !== null) {
      const message = `${JSON.stringify(value)} is not ${rule.wanted}; ${rule.fallback} is used`;
      faults.push({ path: `postgresql.parameters.${name}`, message });
    }
  }
  alignWalKeep(values, fromDcs);
  return { values, fromDcs, faults };
}

/** Where only one of the two wal_keep forms is given, the other says the same, so that any version gets what was meant. */
function alignWalKeep(values: Record<string, string>, fromDcs: string[]): void {
  const size = fromDcs.includes("wal_keep_size");
  const segments = fromDcs.includes("wal_keep_segments");
  if (size === segments) return;
  if (segments) values["wal_keep_size"] = `${Number(values["wal_keep_segments"]) * WAL_SEGMENT_MB}MB`;
  else values["wal_keep_segments"] = String(Math.ceil((readBytes(values["wal_keep_size"], "MB") ?? 0) / (WAL_SEGMENT_MB * 1024 ** 2)));
  fromDcs.push(segments ? "wal_keep_size" : "wal_keep_segments");
}

/**
 * Parameters that users may set, without those that are controlled or never settable, and a fault for each one dropped.
 * `origin` "dcs" takes controlled ones in silence: controlledParameters reads them. hot_standby: on is taken in silence too.
 */
export function userParameters(
  parameters: Tree,
  origin: "dcs" | "local",
  path: string,
): { readonly parameters: Tree; readonly faults: readonly ConfigFault[] } {
  const kept: Record<string, unknown> = {};
  const faults: ConfigFault[] = [];
  for (const [name, value] of entriesOf(parameters)) {
    const lower = name.toLowerCase();
    if (isNeverSettable(name)) {
      if (lower === "hot_standby" && readBoolean(value) === true) continue;
      faults.push({ path: `${path}.${name}`, message: `cannot be set and is ignored: ${NEVER_SETTABLE[lower]}` });
    } else if (!isControlled(name)) kept[name] = value;
    else if (origin === "local") {
      const message = "ignored: it is equal on all nodes and comes from the DCS alone; set it with edit-config";
      faults.push({ path: `${path}.${name}`, message });
    }
  }
  return { parameters: kept, faults };
}

function atLeast(minimum: number, fallback: number): Controlled {
  return {
    fallback: String(fallback),
    wanted: `a whole number from ${minimum} on`,
    read: (value) => {
      const number = readInteger(value);
      return number !== undefined && number >= minimum ? String(number) : undefined;
    },
  };
}

function readWalKeepSize(value: unknown): string | undefined {
  const size = readBytes(value, "MB");
  if (size === undefined || size < WAL_SEGMENT_MB * 1024 ** 2) return undefined;
  const text = String(value).trim();
  // PostgreSQL is strict about the case of units; a bare number counts megabytes.
  return /^\d+(kB|MB|GB|TB)$/.test(text) ? text : `${Math.floor(size / 1024 ** 2)}MB`;
}

function readWalLevel(value: unknown): string | undefined {
  const level = String(value).trim().toLowerCase();
  if (level === "hot_standby") return "replica";
  return level === "replica" || level === "logical" ? level : undefined;
}

function readOnOff(value: unknown): string | undefined {
  const on = readBoolean(value);
  return on === undefined ? undefined : on ? "on" : "off";
}
