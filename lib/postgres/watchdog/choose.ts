// Owns which watchdog driver a node uses (contract §10), the driver `off`, and the step from the kernel's device to our
// guard where the device turns out not to work. Exactly one is armed at a time.

import type { WatchdogConfig } from "../../model/node-config.ts";
import { ok, type Result } from "../../model/result.ts";
import type { Ms } from "../../model/units.ts";
import { TimerWatchdog } from "./device.ts";
import { ProcessGuard, type ProcessGuardOptions } from "./guard.ts";
import { KernelWatchdog, kernelWatchdogUsable } from "./linux.ts";
import { TestingWatchdog } from "./testing.ts";
import type { ArmOptions, Fencing, ProcessId, Watchdog, WatchdogError } from "./watchdog.ts";

/**
 * The driver that the configuration asks for. Without a named driver: the kernel's device where it is usable, else our guard.
 * `safetyMargin`: in seconds, as it is in force where a reload may have changed it.
 */
export function chooseWatchdog(
  config: WatchdogConfig,
  deps: ProcessGuardOptions,
  safetyMargin: () => number = () => config.safetyMarginSeconds,
): Watchdog {
  if (config.mode === "off") return new NoWatchdog();
  const timer = (fencing: "linux" | "testing"): Watchdog =>
    new TimerWatchdog({
      fencing,
      device: fencing === "linux" ? new KernelWatchdog(config.device) : new TestingWatchdog(config.device),
      safetyMarginSeconds: safetyMargin,
      now: () => deps.clock.now(),
      note: (message) => deps.log.warning(message),
      tell: (message) => deps.log.info(message),
    });
  switch (config.driver) {
    case "linux":
      return timer("linux");
    case "testing":
      return timer("testing");
    case "process":
      return new ProcessGuard(deps);
    case null:
      if (!kernelWatchdogUsable(config.device)) return new ProcessGuard(deps);
      return new FallbackWatchdog({ first: timer("linux"), second: new ProcessGuard(deps), warn: (text) => deps.log.warning(text) });
  }
}

/** Mode `off`: nothing protects; every order succeeds and does nothing. */
export class NoWatchdog implements Watchdog {
  readonly fencing: Fencing = "none";
  readonly armed = false;

  async prepare(): Promise<Result<null, WatchdogError>> {
    return ok(null);
  }
  async arm(): Promise<Result<null, WatchdogError>> {
    return ok(null);
  }
  extend(): Result<null, WatchdogError> {
    return ok(null);
  }
  async disarm(): Promise<Result<null, WatchdogError>> {
    return ok(null);
  }
  healthy(): boolean {
    return true;
  }
  actsAt(): null {
    return null;
  }
  async attach(): Promise<Result<null, WatchdogError>> {
    return ok(null);
  }
  guardProcess(): null {
    return null;
  }
  onLost(): () => void {
    return () => undefined;
  }
  async close(): Promise<void> {}
}

/** The first driver; where it cannot be armed (busy, timeout too short for it), the second, until it is disarmed. */
export class FallbackWatchdog implements Watchdog {
  readonly #first: Watchdog;
  readonly #second: Watchdog;
  readonly #warn: (message: string) => void;
  #current: Watchdog;

  constructor(options: { readonly first: Watchdog; readonly second: Watchdog; readonly warn: (message: string) => void }) {
    this.#first = options.first;
    this.#second = options.second;
    this.#current = options.first;
    this.#warn = options.warn;
  }

  get fencing(): Fencing {
    return this.#current.fencing;
  }

  get armed(): boolean {
    return this.#current.armed;
  }

  /** Where the first is not usable now, the second has to be: arming would take it. */
  async prepare(times?: Pick<ArmOptions, "ttl" | "loopWait">): Promise<Result<null, WatchdogError>> {
    const prepared = await this.#current.prepare(times);
    return prepared.ok || this.#current === this.#second ? prepared : this.#second.prepare(times);
  }

  arm(options: ArmOptions): Promise<Result<null, WatchdogError>> {
    return this.#try((driver) => driver.arm(options));
  }

  extend(leaseEnd: Ms): Result<null, WatchdogError> {
    return this.#current.extend(leaseEnd);
  }

  async disarm(): Promise<Result<null, WatchdogError>> {
    const done = await this.#current.disarm();
    if (done.ok) this.#current = this.#first;
    return done;
  }

  healthy(): boolean {
    return this.#current.healthy();
  }

  actsAt(leaseEnd: Ms): Ms | null {
    return this.#current.actsAt(leaseEnd);
  }

  /** The lease file names a guard only where the second driver was the armed one. */
  attach(guard: ProcessId | null, options: ArmOptions): Promise<Result<null, WatchdogError>> {
    if (guard !== null) this.#current = this.#second;
    return this.#try((driver) => driver.attach(guard, options));
  }

  guardProcess(): ProcessId | null {
    return this.#current.guardProcess();
  }

  onLost(listener: (reason: string) => void): () => void {
    const undo = [this.#first.onLost(listener), this.#second.onLost(listener)];
    return () => {
      for (const step of undo) step();
    };
  }

  async close(): Promise<void> {
    await Promise.all([this.#first.close(), this.#second.close()]);
  }

  async #try(action: (driver: Watchdog) => Promise<Result<null, WatchdogError>>): Promise<Result<null, WatchdogError>> {
    const result = await action(this.#current);
    if (result.ok || this.#current === this.#second) return result;
    this.#warn(`${result.error.message}; the guard process takes its place`);
    await this.#first.disarm();
    this.#current = this.#second;
    return action(this.#second);
  }
}
