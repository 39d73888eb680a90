// Owns the guard: a process of its own on the machine with a deadline on the machine's clock, and the Watchdog interface through
// which a supervisor talks to it. It fires whether the supervisor lives or not.

import { ok, type Result } from "../../lib/model/result.ts";
import { type Ms, ms } from "../../lib/model/units.ts";
import type { ArmOptions, Fencing, ProcessId, Watchdog, WatchdogError } from "../../lib/postgres/watchdog/watchdog.ts";
import type { FakeServer } from "./fake-server.ts";
import type { EventQueue, MachineClock, SimEvent, SimProcess } from "./virtual-clock.ts";

const GRACE_MS = 300;

/** The guard of one machine. A supervisor that comes after another takes it over as it is: the real one arms a second beside it. */
export class Guard {
  readonly #queue: EventQueue;
  readonly #machine: MachineClock;
  readonly #server: FakeServer;
  readonly #disabled: boolean;
  readonly #lateMs: number;
  /** Boot time; null while disarmed. */
  #deadline: number | null = null;
  #timer: { readonly event: SimEvent; readonly time: number } | null = null;
  #owner: (() => void) | null = null;
  fired = 0;

  constructor(options: {
    readonly queue: EventQueue;
    readonly machine: MachineClock;
    readonly server: FakeServer;
    readonly disabled: boolean;
    readonly lateMs: number;
  }) {
    this.#queue = options.queue;
    this.#machine = options.machine;
    this.#server = options.server;
    this.#disabled = options.disabled;
    this.#lateMs = options.lateMs;
  }

  get armed(): boolean {
    return this.#deadline !== null;
  }

  /** It should have acted by now. */
  get overdue(): boolean {
    return this.#deadline !== null && this.#machine.boot() >= this.#deadline;
  }

  set(deadline: number, owner: () => void): void {
    this.#deadline = deadline + this.#lateMs;
    this.#owner = owner;
    const time = this.#machine.trueTime(this.#deadline);
    if (this.#timer !== null && this.#timer.event.run !== null && this.#timer.time <= time) return;
    if (this.#timer !== null) this.#timer.event.run = null;
    this.#timer = { event: this.#queue.at(time, () => this.look()), time };
  }

  clear(): void {
    this.#deadline = null;
  }

  /** The machine lost its power. */
  vanish(): void {
    this.#deadline = null;
    if (this.#timer !== null) this.#timer.event.run = null;
    this.#timer = null;
  }

  /** At its timer, and first of all when a machine goes on that stood still. */
  look(): void {
    this.#timer = null;
    if (this.#deadline === null || this.#server.frozen) return;
    if (this.#machine.boot() < this.#deadline) {
      this.set(this.#deadline - this.#lateMs, this.#owner ?? (() => {}));
      return;
    }
    this.#deadline = null;
    if (this.#disabled) return;
    this.fired += 1;
    const { postmaster } = this.#server;
    this.#server.world.hooks.trace(this.#server, "the guard fires");
    this.#server.stopImmediate();
    this.#queue.after(GRACE_MS, () => {
      if (this.#server.postmaster === postmaster && !this.#server.frozen) this.#server.kill();
      this.#owner?.();
    });
  }
}

/** One supervisor's handle of the machine's guard. */
export class FakeWatchdog implements Watchdog {
  readonly fencing: Fencing = "process";
  readonly #guard: Guard;
  readonly #process: SimProcess;
  readonly #onLease: (leaseEnd: number) => void;
  readonly #budget: number;
  readonly #lost = new Set<(reason: string) => void>();
  armed = false;

  constructor(guard: Guard, process: SimProcess, options: { readonly budget: number; readonly onLease: (leaseEnd: number) => void }) {
    this.#guard = guard;
    this.#process = process;
    this.#budget = options.budget;
    this.#onLease = options.onLease;
  }

  prepare(): Promise<Result<null, WatchdogError>> {
    return Promise.resolve(ok(null));
  }

  async arm(options: ArmOptions): Promise<Result<null, WatchdogError>> {
    await this.#process.later(10, () => null);
    this.armed = true;
    this.#set(options.leaseEnd);
    return ok(null);
  }

  extend(leaseEnd: Ms): Result<null, WatchdogError> {
    if (this.armed) this.#set(leaseEnd);
    return ok(null);
  }

  async disarm(): Promise<Result<null, WatchdogError>> {
    this.armed = false;
    await this.#process.later(2, () => null);
    this.#guard.clear();
    return ok(null);
  }

  healthy(): boolean {
    return this.armed;
  }

  actsAt(leaseEnd: Ms): Ms {
    return ms(leaseEnd - this.#budget);
  }

  attach(_guard: ProcessId | null, options: ArmOptions): Promise<Result<null, WatchdogError>> {
    return this.arm(options);
  }

  guardProcess(): ProcessId | null {
    return this.armed ? { pid: 1, startTicks: 1 } : null;
  }

  onLost(listener: (reason: string) => void): () => void {
    this.#lost.add(listener);
    return () => this.#lost.delete(listener);
  }

  async close(): Promise<void> {}

  #set(leaseEnd: number): void {
    this.#onLease(leaseEnd);
    this.#guard.set(leaseEnd - this.#budget, () =>
      this.#process.deliver(() => {
        this.armed = false;
        for (const listener of this.#lost) listener("the guard stopped PostgreSQL");
      }),
    );
  }
}

/** The lease file of one machine, as it is on disk. */
export interface LeaseRecord {
  readonly session: string;
  readonly revision: number;
  readonly deadline: number;
  readonly boots: number;
  readonly systemIdentifier: string;
  readonly postmaster: ProcessId | null;
  readonly guard: ProcessId | null;
}
