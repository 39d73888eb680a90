// Owns what leader and poolers say to each other in the DCS (docs/adr/0008): the poolers' keys and the announcement of a handover. All
// of them stand under the session of who wrote them, so none outlives its writer. Patroni's nodes do not read them.

import * as v from "valibot";
import type { StoreError } from "../model/errors.ts";
import type { HandoverNotice, PoolerRecord } from "../model/pgbouncer.ts";
import { ok, type Result } from "../model/result.ts";
import { ms, type Revision, revision } from "../model/units.ts";
import { parseExactJson } from "./decode.ts";
import { encodeJson } from "./encode.ts";
import type { ClusterKeys } from "./keys.ts";
import type { Entry, RequestOptions, Snapshot, Store } from "./store.ts";

/** Poolers that a leader waits for; those beyond see a switchover as they see a failover. */
const POOLERS_MAX = 64;

const answerSchema = v.object({
  handover: v.string(),
  paused: v.boolean(),
  why: v.optional(v.string(), ""),
  wish: v.optional(v.picklist(["proceed", "abandon"]), "proceed"),
});
const recordSchema = v.object({
  patience: v.pipe(v.number(), v.finite(), v.minValue(0)),
  answer: v.optional(v.nullable(answerSchema), null),
});
const noticeSchema = v.object({ id: v.string(), leader: v.string() });

/** A pooler's key as written into JSON. */
export function poolerFields(record: PoolerRecord): Readonly<Record<string, unknown>> {
  return { patience: record.patienceMs, ...(record.answer === null ? {} : { answer: record.answer }) };
}

export function poolerKey(keys: ClusterKeys, name: string): string {
  return `${keys.poolers}${name}`;
}

/** Every pooler whose worker lives; what cannot be read counts as none. */
export function poolersIn(keys: ClusterKeys, entries: readonly Entry[]): readonly PoolerRecord[] {
  const found = entries.flatMap((entry): readonly PoolerRecord[] => {
    if (!entry.key.startsWith(keys.poolers) || entry.session === null) return [];
    const parsed = v.safeParse(recordSchema, parseExactJson(entry.value));
    if (!parsed.success) return [];
    return [{ name: entry.key.slice(keys.poolers.length), patienceMs: ms(parsed.output.patience), answer: parsed.output.answer }];
  });
  return found.slice(0, POOLERS_MAX);
}

/** The announced handover; null where there is none. */
export function noticeIn(keys: ClusterKeys, entries: readonly Entry[]): HandoverNotice | null {
  const entry = entries.find(({ key }) => key === keys.handover);
  const parsed = entry === undefined ? null : v.safeParse(noticeSchema, parseExactJson(entry.value));
  if (entry === undefined || parsed === null || !parsed.success) return null;
  return { ...parsed.output, session: entry.session, revision: entry.revision };
}

/** The leader's side. */
export class PoolerBoard {
  readonly #store: Store;
  readonly #keys: ClusterKeys;

  constructor(options: { readonly store: Store; readonly keys: ClusterKeys }) {
    this.#store = options.store;
    this.#keys = options.keys;
  }

  /** In a consistent read. Errors: unavailable, rejected. */
  async read(
    options: RequestOptions,
  ): Promise<Result<{ readonly poolers: readonly PoolerRecord[]; readonly revision: Revision }, StoreError>> {
    return this.#read(await this.#store.snapshot(this.#keys.poolers, { deadline: options.deadline, consistency: "consistent" }));
  }

  /** Waits for a change after the revision; at the deadline as it is. Errors: unavailable (also where the signal ends it), compacted, rejected. */
  async watch(
    after: Revision,
    options: RequestOptions & { readonly signal: AbortSignal },
  ): Promise<Result<{ readonly poolers: readonly PoolerRecord[]; readonly revision: Revision }, StoreError>> {
    return this.#read(await this.#store.watch(this.#keys.poolers, after, options));
  }

  /** As the holder of the lock, under its session. Errors: condition-failed where the lock is not its any more; as put. */
  async announce(
    notice: { readonly id: string; readonly leader: string },
    options: RequestOptions & { readonly session: string },
  ): Promise<Result<Revision, StoreError>> {
    const { deadline, session } = options;
    const key = this.#keys.handover;
    const applied = await this.#store.transaction(
      [
        { kind: "check-owner", key: this.#keys.leader, session },
        // A former leader's may still be there: another session's key cannot be written over.
        { kind: "delete", key },
        { kind: "put", key, value: encodeJson({ id: notice.id, leader: notice.leader }), session },
      ],
      { deadline },
    );
    return applied.ok ? ok(applied.value.at(-1) ?? revision(0)) : applied;
  }

  /** Takes back exactly that announcement. Errors: condition-failed where it is another's by now; as put. */
  withdraw(announced: Revision, options: RequestOptions): Promise<Result<null, StoreError>> {
    return this.#store.delete(this.#keys.handover, { deadline: options.deadline, condition: { kind: "revision", revision: announced } });
  }

  /** Looks for the announcement by its id, and takes it back where it is there; an absent one counts as done. Errors: as put. */
  async withdrawById(id: string, options: RequestOptions): Promise<Result<null, StoreError>> {
    const read = await this.#store.snapshot(this.#keys.handover, { deadline: options.deadline, consistency: "consistent" });
    if (!read.ok) return read;
    const notice = noticeIn(this.#keys, read.value.entries);
    return notice?.id === id ? await this.withdraw(notice.revision, options) : ok(null);
  }

  #read(
    read: Result<Snapshot, StoreError>,
  ): Result<{ readonly poolers: readonly PoolerRecord[]; readonly revision: Revision }, StoreError> {
    return read.ok ? ok({ poolers: poolersIn(this.#keys, read.value.entries), revision: read.value.revision }) : read;
  }
}
