// Owns the two keys of the scheduled backups (docs/adr/0010): the record of what was taken, plain and written over the revision that
// was read; and the claim of the node that takes one, which stands under its session. Patroni's nodes do not read them.

import * as v from "valibot";
import { BACKUP_TYPES, type BackupClaim, type BackupRecord, type BackupRun, UNREADABLE_CLAIM } from "../model/backup-run.ts";
import type { StoreError } from "../model/errors.ts";
import { ok, type Result } from "../model/result.ts";
import { type Revision, revision } from "../model/units.ts";
import { type Decoded, parseExactJson } from "./decode.ts";
import { encodeJson } from "./encode.ts";
import type { ClusterKeys } from "./keys.ts";
import type { Change, Condition, Entry, RequestOptions, Store } from "./store.ts";

const time = v.pipe(v.number(), v.finite(), v.minValue(0));
const type = v.picklist(BACKUP_TYPES);
const attempt = v.pipe(v.number(), v.integer(), v.minValue(1));
const stateSchema = v.object({
  covered: time,
  done: v.nullish(v.object({ node: v.string(), at: time, seconds: time, label: v.nullable(v.string()) }), null),
  failed: v.nullish(v.object({ node: v.string(), at: time, attempt, message: v.string() }), null),
});
const recordSchema = v.object({
  types: v.object({ full: v.optional(stateSchema), diff: v.optional(stateSchema), incr: v.optional(stateSchema) }),
  run: v.nullish(v.object({ id: v.string(), type, node: v.string(), beganAt: time, attempt }), null),
});
const claimSchema = v.object({ id: v.string(), node: v.string() });

/** What cannot be read counts as empty: it is founded anew, over its revision. */
export function decodeBackup(entry: Entry): Decoded<BackupRecord | null> {
  const parsed = v.safeParse(recordSchema, parseExactJson(entry.value));
  if (!parsed.success)
    return { value: { revision: entry.revision, types: {}, run: null }, faults: [`${entry.key}: it is no record of backups`] };
  const { run, types } = parsed.output;
  const known = BACKUP_TYPES.flatMap((name) => (types[name] === undefined ? [] : ([[name, types[name]]] as const)));
  return { value: { revision: entry.revision, types: Object.fromEntries(known), run }, faults: [] };
}

/** One that cannot be read is there all the same: as long as the record names its run, nobody begins another. */
export function decodeBackupClaim(entry: Entry): Decoded<BackupClaim | null> {
  const parsed = v.safeParse(claimSchema, parseExactJson(entry.value));
  if (!parsed.success) return { value: UNREADABLE_CLAIM, faults: [`${entry.key}: it is no claim`] };
  return { value: parsed.output, faults: [] };
}

/** Changes of the two keys. Errors of all: condition-failed where somebody was faster; session-gone, unavailable, unknown-outcome, rejected. */
export class BackupBoard {
  readonly #store: Store;
  readonly #keys: ClusterKeys;

  constructor(options: { readonly store: Store; readonly keys: ClusterKeys }) {
    this.#store = options.store;
    this.#keys = options.keys;
  }

  /** Begins a run that nobody else has begun: claim and record in one step. Value: the revision of the record. */
  claim(
    record: BackupRecord,
    run: BackupRun,
    options: RequestOptions & { readonly session: string },
  ): Promise<Result<Revision, StoreError>> {
    const value = encodeJson({ id: run.id, node: run.node });
    return this.#change(record.revision, { ...record, run }, options, [
      { kind: "put", key: this.#keys.backupRun, value, condition: { kind: "absent" }, session: options.session },
    ]);
  }

  /** Writes the record over its revision (null: there is none). `end`: the claim goes with it. */
  write(
    expected: Revision | null,
    record: Omit<BackupRecord, "revision">,
    options: RequestOptions & { readonly claim: "keep" | "end" },
  ): Promise<Result<Revision, StoreError>> {
    return this.#change(expected, record, options, options.claim === "end" ? [{ kind: "delete", key: this.#keys.backupRun }] : []);
  }

  async #change(
    expected: Revision | null,
    { types, run }: Omit<BackupRecord, "revision">,
    { deadline }: RequestOptions,
    before: readonly Change[],
  ): Promise<Result<Revision, StoreError>> {
    const condition: Condition = expected === null ? { kind: "absent" } : { kind: "revision", revision: expected };
    const put: Change = { kind: "put", key: this.#keys.backup, value: encodeJson({ types, run }), condition };
    const applied = await this.#store.transaction([...before, put], { deadline });
    return applied.ok ? ok(applied.value.at(-1) ?? revision(0)) : applied;
  }
}
