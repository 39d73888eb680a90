// Owns the order in which the `sync` key and synchronous_standby_names change, so that at each instant, between any two of these steps
// too, whoever the key lets take over has every acknowledged commit (safety.md, invariant 2). Pure.
//
// The key (V, q) says: a voter that has at least as much WAL as q other voters has every commit. That holds where each commit is missing
// on at most q of the voters. A setting that is in force guarantees each commit on some of them (guaranteedHolders), so it honours the key
// where q + guaranteed ≥ voters. In mode `on` q is 0: each name in the key has everything, and readers of the key need no votes.

import type { Lsn } from "../model/units.ts";
import { blocksCommits, formatSyncNames, guaranteedHolders, includesName, parseSyncSetting, type SyncSetting } from "./sync-names.ts";
import { connectionOf, type SyncChoice, type SyncTarget, syncTarget } from "./sync-standbys.ts";

export type SyncStep =
  | { readonly kind: "done" }
  /** A setting is in force, and its standbys have not yet got all that was committed before it was. */
  | { readonly kind: "await" }
  | { readonly kind: "delete-key"; readonly why: string }
  | { readonly kind: "write-key"; readonly standbys: readonly string[]; readonly quorum: number; readonly why: string }
  /** `value` null: what the operator's own parameters say. */
  | { readonly kind: "set-names"; readonly value: string | null; readonly why: string };

export interface SyncInput extends SyncChoice {
  /** Primary's position when the server first showed the present setting; null = not known yet. */
  readonly since: { readonly names: string; readonly lsn: Lsn } | null;
  /** The present setting was made by us, not by the operator's parameters. */
  readonly managed: boolean;
  /** Just promoted: the setting names every reachable member until one streams, or this long is over. */
  readonly grace: boolean;
}

interface Voting {
  readonly standbys: readonly string[];
  readonly quorum: number;
}

const NOBODY: Voting = { standbys: [], quorum: 0 };

/** The next step towards the wanted state; `done` where nothing is to be changed. */
export function syncStep(input: SyncInput): SyncStep {
  const { config, sync, status } = input;
  if (config.synchronousMode === "off") return stepToOff(input);
  if (sync.leader !== input.self)
    return writeKey(input, NOBODY, sync.leader === null ? "Enabled synchronous replication" : "the sync key names another leader");
  const setting = parseSyncSetting(status.synchronousStandbyNames);
  const quorate = config.synchronousMode === "quorum";
  if (!honours(setting, sync) || (!quorate && sync.quorum > 0)) {
    const shown = status.synchronousStandbyNames;
    return writeKey(input, honouredPart(input, setting), `PostgreSQL, which waits for '${shown}', does not promise what the sync key says`);
  }
  const target = syncTarget(input);
  if (target.names.length === 0 && input.grace) return { kind: "done" };
  if (target.setting !== status.synchronousStandbyNames) return stepToSetting(input, target);
  // Strict without a candidate keeps the old names in the key: they still have every acknowledged commit.
  if (blocksCommits(setting)) return { kind: "done" };
  return quorate ? stepToQuorum(input, target) : stepToConfirmed(input, target);
}

/** The key goes first: while it names standbys, each of them must have every acknowledged commit. */
function stepToOff({ sync, managed, status }: SyncInput): SyncStep {
  const why = "Disabled synchronous replication";
  if (sync.leader !== null) return { kind: "delete-key", why };
  if (managed && status.synchronousStandbyNames !== "") return { kind: "set-names", value: null, why };
  return { kind: "done" };
}

/** Each commit under the setting is missing on no more voters than the key allows for. */
function honours(setting: SyncSetting, voting: Voting): boolean {
  return voting.quorum + guaranteedHolders(setting, voting.standbys) >= voting.standbys.length;
}

/** What of the key the setting in force promises. Fewer voters and a higher quorum never claim more than was claimed before. */
function honouredPart({ config, sync }: SyncInput, setting: SyncSetting): Voting {
  const standbys = sync.standbys.filter((name) => includesName(setting.names, name));
  if (config.synchronousMode !== "quorum") {
    const whole = { standbys, quorum: 0 };
    return sync.quorum === 0 && honours(setting, whole) ? whole : NOBODY;
  }
  const quorum = Math.max(sync.quorum, standbys.length - guaranteedHolders(setting, standbys));
  return quorum < standbys.length ? { standbys, quorum } : NOBODY;
}

/** Towards another setting; where it would break what the key says, the key first says less. */
function stepToSetting(input: SyncInput, target: SyncTarget): SyncStep {
  const { config, sync } = input;
  if (honours(parseSyncSetting(target.setting), sync)) return { kind: "set-names", value: target.setting, why: settingWhy(input, target) };
  const staying = sync.standbys.filter((name) => target.names.includes(name));
  if (config.synchronousMode !== "quorum") {
    return writeKey(
      input,
      { standbys: staying, quorum: 0 },
      `Updating synchronous privilege temporarily from ${list(sync.standbys)} to ${list(staying)}`,
    );
  }
  if (target.count === 0) return writeKey(input, NOBODY);
  // Who joins may lack any commit: each raises the quorum by one. Then any `count` of the members suffice.
  const joining = target.names.filter((name) => !sync.standbys.includes(name));
  const standbys = [...sync.standbys, ...joining].sort();
  return writeKey(input, { standbys, quorum: Math.max(sync.quorum + joining.length, standbys.length - target.count) });
}

/** The setting is in force: the key follows, once enough voters have what was committed before it was. */
function stepToQuorum(input: SyncInput, target: SyncTarget): SyncStep {
  const { sync } = input;
  if (sync.quorum === target.quorum && sameNames(sync.standbys, target.names)) return { kind: "done" };
  const joining = target.names.filter((name) => !sync.standbys.includes(name)).length;
  const claimsNoMore = target.quorum >= sync.quorum + joining;
  const holders = target.names.filter((name) => hasAllBefore(input, name)).length;
  if (!claimsNoMore && holders < target.count) return { kind: "await" };
  return writeKey(input, { standbys: target.names, quorum: target.quorum });
}

/** Each name enters the key as soon as it is confirmed. Names that are not waited for have left it already. */
function stepToConfirmed(input: SyncInput, target: SyncTarget): SyncStep {
  const { sync } = input;
  const missing = target.names.filter((name) => !sync.standbys.includes(name));
  const confirmed = missing.filter((name) => isSynchronous(input, name) && hasAllBefore(input, name));
  if (missing.length === 0) return { kind: "done" };
  if (confirmed.length === 0) return { kind: "await" };
  const standbys = [...sync.standbys, ...confirmed].sort();
  return writeKey(input, { standbys, quorum: 0 }, `Synchronous standby status assigned to ${list(standbys)}`);
}

function isSynchronous({ status }: SyncInput, name: string): boolean {
  const state = connectionOf(status, name)?.syncState;
  return state === "sync" || state === "quorum";
}

/** It streams, and has flushed all that was committed before the present setting was in force. */
function hasAllBefore({ status, since }: SyncInput, name: string): boolean {
  const row = connectionOf(status, name);
  if (row === null || row.state !== "streaming" || row.flushLsn === null) return false;
  return since !== null && since.names === status.synchronousStandbyNames && row.flushLsn >= since.lsn;
}

function writeKey({ self }: SyncInput, voting: Voting, why?: string): SyncStep {
  const { standbys, quorum } = voting;
  const told = why ?? `Setting leader to ${self}, quorum to ${quorum} of ${standbys.length} (${standbys.join(", ")})`;
  return { kind: "write-key", standbys, quorum, why: told };
}

function settingWhy({ config }: SyncInput, { names, count }: SyncTarget): string {
  if (names.length === 0 && config.synchronousModeStrict) {
    return "No active replication connections from Patroni members and synchronous_mode_strict is requested. Commits will be delayed.";
  }
  if (config.synchronousMode === "quorum") return `Setting synchronous replication to ${count} of ${names.length} (${names.join(", ")})`;
  return names.length === 0 ? "No standbys available!" : `Assigning synchronous standby status to ${list(names)}`;
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  if (a.length === b.length && a.every((name, index) => name === b[index])) return true;
  return formatSyncNames(a) === formatSyncNames(b);
}

/** As monitoring knows it from Patroni. */
function list(names: readonly string[]): string {
  return `[${names.map((name) => `'${name}'`).join(", ")}]`;
}
