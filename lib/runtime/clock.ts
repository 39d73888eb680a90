// Owns the real clock: CLOCK_BOOTTIME for elapsed time (it counts suspend), CLOCK_MONOTONIC to notice a suspend, and
// the watch over both that makes a lease doubtful. Must not decide what follows from a doubt: the lease's holder does.

import { dlopen, FFIType, type Pointer, ptr } from "bun:ffi";
import type { Clock } from "../model/clock.ts";
import { type Ms, ms } from "../model/units.ts";

// Source: clock_gettime(2), linux/time.h.
const CLOCK_MONOTONIC = 1;
const CLOCK_BOOTTIME = 7;

/** Longest single timer, in ms: JavaScript timers hold 31 bits, and a timer does not count suspend, so a long sleep looks again. */
const SLEEP_SLICE_MAX_MS = 60_000;

const libc = dlopen("libc.so.6", { clock_gettime: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 } });
// struct timespec: two signed 64-bit numbers, read as 32-bit halves (little-endian on every machine that Bun runs on).
const timespec = new Uint32Array(new ArrayBuffer(16));
const timespecAddress: Pointer = ptr(timespec);

function readClock(id: number): Ms {
  if (libc.symbols.clock_gettime(id, timespecAddress) !== 0) throw new Error(`clock_gettime(${id}) failed`);
  const wholeSeconds = (timespec[0] ?? 0) + (timespec[1] ?? 0) * 2 ** 32;
  return ms(wholeSeconds * 1000 + (timespec[2] ?? 0) / 1e6);
}

/** The clock of this machine. `sleepUntil` never resolves before its instant unless the signal aborts. */
export function realClock(): Clock {
  return {
    now: bootNow,
    wallNow: () => Date.now(),
    sleepUntil: (at, signal) => sleepUntil(at, signal),
  };
}

/** CLOCK_BOOTTIME in milliseconds with fraction. */
export function bootNow(): Ms {
  return readClock(CLOCK_BOOTTIME);
}

/** CLOCK_MONOTONIC in milliseconds with fraction: stands still while the machine is suspended. */
export function monotonicNow(): Ms {
  return readClock(CLOCK_MONOTONIC);
}

function sleepUntil(at: Ms, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const finish = (): void => {
      if (timer !== undefined) clearTimeout(timer);
      signal?.removeEventListener("abort", finish);
      resolve();
    };
    const next = (): void => {
      const remaining = at - bootNow();
      if (remaining <= 0 || signal?.aborted === true) finish();
      // Rounded up: a timer that fires a fraction early would only come back for another round.
      else timer = setTimeout(next, Math.min(Math.ceil(remaining), SLEEP_SLICE_MAX_MS));
    };
    signal?.addEventListener("abort", finish, { once: true });
    next();
  });
}

export interface ClockWatchOptions {
  /** How late the event loop may be, and how far the clocks may part, before the lease is in doubt. */
  readonly marginMs: Ms;
  /** Called at once when a doubt arises, with its cause in words. */
  readonly onDoubt?: (reason: string) => void;
}

/** How often the watch looks while it runs: one wake-up a second is far below 0.1 % of a core. */
const WATCH_INTERVAL_MS = 1000;

/**
 * Says whether this process was asleep: the machine suspended (boot-time and monotonic clocks parted), or the event
 * loop late by more than the margin. Safety.md: either makes the lease unknown until the next renewal.
 * Run it only while the lock is held; without `start` only suspends are seen.
 */
export class ClockWatch {
  #marginMs: Ms;
  readonly #onDoubt: ((reason: string) => void) | undefined;
  #gap = clockGap();
  #doubtAt: Ms | null = null;
  #expectedAt: number | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: ClockWatchOptions) {
    this.#marginMs = options.marginMs;
    this.#onDoubt = options.onDoubt;
  }

  /** A new ttl brings a new margin. */
  setMargin(marginMs: Ms): void {
    this.#marginMs = marginMs;
  }

  start(): void {
    if (this.#timer !== undefined) return;
    this.#gap = clockGap();
    this.#expectedAt = monotonicNow() + WATCH_INTERVAL_MS;
    this.#timer = setInterval(() => {
      this.check();
      this.#expectedAt = monotonicNow() + WATCH_INTERVAL_MS;
    }, WATCH_INTERVAL_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#expectedAt = null;
  }

  /**
   * True where nothing put the lease in doubt since that instant (the moment before the renewal was sent). Looks at the
   * clocks itself, so it is right even before the late timer had its turn. About a microsecond.
   */
  trustedSince(renewalSentAt: Ms): boolean {
    this.check();
    return this.#doubtAt === null || this.#doubtAt < renewalSentAt;
  }

  /** Looks at both clocks now. Public for the tests and for callers that come back from long synchronous work. */
  check(): void {
    const gap = clockGap();
    if (gap - this.#gap > this.#marginMs) this.#doubt(`the machine was suspended for ${Math.round(gap - this.#gap)} ms`);
    this.#gap = gap;
    if (this.#expectedAt === null) return;
    const late = monotonicNow() - this.#expectedAt;
    if (late <= this.#marginMs) return;
    this.#doubt(`the event loop was late by ${Math.round(late)} ms`);
    // Counted once: the timer that is still to come starts a new interval.
    this.#expectedAt = monotonicNow() + WATCH_INTERVAL_MS;
  }

  #doubt(reason: string): void {
    this.#doubtAt = bootNow();
    this.#onDoubt?.(reason);
  }
}

/** Boot-time clock minus monotonic clock, in ms: the time spent suspended since boot. */
export function clockGap(): Ms {
  return ms(bootNow() - monotonicNow());
}
