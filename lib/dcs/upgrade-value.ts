// Owns the text of the `upgrade` key: written, and read with every field checked, because servers stop and programs are run by it.

import * as v from "valibot";
import { formatLsn, parseLsn } from "../model/lsn.ts";
import { RESTORE_ID } from "../model/restore.ts";
import { type FormerUpgrade, UPGRADE_PHASES, type UpgradeRequest, unreadableUpgrade } from "../model/upgrade.ts";
import type { Decoded } from "./decode.ts";
import { encodeJson } from "./encode.ts";
import type { Entry } from "./store.ts";

/** Members and words of a cluster; more is garbage. */
const NAMES_MAX = 1000;
const names = v.optional(v.pipe(v.array(v.string()), v.maxLength(NAMES_MAX)), []);
const major = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(999));
const identifier = v.pipe(v.string(), v.regex(/^\d{1,20}$/));
/** Options that describe a cluster; nothing that names a file or a program. Rules of ICU may have several lines, and a locale no name. */
const initdbWord = v.pipe(
  v.string(),
  v.regex(
    /^--((username|encoding|lc-collate|lc-ctype|wal-segsize|builtin-locale)=.{1,200}|icu-(locale|rules)=[^\0]{0,4000}|locale-provider=(icu|builtin)|(no-)?data-checksums)$/u,
  ),
);
const own = v.object({
  id: v.pipe(v.string(), v.regex(RESTORE_ID)),
  phase: v.picklist(UPGRADE_PHASES),
  direction: v.picklist(["forward", "back"]),
  node: v.pipe(v.string(), v.minLength(1)),
  mode: v.picklist(["link", "copy"]),
  from_major: major,
  to_major: major,
  bin_dir: v.pipe(v.string(), v.regex(/^\/[^\0\n]{1,1000}$/)),
  from_identifier: identifier,
  identifier: v.nullish(identifier, null),
  initdb: v.nullish(v.pipe(v.array(initdbWord), v.maxLength(20)), null),
  checkpoint: v.nullish(
    v.pipe(
      v.string(),
      v.transform(parseLsn),
      v.check((position) => position !== null),
    ),
    null,
  ),
  checked: v.optional(
    v.pipe(
      v.array(v.tuple([v.string(), v.nullable(major), v.string(), v.optional(v.string(), "")])),
      v.maxLength(NAMES_MAX),
      v.transform((rows): UpgradeRequest["checked"] =>
        Object.fromEntries(rows.map(([name, of, against, notes]) => [name, { major: of, against, notes }])),
      ),
    ),
    [],
  ),
  received: names,
  cloned: names,
  analyzed: v.boolean(),
  message: v.nullish(v.string(), null),
});
/** What cannot be read of the one before stands against nothing. */
const schema = v.object({ ...own.entries, former: v.fallback(v.nullish(own, null), null) });

/** Null where it is empty. What cannot be read may be in the middle of an upgrade: it counts as one that failed. */
export function decodeUpgrade(entry: Entry): Decoded<UpgradeRequest | null> {
  if (entry.value.trim() === "") return { value: null, faults: [] };
  const parsed = v.safeParse(schema, parsedJson(entry.value));
  if (!parsed.success) return { value: unreadableUpgrade(entry.revision), faults: [`${entry.key}: not the JSON that is expected there`] };
  const { former, ...request } = parsed.output;
  const value = { revision: entry.revision, ...named(request), former: former === null ? null : named(former) };
  return { value, faults: [] };
}

/** The first option for initdb that the key could not say so that it is read again; null where there is none. */
export function unreadableInitdbWord(words: readonly string[]): string | null {
  return words.find((word) => !v.safeParse(initdbWord, word).success) ?? null;
}

/** Why what would be written could not be read again, and would stop everybody's failover; null where it can. */
export function upgradeFault(value: Omit<UpgradeRequest, "revision">): string | null {
  const parsed = v.safeParse(own, parsedJson(encodeUpgrade(value)));
  if (parsed.success) return null;
  const [issue] = parsed.issues;
  return `the upgrade could not be read again: ${v.getDotPath(issue) ?? "its text"} is not what is expected there`;
}

function named(read: v.InferOutput<typeof own>): FormerUpgrade {
  const { from_major: fromMajor, to_major: toMajor, bin_dir: binDir, from_identifier: fromIdentifier, ...rest } = read;
  return { ...rest, fromMajor, toMajor, binDir, fromIdentifier };
}

/** What is not known is null. */
export function encodeUpgrade({ former, ...value }: Omit<UpgradeRequest, "revision">): string {
  return encodeJson({ ...asWritten(value), ...(former === null ? {} : { former: asWritten(former) }) });
}

function asWritten(value: FormerUpgrade): object {
  const { fromMajor, toMajor, binDir, fromIdentifier, checkpoint, checked, id, phase, direction, node, mode, ...rest } = value;
  return {
    ...{ id, phase, direction, node, mode, from_major: fromMajor, to_major: toMajor, bin_dir: binDir, from_identifier: fromIdentifier },
    ...rest,
    checkpoint: checkpoint === null ? null : formatLsn(checkpoint),
    checked: Object.entries(checked).map(([name, found]) => [name, found.major, found.against, found.notes]),
  };
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
