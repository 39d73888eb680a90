// Owns the tests of what the harness says about the machine: what the kernel counts, and what this process noticed itself.

import { expect, test } from "bun:test";
import { ownMs, stalledMs, waitedMs } from "../../harness/stall.ts";

test("pressure on processors and disk and stolen time are counted together; what the kernel does not tell is 0", () => {
  const files: Readonly<Record<string, string>> = {
    "/proc/pressure/cpu": "some avg10=1.00 avg60=1.00 avg300=1.00 total=2000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
    "/proc/pressure/io": "some avg10=0.00 avg60=0.00 avg300=0.00 total=30500\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
    "/proc/stat": "cpu  10 20 30 40 50 60 70 8 0 0\ncpu0 5 10 15 20 25 30 35 4 0 0\n",
  };
  expect(waitedMs((path) => files[path] ?? "")).toBe(2000 + 30.5 + 80);
  expect(waitedMs(() => "")).toBe(0);
});

test("a process that was kept from running for a while has that time taken off, and never more than all of it", async () => {
  const from = performance.now();
  // As if it had been stopped: no timer fires.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
  await Bun.sleep(60);
  const to = performance.now();
  expect(stalledMs(from, to)).toBeGreaterThan(200);
  expect(stalledMs(from, to)).toBeLessThanOrEqual(to - from);
  expect(ownMs(from, to)).toBeLessThan(to - from - 200);
});

test("of a moment before the first look nothing is said", () => {
  expect(stalledMs(-2_000, -1_000)).toBe(0);
});
