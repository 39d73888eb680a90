// Owns this node's session in the store: opening, renewing, adopting, giving up. Knows no key and decides nothing.

import type { Clock } from "../model/clock.ts";
import { type Cluster, findMember } from "../model/cluster.ts";
import type { StoreError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, ms } from "../model/units.ts";
import type { OpenSessionOptions, RenewSessionOptions, RequestOptions, Session, SessionCheck, Store } from "./store.ts";

/** Our session as last confirmed. */
export interface OpenSession {
  readonly id: string;
  /** Boot-time instant BEFORE the opening or last successful renewal was sent. */
  readonly confirmedAt: Ms;
  /** What the store keeps it for, at least, from a renewal. */
  readonly promisedMs: Ms;
  /** Of the check that ends it; null where it has none. */
  readonly checkTtl: Ms | null;
}

export interface SessionKeeperOptions {
  readonly store: Store;
  readonly clock: Clock;
  /** The session's name in the store: `<scope>-<name>`. */
  readonly name: string;
  readonly ttl: Ms;
  /** A check of its own that ends the session; default: none. */
  readonly check?: SessionCheck | null;
}

export class SessionKeeper {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #name: string;
  #current: OpenSession | null = null;
  /** The TTL that the current session was asked for. */
  #currentTtl: Ms;
  /** Of a move whose outcome is unknown: ours as soon as one of our keys is seen under it. */
  #candidate: OpenSession | null = null;
  /** Callers that find no session at the same time share one opening. */
  #opening: Promise<Result<OpenSession, StoreError>> | null = null;
  /** Wanted for sessions opened from now on. */
  ttl: Ms;
  check: SessionCheck | null;
  /** Sessions that became ours by opening since the start: a change means that our member key has to be written again. */
  opened = 0;

  constructor(options: SessionKeeperOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#name = options.name;
    this.ttl = options.ttl;
    this.check = options.check ?? null;
    this.#currentTtl = options.ttl;
  }

  get current(): OpenSession | null {
    return this.#current;
  }

  /** True where the current session was asked for with another TTL than is wanted now, or has another check. */
  get outdated(): boolean {
    if (this.#current === null) return false;
    return this.#currentTtl !== this.ttl || this.#current.checkTtl !== (this.check?.ttl ?? null);
  }

  /** No lease is counted with more, whatever the current session promises. */
  get longestLease(): Ms {
    return ms(Math.min(this.ttl, this.check?.ttl ?? this.ttl));
  }

  /** The current session, without asking the store; a new one where there is none. Errors: unavailable, unknown-outcome, rejected. */
  ensure(options: RequestOptions): Promise<Result<OpenSession, StoreError>> {
    if (this.#current !== null) return Promise.resolve(ok(this.#current));
    this.#opening ??= this.#openAndAdopt(options).finally(() => {
      this.#opening = null;
    });
    return this.#opening;
  }

  /** Errors: session-gone (also where there is none), unavailable, unknown-outcome, rejected. */
  async renew(options: RequestOptions): Promise<Result<OpenSession, StoreError>> {
    if (this.#current === null) return err({ kind: "session-gone", session: "(none)" });
    const { id } = this.#current;
    const renewed = await this.#renewed(id, options);
    if (!renewed.ok) {
      if (renewed.error.kind === "session-gone") this.forget(id);
      return renewed;
    }
    // Another renewal may have been confirmed meanwhile, or the session given up: the newest knowledge stays.
    if (this.#current?.id === id && this.#current.confirmedAt < renewed.value.confirmedAt) this.#current = renewed.value;
    return renewed;
  }

  /** Renews exactly that session and makes it ours; never opens another. Errors as renew. */
  async adopt(id: string, options: RenewSessionOptions): Promise<Result<OpenSession, StoreError>> {
    const renewed = await this.#renewed(id, options);
    if (renewed.ok) this.replace(renewed.value);
    else if (renewed.error.kind === "session-gone") this.forget(id);
    return renewed;
  }

  /** Opens a session beside the current one, which stays ours. Errors: unavailable, unknown-outcome, rejected. */
  async openBeside(options: RequestOptions & Pick<OpenSessionOptions, "unchecked">): Promise<Result<OpenSession, StoreError>> {
    const confirmedAt = this.#clock.now();
    const { ttl, check } = this;
    const opened = await this.#store.openSession({ ...options, name: this.#name, ttl, check });
    return opened.ok ? ok(sessionOf(opened.value, confirmedAt)) : opened;
  }

  /** From now on this session is ours. */
  replace(session: OpenSession): void {
    this.#current = session;
    this.#currentTtl = this.ttl;
  }

  /** A transaction that may or may not have handed our keys to this session: `observe` finds out. */
  suspect(session: OpenSession): void {
    this.#candidate = session;
  }

  /** Takes note of who owns our keys in a snapshot. */
  observe(cluster: Cluster, name: string): void {
    const candidate = this.#candidate;
    if (candidate === null) return;
    if (cluster.leader?.session !== candidate.id && findMember(cluster, name)?.session !== candidate.id) return;
    this.#candidate = null;
    this.replace(candidate);
  }

  /** Forgets the session locally, if it is still the current one; without an id whichever it is. */
  forget(id?: string): void {
    if (id === undefined || this.#current?.id === id) this.#current = null;
  }

  /** Ends the session in the store with all its keys; forgotten locally only when that is certain. Errors: unavailable, unknown-outcome, rejected. */
  async close(options: RequestOptions): Promise<Result<null, StoreError>> {
    if (this.#current === null) return ok(null);
    const { id } = this.#current;
    const closed = await this.#store.closeSession(id, options);
    if (closed.ok) this.forget(id);
    return closed;
  }

  async #openAndAdopt(options: RequestOptions): Promise<Result<OpenSession, StoreError>> {
    const opened = await this.openBeside(options);
    if (!opened.ok) return opened;
    this.replace(opened.value);
    this.opened++;
    return opened;
  }

  #renewed(id: string, options: RenewSessionOptions): Promise<Result<OpenSession, StoreError>> {
    const confirmedAt = this.#clock.now();
    return this.#store.renewSession(id, options).then((renewed) => (renewed.ok ? ok(sessionOf(renewed.value, confirmedAt)) : renewed));
  }
}

function sessionOf(session: Session, confirmedAt: Ms): OpenSession {
  return { id: session.id, confirmedAt, promisedMs: session.promisedMs, checkTtl: session.checkTtl ?? null };
}
