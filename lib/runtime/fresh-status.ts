// Owns how old the facts of a REST answer may be: one look at PostgreSQL, shared by all requests that wait for it (contract §4).

import type { Clock } from "../model/clock.ts";
import { type Ms, ms } from "../model/units.ts";
import type { NodeContext } from "./node-context.ts";
import { lookAtPostgres } from "./observe.ts";

/** PostgreSQL up or down, and its role: at most this old. */
const FRESH_MS = 250;
/** From this age on the next look is begun while requests are still answered by the last one: who asks again and again never waits. */
const LOOK_AHEAD_MS = 125;
/** A hung PostgreSQL is reported within 2 s; the answer needs a little of that itself. */
const LOOK_LIMIT_MS = 1800;

export class FreshStatus {
  readonly #clock: Clock;
  /** Looks at PostgreSQL and keeps what it saw. */
  readonly #lookOnce: () => Promise<void>;
  #lookedAt: Ms = ms(Number.NEGATIVE_INFINITY);
  #looking: Promise<void> | null = null;
  /** The look that is under way has taken too long: PostgreSQL does not answer. */
  hung = false;

  static of(context: NodeContext): FreshStatus {
    return new FreshStatus(context.clock, () => lookAtPostgres(context));
  }

  constructor(clock: Clock, look: () => Promise<void>) {
    this.#clock = clock;
    this.#lookOnce = look;
  }

  /** Resolves once the facts are fresh, or once PostgreSQL has let us wait too long. */
  async refresh(): Promise<void> {
    const clock = this.#clock;
    if (this.isFresh()) return;
    this.#looking ??= this.#look();
    const limit = new AbortController();
    const late = clock.sleepUntil(ms(clock.now() + LOOK_LIMIT_MS), limit.signal).then(() => "late" as const);
    const result = await Promise.race([this.#looking.then(() => "done" as const), late]);
    limit.abort();
    this.hung = result === "late";
  }

  isFresh(): boolean {
    return !this.hung && this.#age() < FRESH_MS;
  }

  /** Begins the next look where the facts will soon be too old; waits for nothing. */
  lookAhead(): void {
    if (this.#looking !== null || this.#age() < LOOK_AHEAD_MS) return;
    this.#looking = this.#look();
    // Whoever comes to wait for it is told; facts that nobody waits for grow old, and then somebody waits.
    this.#looking.catch(() => undefined);
  }

  #age(): number {
    return this.#clock.now() - this.#lookedAt;
  }

  async #look(): Promise<void> {
    const startedAt = this.#clock.now();
    try {
      await this.#lookOnce();
      this.#lookedAt = startedAt;
      this.hung = false;
    } finally {
      this.#looking = null;
    }
  }
}
