// Owns what every case of the conformance suite starts from: clients of one store, a clock, and keys of its own.
// Knows no backend: what differs between them comes in through SuiteBackend.

import { afterAll, beforeAll, expect } from "bun:test";
import type { Entry, Session, Snapshot, Store } from "../../lib/dcs/store.ts";
import type { Clock } from "../../lib/model/clock.ts";
import type { StoreError } from "../../lib/model/errors.ts";
import type { Result } from "../../lib/model/result.ts";
import { type Ms, ms } from "../../lib/model/units.ts";

/** One running backend, as the suite needs it. */
export interface SuiteBackend {
  /** A new client of the same store; the suite closes those that it opened. */
  store(): Store;
  readonly clock: Clock;
  /** The suite writes below this prefix alone. */
  readonly prefix: string;
  /** The shortest session TTL that the backend grants. */
  readonly minTtl: Ms;
  close(): Promise<void>;
}

export type OpenBackend = () => Promise<SuiteBackend>;

/** How long a request of the suite may take before the case fails. */
export const REQUEST_BUDGET_MS = 10_000;
/** How late a store may end an expired session beyond twice its TTL before the case fails. */
export const EXPIRY_SLACK_MS = 5_000;
/** For cases that wait for no TTL. */
export const CASE_TIMEOUT_MS = 30_000;
/** For cases that wait for a session to expire: 10 s is the longest shortest TTL that we know. */
export const EXPIRY_CASE_TIMEOUT_MS = 90_000;

export class SuiteContext {
  #backend: SuiteBackend | null = null;
  #stores: Store[] = [];
  #count = 0;

  /** Registers opening and closing of the backend with the enclosing describe. */
  constructor(open: OpenBackend) {
    beforeAll(async () => {
      this.#backend = await open();
    }, 60_000);
    afterAll(async () => {
      for (const store of this.#stores) await store.close();
      await this.#backend?.close();
    }, 60_000);
  }

  get backend(): SuiteBackend {
    if (this.#backend === null) throw new Error("the backend is opened before the first case");
    return this.#backend;
  }

  get clock(): Clock {
    return this.backend.clock;
  }

  client(): Store {
    const store = this.backend.store();
    this.#stores.push(store);
    return store;
  }

  /** A prefix that no other case uses; ends with a slash. */
  freshPrefix(): string {
    this.#count++;
    return `${this.backend.prefix.replace(/\/+$/, "")}/case-${this.#count}/`;
  }

  within(budgetMs: number = REQUEST_BUDGET_MS): { readonly deadline: Ms } {
    return { deadline: ms(this.clock.now() + budgetMs) };
  }

  async pause(durationMs: number): Promise<void> {
    await this.clock.sleepUntil(ms(this.clock.now() + durationMs));
  }

  async snapshot(store: Store, prefix: string): Promise<Snapshot> {
    return value(await store.snapshot(prefix, { ...this.within(), consistency: "consistent" }));
  }

  /** The key's entry in a consistent read; null when absent. */
  async read(store: Store, key: string): Promise<Entry | null> {
    const snapshot = await this.snapshot(store, key);
    return snapshot.entries.find((entry) => entry.key === key) ?? null;
  }

  async openSession(store: Store, ttl: Ms = ms(Math.max(this.backend.minTtl, 20_000))): Promise<Session> {
    return value(await store.openSession({ ...this.within(), name: "suite", ttl }));
  }

  /** Repeats a probe until it answers true; fails the case after the budget. For facts that arrive by themselves, such as an expiry. */
  async until(budgetMs: number, probe: () => Promise<boolean>): Promise<void> {
    const end = this.clock.now() + budgetMs;
    while (!(await probe())) {
      if (this.clock.now() > end) throw new Error(`nothing happened within ${budgetMs} ms`);
      await this.pause(5);
    }
  }
}

/** The value of a result that has to be a success. */
export function value<T>(result: Result<T, StoreError>): T {
  if (!result.ok) throw new Error(`expected a success, got ${JSON.stringify(result.error)}`);
  return result.value;
}

/** Expects a failure of this kind. */
export function expectError(result: Result<unknown, StoreError>, kind: StoreError["kind"]): void {
  expect(result.ok ? { value: result.value } : result.error.kind).toEqual(kind);
}
