// Owns what the changes of one command come to: all of them or none. Pure: it looks at keys and sessions and changes neither.

import type { StoreError } from "../../../model/errors.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import { type Revision, revision } from "../../../model/units.ts";
import type { Entry } from "../../store.ts";
import type { KeyValueBounds } from "./bounds.ts";
import type { RaftChange, RaftCondition } from "./command.ts";
import type { Sessions } from "./sessions.ts";
import type { SortedKeys } from "./sorted-keys.ts";

export interface ChangePlace {
  readonly keys: SortedKeys;
  readonly sessions: Sessions;
  readonly bounds: KeyValueBounds;
  /** What every key that changes gets. */
  readonly next: Revision;
}

/** What becomes of one key; null = absent. */
export interface StagedKey {
  readonly key: string;
  readonly before: Entry | null;
  after: Entry | null;
}

export interface StagedChanges {
  /** Each key that is touched, once. Empty where nothing changes. */
  readonly keys: readonly StagedKey[];
  /** After each change, in order: the key's revision; 0 for deletes and checks. */
  readonly revisions: readonly Revision[];
}

const CONDITION_FAILED = err<StoreError>({ kind: "condition-failed" });
const NO_REVISION = revision(0);

/** Errors: condition-failed, session-gone, rejected. */
export function stageChanges(changes: readonly RaftChange[], place: ChangePlace): Result<StagedChanges, StoreError> {
  if (changes.length > place.bounds.changesMax) return rejected(`more than ${place.bounds.changesMax} changes in one transaction`);
  const keys: StagedKey[] = [];
  const revisions: Revision[] = [];
  for (const change of changes) {
    let staged: StagedKey | undefined;
    for (const earlier of keys) if (earlier.key === change.key) staged = earlier;
    const current = staged === undefined ? place.keys.get(change.key) : staged.after;
    const outcome = stage(change, current, place);
    if (!outcome.ok) return outcome;
    const after = outcome.value;
    if (staged !== undefined) staged.after = after;
    // The text that is there already, not its copy out of this command: the history would keep them all.
    else if (after !== current) keys.push({ key: current?.key ?? change.key, before: current, after });
    revisions.push(change.kind === "put" && after !== null ? after.revision : NO_REVISION);
  }
  return fits(keys, place) ?? ok({ keys, revisions });
}

/** The key's entry after the change; `current` itself where nothing changes. */
function stage(change: RaftChange, current: Entry | null, { bounds, sessions, next }: ChangePlace): Result<Entry | null, StoreError> {
  if (change.kind === "check-owner") return current?.session === change.session ? ok(current) : CONDITION_FAILED;
  if (!holds(change.condition, current)) return CONDITION_FAILED;
  if (change.kind === "delete") return ok(null);
  if (change.key === "") return rejected("a key is not empty");
  if (isLonger(change.key, bounds.keyBytesMax)) return rejected(`a key is at most ${bounds.keyBytesMax} bytes`);
  if (isLonger(change.value, bounds.valueBytesMax)) return rejected(`a value is at most ${bounds.valueBytesMax} bytes`);
  if (change.session !== undefined) {
    if (sessions.get(change.session) === undefined) return err({ kind: "session-gone", session: change.session });
    if (current !== null && current.session !== null && current.session !== change.session) return CONDITION_FAILED;
  }
  const session = change.session ?? current?.session ?? null;
  if (current !== null && current.value === change.value && current.session === session) return ok(current);
  return ok({ key: current?.key ?? change.key, value: change.value, revision: next, session });
}

function holds(condition: RaftCondition | undefined, current: Entry | null): boolean {
  switch (condition?.kind) {
    case undefined:
    case "none":
      return true;
    case "absent":
      return current === null;
    case "revision":
      return current?.revision === condition.revision;
    case "value":
      return current?.value === condition.value;
  }
}

/** Null where there is room; what does not add anything always finds room. */
function fits(staged: readonly StagedKey[], { keys, bounds }: ChangePlace): Result<never, StoreError> | null {
  let moreKeys = 0;
  let moreText = 0;
  for (const { before, after } of staged) {
    moreKeys += (after === null ? 0 : 1) - (before === null ? 0 : 1);
    moreText += textOf(after) - textOf(before);
  }
  if (moreKeys > 0 && keys.size + moreKeys > bounds.keysMax) return rejected(`more than ${bounds.keysMax} keys`);
  if (moreText > 0 && keys.text + moreText > bounds.textMax) return rejected(`more than ${bounds.textMax} characters of keys and values`);
  return null;
}

function textOf(entry: Entry | null): number {
  return entry === null ? 0 : entry.key.length + entry.value.length;
}

/** In UTF-8 bytes; a code unit of a text takes at most three. */
function isLonger(text: string, bytesMax: number): boolean {
  return text.length * 3 > bytesMax && Buffer.byteLength(text) > bytesMax;
}

function rejected(reason: string): { readonly ok: false; readonly error: StoreError } {
  return err({ kind: "rejected", reason });
}
