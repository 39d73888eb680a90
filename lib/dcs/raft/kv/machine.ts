// Owns the key-value machine: what each committed entry does to the keys, sessions and registrations. Deterministic: the same
// entries give the same answers and the same state on every member. Reads no clock (time is a field of each entry), draws
// nothing, waits for nothing, and asks nobody: reads and watches are answered from the state as it is.
// Semantics: lib/dcs/store.ts, held to them by test/conformance and a slow model in the tests.

import type { StoreError } from "../../../model/errors.ts";
import type { LogIndex } from "../../../model/raft.ts";
import { assertNever, err, ok, type Result } from "../../../model/result.ts";
import { type Revision, revision } from "../../../model/units.ts";
import type { Entry } from "../../store.ts";
import { KEY_VALUE_BOUNDS, type KeyValueBounds } from "./bounds.ts";
import { type StagedKey, stageChanges } from "./change.ts";
import type { Command, CommandAnswer, Query, QueryValue } from "./command.ts";
import { decodeEnvelope, refuseSize } from "./command-codec.ts";
import { digestOf } from "./digest.ts";
import { decodeState, emptyState, encodeState, encodeStateInSteps, type MachineState } from "./machine-state.ts";
import { grantedTtl, type SessionRecord } from "./sessions.ts";
import { Subscriptions } from "./subscriptions.ts";

/** A committed entry that holds a command. */
export interface CommandEntry {
  readonly index: LogIndex;
  /** Cluster time in ms. */
  readonly time: number;
  readonly payload: Uint8Array;
}

const DONE: CommandAnswer = ok({ kind: "done" });
const CONDITION_FAILED: CommandAnswer = err({ kind: "condition-failed" });

export class KeyValueMachine {
  readonly #bounds: KeyValueBounds;
  readonly #subscriptions: Subscriptions;
  #state: MachineState;
  /** Keys that the entry being applied has changed. */
  #changed: string[] = [];

  constructor(bounds: KeyValueBounds = KEY_VALUE_BOUNDS) {
    this.#bounds = bounds;
    this.#subscriptions = new Subscriptions(bounds.subscriptionsMax);
    this.#state = emptyState(bounds);
  }

  /** A machine as it was when the snapshot was taken. The error says what is wrong with the bytes. */
  static restore(bytes: Uint8Array, bounds: KeyValueBounds = KEY_VALUE_BOUNDS): Result<KeyValueMachine, string> {
    const machine = new KeyValueMachine(bounds);
    const restored = machine.restoreInto(bytes);
    return restored.ok ? ok(machine) : restored;
  }

  get appliedIndex(): LogIndex {
    return this.#state.index;
  }

  /** Cluster time of the newest entry, in ms. */
  get time(): number {
    return this.#state.time;
  }

  /** Of the newest change. */
  get revision(): Revision {
    return this.#state.revision;
  }

  /** For people. */
  get counts(): { readonly keys: number; readonly sessions: number; readonly clients: number; readonly watches: number } {
    const { keys, sessions, clients } = this.#state;
    return { keys: keys.size, sessions: sessions.size, clients: clients.size, watches: this.#subscriptions.size };
  }

  /**
   * Applies the next entry of the log. Total in the payload: what cannot be read, or is against a bound, is answered with
   * `rejected` on every member alike. Throws Error where the entry is not the next one.
   */
  apply(entry: CommandEntry): CommandAnswer {
    this.#advance(entry.index, entry.time);
    const answer = this.#answer(entry.payload);
    this.#wake();
    return answer;
  }

  /** Takes note of an entry that holds no command. Throws Error where it is not the next one. */
  noop(index: LogIndex, time: number): void {
    this.#advance(index, time);
  }

  /** A read of the state as it is here; whether that is new enough is the caller's business. */
  query(query: Query): Result<QueryValue, StoreError> {
    const { keys, sessions, revision: newest } = this.#state;
    switch (query.kind) {
      case "snapshot":
        return ok({ kind: "snapshot", snapshot: { entries: keys.below(query.prefix), revision: newest } });
      case "session-info":
        return ok({ kind: "session-info", session: sessions.get(query.id)?.session ?? null });
      default:
        return assertNever(query);
    }
  }

  /**
   * Whether anything below the prefix has changed after the revision. `compacted`: the changes since are no longer kept, and
   * no key that is there now is newer; something may have been deleted. After revision 0, which stands for "nothing seen",
   * that is `unchanged`. A member that lags answers from what it has: a revision that it has not reached is `unchanged`.
   */
  changedSince(prefix: string, after: Revision): "changed" | "unchanged" | "compacted" {
    const { history, keys, revision: newest } = this.#state;
    if (after >= newest) return "unchanged";
    if (history.changedSince(prefix, after)) return "changed";
    if (after >= history.floor) return "unchanged";
    if (keys.below(prefix).some((entry) => entry.revision > after)) return "changed";
    return after === 0 ? "unchanged" : "compacted";
  }

  /**
   * Calls `wake` once, within `apply` or `restoreInto`, when a key below the prefix has changed at a later revision than
   * `after`; the state is whole by then. What had changed before is not looked at: ask `changedSince` first, in the same
   * turn. The answer takes it back (also after the call, which is then harmless); null where too many wait on this member.
   */
  subscribe(prefix: string, after: Revision, wake: () => void): (() => void) | null {
    return this.#subscriptions.add(prefix, after, wake);
  }

  /** For the leader: what to propose at this cluster time, the earliest deadline first; bounded, so ask again afterwards. */
  dueExpiries(time: number): readonly Command[] {
    return this.#state.sessions.due(time, this.#bounds.expiriesMax);
  }

  /** Cluster time of the earliest deadline; null where no session is open. */
  get nextExpiryAt(): number | null {
    return this.#state.sessions.nextExpiryAt;
  }

  /** Equal states have equal digests. A walk over the state; what did not change is not computed again. */
  digest(): number {
    return digestOf(this.#state);
  }

  /** The whole state; equal states give equal bytes. */
  snapshot(): Uint8Array {
    return encodeState(this.#state);
  }

  /** As `snapshot`, in steps: of the state as the first step found it, whatever is applied between the others. */
  snapshotInSteps(): Generator<undefined, Uint8Array> {
    return encodeStateInSteps(this.#state);
  }

  /**
   * Replaces the state; where the bytes are damaged it stays as it was. Wakes each subscription whose prefix has changed.
   * Throws Error where the snapshot is older than what was applied.
   */
  restoreInto(bytes: Uint8Array): Result<null, string> {
    const decoded = decodeState(bytes, this.#bounds);
    if (!decoded.ok) return decoded;
    const { index } = decoded.value;
    if (index < this.#state.index) throw new Error(`a snapshot of index ${index} after index ${this.#state.index} was applied`);
    this.#state = decoded.value;
    this.#subscriptions.review((prefix, after) => this.changedSince(prefix, revision(after)) !== "unchanged");
    return ok(null);
  }

  #advance(index: LogIndex, time: number): void {
    const state = this.#state;
    if (index !== state.index + 1) throw new Error(`entry ${index} is not the one after ${state.index}`);
    state.index = index;
    if (time > state.time && time < Number.POSITIVE_INFINITY) state.time = time;
    state.clients.expire(state.time);
  }

  #answer(payload: Uint8Array): CommandAnswer {
    const refused = refuseSize(payload, this.#bounds);
    if (refused !== null) return refused;
    const envelope = decodeEnvelope(payload);
    if (envelope === null) return rejected("the command is malformed");
    const { client: id, sequence, command } = envelope;
    const nobodys = command.kind === "open-client" || command.kind === "expire-session";
    if (nobodys !== (id === null)) return rejected(nobodys ? "not a client's command" : "the command names no client");
    if (id === null) return this.#execute(command);
    if (sequence <= envelope.acknowledged) return rejected("the answer was acknowledged before the question");
    const { clients, time } = this.#state;
    const admission = clients.admit(id, envelope, time);
    if (admission.kind === "repeated") return admission.answer;
    const answer = this.#execute(command);
    clients.remember(admission.client, sequence, answer);
    return answer;
  }

  #execute(command: Command): CommandAnswer {
    switch (command.kind) {
      case "change":
        return this.#change(command.changes);
      case "delete-prefix":
        this.#deleteAll(this.#state.keys.below(command.prefix));
        return DONE;
      case "open-session":
        return this.#openSession(command);
      case "renew-session": {
        const record = this.#state.sessions.get(command.id);
        return record === undefined ? err({ kind: "session-gone", session: command.id }) : this.#renew(record);
      }
      case "close-session": {
        const record = this.#state.sessions.get(command.id);
        if (record !== undefined) this.#end(record);
        return DONE;
      }
      case "expire-session": {
        const record = this.#state.sessions.get(command.id);
        if (record === undefined || record.renewal !== command.renewal || this.#state.time < record.deadline) return CONDITION_FAILED;
        this.#end(record);
        return DONE;
      }
      case "open-client":
        return this.#openClient(command.id);
      default:
        return assertNever(command);
    }
  }

  #change(changes: Extract<Command, { kind: "change" }>["changes"]): CommandAnswer {
    const state = this.#state;
    const next = revision(state.revision + 1);
    const staged = stageChanges(changes, { keys: state.keys, sessions: state.sessions, bounds: this.#bounds, next });
    if (!staged.ok) return staged;
    const { keys, revisions } = staged.value;
    if (keys.length > 0) state.revision = next;
    for (const each of keys) this.#put(each);
    return ok({ kind: "revisions", revisions });
  }

  #put({ key, before, after }: StagedKey): void {
    const { keys, sessions, history, revision: at } = this.#state;
    sessions.own(key, before?.session ?? null, after?.session ?? null);
    if (after === null) keys.delete(key);
    else keys.set(after);
    history.push(key, at);
    this.#changed.push(key);
  }

  #openSession({ id, name, ttl, place }: Extract<Command, { kind: "open-session" }>): CommandAnswer {
    const { sessions, time } = this.#state;
    const { nameMax, sessionsMax } = this.#bounds;
    if (id === "" || id.length > nameMax || name.length > nameMax || (place ?? "").length > nameMax) {
      return rejected(`a session's id, name and place are at most ${nameMax} characters`);
    }
    const promisedMs = grantedTtl(ttl, this.#bounds);
    const there = sessions.get(id);
    if (there !== undefined) {
      if (there.name !== name || there.session.promisedMs !== promisedMs || there.session.place !== place) {
        return rejected("another session has this id");
      }
      // Asked for twice by two commands: who asked last counts its lease from its own question.
      return this.#renew(there);
    }
    if (sessions.size >= sessionsMax) return rejected(`more than ${sessionsMax} sessions`);
    const record = sessions.add({ session: { id, promisedMs, place }, name, renewal: 1, deadline: time + promisedMs });
    return ok({ kind: "session", session: record.session });
  }

  #renew(record: SessionRecord): CommandAnswer {
    this.#state.sessions.renew(record, this.#state.time);
    return ok({ kind: "session", session: record.session });
  }

  #end(record: SessionRecord): void {
    // Sorted: the set's order is not part of the state.
    const owned = [...record.keys].sort();
    this.#deleteAll(owned.map((key) => this.#state.keys.get(key) as Entry));
    this.#state.sessions.remove(record);
  }

  #deleteAll(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    this.#state.revision = revision(this.#state.revision + 1);
    for (const entry of entries) this.#put({ key: entry.key, before: entry, after: null });
  }

  #openClient(name: string): CommandAnswer {
    if (name === "" || name.length > this.#bounds.nameMax) return rejected(`a client's id has 1 to ${this.#bounds.nameMax} characters`);
    const { clients, index, time } = this.#state;
    // Only this entry can ever give this id (Ongaro, section 6.3): a request that arrives twice makes two registrations.
    const id = `${name}@${index}`;
    clients.open(id, time);
    return ok({ kind: "client", id });
  }

  #wake(): void {
    if (this.#changed.length === 0) return;
    const changed = this.#changed;
    this.#changed = [];
    this.#subscriptions.changed(changed, this.#state.revision);
  }
}

function rejected(reason: string): CommandAnswer {
  return err({ kind: "rejected", reason });
}
