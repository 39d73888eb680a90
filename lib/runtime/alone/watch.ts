// Owns the watch that runs alone: one JSON line for each change below the cluster's prefix, and for each step of the holder's
// lease mark. It reads only, and goes on by itself when the store comes back.

import { encodeJson } from "../../dcs/encode.ts";
import type { Entry, Snapshot } from "../../dcs/store.ts";
import { describeStoreError } from "../../model/errors.ts";
import { ms, type Revision, revision } from "../../model/units.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { dcsDeadline } from "../lease-bounds.ts";
import { type Alone, complain, exitOf, openAlone } from "./open.ts";

/** One blocking query waits this long. */
const ROUND_MS = 60_000;
/** After a failed one. */
const RETRY_MS = 1000;

/** Exit status: 0 interrupted, 1 refused, 2 usage, 3 the store did not answer at the start, 4 beside a supervisor. */
export async function mainOfWatch(): Promise<ExitCode> {
  const alone = await openAlone({ worker: "watch", lock: "look", beside: ["leader-race", "touch-member"] });
  if (!alone.ok) return alone.error;
  try {
    return await watch(alone.value);
  } finally {
    await alone.value.close();
  }
}

export type KeyChange =
  | { readonly kind: "put"; readonly key: string; readonly value: unknown; readonly revision: Revision; readonly session: string | null }
  | { readonly kind: "delete"; readonly key: string };

/** What changed from one snapshot to the next, in the order of the keys; keys without their prefix, values parsed where they are JSON. */
export function keyChanges(prefix: string, before: Snapshot, after: Snapshot): readonly KeyChange[] {
  const old = new Map(before.entries.map((entry) => [entry.key, entry.revision]));
  const left = new Set(after.entries.map((entry) => entry.key));
  const name = (key: string): string => key.slice(prefix.length);
  const deleted = before.entries.filter(({ key }) => !left.has(key)).map(({ key }): KeyChange => ({ kind: "delete", key: name(key) }));
  const put = after.entries
    .filter((entry) => old.get(entry.key) !== entry.revision)
    .map((entry): KeyChange => ({ ...shown(entry), key: name(entry.key) }));
  return [...deleted, ...put].sort((a, b) => (a.key < b.key ? -1 : 1));
}

async function watch(alone: Alone): Promise<ExitCode> {
  const { context, store } = alone;
  const { prefix } = context.store.keys;
  const first = await store.snapshot(prefix, { deadline: dcsDeadline(context), consistency: "consistent" });
  if (!first.ok) {
    complain(describeStoreError(first.error));
    return exitOf(first.error);
  }
  print({ kind: "start", prefix, revision: first.value.revision, keys: first.value.entries.map(({ key }) => key.slice(prefix.length)) });
  await Promise.all([followKeys(alone, first.value), followMark(alone)]);
  return EXIT.ok;
}

async function followKeys({ context, store, signal }: Alone, first: Snapshot): Promise<void> {
  const { clock } = context;
  const { prefix } = context.store.keys;
  let seen = first;
  let reachable = true;
  while (!signal.aborted) {
    const next = await store.watch(prefix, seen.revision, { deadline: ms(clock.now() + ROUND_MS), signal });
    if (signal.aborted) return;
    if (next.ok) {
      if (!reachable) print({ kind: "reachable" });
      reachable = true;
      for (const change of keyChanges(prefix, seen, next.value)) print(change);
      seen = next.value;
      continue;
    }
    if (reachable) print({ kind: "unreachable", reason: describeStoreError(next.error) });
    reachable = false;
    await clock.sleepUntil(ms(clock.now() + RETRY_MS), signal);
  }
}

async function followMark({ context, signal }: Alone): Promise<void> {
  const { clock, store } = context;
  let after = revision(0);
  while (!signal.aborted) {
    const answer = await store.watchLease(after, { deadline: ms(clock.now() + ROUND_MS), signal });
    if (signal.aborted) return;
    if (!answer.ok) {
      await clock.sleepUntil(ms(clock.now() + RETRY_MS), signal);
      continue;
    }
    if (answer.value.revision !== after) print({ kind: "lease", mark: answer.value.mark });
    after = answer.value.revision;
  }
}

function shown(entry: Entry): Extract<KeyChange, { kind: "put" }> {
  return { kind: "put", key: entry.key, value: parsed(entry.value), revision: entry.revision, session: entry.session };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text, (_key, value: unknown, context?: { readonly source?: string }) =>
      typeof value === "number" && !Number.isSafeInteger(value) ? BigInt(context?.source ?? value) : value,
    );
  } catch {
    // Plain text, as the leader's name: shown as it is.
    return text;
  }
}

function print(line: unknown): void {
  process.stdout.write(`${encodeJson({ at: new Date().toISOString(), ...Object(line) })}\n`);
}
