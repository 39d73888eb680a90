// Owns the text of synchronous_standby_names: how it is written in each mode, and what a text that is in force promises. Pure.

/** In strict mode without any candidate: a name that no standby has, so that commits wait. */
export const STRICT_PLACEHOLDER = "__patroni_strict_sync_replica_placeholder__";

/** What a setting makes each commit wait for: `count` of the `names`. */
export interface SyncSetting {
  readonly count: number;
  readonly names: readonly string[];
  /** By the order of the names, or whoever is first. */
  readonly method: "first" | "any";
}

const NOTHING: SyncSetting = { count: 0, names: [], method: "first" };

/** All of them are waited for; plain identifiers stand bare (contract §10). */
export function formatSyncNames(names: readonly string[]): string {
  if (names.length < 2) return names.length === 0 ? "" : quoteName(names[0] as string);
  return `${names.length} (${quotedList(names)})`;
}

/** `count` of them are waited for, in the form that takes the first ones that there are. */
export function formatFirstNames(count: number, names: readonly string[]): string {
  if (names.length < 2) return formatSyncNames(names);
  return `${count} (${quotedList(names)})`;
}

/** Quorum commit: any `count` of them are waited for. */
export function formatQuorumNames(count: number, names: readonly string[]): string {
  return names.length === 0 ? "" : `ANY ${count} (${quotedList(names)})`;
}

/** Sorted, with commas; a single one, as it usually is, needs no sorting. */
function quotedList(names: readonly string[]): string {
  return names.length === 1 ? quoteName(names[0] as string) : [...names].sort().map(quoteName).join(",");
}

function quoteName(name: string): string {
  const plain = /^[a-z_][a-z0-9_$]*$/.test(name) && name !== "first" && name !== "any";
  return plain ? name : `"${name.replaceAll('"', '""')}"`;
}

/** Names in any form; `*` stays a name. */
export function parseSyncNames(text: string): readonly string[] {
  return parseSyncSetting(text).names;
}

/** Reads a setting as PostgreSQL does, in each of its forms. */
export function parseSyncSetting(text: string): SyncSetting {
  // The setting is read at each look and seldom changes.
  if (lastParsed.text !== text) lastParsed = { text, setting: parse(text) };
  return lastParsed.setting;
}

let lastParsed: { readonly text: string; readonly setting: SyncSetting } = { text: "", setting: NOTHING };

function parse(text: string): SyncSetting {
  const form = /^\s*(?:(FIRST|ANY)?\s*(\d+)\s*)\((.*)\)\s*$/is.exec(text);
  const names: string[] = [];
  for (const match of (form?.[3] ?? text).matchAll(/"((?:[^"]|"")*)"|([^\s,]+)/g)) {
    names.push(match[1] === undefined ? (match[2] ?? "").toLowerCase() : match[1].replaceAll('""', '"'));
  }
  const found = names.filter((name) => name !== "");
  if (found.length === 0) return NOTHING;
  return { count: form === null ? 1 : Number(form[2]), names: found, method: form?.[1]?.toLowerCase() === "any" ? "any" : "first" };
}

/** Nothing is acknowledged while this is in force: no standby has the placeholder's name. */
export function blocksCommits(setting: SyncSetting): boolean {
  return setting.count > 0 && setting.names[0] === STRICT_PLACEHOLDER && setting.names.every((name) => name === STRICT_PLACEHOLDER);
}

/**
 * How many of `voters` have each commit that is acknowledged under the setting, whichever standbys answered first: as many as have to
 * confirm, less those of the setting that are no voters.
 */
export function guaranteedHolders(setting: SyncSetting, voters: readonly string[]): number {
  if (blocksCommits(setting)) return voters.length;
  // `*` is whoever comes.
  if (setting.names.includes("*")) return 0;
  let strangers = 0;
  for (const name of setting.names) if (!includesName(voters, name)) strangers += 1;
  return Math.max(0, Math.min(voters.length, setting.count - strangers));
}

/** synchronous_commit of a session that waits for a standby. */
const WAITING_COMMITS: ReadonlySet<string> = new Set(["on", "remote_write", "remote_apply"]);

/** By these settings of a primary no commit is acknowledged without that standby, but in sessions that wait for nobody by a setting of their own. */
export function acknowledgesOnlyWith(standby: string, settings: { readonly names: string; readonly commit: string }): boolean {
  const { count, names } = parseSyncSetting(settings.names);
  return WAITING_COMMITS.has(settings.commit) && count > 0 && count === names.length && includesName(names, standby);
}

/** Names match as PostgreSQL matches them: without regard to case. */
export function includesName(names: readonly string[], name: string): boolean {
  // Usually they are written alike.
  if (names.includes(name)) return true;
  const lower = name.toLowerCase();
  return names.some((each) => each.toLowerCase() === lower);
}
