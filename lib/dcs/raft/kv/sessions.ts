// Owns the sessions of the machine: who lives, until which cluster time, and which keys it owns. Deletes no key itself and
// ends no session by itself: a session ends by a command of the log alone.

import { type Ms, ms } from "../../../model/units.ts";
import type { Session } from "../../store.ts";
import type { Command } from "./command.ts";

export interface SessionRecord {
  readonly session: Session;
  /** For people. */
  readonly name: string;
  /** Grows with each renewal; an expiry names the one that it saw. */
  renewal: number;
  /** Cluster time; not before it the session may expire. */
  deadline: number;
  readonly keys: Set<string>;
}

export class Sessions {
  readonly #byId = new Map<string, SessionRecord>();
  /** The earliest deadline; null = there is no session; undefined = to be found again. */
  #next: number | null | undefined = null;

  get size(): number {
    return this.#byId.size;
  }

  get(id: string): SessionRecord | undefined {
    return this.#byId.get(id);
  }

  /** In no particular order. */
  all(): IterableIterator<SessionRecord> {
    return this.#byId.values();
  }

  /** Sorted by id. */
  sorted(): SessionRecord[] {
    return [...this.#byId.values()].sort((a, b) => (a.session.id < b.session.id ? -1 : 1));
  }

  /** The id is not in use. `renewal` and `deadline` as they are to stand. */
  add(record: Omit<SessionRecord, "keys">): SessionRecord {
    const added: SessionRecord = { ...record, keys: new Set() };
    this.#byId.set(record.session.id, added);
    if (this.#next === null || (this.#next !== undefined && record.deadline < this.#next)) this.#next = record.deadline;
    return added;
  }

  /** Its time begins anew at this cluster time. */
  renew(record: SessionRecord, time: number): void {
    if (record.deadline === this.#next) this.#next = undefined;
    record.deadline = time + record.session.promisedMs;
    record.renewal++;
  }

  remove(record: SessionRecord): void {
    this.#byId.delete(record.session.id);
    if (record.deadline === this.#next) this.#next = undefined;
  }

  /** The key belongs to another session (null: to none) from now on. */
  own(key: string, before: string | null, after: string | null): void {
    if (before === after) return;
    if (before !== null) this.#byId.get(before)?.keys.delete(key);
    if (after !== null) this.#byId.get(after)?.keys.add(key);
  }

  /** The earliest deadline, in cluster time; null where there is no session. */
  get nextExpiryAt(): number | null {
    if (this.#next !== undefined) return this.#next;
    let next: number | null = null;
    for (const { deadline } of this.#byId.values()) if (next === null || deadline < next) next = deadline;
    this.#next = next;
    return next;
  }

  /** Expiries of the sessions whose deadline has come, the earliest first, at most `max`. */
  due(time: number, max: number): Extract<Command, { kind: "expire-session" }>[] {
    const next = this.nextExpiryAt;
    if (next === null || time < next) return [];
    const over = this.sorted().filter(({ deadline }) => deadline <= time);
    over.sort((a, b) => a.deadline - b.deadline);
    return over.slice(0, max).map(({ session, renewal }) => ({ kind: "expire-session", id: session.id, renewal }));
  }
}

/** What a session of this wish promises. */
export function grantedTtl(wanted: Ms, bounds: { readonly sessionTtlMinMs: number; readonly sessionTtlMaxMs: number }): Ms {
  return ms(Math.min(Math.max(wanted, bounds.sessionTtlMinMs), bounds.sessionTtlMaxMs));
}
