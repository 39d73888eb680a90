// Owns the record of a rolling restart under way: which server each member ran when it began, so that a second call goes on where the
// first one ended. It lies beside the cluster's keys; nodes neither read nor write it.

import * as v from "valibot";
import type { StoreError } from "../model/errors.ts";
import { ok, type Result } from "../model/result.ts";
import type { Revision } from "../model/units.ts";
import { encodeJson } from "./encode.ts";
import type { ClusterKeys } from "./keys.ts";
import type { RequestOptions, Store } from "./store.ts";

const schema = v.object({
  /** ISO 8601. */
  begunAt: v.string(),
  /** `user@host`. */
  by: v.string(),
  /** When the server of each member that is meant had been started, as it said itself. */
  before: v.record(v.string(), v.string()),
  /** How many synchronous standbys there were. */
  synchronous: v.number(),
  /** Counts the steps, of all calls: no two of them write the same. */
  turn: v.number(),
});
export type RollingRecord = v.InferOutput<typeof schema>;

/** Null where none is under way; one that cannot be read counts as none, with its revision. Errors: unavailable, rejected. */
export async function readRollingRecord(
  store: Store,
  keys: ClusterKeys,
  { deadline }: RequestOptions,
): Promise<Result<{ readonly record: RollingRecord | null; readonly revision: Revision | null }, StoreError>> {
  const read = await store.snapshot(keys.rollingRestart, { deadline, consistency: "consistent" });
  if (!read.ok) return read;
  const entry = read.value.entries.find(({ key }) => key === keys.rollingRestart);
  if (entry === undefined) return ok({ record: null, revision: null });
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), entry.value);
  return ok({ record: parsed.success ? parsed.output : null, revision: entry.revision });
}

/** `expected`: the revision that was read, null for none. Errors: condition-failed where another call has written since; as Store.put. */
export function writeRollingRecord(
  store: Store,
  keys: ClusterKeys,
  options: RequestOptions & { readonly record: RollingRecord; readonly expected: Revision | null },
): Promise<Result<Revision, StoreError>> {
  const { record, expected, deadline } = options;
  const condition = expected === null ? ({ kind: "absent" } as const) : ({ kind: "revision", revision: expected } as const);
  return store.put(keys.rollingRestart, encodeJson(record), { deadline, condition });
}

/** Errors: as writeRollingRecord. */
export function deleteRollingRecord(
  store: Store,
  keys: ClusterKeys,
  { expected, deadline }: RequestOptions & { readonly expected: Revision },
): Promise<Result<null, StoreError>> {
  return store.delete(keys.rollingRestart, { deadline, condition: { kind: "revision", revision: expected } });
}
