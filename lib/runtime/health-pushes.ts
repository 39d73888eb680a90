// Owns the clock of a health check that is pushed: again and again, for as long as there is an entry. What is told is the caller's.

import type { Clock } from "../model/clock.ts";
import { type Ms, ms } from "../model/units.ts";

export interface HealthPushesOptions<Role> {
  readonly clock: Clock;
  /** Tells of the health as this role. Value: why that failed, or null. */
  readonly push: (role: Role) => Promise<string | null>;
  /** Once for each reason, until a push succeeds again. */
  readonly onFailure: (reason: string) => void;
}

export class HealthPushes<Role> {
  readonly #options: HealthPushesOptions<Role>;
  #role: Role | null = null;
  #everyMs: Ms = ms(0);
  #ending = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #told: string | null = null;

  constructor(options: HealthPushesOptions<Role>) {
    this.#options = options;
  }

  /**
   * From now on as this role, so often; null: not any more. A new role is told of at once: Consul keeps the status that the check had as
   * the former one, whatever the new entry says.
   */
  follow(role: Role | null, every: Ms): void {
    const restart = this.#role !== role || this.#everyMs !== every;
    this.#role = role;
    this.#everyMs = every;
    if (role === null) this.#ending.abort();
    else if (restart) this.#begin();
  }

  async stop(): Promise<void> {
    this.#role = null;
    this.#ending.abort();
    await this.#running;
  }

  #begin(): void {
    this.#ending.abort();
    const ending = new AbortController();
    this.#ending = ending;
    this.#running = this.#running.then(() => this.#run(ending.signal));
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock, push, onFailure } = this.#options;
    while (!signal.aborted) {
      const next = ms(clock.now() + this.#everyMs);
      const role = this.#role;
      const failure = role === null ? null : await push(role);
      if (failure !== null && failure !== this.#told) onFailure(`the health of the Consul service was not told: ${failure}`);
      this.#told = failure;
      await clock.sleepUntil(next, signal);
    }
  }
}
