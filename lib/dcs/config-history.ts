// Owns the record of changes that an operator made to the dynamic configuration: who, when, and the configuration before and after. It is
// written in one transaction with the change itself, so that neither stands alone. Nodes neither read nor write it.

import * as v from "valibot";
import type { StoreError } from "../model/errors.ts";
import { ok, type Result } from "../model/result.ts";
import type { Revision } from "../model/units.ts";
import { encodeJson } from "./encode.ts";
import type { ClusterKeys } from "./keys.ts";
import type { Condition, RequestOptions, Store } from "./store.ts";

type ConfigObject = Readonly<Record<string, unknown>>;

export interface ConfigChange {
  /** ISO 8601. */
  readonly time: string;
  /** `user@host`, as the operator's machine knows it. */
  readonly by: string;
  readonly before: ConfigObject;
  readonly after: ConfigObject;
}

export interface ConfigHistory {
  /** The oldest first. */
  readonly changes: readonly ConfigChange[];
  /** Null where there is none yet. */
  readonly revision: Revision | null;
}

/** Older changes are forgotten beyond this many, or this many bytes: a value may have 512 KiB in Consul. */
const CHANGES_MAX = 50;
const BYTES_MAX = 200 * 1024;

const object = v.record(v.string(), v.unknown());
const schema = v.array(v.object({ time: v.string(), by: v.string(), before: object, after: object }));

/** A record that cannot be read counts as empty: it is of use, never of need. Errors: unavailable, rejected. */
export async function readConfigHistory(
  store: Store,
  keys: ClusterKeys,
  { deadline }: RequestOptions,
): Promise<Result<ConfigHistory, StoreError>> {
  const read = await store.snapshot(keys.configHistory, { deadline, consistency: "consistent" });
  if (!read.ok) return read;
  const entry = read.value.entries.find(({ key }) => key === keys.configHistory);
  if (entry === undefined) return ok({ changes: [], revision: null });
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), entry.value);
  return ok({ changes: parsed.success ? parsed.output : [], revision: entry.revision });
}

/** Writes the new configuration and its record, both or none. Errors: those of a transaction; condition-failed where either was changed meanwhile. */
export async function writeRecordedConfig(
  store: Store,
  keys: ClusterKeys,
  options: RequestOptions & { readonly expected: Revision; readonly history: ConfigHistory; readonly change: ConfigChange },
): Promise<Result<null, StoreError>> {
  const { history, change, expected, deadline } = options;
  const recorded: Condition = history.revision === null ? { kind: "absent" } : { kind: "revision", revision: history.revision };
  const written = await store.transaction(
    [
      { kind: "put", key: keys.config, value: encodeJson(change.after), condition: { kind: "revision", revision: expected } },
      { kind: "put", key: keys.configHistory, value: historyText([...history.changes, change]), condition: recorded },
    ],
    { deadline },
  );
  return written.ok ? ok(null) : written;
}

function historyText(changes: readonly ConfigChange[]): string {
  let kept = changes.slice(-CHANGES_MAX);
  for (;;) {
    const text = encodeJson(kept);
    if (kept.length <= 1 || Buffer.byteLength(text) <= BYTES_MAX) return text;
    kept = kept.slice(1);
  }
}
