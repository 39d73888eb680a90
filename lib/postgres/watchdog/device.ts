// Owns what the drivers with a timeout (kernel device, test FIFO) have in common: which timeout, and how a ping must
// never promise more than the lease. Must not open anything.

import { ok, type Result } from "../../model/result.ts";
import { type Ms, ms } from "../../model/units.ts";
import type { ArmOptions, Fencing, ProcessId, Watchdog, WatchdogError } from "./watchdog.ts";

export interface WatchdogTimeout {
  /** Whole seconds, as the kernel takes them; at least 1. */
  readonly seconds: number;
  /** ttl / 2 was taken because ttl − safety_margin left no room for a loop: to be logged. */
  readonly adjusted: boolean;
  /** False where it is shorter than loop_wait: it would fire on a healthy leader. Mode `required` then refuses to promote. */
  readonly usable: boolean;
}

/** safety.md: N = ttl − safety_margin (−1: ttl / 2); where that is < loop_wait + 1: ttl / 2. */
export function watchdogTimeout(options: {
  readonly ttl: Ms;
  readonly loopWait: Ms;
  readonly safetyMarginSeconds: number;
}): WatchdogTimeout {
  const ttl = options.ttl / 1000;
  const loopWait = options.loopWait / 1000;
  const half = Math.floor(ttl / 2);
  const wanted = options.safetyMarginSeconds === -1 ? half : Math.floor(ttl - options.safetyMarginSeconds);
  const adjusted = options.safetyMarginSeconds !== -1 && wanted < loopWait + 1;
  const seconds = adjusted ? half : wanted;
  return { seconds: Math.max(seconds, 1), adjusted, usable: seconds >= 1 && seconds >= loopWait };
}

/** What such a device does; each returns null, or what went wrong in words. */
export interface TimerDevice {
  /** Starts it. */
  open(seconds: number): string | null;
  setTimeout(seconds: number): string | null;
  ping(): string | null;
  /** Switches it off. */
  close(): string | null;
  /** Looks whether it is there to be opened, and does not open it: that starts it, and one that was built so never stops. */
  look(): string | null;
  readonly opened: boolean;
  /** For the log: which one. */
  describe(): string;
}

/** A watchdog with a timeout of its own, counted from the last ping. */
export class TimerWatchdog implements Watchdog {
  readonly fencing: Fencing;
  readonly #device: TimerDevice;
  readonly #safetyMarginSeconds: () => number;
  readonly #now: () => Ms;
  readonly #note: (message: string) => void;
  readonly #tell: (message: string) => void;
  #lost = new Set<(reason: string) => void>();
  #seconds = 0;
  #fullSeconds = 0;
  #healthy = false;
  #actsAt: Ms | null = null;

  constructor(options: {
    readonly fencing: Fencing;
    readonly device: TimerDevice;
    /** As it is in force; asked at each arming. */
    readonly safetyMarginSeconds: () => number;
    readonly now: () => Ms;
    /** For the log, once per arming at most. */
    readonly note: (message: string) => void;
    /** For the log, no warning: with which timeout it was switched on, or goes on. */
    readonly tell: (message: string) => void;
  }) {
    this.fencing = options.fencing;
    this.#device = options.device;
    this.#safetyMarginSeconds = options.safetyMarginSeconds;
    this.#now = options.now;
    this.#note = options.note;
    this.#tell = options.tell;
  }

  get armed(): boolean {
    return this.#device.opened;
  }

  async prepare(times?: Pick<ArmOptions, "ttl" | "loopWait">): Promise<Result<null, WatchdogError>> {
    if (times !== undefined) {
      const timeout = this.#timeout(times);
      if (!timeout.ok) return timeout;
    }
    // Opening would start it: no more than a look can be had beforehand.
    const wrong = this.#device.opened ? null : this.#device.look();
    return wrong === null ? ok(null) : { ok: false, error: { kind: "unusable", message: wrong } };
  }

  async arm(options: ArmOptions): Promise<Result<null, WatchdogError>> {
    const found = this.#timeout(options);
    if (!found.ok) return found;
    const timeout = found.value;
    if (timeout.adjusted) this.#note(`the watchdog's timeout is ttl / 2 = ${timeout.seconds} s: safety_margin leaves no room for a loop`);
    const goesOn = this.#device.opened;
    const wrong = goesOn ? this.#device.setTimeout(timeout.seconds) : this.#device.open(timeout.seconds);
    if (wrong !== null) {
      this.#device.close();
      return { ok: false, error: { kind: "unusable", message: wrong } };
    }
    if (!goesOn || this.#fullSeconds !== timeout.seconds) {
      const slack = timeout.seconds - options.loopWait / 1000;
      const how = goesOn ? "updated" : "activated";
      this.#tell(`${this.#device.describe()} ${how} with ${timeout.seconds} second timeout, timing slack ${slack} seconds`);
    }
    this.#fullSeconds = timeout.seconds;
    this.#seconds = timeout.seconds;
    this.#healthy = true;
    return this.extend(options.leaseEnd);
  }

  #timeout(times: Pick<ArmOptions, "ttl" | "loopWait">): Result<WatchdogTimeout, WatchdogError> {
    const timeout = watchdogTimeout({ ...times, safetyMarginSeconds: this.#safetyMarginSeconds() });
    if (timeout.usable) return ok(timeout);
    const message = `a watchdog timeout of ${timeout.seconds} s is shorter than loop_wait (ttl ${times.ttl / 1000} s)`;
    return { ok: false, error: { kind: "unusable", message } };
  }

  extend(leaseEnd: Ms): Result<null, WatchdogError> {
    if (!this.#device.opened) return { ok: false, error: { kind: "failed", message: "the watchdog is not armed" } };
    // A renewal that was answered late must not carry the timeout past the end of the lease.
    const room = Math.max(1, Math.floor((leaseEnd - this.#now()) / 1000));
    const seconds = Math.min(this.#fullSeconds, room);
    let wrong: string | null = null;
    if (seconds !== this.#seconds) {
      wrong = this.#device.setTimeout(seconds);
      // A timeout that was refused is not in force: the next renewal asks for it again.
      if (wrong === null) this.#seconds = seconds;
    }
    if (wrong === null) {
      const pingedAt = this.#now();
      wrong = this.#device.ping();
      if (wrong === null) this.#actsAt = ms(pingedAt + seconds * 1000);
    }
    this.#healthy = wrong === null;
    return wrong === null ? ok(null) : { ok: false, error: { kind: "failed", message: wrong } };
  }

  async disarm(): Promise<Result<null, WatchdogError>> {
    this.#healthy = false;
    if (!this.#device.opened) return ok(null);
    const wrong = this.#device.close();
    return wrong === null ? ok(null) : { ok: false, error: { kind: "failed", message: wrong } };
  }

  healthy(): boolean {
    return this.#healthy && this.#device.opened;
  }

  /** Its timeout counts from the last ping, whatever the lease. */
  actsAt(): Ms | null {
    return this.#device.opened ? this.#actsAt : null;
  }

  /** The device counts on after its opener died: opening it again goes on from there. */
  async attach(_guard: ProcessId | null, options: ArmOptions): Promise<Result<null, WatchdogError>> {
    return this.arm(options);
  }

  guardProcess(): null {
    return null;
  }

  onLost(listener: (reason: string) => void): () => void {
    this.#lost.add(listener);
    return () => this.#lost.delete(listener);
  }

  async close(): Promise<void> {
    // An armed device is left to its timeout: only disarm switches it off.
  }
}
