// The real clock, and the watch that tells when this process was asleep.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { ms } from "../../../lib/model/units.ts";
import { bootNow, ClockWatch, clockGap, monotonicNow, realClock } from "../../../lib/runtime/clock.ts";

describe("realClock", () => {
  test("counts the time since boot as the kernel does", () => {
    const before = bootNow();
    const uptime = Number(readFileSync("/proc/uptime", "latin1").split(" ")[0]) * 1000;
    const after = bootNow();
    // The kernel leaves out what is less than a hundredth of a second.
    expect(uptime).toBeGreaterThan(before - 20);
    expect(uptime).toBeLessThanOrEqual(after);
  });

  test("has a fraction of a millisecond, and never goes back", () => {
    const instants = Array.from({ length: 1000 }, () => bootNow());
    expect(instants.some((instant) => !Number.isInteger(instant))).toBe(true);
    expect(instants.every((instant, index) => index === 0 || instant >= (instants[index - 1] ?? 0))).toBe(true);
  });

  test("sleeps until the instant, never less", async () => {
    const clock = realClock();
    for (const length of [0.4, 3.7, 20]) {
      const at = ms(clock.now() + length);
      await clock.sleepUntil(at);
      expect(clock.now()).toBeGreaterThanOrEqual(at);
    }
  });

  test("an instant that has passed is no sleep", async () => {
    const first: string[] = [];
    // Both in one event loop: however late that is, the shorter sleep ends first.
    const short = Bun.sleep(20).then(() => first.push("20 ms"));
    await realClock().sleepUntil(ms(bootNow() - 5000));
    first.push("none");
    await short;
    expect(first).toEqual(["none", "20 ms"]);
  });

  test("an abort ends the sleep, before it as well as during it", async () => {
    const clock = realClock();
    const began = clock.now();
    const during = new AbortController();
    const sleep = clock.sleepUntil(ms(began + 60_000), during.signal);
    during.abort();
    await sleep;
    await clock.sleepUntil(ms(began + 60_000), AbortSignal.abort());
    expect(clock.now() - began).toBeLessThan(30_000);
  });

  test("boot-time is never behind the monotonic clock", () => {
    expect(clockGap()).toBeGreaterThanOrEqual(-1);
    // Of many looks one was not interrupted between the clocks.
    const differences = Array.from({ length: 1000 }, () => Math.abs(bootNow() - monotonicNow() - clockGap()));
    expect(Math.min(...differences)).toBeLessThan(5);
  });
});

describe("ClockWatch", () => {
  test("a blocked event loop puts the lease in doubt until a later renewal", () => {
    const reasons: string[] = [];
    const watch = new ClockWatch({ marginMs: ms(300), onDoubt: (reason) => reasons.push(reason) });
    watch.start();
    const renewedBefore = bootNow();
    expect(watch.trustedSince(renewedBefore)).toBe(true);
    Bun.sleepSync(1400);
    expect(watch.trustedSince(renewedBefore)).toBe(false);
    expect(watch.trustedSince(bootNow())).toBe(true);
    expect(reasons).toHaveLength(1);
    expect(reasons[0]).toStartWith("the event loop was late by ");
    watch.stop();
  });

  test("one stall is one doubt, also when the late timer has its turn", async () => {
    const reasons: string[] = [];
    const watch = new ClockWatch({ marginMs: ms(300), onDoubt: (reason) => reasons.push(reason) });
    watch.start();
    Bun.sleepSync(1400);
    watch.check();
    await Bun.sleep(30);
    expect(reasons).toHaveLength(1);
    watch.stop();
  });

  test("a stopped watch doubts nothing", () => {
    const watch = new ClockWatch({ marginMs: ms(5) });
    watch.start();
    watch.stop();
    const before = bootNow();
    Bun.sleepSync(50);
    expect(watch.trustedSince(before)).toBe(true);
  });
});
