// Owns a second key-value machine, slow and obvious: plain lists, everything copied, nothing remembered cleverly. The real one
// has to answer and to look alike after every entry.

import type { KeyValueBounds } from "../../lib/dcs/raft/kv/bounds.ts";
import type { Command, CommandAnswer, Envelope, RaftChange } from "../../lib/dcs/raft/kv/command.ts";
import type { Entry, Session, Snapshot } from "../../lib/dcs/store.ts";
import { type Ms, ms, type Revision, revision } from "../../lib/model/units.ts";

interface ModelSession {
  readonly id: string;
  readonly name: string;
  readonly ttl: Ms;
  readonly place: string | null;
  renewedAt: number;
  renewals: number;
}

interface ModelClient {
  readonly id: string;
  usedAt: number;
  /** Counts uses, so that the one idle longest is known also within one millisecond. */
  usedCount: number;
  acknowledged: number;
  answers: { readonly sequence: number; readonly answer: CommandAnswer }[];
}

/** After one change; `touched`: whether the key is another one than before, or gone. */
type Outcome = { readonly entries: Entry[]; readonly revision: Revision; readonly touched: boolean } | { readonly error: CommandAnswer };

export class Model {
  readonly #bounds: KeyValueBounds;
  entries: Entry[] = [];
  sessions: ModelSession[] = [];
  clients: ModelClient[] = [];
  /** Every change there ever was. */
  changes: { readonly key: string; readonly revision: number }[] = [];
  revision = 0;
  index = 0;
  time = 0;
  /** `client/sequence` of everything that was really applied. */
  readonly applied: string[] = [];
  #uses = 0;

  constructor(bounds: KeyValueBounds) {
    this.#bounds = bounds;
  }

  apply(envelope: Envelope, time: number): CommandAnswer {
    this.advance(time);
    const { client: id, sequence, acknowledged, command } = envelope;
    const nobodys = command.kind === "open-client" || command.kind === "expire-session";
    if (nobodys && id !== null) return rejected("not a client's command");
    if (!nobodys && id === null) return rejected("the command names no client");
    if (id === null) return this.#execute(command);
    if (acknowledged >= sequence) return rejected("the answer was acknowledged before the question");
    const client = this.clients.find((each) => each.id === id);
    if (client === undefined) return error({ kind: "unknown-client" });
    client.usedAt = this.time;
    client.usedCount = ++this.#uses;
    client.acknowledged = Math.max(client.acknowledged, acknowledged);
    client.answers = client.answers.filter((each) => each.sequence > client.acknowledged);
    if (sequence <= client.acknowledged) return error({ kind: "unknown-client" });
    const known = client.answers.find((each) => each.sequence === sequence);
    if (known !== undefined) return known.answer;
    const max = this.#bounds.answersMax;
    const isOldest = sequence === client.acknowledged + 1;
    if (client.answers.length >= max && !isOldest)
      return error({ kind: "unavailable", reason: `${max} answers of this client wait to be acknowledged` });
    this.applied.push(`${id}/${sequence}`);
    const answer = this.#execute(command);
    client.answers.push({ sequence, answer });
    while (this.clients.reduce((sum, each) => sum + each.answers.length, 0) > this.#bounds.allAnswersMax) this.#forgetIdlest();
    return answer;
  }

  advance(time: number): void {
    this.index++;
    this.time = Math.max(this.time, time);
    this.clients = this.clients.filter((client) => this.time - client.usedAt < this.#bounds.clientIdleMs);
  }

  below(prefix: string): Entry[] {
    return this.entries.filter((entry) => entry.key.startsWith(prefix)).sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  snapshot(prefix: string): Snapshot {
    return { entries: this.below(prefix), revision: revision(this.revision) };
  }

  sessionInfo(id: string): Session | null {
    const session = this.#session(id);
    return session === undefined ? null : { id, promisedMs: session.ttl, place: session.place };
  }

  changedSince(prefix: string, after: number): "changed" | "unchanged" | "compacted" {
    const kept = this.changes.slice(-this.#bounds.historyMax);
    const lost = this.changes.slice(0, -this.#bounds.historyMax);
    const isNewer = (change: { readonly key: string; readonly revision: number }) =>
      change.revision > after && change.key.startsWith(prefix);
    if (kept.some(isNewer) || this.entries.some(isNewer)) return "changed";
    const mayBeLost = lost.some((change) => change.revision > after);
    return mayBeLost && after > 0 ? "compacted" : "unchanged";
  }

  deadlineOf(session: ModelSession): number {
    return session.renewedAt + session.ttl;
  }

  #execute(command: Command): CommandAnswer {
    switch (command.kind) {
      case "change":
        return this.#change(command.changes);
      case "delete-prefix":
        this.#delete(this.below(command.prefix));
        return done();
      case "open-session":
        return this.#openSession(command);
      case "renew-session": {
        const session = this.#session(command.id);
        return session === undefined ? error({ kind: "session-gone", session: command.id }) : this.#renew(session);
      }
      case "close-session":
        this.#end(command.id);
        return done();
      case "expire-session": {
        const session = this.#session(command.id);
        if (session === undefined || session.renewals !== command.renewal || this.deadlineOf(session) > this.time) {
          return error({ kind: "condition-failed" });
        }
        this.#end(command.id);
        return done();
      }
      case "open-client": {
        const { nameMax } = this.#bounds;
        if (command.id === "" || command.id.length > nameMax) return rejected(`a client's id has 1 to ${nameMax} characters`);
        const id = `${command.id}@${this.index}`;
        this.clients.push({ id, usedAt: this.time, usedCount: ++this.#uses, acknowledged: 0, answers: [] });
        while (this.clients.length > this.#bounds.clientsMax) this.#forgetIdlest();
        return { ok: true, value: { kind: "client", id } };
      }
    }
  }

  #change(changes: readonly RaftChange[]): CommandAnswer {
    const { changesMax, keysMax, textMax } = this.#bounds;
    if (changes.length > changesMax) return rejected(`more than ${changesMax} changes in one transaction`);
    let after = [...this.entries];
    const revisions: Revision[] = [];
    const touched = new Set<string>();
    for (const change of changes) {
      const outcome = this.#one(change, after);
      if ("error" in outcome) return outcome.error;
      after = outcome.entries;
      revisions.push(outcome.revision);
      if (outcome.touched) touched.add(change.key);
    }
    const text = (entries: readonly Entry[]) => entries.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
    if (after.length > this.entries.length && after.length > keysMax) return rejected(`more than ${keysMax} keys`);
    if (text(after) > text(this.entries) && text(after) > textMax) return rejected(`more than ${textMax} characters of keys and values`);
    this.#become(after, [...touched]);
    return { ok: true, value: { kind: "revisions", revisions } };
  }

  #one(change: RaftChange, entries: Entry[]): Outcome {
    const failed: Outcome = { error: error({ kind: "condition-failed" }) };
    const current = entries.find((entry) => entry.key === change.key);
    const others = entries.filter((entry) => entry.key !== change.key);
    if (change.kind === "check-owner") {
      return current?.session === change.session ? { entries, revision: revision(0), touched: false } : failed;
    }
    const condition = change.condition ?? { kind: "none" };
    if (condition.kind === "absent" && current !== undefined) return failed;
    if (condition.kind === "revision" && current?.revision !== condition.revision) return failed;
    if (condition.kind === "value" && current?.value !== condition.value) return failed;
    if (change.kind === "delete") return { entries: others, revision: revision(0), touched: current !== undefined };
    const { keyBytesMax, valueBytesMax } = this.#bounds;
    if (change.key === "") return { error: rejected("a key is not empty") };
    if (Buffer.from(change.key).length > keyBytesMax) return { error: rejected(`a key is at most ${keyBytesMax} bytes`) };
    if (Buffer.from(change.value).length > valueBytesMax) return { error: rejected(`a value is at most ${valueBytesMax} bytes`) };
    const owner = current?.session ?? null;
    if (change.session !== undefined) {
      if (this.#session(change.session) === undefined) return { error: error({ kind: "session-gone", session: change.session }) };
      if (owner !== null && owner !== change.session) return failed;
    }
    const session = change.session ?? owner;
    if (current !== undefined && current.value === change.value && current.session === session) {
      return { entries, revision: current.revision, touched: false };
    }
    const next = revision(this.revision + 1);
    return { entries: [...others, { key: change.key, value: change.value, revision: next, session }], revision: next, touched: true };
  }

  #delete(those: readonly Entry[]): void {
    this.#become(
      this.entries.filter((entry) => !those.includes(entry)),
      those.map((entry) => entry.key),
    );
  }

  /** A revision that was given out in an answer never stands for another change: so it grows although all was undone again. */
  #become(entries: Entry[], touched: readonly string[]): void {
    if (touched.length === 0) return;
    this.revision++;
    for (const key of touched) this.changes.push({ key, revision: this.revision });
    this.entries = entries;
  }

  #openSession({ id, name, ttl, place }: Extract<Command, { kind: "open-session" }>): CommandAnswer {
    const { nameMax, sessionsMax, sessionTtlMinMs, sessionTtlMaxMs } = this.#bounds;
    if (id === "" || [id, name, place ?? ""].some((text) => text.length > nameMax)) {
      return rejected(`a session's id, name and place are at most ${nameMax} characters`);
    }
    const granted = ms(ttl < sessionTtlMinMs ? sessionTtlMinMs : ttl > sessionTtlMaxMs ? sessionTtlMaxMs : ttl);
    const there = this.#session(id);
    if (there !== undefined) {
      const same = there.name === name && there.ttl === granted && there.place === place;
      return same ? this.#renew(there) : rejected("another session has this id");
    }
    if (this.sessions.length >= sessionsMax) return rejected(`more than ${sessionsMax} sessions`);
    this.sessions.push({ id, name, ttl: granted, place, renewedAt: this.time, renewals: 1 });
    return { ok: true, value: { kind: "session", session: { id, promisedMs: granted, place } } };
  }

  #renew(session: ModelSession): CommandAnswer {
    session.renewedAt = this.time;
    session.renewals++;
    return { ok: true, value: { kind: "session", session: { id: session.id, promisedMs: session.ttl, place: session.place } } };
  }

  #end(id: string): void {
    if (this.#session(id) === undefined) return;
    this.sessions = this.sessions.filter((session) => session.id !== id);
    this.#delete(this.below("").filter((entry) => entry.session === id));
  }

  #session(id: string): ModelSession | undefined {
    return this.sessions.find((session) => session.id === id);
  }

  #forgetIdlest(): void {
    const idlest = Math.min(...this.clients.map((client) => client.usedCount));
    this.clients = this.clients.filter((client) => client.usedCount !== idlest);
  }
}

function done(): CommandAnswer {
  return { ok: true, value: { kind: "done" } };
}

function error(what: Extract<CommandAnswer, { ok: false }>["error"]): CommandAnswer {
  return { ok: false, error: what };
}

function rejected(reason: string): CommandAnswer {
  return error({ kind: "rejected", reason });
}
