// Owns the seal on a cluster's place in a store: while it is there no node of the cluster decides by that store, because it names
// another system identifier than any data directory has, outside of a pause, and a node that reads it ends (docs/adr/0006).
// Whoever moves a cluster seals both stores, and breaks one of the seals by writing the cluster there.

import * as v from "valibot";
import type { StoreError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { Revision } from "../model/units.ts";
import { type ClusterExport, type ClusterSnapshot, pausedConfig, pausedExport, writeExport } from "./cluster-export.ts";
import { encodeJson } from "./encode.ts";
import type { ClusterKeys } from "./keys.ts";
import type { Change, Condition, Entry, RequestOptions, Store } from "./store.ts";

/** In the place of `initialize`: of the form that a Patroni takes for a system identifier as well, and none that initdb makes any more. */
export const SEALED_IDENTIFIER = "1000000000";
/** The leader's name while whoever seals holds the lock, so that nobody has it at that instant. */
export const SEALING_HOLDER = "ctl-move-dcs";

const schema = v.object({
  /** `leaving`: not sealed yet, noted before its members are gone. `reserved`: nothing is there yet. `left`: the cluster was here. */
  state: v.picklist(["leaving", "reserved", "left"]),
  /** The cluster's own, as `initialize` had it. */
  systemIdentifier: v.string(),
  /** The other store, for people; without secrets. */
  other: v.string(),
  /** ISO 8601. */
  at: v.string(),
  /** `user@host`. */
  by: v.string(),
  leader: v.nullable(v.string()),
  /** The REST API of each member as it was, by name; empty where it published none. */
  members: v.record(v.string(), v.string()),
});
export type SealRecord = v.InferOutput<typeof schema>;

export interface Seal {
  readonly record: SealRecord;
  readonly revision: Revision;
}

/** Null where the store has none, or none that can be read. Errors: unavailable, rejected. */
export async function readSeal(store: Store, keys: ClusterKeys, { deadline }: RequestOptions): Promise<Result<Seal | null, StoreError>> {
  const read = await store.snapshot(keys.moved, { deadline, consistency: "consistent" });
  if (!read.ok) return read;
  const entry = read.value.entries.find(({ key }) => key === keys.moved);
  const parsed = entry === undefined ? null : v.safeParse(v.pipe(v.string(), v.parseJson(), schema), entry.value);
  return ok(entry !== undefined && parsed?.success === true ? { record: parsed.output, revision: entry.revision } : null);
}

/** Whether nodes that read this place end by themselves. */
export function isSealed({ inside }: Pick<ClusterSnapshot, "inside">, keys: ClusterKeys): boolean {
  return inside.find(({ key }) => key === keys.initialize)?.value === SEALED_IDENTIFIER;
}

/** Notes what is about to be done; seals nothing. Errors: as Store.put. */
export function noteLeaving(
  store: Store,
  keys: ClusterKeys,
  options: RequestOptions & { readonly record: SealRecord; readonly expected: Revision | null },
): Promise<Result<Revision, StoreError>> {
  const { record, expected, deadline } = options;
  return store.put(keys.moved, encodeJson(record), { deadline, condition: revisionOrAbsent(expected) });
}

/**
 * Seals the place as it was read, in one transaction that also takes the leader's lock: where anybody holds it, or has changed `initialize`
 * or the configuration since, nothing is done. The lock is left to its session (`ttl`), which is longer than any node goes on with
 * what it had read before. Errors: condition-failed; as Store.openSession and Store.transaction.
 */
export async function sealPlace(
  store: Store,
  keys: ClusterKeys,
  options: RequestOptions & {
    readonly present: ClusterSnapshot;
    readonly record: SealRecord;
    readonly expected: Revision | null;
    /** The cluster's configuration: a node that finds none goes by the last one that it knew, and that may be in pause. */
    readonly config: string;
    readonly ttl: Parameters<Store["openSession"]>[0]["ttl"];
  },
): Promise<Result<null, StoreError>> {
  const { present, record, expected, deadline, ttl } = options;
  if (find(present, keys.leader) !== undefined) return err({ kind: "condition-failed" });
  const session = await store.openSession({ deadline, name: SEALING_HOLDER, ttl });
  if (!session.ok) return session;
  const unpaused = pausedConfig(options.config, false);
  if (!unpaused.ok) return err({ kind: "rejected", reason: unpaused.error });
  const asRead = (key: string): Condition => revisionOrAbsent(find(present, key)?.revision ?? null);
  const changes: readonly Change[] = [
    { kind: "put", key: keys.leader, value: SEALING_HOLDER, session: session.value.id },
    { kind: "put", key: keys.initialize, value: SEALED_IDENTIFIER, condition: asRead(keys.initialize) },
    { kind: "put", key: keys.config, value: unpaused.value, condition: asRead(keys.config) },
    { kind: "put", key: keys.moved, value: encodeJson(record), condition: revisionOrAbsent(expected) },
  ];
  const sealed = await store.transaction(changes, { deadline });
  return sealed.ok ? ok(null) : sealed;
}

/**
 * Writes the cluster into a sealed place, in pause, and breaks the seal with the last transaction. Errors: condition-failed where it is not
 * sealed as it was read, or somebody holds the lock; as writeExport.
 */
export async function breakSeal(
  store: Store,
  keys: ClusterKeys,
  options: RequestOptions & { readonly document: ClusterExport; readonly present: ClusterSnapshot; readonly seal: Seal },
): Promise<Result<null, StoreError>> {
  const { document, present, seal, deadline } = options;
  const leader = find(present, keys.leader);
  if (!isSealed(present, keys)) return err({ kind: "condition-failed" });
  if (leader !== undefined && leader.value !== SEALING_HOLDER) return err({ kind: "condition-failed" });
  const also: readonly Change[] = [
    { kind: "delete", key: keys.moved, condition: { kind: "revision", revision: seal.revision } },
    // Of whoever led here once: the primary would take it for another holder's of just now.
    { kind: "delete", key: keys.leaseMark },
    ...(leader === undefined ? [] : [{ kind: "delete" as const, key: keys.leader, condition: revisionOrAbsent(leader.revision) }]),
  ];
  return writeExport(store, keys, { document, present, also, deadline });
}

/** What a cluster that left is, from what its sealed place still has: with its own identifier, in pause. Errors: why its configuration cannot be read. */
export function unsealed(document: ClusterExport, { record }: Seal): Result<ClusterExport, string> {
  const paused = pausedExport(document, true);
  return paused.ok ? ok({ ...paused.value, keys: { ...paused.value.keys, initialize: record.systemIdentifier } }) : paused;
}

function find({ inside }: ClusterSnapshot, key: string): Entry | undefined {
  return inside.find((entry) => entry.key === key);
}

function revisionOrAbsent(revision: Revision | null): Condition {
  return revision === null ? { kind: "absent" } : { kind: "revision", revision };
}
