// Owns synchronous_mode on the leader: which standbys to wait for, and in which order key and setting change, so that
// at each instant every name in the sync key is one that PostgreSQL waits for (safety.md, invariant 2). Pure.

import type { DynamicConfig } from "../model/dynamic-config.ts";
import type { Member } from "../model/member.ts";
import { tagEnabled } from "../model/member.ts";
import type { PostgresStatus, ReplicationConnection } from "../model/postgres.ts";
import type { SyncState } from "../model/sync-state.ts";
import type { Lsn } from "../model/units.ts";

/** In strict mode without any candidate: a name that no standby has, so that commits wait. */
export const STRICT_PLACEHOLDER = "__patroni_strict_sync_replica_placeholder__";

/** Writes names as PostgreSQL reads them; plain identifiers stand bare (contract §10). */
export function formatSyncNames(names: readonly string[]): string {
  const quoted = [...names].sort().map(quoteName);
  if (quoted.length === 0) return "";
  return quoted.length === 1 ? (quoted[0] ?? "") : `${quoted.length} (${quoted.join(",")})`;
}

function quoteName(name: string): string {
  const plain = /^[a-z_][a-z0-9_$]*$/.test(name) && name !== "first" && name !== "any";
  return plain ? name : `"${name.replaceAll('"', '""')}"`;
}

/** Reads what formatSyncNames wrote, and the quorum and FIRST forms too; `*` stays a name. */
export function parseSyncNames(text: string): readonly string[] {
  // The setting is read at each look and seldom changes.
  if (lastParsed.text !== text) lastParsed = { text, names: parseNames(text) };
  return lastParsed.names;
}

let lastParsed: { readonly text: string; readonly names: readonly string[] } = { text: "", names: [] };

function parseNames(text: string): readonly string[] {
  const inner = /^\s*(?:(?:FIRST|ANY)?\s*\d+\s*)?\((.*)\)\s*$/is.exec(text)?.[1] ?? text;
  const names: string[] = [];
  for (const match of inner.matchAll(/"((?:[^"]|"")*)"|([^\s,]+)/g)) {
    names.push(match[1] === undefined ? (match[2] ?? "").toLowerCase() : match[1].replaceAll('""', '"'));
  }
  return names.filter((name) => name !== "");
}

export type SyncStep =
  | { readonly kind: "done" }
  | { readonly kind: "delete-key"; readonly why: string }
  | { readonly kind: "write-key"; readonly standbys: readonly string[]; readonly why: string }
  /** `value` null: what the operator's own parameters say. */
  | { readonly kind: "set-names"; readonly value: string | null; readonly why: string };

export interface SyncInput {
  readonly self: string;
  readonly config: DynamicConfig;
  readonly members: readonly Member[];
  readonly sync: SyncState;
  readonly status: PostgresStatus;
  /** Primary's position when the server first showed the present setting; null = not known yet. */
  readonly since: { readonly names: string; readonly lsn: Lsn } | null;
  /** The present setting was made by us, not by the operator's parameters. */
  readonly managed: boolean;
  /** Just promoted: the setting names every reachable member until one streams, or this long is over. */
  readonly grace: boolean;
}

/** The next step towards the wanted state; `done` where nothing is to be changed. */
export function syncStep(input: SyncInput): SyncStep {
  const { config, sync, status } = input;
  const setting = status.synchronousStandbyNames;
  if (config.synchronousMode === "off") {
    // The key goes first: while it names standbys, each of them must have every acknowledged commit.
    if (sync.leader !== null) return { kind: "delete-key", why: "synchronous mode is off" };
    if (input.managed && setting !== "") return { kind: "set-names", value: null, why: "synchronous mode is off" };
    return { kind: "done" };
  }
  const current = parseSyncNames(setting).filter((name) => name !== STRICT_PLACEHOLDER);
  const inKey = sync.leader === input.self ? sync.standbys : [];
  if (sync.leader !== input.self) return { kind: "write-key", standbys: [], why: "the sync key names another leader" };

  const lost = inKey.filter((name) => !current.includes(name.toLowerCase()) && !current.includes(name));
  if (lost.length > 0)
    return {
      kind: "write-key",
      standbys: inKey.filter((name) => !lost.includes(name)),
      why: `PostgreSQL does not wait for ${lost.join(", ")}`,
    };

  const wanted = pickStandbys(input, current);
  if (wanted.length === 0 && input.grace) return { kind: "done" };
  const value = wanted.length === 0 && config.synchronousModeStrict ? STRICT_PLACEHOLDER : formatSyncNames(wanted);
  const removed = inKey.filter((name) => !wanted.includes(name));
  // Strict without a candidate keeps the old names in the key: they still hold every acknowledged commit.
  if (removed.length > 0 && !(wanted.length === 0 && config.synchronousModeStrict)) {
    return {
      kind: "write-key",
      standbys: inKey.filter((name) => wanted.includes(name)),
      why: `${removed.join(", ")} may not be waited for any more`,
    };
  }
  if (value !== setting)
    return { kind: "set-names", value, why: wanted.length === 0 ? "no standby is streaming" : `wait for ${wanted.join(", ")}` };
  const confirmed = wanted.filter((name) => !inKey.includes(name) && isConfirmed(input, name));
  if (confirmed.length > 0)
    return { kind: "write-key", standbys: [...inKey, ...confirmed].sort(), why: `${confirmed.join(", ")} is synchronous` };
  return { kind: "done" };
}

/** A name is confirmed once PostgreSQL calls it synchronous and it has flushed all that was committed before it was waited for. */
function isConfirmed(input: SyncInput, name: string): boolean {
  const row = connectionOf(input.status, name);
  if (row === null || row.state !== "streaming" || row.flushLsn === null) return false;
  if (row.syncState !== "sync" && row.syncState !== "quorum") return false;
  const since = input.since;
  return since !== null && since.names === input.status.synchronousStandbyNames && row.flushLsn >= since.lsn;
}

/** Streaming members, those that are synchronous already first, then by position; at most synchronous_node_count. */
function pickStandbys(input: SyncInput, current: readonly string[]): readonly string[] {
  const inKey = input.sync.standbys;
  const rows = input.members
    .filter((member) => member.name !== input.self && !tagEnabled(member.tags, "nosync"))
    .map((member) => ({ name: member.name, row: connectionOf(input.status, member.name) }))
    .filter(
      (candidate): candidate is { name: string; row: ReplicationConnection } =>
        candidate.row !== null && candidate.row.state === "streaming",
    );
  const maximum = highestFlush(rows.map(({ row }) => row));
  const lagLimit = input.config.maximumLagOnSyncnodeBytes;
  const near = rows.filter(({ row }) => lagLimit < 0 || Number(maximum - (row.flushLsn ?? 0n)) <= lagLimit);
  const rank = (name: string): number =>
    inKey.includes(name) ? 0 : current.includes(name) || current.includes(name.toLowerCase()) ? 1 : 2;
  near.sort((a, b) => rank(a.name) - rank(b.name) || compareLsn(b.row.flushLsn, a.row.flushLsn) || (a.name < b.name ? -1 : 1));
  return near
    .slice(0, Math.max(1, input.config.synchronousNodeCount))
    .map(({ name }) => name)
    .sort();
}

function highestFlush(rows: readonly ReplicationConnection[]): bigint {
  return rows.reduce<bigint>((highest, row) => (row.flushLsn !== null && row.flushLsn > highest ? row.flushLsn : highest), 0n);
}

function compareLsn(a: bigint | null, b: bigint | null): number {
  const left = a ?? 0n;
  const right = b ?? 0n;
  return left < right ? -1 : left > right ? 1 : 0;
}

function connectionOf(status: PostgresStatus, name: string): ReplicationConnection | null {
  return status.replication.find((row) => row.applicationName.toLowerCase() === name.toLowerCase()) ?? null;
}

/** What a node puts into synchronous_standby_names before it promotes: every reachable member but the former leader. */
export function namesBeforePromotion(options: {
  readonly config: DynamicConfig;
  readonly self: string;
  readonly formerLeader: string | null;
  readonly members: readonly Member[];
}): string {
  const { config, self, formerLeader, members } = options;
  if (config.synchronousMode === "off") return "";
  const names = members
    .filter((member) => member.name !== self && member.name !== formerLeader && !tagEnabled(member.tags, "nosync"))
    .map((member) => member.name);
  if (names.length === 0) return config.synchronousModeStrict ? STRICT_PLACEHOLDER : "";
  // Any one of them suffices: several standbys would otherwise all be waited for.
  return names.length === 1 ? formatSyncNames(names) : `1 (${[...names].sort().map(quoteName).join(",")})`;
}
