// Owns the schema of the dynamic configuration (contract §6) with its defaults. Floors that depend on the store, and the
// rule between the timeouts, are in dynamic.ts.

import * as v from "valibot";
import type { SynchronousMode } from "../model/dynamic-config.ts";
import { bytes, defaultSection, duration, flag, mapOf, option, optional, optionalSection, text, whole } from "./option.ts";
import { POSTGRESQL_ENTRIES } from "./schema-postgresql.ts";
import { entriesOf, isTree } from "./tree.ts";
import { readBoolean, readInteger, readText, readTextList } from "./value.ts";

const STANDBY_CLUSTER = {
  host: text("10.1.0.1"),
  port: optional({ wanted: "a port, or ports separated by commas", example: "5432", read: readPorts }),
  primary_slot_name: text("standby_leader"),
  create_replica_methods: optional({ wanted: "a list of method names", example: "[basebackup]", read: readTextList }),
  restore_command: text("'cp /archive/%f %p'"),
  archive_cleanup_command: text("'pg_archivecleanup /archive %r'"),
  recovery_min_apply_delay: optional({ wanted: "a duration", example: "5min", read: readTextOrNumber }),
};

const SLOT_WANTED = "a slot: {type: physical}, or {type: logical, database: NAME, plugin: NAME}";

export const DYNAMIC_SCHEMA = v.object(
  {
    loop_wait: duration(10),
    ttl: duration(30),
    retry_timeout: duration(10),
    maximum_lag_on_failover: bytes(1_048_576, { min: 0 }),
    maximum_lag_on_syncnode: bytes(-1),
    max_timelines_history: whole(0, { min: 0 }),
    primary_start_timeout: duration(300, { min: 0 }),
    primary_stop_timeout: duration(0),
    primary_race_backoff: duration(0, { min: 0 }),
    synchronous_mode: option<SynchronousMode>({
      wanted: "one of off, on, quorum",
      example: "on",
      read: readSynchronousMode,
      fallback: "off",
    }),
    synchronous_mode_strict: flag(false),
    synchronous_node_count: whole(1, { min: 1 }),
    failsafe_mode: flag(false),
    check_timeline: flag(false),
    member_slots_ttl: duration("30min", { min: 0 }),
    pause: flag(false),
    standby_cluster: optionalSection(STANDBY_CLUSTER),
    slots: mapOf(option({ wanted: SLOT_WANTED, example: "{type: physical}", read: readSlot, fallback: {} })),
    ignore_slots: option({ wanted: "a list of mappings", example: "[{name: other, type: physical}]", read: readMappings, fallback: [] }),
    postgresql: defaultSection(POSTGRESQL_ENTRIES),
  },
  "is not a mapping",
);

export type DynamicTree = v.InferOutput<typeof DYNAMIC_SCHEMA>;

/** Old names, still read where the new one is missing. */
export const OLD_NAMES: Readonly<Record<string, string>> = {
  master_start_timeout: "primary_start_timeout",
  master_stop_timeout: "primary_stop_timeout",
};

function readSynchronousMode(value: unknown): SynchronousMode | undefined {
  const on = readBoolean(value);
  if (on !== undefined) return on ? "on" : "off";
  return typeof value === "string" && value.trim().toLowerCase() === "quorum" ? "quorum" : undefined;
}

function readPorts(value: unknown): string | number | undefined {
  const text = readText(value);
  const ports = text?.split(",").map((port) => readInteger(port));
  if (text === undefined || ports === undefined) return undefined;
  if (!ports.every((port) => port !== undefined && port >= 1 && port <= 65_535)) return undefined;
  return ports.length === 1 ? ports[0] : text;
}

function readTextOrNumber(value: unknown): string | number | undefined {
  return typeof value === "number" ? value : readText(value);
}

function readMappings(value: unknown): readonly Readonly<Record<string, unknown>>[] | undefined {
  return Array.isArray(value) && value.every(isTree) ? value : undefined;
}

/** A slot without a type is physical unless it names a database and a plugin; an empty value stands for a physical one. */
function readSlot(value: unknown): Readonly<Record<string, unknown>> | undefined {
  if (!isTree(value)) return value === 0 || value === false || value === "" ? { type: "physical" } : undefined;
  const slot = Object.fromEntries(entriesOf(value));
  const complete = isName(slot["database"]) && isName(slot["plugin"]);
  const type = slot["type"] ?? (complete ? "logical" : "physical");
  return type === "physical" || (type === "logical" && complete) ? { ...slot, type } : undefined;
}

function isName(value: unknown): boolean {
  return typeof value === "string" && value !== "";
}
