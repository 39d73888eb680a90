// Owns the registrations of clients and the answers that they may ask for again. Applies nothing; everything here is
// decided by entries of the log alone, so it is equal on every member. Source: Ongaro, section 6.3.

import { err } from "../../../model/result.ts";
import type { CommandAnswer } from "./command.ts";

export interface ClientRecord {
  readonly id: string;
  /** No answer up to this sequence will be asked for again: none of them is kept, and none of them is ever applied (again). */
  acknowledged: number;
  /** Cluster time of its last command. */
  usedAt: number;
  /** By sequence. */
  readonly answers: Map<number, CommandAnswer>;
}

export interface ClientBounds {
  readonly clientsMax: number;
  readonly clientIdleMs: number;
  readonly answersMax: number;
  readonly allAnswersMax: number;
}

/** `repeated`: do not apply, answer this. `admitted`: apply, then `remember`. */
export type Admission =
  | { readonly kind: "repeated"; readonly answer: CommandAnswer }
  | { readonly kind: "admitted"; readonly client: ClientRecord };

const UNKNOWN: Admission = { kind: "repeated", answer: err({ kind: "unknown-client" }) };

export class Clients {
  readonly #bounds: ClientBounds;
  /** The one that is idle longest first. */
  readonly #byId = new Map<string, ClientRecord>();
  /** The last of them; also after it is forgotten, as no other record is the same. */
  #newest: ClientRecord | null = null;
  #answers = 0;

  constructor(bounds: ClientBounds) {
    this.#bounds = bounds;
  }

  get size(): number {
    return this.#byId.size;
  }

  /** The one that is idle longest first. */
  all(): IterableIterator<ClientRecord> {
    return this.#byId.values();
  }

  /** The id is not in use. */
  open(id: string, time: number): void {
    this.restore({ id, acknowledged: 0, usedAt: time, answers: new Map() });
    while (this.#byId.size > this.#bounds.clientsMax) this.#forgetOldest();
  }

  /** Appends a registration as it was. */
  restore(client: ClientRecord): void {
    this.#byId.set(client.id, client);
    this.#newest = client;
    this.#answers += client.answers.size;
  }

  /** Forgets the registrations whose time is over at this cluster time. */
  expire(time: number): void {
    for (const client of this.#byId.values()) {
      if (client.usedAt + this.#bounds.clientIdleMs > time) return;
      this.#forget(client);
    }
  }

  /** `acknowledged` is less than `sequence`. */
  admit(id: string, request: { readonly sequence: number; readonly acknowledged: number }, time: number): Admission {
    const client = this.#byId.get(id);
    if (client === undefined) return UNKNOWN;
    this.#use(client, time);
    if (request.acknowledged > client.acknowledged) this.#acknowledge(client, request.acknowledged);
    if (request.sequence <= client.acknowledged) return UNKNOWN;
    const known = client.answers.get(request.sequence);
    if (known !== undefined) return { kind: "repeated", answer: known };
    // The oldest open one may have been lost on its way: were it refused as well, nothing could ever be acknowledged.
    if (client.answers.size >= this.#bounds.answersMax && request.sequence !== client.acknowledged + 1) {
      const reason = `${this.#bounds.answersMax} answers of this client wait to be acknowledged`;
      return { kind: "repeated", answer: err({ kind: "unavailable", reason }) };
    }
    return { kind: "admitted", client };
  }

  /** The answer to a command that was admitted. */
  remember(client: ClientRecord, sequence: number, answer: CommandAnswer): void {
    client.answers.set(sequence, answer);
    this.#answers++;
    while (this.#answers > this.#bounds.allAnswersMax) this.#forgetOldest();
  }

  #use(client: ClientRecord, time: number): void {
    client.usedAt = time;
    if (client === this.#newest) return;
    this.#newest = client;
    this.#byId.delete(client.id);
    this.#byId.set(client.id, client);
  }

  #acknowledge(client: ClientRecord, acknowledged: number): void {
    const { answers } = client;
    const before = answers.size;
    if (acknowledged - client.acknowledged <= before) {
      for (let sequence = client.acknowledged + 1; sequence <= acknowledged; sequence++) answers.delete(sequence);
    } else {
      for (const sequence of answers.keys()) if (sequence <= acknowledged) answers.delete(sequence);
    }
    client.acknowledged = acknowledged;
    this.#answers -= before - answers.size;
  }

  #forgetOldest(): void {
    const [oldest] = this.#byId.values();
    if (oldest !== undefined) this.#forget(oldest);
  }

  #forget(client: ClientRecord): void {
    this.#byId.delete(client.id);
    this.#answers -= client.answers.size;
  }
}
