// Owns the sessions of a MemoryCluster and the one timer that ends them. What ends with a session is its owner's business.

import type { Clock } from "../model/clock.ts";
import { type Ms, ms } from "../model/units.ts";
import type { Session } from "./store.ts";

export interface MemorySessionOptions {
  readonly clock: Clock;
  /** A shorter TTL is raised to this. Default 1 ms. */
  readonly minTtl?: Ms;
  /** What a session of this TTL promises; default the TTL itself. */
  readonly promisedMs?: (ttl: Ms) => Ms;
  /** How long a session really lives from a renewal, asked at each renewal; never less than the promise. Default the TTL itself. */
  readonly lifetimeMs?: (ttl: Ms) => Ms;
}

interface OpenMemorySession {
  readonly session: Session;
  readonly name: string;
  readonly ttl: Ms;
  expiresAt: Ms;
}

export class MemorySessions {
  readonly #options: MemorySessionOptions;
  readonly #clock: Clock;
  readonly #onEnd: (session: string) => void;
  readonly #open = new Map<string, OpenMemorySession>();
  #count = 0;
  /** No session expires before it. */
  #nextExpiry = Number.POSITIVE_INFINITY;
  #timer: { readonly at: number; readonly stop: AbortController } | null = null;

  constructor(options: MemorySessionOptions, onEnd: (session: string) => void) {
    this.#options = options;
    this.#clock = options.clock;
    this.#onEnd = onEnd;
  }

  get minTtl(): Ms {
    return this.#options.minTtl ?? ms(1);
  }

  has(id: string): boolean {
    return this.#open.has(id);
  }

  get(id: string): Session | null {
    return this.#open.get(id)?.session ?? null;
  }

  /** `checkTtl`: of a check that ends it too; each renewal passes it. */
  open(name: string, wanted: Ms, checkTtl: Ms | null = null): Session {
    const ttl = ms(Math.max(wanted, this.minTtl));
    this.#count++;
    const promised = this.#options.promisedMs?.(ttl) ?? ttl;
    const session: Session = {
      id: `session-${this.#count}`,
      promisedMs: ms(Math.min(promised, checkTtl ?? promised)),
      ...(checkTtl === null ? {} : { checkTtl }),
      place: null,
    };
    const expiresAt = this.#expiryOf(ttl, session);
    this.#open.set(session.id, { session, name, ttl, expiresAt });
    if (expiresAt < this.#nextExpiry) {
      this.#nextExpiry = expiresAt;
      this.#armTimer();
    }
    return session;
  }

  renew(id: string): Session | null {
    const record = this.#open.get(id);
    if (record === undefined) return null;
    record.expiresAt = this.#expiryOf(record.ttl, record.session);
    return record.session;
  }

  end(id: string): void {
    if (this.#open.delete(id)) this.#onEnd(id);
  }

  /** Ends the sessions whose time is over, the oldest expiry first. */
  expire(): void {
    const now = this.#clock.now();
    if (now < this.#nextExpiry) return;
    const over = [...this.#open.values()].filter((record) => record.expiresAt <= now);
    over.sort((a, b) => a.expiresAt - b.expiresAt);
    for (const { session } of over) this.end(session.id);
    this.#nextExpiry = Number.POSITIVE_INFINITY;
    for (const { expiresAt } of this.#open.values()) this.#nextExpiry = Math.min(this.#nextExpiry, expiresAt);
    this.#armTimer();
  }

  close(): void {
    this.#timer?.stop.abort();
    this.#timer = null;
  }

  #expiryOf(ttl: Ms, { promisedMs, checkTtl }: Session): Ms {
    const shorter = ms(Math.min(ttl, checkTtl ?? ttl));
    const lifetime = this.#options.lifetimeMs?.(shorter) ?? shorter;
    return ms(this.#clock.now() + Math.max(lifetime, promisedMs));
  }

  /** One timer for all sessions, at the earliest possible expiry; renewals do not move it, it is set anew when it fires. */
  #armTimer(): void {
    const at = this.#nextExpiry;
    if (this.#timer !== null && this.#timer.at <= at) return;
    this.close();
    if (at === Number.POSITIVE_INFINITY) return;
    const stop = new AbortController();
    this.#timer = { at, stop };
    void this.#clock.sleepUntil(ms(at), stop.signal).then(() => {
      if (stop.signal.aborted) return;
      this.#timer = null;
      this.expire();
      this.#armTimer();
    });
  }
}
