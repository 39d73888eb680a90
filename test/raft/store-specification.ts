// Owns what a store is to the search: keys with owners and sessions that end, one operation at a time, judged by the answers that
// clients got and by nothing else. A revision that nobody was told stays unknown until a read tells it. Bounds of the machine
// are not known here: a `rejected` command did nothing, that is all.

import { KEY_VALUE_BOUNDS } from "../../lib/dcs/raft/kv/bounds.ts";
import type { RaftChange, RaftCondition } from "../../lib/dcs/raft/kv/command.ts";
import { grantedTtl } from "../../lib/dcs/raft/kv/sessions.ts";
import type { Snapshot } from "../../lib/dcs/store.ts";
import type { Revision } from "../../lib/model/units.ts";
import { type CommandOperation, describeOperation, type Operation, outcomeOf, type QueryOperation } from "./history.ts";
import type { Specification } from "./linearization-search.ts";

interface KnownKey {
  readonly value: string;
  readonly session: string | null;
  /** Null: nobody was told; then it is above `above`. */
  readonly revision: number | null;
  readonly above: number;
}

interface KnownSession {
  readonly ttl: number;
  readonly place: string | null;
  /** Invocation of the last opening or renewal: the store promised not to end it before this + ttl. */
  readonly from: number;
}

export interface StoreState {
  readonly keys: ReadonlyMap<string, KnownKey>;
  readonly sessions: ReadonlyMap<string, KnownSession>;
  /** Of all revisions that were told; the next change has a higher one. */
  readonly newest: number;
}

type Failure = "condition-failed" | "session-gone";

/** What a list of changes may come to. */
interface Outcome {
  /** Null: it cannot have been applied (with these revisions). */
  readonly applied: StoreState | null;
  readonly failures: ReadonlySet<Failure>;
}

/**
 * What the revision of a snapshot is. `global`: that of the newest change anywhere, as the key-value machine gives it; it never goes back.
 * `prefix`: any from which on a watch of this prefix misses nothing, as lib/dcs/store.ts asks for and no more.
 */
export type SnapshotRevision = "global" | "prefix";

export class StoreSpecification implements Specification<StoreState, Operation> {
  readonly initial: StoreState = { keys: new Map(), sessions: new Map(), newest: 0 };
  readonly #leaseSlackMs: number;
  readonly #snapshotRevision: SnapshotRevision;

  constructor(options: { readonly leaseSlackMs?: number; readonly snapshotRevision?: SnapshotRevision } = {}) {
    this.#leaseSlackMs = options.leaseSlackMs ?? 0;
    this.#snapshotRevision = options.snapshotRevision ?? "global";
  }

  step(state: StoreState, operation: Operation): readonly StoreState[] {
    if (operation.kind === "query") return stepQuery(state, operation, this.#snapshotRevision);
    const { command, answer } = operation;
    if (outcomeOf(operation) === "settled" && answer?.ok === false && answer.error.kind === "rejected") return [state];
    switch (command.kind) {
      case "change":
        return stepChange(state, operation, command.changes);
      case "delete-prefix": {
        const keys = new Map([...state.keys].filter(([key]) => !key.startsWith(command.prefix)));
        return [{ ...state, keys }];
      }
      case "open-session": {
        if (answer?.ok === true && answer.value.kind !== "session") return [];
        // The store is held to what it promised; where the promise was lost, to what it would have promised.
        const promised = answer?.ok === true && answer.value.kind === "session" ? answer.value.session.promisedMs : null;
        const ttl = promised ?? grantedTtl(command.ttl, KEY_VALUE_BOUNDS);
        return [begun(state, command.id, { ttl, place: command.place, from: operation.invokedAt })];
      }
      case "renew-session": {
        const session = state.sessions.get(command.id);
        const gone = answer?.ok === false && answer.error.kind === "session-gone";
        if (session === undefined || gone) return (session === undefined) === (gone || outcomeOf(operation) === "open") ? [state] : [];
        return [begun(state, command.id, { ...session, from: operation.invokedAt })];
      }
      case "close-session":
        return [ended(state, command.id)];
      case "open-client":
      case "expire-session":
        throw new Error(`no operation of a client's: ${command.kind}`);
    }
  }

  spontaneous(state: StoreState): readonly { readonly state: StoreState; readonly notBefore: number }[] {
    return [...state.sessions].map(([id, { from, ttl }]) => ({ state: ended(state, id), notBefore: from + ttl - this.#leaseSlackMs }));
  }

  fingerprint(state: StoreState): string {
    const keys = [...state.keys].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, known]) => [key, ...Object.values(known)]);
    const sessions = [...state.sessions].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, known]) => [id, ...Object.values(known)]);
    return JSON.stringify([keys, sessions, state.newest]);
  }

  describe(operation: Operation): string {
    return describeOperation(operation);
  }
}

function stepQuery(state: StoreState, { query, value }: QueryOperation, newest: SnapshotRevision): readonly StoreState[] {
  if (query.kind === "snapshot") {
    if (value.kind !== "snapshot") return [];
    if (newest === "global" && value.snapshot.revision < state.newest) return [];
    const [seen] = stepSnapshot(state, query.prefix, value.snapshot);
    if (seen === undefined) return [];
    return [newest === "global" ? { ...seen, newest: value.snapshot.revision } : seen];
  }
  if (value.kind !== "session-info") return [];
  const session = state.sessions.get(query.id);
  if (session === undefined || value.session === null) return session === undefined && value.session === null ? [state] : [];
  const same = value.session.id === query.id && value.session.promisedMs === session.ttl && value.session.place === session.place;
  return same ? [state] : [];
}

function stepSnapshot(state: StoreState, prefix: string, snapshot: Snapshot): readonly StoreState[] {
  const below = [...state.keys.keys()].filter((key) => key.startsWith(prefix)).length;
  if (below !== snapshot.entries.length) return [];
  const keys = new Map(state.keys);
  for (const entry of snapshot.entries) {
    const known = keys.get(entry.key);
    if (known === undefined || known.value !== entry.value || known.session !== entry.session) return [];
    if (entry.revision > snapshot.revision || !mayBe(known, entry.revision)) return [];
    keys.set(entry.key, { ...known, revision: entry.revision, above: 0 });
  }
  return [{ ...state, keys }];
}

function stepChange(state: StoreState, operation: CommandOperation, changes: readonly RaftChange[]): readonly StoreState[] {
  const { answer } = operation;
  if (outcomeOf(operation) === "open") {
    // What failed without anybody knowing did nothing: as if it had not been chosen.
    const { applied } = tryChanges(state, changes, null);
    return applied === null ? [] : [applied];
  }
  if (answer?.ok === true) {
    if (answer.value.kind !== "revisions" || answer.value.revisions.length !== changes.length) return [];
    const { applied } = tryChanges(state, changes, answer.value.revisions);
    return applied === null ? [] : [applied];
  }
  const kind = answer?.error.kind;
  const { failures } = tryChanges(state, changes, null);
  return (kind === "condition-failed" || kind === "session-gone") && failures.has(kind) ? [state] : [];
}

/** `told`: the revisions of the answer; null where there was none. */
function tryChanges(state: StoreState, changes: readonly RaftChange[], told: readonly Revision[] | null): Outcome {
  const keys = new Map(state.keys);
  const failures = new Set<Failure>();
  const fail = (kind: Failure): Outcome => ({ applied: null, failures: failures.add(kind) });
  let newest = state.newest;
  for (const [at, change] of changes.entries()) {
    const current = keys.get(change.key);
    if (change.kind === "check-owner") {
      if (current?.session !== change.session) return fail("condition-failed");
      continue;
    }
    const bound = bind(change.condition, current);
    if (bound === "fails") return fail("condition-failed");
    if (bound !== current) failures.add("condition-failed");
    if (change.kind === "delete") {
      keys.delete(change.key);
      continue;
    }
    if (change.session !== undefined) {
      if (!state.sessions.has(change.session)) return fail("session-gone");
      if (bound !== undefined && bound.session !== null && bound.session !== change.session) return fail("condition-failed");
    }
    const revision = told?.[at] ?? null;
    const session = change.session ?? bound?.session ?? null;
    if (bound !== undefined && bound.value === change.value && bound.session === session) {
      if (revision !== null && !mayBe(bound, revision)) return { applied: null, failures };
      keys.set(change.key, revision === null ? bound : { ...bound, revision, above: 0 });
      continue;
    }
    if (revision !== null && revision <= state.newest) return { applied: null, failures };
    if (revision !== null) newest = revision;
    keys.set(change.key, { value: change.value, session, revision, above: revision === null ? state.newest : 0 });
  }
  return { applied: { ...state, keys, newest }, failures };
}

/** The key as it has to be for the condition to hold: `current` itself where that is known to hold. */
function bind(condition: RaftCondition | undefined, current: KnownKey | undefined): KnownKey | undefined | "fails" {
  switch (condition?.kind) {
    case undefined:
    case "none":
      return current;
    case "absent":
      return current === undefined ? current : "fails";
    case "value":
      return current?.value === condition.value ? current : "fails";
    case "revision":
      if (current === undefined || !mayBe(current, condition.revision)) return "fails";
      return current.revision === null ? { ...current, revision: condition.revision, above: 0 } : current;
  }
}

function mayBe(key: KnownKey, revision: number): boolean {
  return key.revision === null ? revision > key.above : revision === key.revision;
}

function begun(state: StoreState, id: string, session: KnownSession): StoreState {
  const from = Math.max(session.from, state.sessions.get(id)?.from ?? session.from);
  return { ...state, sessions: new Map(state.sessions).set(id, { ...session, from }) };
}

function ended(state: StoreState, id: string): StoreState {
  if (!state.sessions.has(id)) return state;
  const sessions = new Map(state.sessions);
  sessions.delete(id);
  return { ...state, sessions, keys: new Map([...state.keys].filter(([, { session }]) => session !== id)) };
}

/** Operations that share a key or a session, also through others, stand in one group; groups can be judged apart (Herlihy and Wing 1990, locality). */
export function groupOperations(operations: readonly Operation[]): readonly (readonly Operation[])[] {
  const allKeys = new Set(operations.flatMap(keysOf));
  const parents = new Map<string, string>();
  const rootOf = (name: string): string => {
    let root = name;
    for (let parent = parents.get(root); parent !== undefined; parent = parents.get(root)) root = parent;
    return root;
  };
  const names = operations.map((operation) => {
    const prefix = prefixOf(operation);
    const below =
      prefix === null ? [] : [`prefix ${prefix}`, ...[...allKeys].filter((key) => key.startsWith(prefix)).map((key) => `key ${key}`)];
    return [...keysOf(operation).map((key) => `key ${key}`), ...sessionsOf(operation).map((id) => `session ${id}`), ...below];
  });
  for (const [first, ...others] of names) {
    if (first === undefined) continue;
    for (const other of others) {
      const [a, b] = [rootOf(first), rootOf(other)];
      if (a !== b) parents.set(a, b);
    }
  }
  const groups = new Map<string, Operation[]>();
  for (const [at, operation] of operations.entries()) {
    const root = rootOf(names[at]?.[0] ?? "");
    groups.set(root, [...(groups.get(root) ?? []), operation]);
  }
  return [...groups.values()];
}

function keysOf(operation: Operation): readonly string[] {
  if (operation.kind === "query") return operation.value.kind === "snapshot" ? operation.value.snapshot.entries.map(({ key }) => key) : [];
  return operation.command.kind === "change" ? operation.command.changes.map(({ key }) => key) : [];
}

function prefixOf(operation: Operation): string | null {
  if (operation.kind === "query") return operation.query.kind === "snapshot" ? operation.query.prefix : null;
  return operation.command.kind === "delete-prefix" ? operation.command.prefix : null;
}

function sessionsOf(operation: Operation): readonly string[] {
  if (operation.kind === "query") return operation.query.kind === "session-info" ? [operation.query.id] : [];
  const { command } = operation;
  switch (command.kind) {
    case "change":
      return command.changes.flatMap((change) => (change.kind !== "delete" && change.session !== undefined ? [change.session] : []));
    case "open-session":
    case "renew-session":
    case "close-session":
    case "expire-session":
      return [command.id];
    case "delete-prefix":
    case "open-client":
      return [];
  }
}
