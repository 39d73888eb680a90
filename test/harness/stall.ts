// Owns how much of a stretch of time the machine took away from everybody: waiting for a processor or the disk, processors that the
// hypervisor gave to others, and the lateness of this process's own timers. A bound in milliseconds holds on top of it, so that it
// measures the product and not the machine: on a quiet one it adds next to nothing. Knows no product.

import { readFileSync } from "node:fs";

/** Short against the times that are judged; a sample costs three small files. */
const SAMPLE_EVERY_MS = 25;
/** Half an hour: longer than any test. */
const SAMPLES_MAX = 72_000;
/** Rounding of timers, and the pauses of a collector, are no lateness of the machine. */
const TIMER_SLACK_MS = 10;
/** Unit of the counters in /proc/stat (USER_HZ is 100 on every Linux that the tests run on). */
const TICK_MS = 10;

interface Sample {
  /** `performance.now()`. */
  readonly at: number;
  /** Since boot: what somebody waited for a processor or the disk, and what was stolen, in ms. */
  readonly waited: number;
  /** Since the first sample: by how much they came too late, in ms. */
  readonly late: number;
}

const samples: Sample[] = [];

/** From the moment this file is imported: what is asked about later has to be known then. */
setInterval(sample, SAMPLE_EVERY_MS).unref();
sample();

/** What is left of the time between the two (`performance.now()`) once the machine's share is taken off: this is what a bound is for. */
export function ownMs(from: number, to: number = performance.now()): number {
  return to - from - stalledMs(from, to);
}

/**
 * For how many ms of the time between the two (`performance.now()`) somebody was kept from running; never more than that time itself.
 * 0 before the first look, and where the kernel does not tell (no /proc/pressure) and this process's own timers were in time.
 */
export function stalledMs(from: number, to: number = performance.now()): number {
  sample();
  const [begin, end] = [at(samples, from), at(samples, to)];
  if (begin === null || end === null || to <= from) return 0;
  return Math.min(to - from, Math.max(end.waited - begin.waited, end.late - begin.late));
}

/** The state at a moment, as if it had changed evenly between two samples; null before the first. */
function at(all: readonly Sample[], moment: number): Sample | null {
  const next = all.findIndex((one) => one.at >= moment);
  const [before, after] = next < 0 ? [all.at(-1), all.at(-1)] : [all[next - 1], all[next]];
  if (before === undefined || after === undefined) return null;
  const share = after.at === before.at ? 0 : (moment - before.at) / (after.at - before.at);
  const between = (left: number, right: number) => left + share * (right - left);
  return { at: moment, waited: between(before.waited, after.waited), late: between(before.late, after.late) };
}

function sample(): void {
  const now = performance.now();
  const last = samples.at(-1);
  const late = last === undefined ? 0 : Math.max(0, now - last.at - SAMPLE_EVERY_MS - TIMER_SLACK_MS);
  samples.push({ at: now, waited: waitedMs(readOrEmpty), late: (last?.late ?? 0) + late });
  if (samples.length > SAMPLES_MAX) samples.splice(0, SAMPLES_MAX / 2);
}

/** Since boot, in ms: pressure on processors and disk, and stolen time of all processors. What the kernel does not tell counts 0. */
export function waitedMs(read: (path: string) => string): number {
  const pressure = (of: string) => Number(/^some .*total=(\d+)/m.exec(read(`/proc/pressure/${of}`))?.[1] ?? 0) / 1000;
  const stolen = Number(/^cpu +(?:\d+ +){7}(\d+)/m.exec(read("/proc/stat"))?.[1] ?? 0) * TICK_MS;
  return pressure("cpu") + pressure("io") + stolen;
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // A kernel without it: the answer.
  }
}
