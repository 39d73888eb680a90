// Owns the state of a cluster as a document: which keys belong to it, and how they are written into a store that has none. What lives
// with a session (who leads, who is there) is made anew by the nodes and never part of it, nor is a restore that was asked for.

import * as v from "valibot";
import type { StoreError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import { encodeJson } from "./encode.ts";
import type { ClusterKeys } from "./keys.ts";
import type { Change, Condition, Entry, RequestOptions, Snapshot, Store } from "./store.ts";

export const EXPORT_FORMAT = "matriarch cluster state 1";
/** A document is read into memory as a whole; a store holds far less for one cluster. */
export const EXPORT_BYTES_MAX = 16 * 1024 * 1024;

const text = v.string();
const schema = v.object({
  format: v.literal(EXPORT_FORMAT),
  scope: text,
  namespace: text,
  group: v.nullable(v.number()),
  /** ISO 8601. */
  exported_at: text,
  /** Values as the store has them, by key below the cluster's prefix. */
  keys: v.record(text, text),
  /** Keys beside that prefix, by what follows the cluster's name. */
  beside: v.record(text, text),
});
export type ClusterExport = v.InferOutput<typeof schema>;

/** Errors: one line that says what the text is not. */
export function decodeExport(source: string): Result<ClusterExport, string> {
  const parsed = v.safeParse(v.pipe(text, v.parseJson(), schema), source);
  if (parsed.success) return ok(parsed.output);
  const [issue] = parsed.issues;
  return err(`${v.getDotPath(issue) ?? "it"}: ${issue.message}`);
}

/** A cluster as a store has it: its own keys, and those beside them. */
export interface ClusterSnapshot {
  readonly inside: readonly Entry[];
  readonly beside: readonly Entry[];
}

/** Two reads: only the first is of one moment. Errors: unavailable, rejected. */
export async function readWhole(
  store: Store,
  keys: ClusterKeys,
  { deadline }: RequestOptions,
): Promise<Result<ClusterSnapshot, StoreError>> {
  const options = { deadline, consistency: "consistent" } as const;
  const inside = await store.snapshot(keys.prefix, options);
  if (!inside.ok) return inside;
  const beside: Entry[] = [];
  for (const key of besideKeys(keys)) {
    const read: Result<Snapshot, StoreError> = await store.snapshot(key, options);
    if (!read.ok) return read;
    beside.push(...read.value.entries.filter((entry) => entry.key === key));
  }
  return ok({ inside: inside.value.entries, beside });
}

/** What is kept of it: everything but locks, members and what else lives with a session. */
export function exportOf(
  snapshot: ClusterSnapshot,
  keys: ClusterKeys,
  words: Pick<ClusterExport, "scope" | "namespace" | "group"> & { readonly now: number },
): ClusterExport {
  const { scope, namespace, group, now } = words;
  const kept = snapshot.inside.filter(({ key, session }) => session === null && isKept(key.slice(keys.prefix.length)));
  const root = keys.prefix.slice(0, -1);
  return {
    format: EXPORT_FORMAT,
    scope,
    namespace,
    group,
    exported_at: new Date(now).toISOString(),
    keys: Object.fromEntries(kept.map(({ key, value }) => [key.slice(keys.prefix.length), value])),
    beside: Object.fromEntries(snapshot.beside.map(({ key, value }) => [key.slice(root.length), value])),
  };
}

/** Whether anything there would be lost, or would speak against it. */
export function isEmpty(snapshot: ClusterSnapshot): boolean {
  return snapshot.inside.length === 0 && snapshot.beside.length === 0;
}

/**
 * Writes the document. The configuration and `initialize` come last, in one transaction with `also`, and only where `initialize` is as it
 * was read: before it the cluster does not exist for a node. Keys of `present` that the document does not have are deleted, but for those
 * of living sessions. Errors: as Store.put and Store.transaction; then a second call writes it again.
 */
export async function writeExport(
  store: Store,
  keys: ClusterKeys,
  options: RequestOptions & { readonly document: ClusterExport; readonly present: ClusterSnapshot; readonly also: readonly Change[] },
): Promise<Result<null, StoreError>> {
  const { document, present, also, deadline } = options;
  const root = keys.prefix.slice(0, -1);
  const values = new Map([
    ...Object.entries(document.keys).map(([name, value]) => [`${keys.prefix}${name}`, value] as const),
    ...Object.entries(document.beside).map(([name, value]) => [`${root}${name}`, value] as const),
  ]);
  const decisive = [keys.config, keys.initialize, ...also.map(({ key }) => key)];
  const there = [...present.inside, ...present.beside].filter(({ key, session }) => session === null && !decisive.includes(key));
  for (const { key } of there.filter((entry) => !values.has(entry.key))) {
    const gone = await store.delete(key, { deadline });
    if (!gone.ok) return gone;
  }
  for (const [key, value] of values) {
    const written = decisive.includes(key) ? null : await store.put(key, value, { deadline });
    if (written?.ok === false) return written;
  }
  const before = present.inside.find(({ key }) => key === keys.initialize);
  const asRead: Condition = before === undefined ? { kind: "absent" } : { kind: "revision", revision: before.revision };
  const changes = [...also, changeTo(keys.initialize, values, asRead), changeTo(keys.config, values, { kind: "none" })];
  const done = await store.transaction(changes, { deadline });
  return done.ok ? ok(null) : done;
}

function changeTo(key: string, values: ReadonlyMap<string, string>, condition: Condition): Change {
  const value = values.get(key);
  if (value !== undefined) return { kind: "put", key, value, condition };
  return condition.kind === "absent" ? { kind: "delete", key } : { kind: "delete", key, condition };
}

/** The same with the cluster in pause, or out of it. Errors: the configuration is missing, or no JSON object. */
export function pausedExport(document: ClusterExport, pause: boolean): Result<ClusterExport, string> {
  const config = document.keys["config"];
  if (config === undefined) return err("config: it is missing; without it a cluster cannot be in pause");
  const value = pausedConfig(config, pause);
  return value.ok ? ok({ ...document, keys: { ...document.keys, config: value.value } }) : value;
}

/** Errors: it is no JSON object. */
export function pausedConfig(config: string, pause: boolean): Result<string, string> {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), v.record(v.string(), v.unknown())), config);
  if (!parsed.success) return err("config: it is no JSON object");
  const { pause: _before, ...rest } = parsed.output;
  return ok(encodeJson(pause ? { ...rest, pause: true } : rest));
}

/** As it is kept in a file. */
export function encodeExport(document: ClusterExport): string {
  return `${JSON.stringify(document, null, 2)}\n`;
}

/**
 * Of an MPP group as well: its keys begin with its number. A restore or an upgrade is a deed on these hosts' disks: elsewhere, or later, its request would
 * stop every server.
 */
function isKept(name: string): boolean {
  return !/^(\d+\/)?(leader$|members\/|restore$|upgrade$|backup_run$)|^\d+\.(lease|rolling_restart|moved)$/.test(name);
}

function besideKeys(keys: ClusterKeys): readonly string[] {
  return [keys.configHistory];
}
