// Goal: an answer rests on a look that is young enough, and who asks again and again waits for none. Method: a clock by hand, and looks that
// end when the test says so.

import { describe, expect, test } from "bun:test";
import type { Clock } from "../../../lib/model/clock.ts";
import { type Ms, ms } from "../../../lib/model/units.ts";
import { FreshStatus } from "../../../lib/runtime/fresh-status.ts";

/** What contract and file promise: the age of facts, and how long a hung PostgreSQL keeps an answer. */
const [FRESH_MS, HUNG_MS] = [250, 2000];

class Bench implements Clock {
  #now = 1_000_000;
  readonly #sleepers: { readonly until: number; readonly wake: () => void }[] = [];
  /** Looks that have not ended, and how many began. */
  readonly looking: PromiseWithResolvers<void>[] = [];
  begun = 0;
  readonly status = new FreshStatus(this, () => {
    this.begun += 1;
    const look = Promise.withResolvers<void>();
    this.looking.push(look);
    return look.promise;
  });

  now(): Ms {
    return ms(this.#now);
  }

  wallNow(): number {
    return this.#now;
  }

  sleepUntil(until: Ms, signal?: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#sleepers.push({ until, wake: resolve });
    signal?.addEventListener("abort", () => resolve(), { once: true });
    return promise;
  }

  async pass(milliseconds: number): Promise<void> {
    this.#now += milliseconds;
    for (const { until, wake } of this.#sleepers) if (until <= this.#now) wake();
    await settled();
  }

  async endLook(): Promise<void> {
    this.looking.shift()?.resolve();
    await settled();
  }

  /** As the API does for each request; whether it had to wait. */
  async ask(): Promise<"at once" | "waited"> {
    if (this.status.isFresh()) {
      this.status.lookAhead();
      return "at once";
    }
    await this.status.refresh();
    return "waited";
  }
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
}

async function afterFirstLook(): Promise<Bench> {
  const bench = new Bench();
  const first = bench.ask();
  await bench.endLook();
  expect(await first).toBe("waited");
  return bench;
}

describe("the facts of an answer", () => {
  test("are looked at while the last ones are still young, so that of those who ask again and again only the first waits", async () => {
    const bench = await afterFirstLook();
    for (let asked = 0; asked < 1000; asked += 1) {
      await bench.pass(10);
      expect(await bench.ask()).toBe("at once");
      // Each look takes 20 ms: two more requests.
      if (bench.looking.length > 0 && asked % 2 === 0) await bench.endLook();
    }
    // Twice in the time that they may be old, not for each request.
    expect(bench.begun).toBeGreaterThan(10_000 / FRESH_MS);
    expect(bench.begun).toBeLessThan((3 * 10_000) / FRESH_MS);
  });

  test("are not looked at where nobody asks, and who asks then waits for a new look", async () => {
    const bench = await afterFirstLook();
    await bench.pass(10 * FRESH_MS);
    expect(bench.begun).toBe(1);
    const next = bench.ask();
    await bench.endLook();
    expect([await next, bench.begun]).toEqual(["waited", 2]);
  });

  test("are never older than promised: a look ahead that does not end makes the next one wait, for the same look", async () => {
    const bench = await afterFirstLook();
    await bench.pass(FRESH_MS - 1);
    expect(await bench.ask()).toBe("at once");
    await bench.pass(1);
    expect(bench.status.isFresh()).toBe(false);
    const waiting = [bench.ask(), bench.ask()];
    expect(bench.looking.length).toBe(1);
    // Its age counts from its beginning.
    await bench.endLook();
    expect(await Promise.all(waiting)).toEqual(["waited", "waited"]);
    await bench.pass(FRESH_MS - 1);
    expect(bench.status.isFresh()).toBe(false);
  });

  test("a PostgreSQL that hangs is told of within two seconds, and of its recovery as soon as it answers", async () => {
    const bench = await afterFirstLook();
    await bench.pass(FRESH_MS - 1);
    await bench.ask();
    await bench.pass(1);
    const waiting = bench.ask();
    await bench.pass(HUNG_MS - 1);
    expect(await waiting).toBe("waited");
    expect(bench.status.hung).toBe(true);
    const next = bench.ask();
    await bench.endLook();
    expect([await next, bench.status.hung]).toEqual(["waited", false]);
  });

  test("a look ahead that fails harms nobody who was answered; who waits for the next one is told", async () => {
    const bench = await afterFirstLook();
    await bench.pass(FRESH_MS - 1);
    expect(await bench.ask()).toBe("at once");
    bench.looking.shift()?.reject(new Error("a broken invariant"));
    await settled();
    await bench.pass(1);
    const next = bench.ask();
    bench.looking.shift()?.reject(new Error("a broken invariant"));
    expect(next).rejects.toThrow("a broken invariant");
    await settled();
  });
});
