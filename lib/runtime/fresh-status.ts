// Owns how old the facts of a REST answer may be: one look at PostgreSQL, shared by all requests that wait for it (contract §4).

import { type Ms, ms } from "../model/units.ts";
import type { NodeContext } from "./node-context.ts";
import { lookAtPostgres } from "./observe.ts";

/** PostgreSQL up or down, and its role: at most this old. */
const FRESH_MS = 250;
/** A hung PostgreSQL is reported within 2 s; the answer needs a little of that itself. */
const LOOK_LIMIT_MS = 1800;

export class FreshStatus {
  readonly #context: NodeContext;
  #lookedAt: Ms;
  #looking: Promise<void> | null = null;
  /** The look that is under way has taken too long: PostgreSQL does not answer. */
  hung = false;

  constructor(context: NodeContext) {
    this.#context = context;
    this.#lookedAt = ms(0);
  }

  /** Resolves once the facts are fresh, or once PostgreSQL has let us wait too long. */
  async refresh(): Promise<void> {
    const { clock } = this.#context;
    if (this.isFresh()) return;
    this.#looking ??= this.#look();
    const limit = new AbortController();
    const late = clock.sleepUntil(ms(clock.now() + LOOK_LIMIT_MS), limit.signal).then(() => "late" as const);
    const result = await Promise.race([this.#looking.then(() => "done" as const), late]);
    limit.abort();
    this.hung = result === "late";
  }

  isFresh(): boolean {
    return !this.hung && this.#context.clock.now() - this.#lookedAt < FRESH_MS;
  }

  async #look(): Promise<void> {
    const startedAt = this.#context.clock.now();
    try {
      await lookAtPostgres(this.#context);
      this.#lookedAt = startedAt;
      this.hung = false;
    } finally {
      this.#looking = null;
    }
  }
}
