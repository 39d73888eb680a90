// The drivers with a timeout of their own, and the choice among all drivers.

import { afterAll, describe, expect, test } from "bun:test";
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { WatchdogConfig } from "../../../../lib/model/node-config.ts";
import { type Ms, ms, seconds } from "../../../../lib/model/units.ts";
import { chooseWatchdog, FallbackWatchdog } from "../../../../lib/postgres/watchdog/choose.ts";
import { TimerWatchdog, watchdogTimeout } from "../../../../lib/postgres/watchdog/device.ts";
import { measureStopBudget, ProcessGuard } from "../../../../lib/postgres/watchdog/guard.ts";
import { makeFifo } from "../../../../lib/postgres/watchdog/libc.ts";
import { KernelWatchdog, kernelWatchdogUsable } from "../../../../lib/postgres/watchdog/linux.ts";
import { TestingWatchdog } from "../../../../lib/postgres/watchdog/testing.ts";
import type { ArmOptions } from "../../../../lib/postgres/watchdog/watchdog.ts";

const folder = mkdtempSync(join(tmpdir(), "watchdog-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("watchdogTimeout", () => {
  // [ttl, loop_wait, safety_margin] → [N, adjusted, usable]
  const cases: readonly (readonly [readonly [number, number, number], readonly [number, boolean, boolean]])[] = [
    [
      [30, 10, 5],
      [25, false, true],
    ],
    [
      [30, 10, -1],
      [15, false, true],
    ],
    [
      [20, 10, 5],
      [15, false, true],
    ],
    [
      [20, 10, -1],
      [10, false, true],
    ],
    [
      [20, 10, 10],
      [10, true, true],
    ],
    [
      [5, 1, 5],
      [2, true, true],
    ],
    [
      [5, 1, -1],
      [2, false, true],
    ],
    [
      [5, 3, 5],
      [2, true, false],
    ],
    [
      [3, 1, 5],
      [1, true, true],
    ],
    [
      [3, 1, -1],
      [1, false, true],
    ],
    [
      [3, 2, 5],
      [1, true, false],
    ],
    [
      [1, 1, 5],
      [1, true, false],
    ],
  ];
  for (const [[ttl, loopWait, safetyMarginSeconds], [expected, adjusted, usable]] of cases) {
    test(`ttl ${ttl}, loop_wait ${loopWait}, safety_margin ${safetyMarginSeconds}: ${expected} s${usable ? "" : ", not usable"}`, () => {
      const timeout = watchdogTimeout({ ttl: seconds(ttl), loopWait: seconds(loopWait), safetyMarginSeconds });
      expect(timeout).toEqual({ seconds: expected, adjusted, usable });
    });
  }
});

describe("the stop budget", () => {
  test("is at most min(2 s, ttl / 4)", () => {
    for (const [ttl, most] of [
      [3000, 750],
      [5000, 1250],
      [20_000, 2000],
      [30_000, 2000],
    ] as const) {
      expect(ProcessGuard.stopBudget(ms(ttl))).toBe(ms(most));
      expect(measureStopBudget({ ttl: ms(ttl), roundTripMs: 1000, backends: 10_000 })).toBe(ms(most));
    }
  });

  test("leaves room for the grace period, and grows with a slow machine and many backends", () => {
    const quiet = measureStopBudget({ ttl: ms(30_000), roundTripMs: 1, backends: 5 });
    expect(quiet).toBeGreaterThan(500);
    expect(quiet).toBeLessThan(700);
    expect(measureStopBudget({ ttl: ms(30_000), roundTripMs: 20, backends: 5 })).toBeGreaterThan(quiet);
    expect(measureStopBudget({ ttl: ms(30_000), roundTripMs: 1, backends: 300 })).toBeGreaterThan(quiet);
  });
});

/** A FIFO whose reader is the test itself, and a driver over it. The clock stands where the test puts it. */
function fifo(
  name: string,
  safetyMarginSeconds = () => 5,
): { path: string; read: () => string; watchdog: TimerWatchdog; set: (at: number) => void; notes: string[]; told: string[] } {
  const path = join(folder, name);
  expect(makeFifo(path, 0o600)).toBe(true);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  let now = 0;
  const [notes, told]: [string[], string[]] = [[], []];
  const watchdog = new TimerWatchdog({
    fencing: "testing",
    device: new TestingWatchdog(path),
    safetyMarginSeconds,
    now: () => ms(now),
    note: (message) => notes.push(message),
    tell: (message) => told.push(message),
  });
  const read = (): string => {
    const buffer = Buffer.alloc(1000);
    try {
      return buffer.subarray(0, readSync(reader, buffer)).toString();
    } catch {
      // Nothing in it.
      return "";
    }
  };
  return { path, read, watchdog, set: (at) => (now = at), notes, told };
}

function arming(ttl: number, leaseEnd: number): ArmOptions {
  return { postmaster: null, leaseEnd: ms(leaseEnd), ttl: ms(ttl), loopWait: ms(ttl / 3) };
}

describe("driver testing", () => {
  test("sets the timeout, pings at each renewal, says V before it closes", async () => {
    const { watchdog, read, set } = fifo("a");
    expect((await watchdog.arm(arming(30_000, 29_400))).ok).toBe(true);
    expect(read()).toBe("Ctimeout=25\n1");
    expect(watchdog.armed && watchdog.healthy()).toBe(true);
    expect(watchdog.actsAt()).toBe(ms(25_000));
    set(10_000);
    expect(watchdog.extend(ms(39_400)).ok).toBe(true);
    expect(read()).toBe("1");
    set(12_000);
    expect(watchdog.actsAt()).toBe(ms(35_000));
    expect((await watchdog.disarm()).ok).toBe(true);
    expect(read()).toBe("V");
    expect(watchdog.armed || watchdog.healthy()).toBe(false);
    expect(watchdog.actsAt()).toBeNull();
    expect(watchdog.extend(ms(39_400)).ok).toBe(false);
  });

  test("a safety_margin that has changed counts from the next arming on", async () => {
    let margin = 5;
    const { watchdog, path, read, told } = fifo("margin", () => margin);
    await watchdog.arm(arming(30_000, 29_400));
    expect(read()).toBe("Ctimeout=25\n1");
    margin = -1;
    await watchdog.arm(arming(30_000, 29_400));
    expect(read()).toBe("Ctimeout=15\n1");
    await watchdog.arm(arming(30_000, 29_400));
    expect(told).toEqual([
      `Watchdog test harness at ${path} activated with 25 second timeout, timing slack 15 seconds`,
      `Watchdog test harness at ${path} updated with 15 second timeout, timing slack 5 seconds`,
    ]);
    await watchdog.disarm();
  });

  test("a renewal that was answered late shortens the timeout to what is left of the lease, a prompt one restores it", async () => {
    const { watchdog, read, set } = fifo("b");
    await watchdog.arm(arming(30_000, 29_400));
    read();
    set(16_000);
    watchdog.extend(ms(39_400));
    expect(read()).toBe("Ctimeout=23\n1");
    set(20_000);
    watchdog.extend(ms(49_400));
    expect(read()).toBe("Ctimeout=25\n1");
    await watchdog.disarm();
  });

  test("a timeout that the device refuses is asked for again at the next renewal", async () => {
    const asked: number[] = [];
    let refuses = false;
    const watchdog = new TimerWatchdog({
      fencing: "testing",
      device: {
        opened: true,
        open: () => null,
        setTimeout: (seconds) => {
          asked.push(seconds);
          return refuses ? "refused" : null;
        },
        ping: () => null,
        close: () => null,
        look: () => null,
        describe: () => "a device",
      },
      safetyMarginSeconds: () => 5,
      now: () => ms(0),
      note: () => undefined,
      tell: () => undefined,
    });
    expect((await watchdog.arm(arming(30_000, 29_400))).ok).toBe(true);
    refuses = true;
    expect([watchdog.extend(ms(10_000)).ok, watchdog.healthy()]).toEqual([false, false]);
    refuses = false;
    expect([watchdog.extend(ms(10_000)).ok, watchdog.healthy(), watchdog.actsAt()]).toEqual([true, true, ms(10_000)]);
    expect(asked).toEqual([25, 10, 10]);
    await watchdog.disarm();
  });

  test("a look tells whether it is there and has a timeout, and gives it no order", async () => {
    const { watchdog, path, read } = fifo("look");
    const times = { ttl: seconds(30), loopWait: seconds(10) };
    expect((await watchdog.prepare(times)).ok).toBe(true);
    expect((await watchdog.prepare({ ttl: seconds(3), loopWait: seconds(2) })).ok).toBe(false);
    expect(watchdog.armed).toBe(false);
    expect(read()).toBe("");
    rmSync(path);
    expect((await watchdog.prepare(times)).ok).toBe(false);
  });

  test("without a reader it is unusable, and a reader that goes away makes it fail", async () => {
    const path = join(folder, "c");
    makeFifo(path, 0o600);
    const watchdog = new TimerWatchdog({
      fencing: "testing",
      device: new TestingWatchdog(path),
      safetyMarginSeconds: () => 5,
      now: () => ms(0),
      note: () => undefined,
      tell: () => undefined,
    });
    const refused = await watchdog.arm(arming(30_000, 29_400));
    expect(refused.ok).toBe(false);
    expect(watchdog.armed).toBe(false);
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    expect((await watchdog.arm(arming(30_000, 29_400))).ok).toBe(true);
    closeSync(reader);
    expect(watchdog.extend(ms(29_400)).ok).toBe(false);
    expect(watchdog.healthy()).toBe(false);
  });

  test("a timeout below loop_wait refuses; ttl / 2 is said in the log", async () => {
    const { watchdog, notes, read } = fifo("d");
    const refused = await watchdog.arm({ ...arming(3000, 2800), loopWait: seconds(2) });
    expect(refused.ok).toBe(false);
    if (!refused.ok) expect(refused.error.kind).toBe("unusable");
    expect(read()).toBe("");
    expect((await watchdog.arm({ ...arming(5000, 4800), loopWait: seconds(1) })).ok).toBe(true);
    expect(notes).toHaveLength(1);
    expect(notes[0]).toContain("ttl / 2 = 2 s");
    await watchdog.disarm();
  });
});

describe("driver linux", () => {
  test("a file that is no watchdog is not usable, and says so when it is armed all the same", async () => {
    const path = join(folder, "file");
    writeFileSync(path, "");
    expect(kernelWatchdogUsable(path)).toBe(false);
    expect(kernelWatchdogUsable(join(folder, "nothing"))).toBe(false);
    const device = new KernelWatchdog(path);
    expect(device.look()).toContain("is not there");
    expect(device.open(10)).toContain("does not take a timeout of 10 s");
    expect(device.close()).toBeNull();
    expect(device.opened).toBe(false);
    expect(device.ping()).toContain("is not open");
  });
});

describe("chooseWatchdog", () => {
  const deps = {
    clock: { now: () => ms(0), wallNow: () => 0, sleepUntil: () => Promise.resolve() },
    log: { debug: () => undefined, info: () => undefined, warning: () => undefined, error: () => undefined, critical: () => undefined },
    dataDir: folder,
    stateDir: folder,
    runLockPath: join(folder, "run.lock"),
    token: "t",
  };
  const config: WatchdogConfig = { mode: "automatic", driver: null, device: join(folder, "nothing"), safetyMarginSeconds: 5 };

  test("takes the guard where there is no device, and what is named where something is named", () => {
    expect(chooseWatchdog(config, deps).fencing).toBe("process");
    expect(chooseWatchdog({ ...config, driver: "process" }, deps).fencing).toBe("process");
    expect(chooseWatchdog({ ...config, driver: "linux" }, deps).fencing).toBe("linux");
    expect(chooseWatchdog({ ...config, driver: "testing" }, deps).fencing).toBe("testing");
    expect(chooseWatchdog({ ...config, mode: "off", driver: "process" }, deps).fencing).toBe("none");
  });

  test("where the device is not there the second driver has to be usable, and goes on being the second", async () => {
    const [first, second] = [fifo("look-first"), fifo("look-second")];
    const both = new FallbackWatchdog({ first: first.watchdog, second: second.watchdog, warn: () => undefined });
    rmSync(first.path);
    expect((await both.prepare()).ok).toBe(true);
    rmSync(second.path);
    expect((await both.prepare()).ok).toBe(false);
    expect(makeFifo(first.path, 0o600)).toBe(true);
    expect((await both.prepare()).ok).toBe(true);
  });

  test("a device that turns out not to work gives way to the second driver until that is disarmed", async () => {
    const warnings: string[] = [];
    const first = fifo("first");
    const second = fifo("second");
    const both = new FallbackWatchdog({ first: first.watchdog, second: second.watchdog, warn: (text) => warnings.push(text) });
    expect((await both.arm(arming(30_000, 29_400))).ok).toBe(true);
    expect([first.read(), second.read()]).toEqual(["Ctimeout=25\n1", ""]);
    await both.disarm();
    first.read();
    rmSync(first.path);
    expect((await both.arm(arming(30_000, 29_400))).ok).toBe(true);
    expect(second.read()).toBe("Ctimeout=25\n1");
    expect(warnings).toHaveLength(1);
    expect(both.extend(29_400 as Ms).ok).toBe(true);
    expect(second.read()).toBe("1");
    await both.disarm();
    expect(second.read()).toBe("V");
  });
});
