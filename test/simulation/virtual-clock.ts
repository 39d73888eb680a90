// Owns simulated time: the queue of events, each machine's own clock over it, and processes that can be stopped and killed.
// Nothing here waits for real time. True time is what no node can see; each node sees its machine's clock.

import type { Clock } from "../../lib/model/clock.ts";
import { type Ms, ms } from "../../lib/model/units.ts";

/** Something that an event may run: where events are many, an object makes less garbage than closures do. */
export interface Fires {
  fire(): void;
}

export interface SimEvent {
  /** null once it was cancelled or has run. */
  run: (() => void) | Fires | null;
}

/** Many simulations never have more at once. */
const FIRST_PLACES = 256;

/**
 * A binary heap by time, then by order of entry: equal times run in the order in which they were asked for. What is compared stands in
 * flat arrays beside the events, so that moving through the heap touches none of them.
 */
export class EventQueue {
  now = 0;
  #times = new Float64Array(FIRST_PLACES);
  #orders = new Float64Array(FIRST_PLACES);
  readonly #events: SimEvent[] = [];
  #order = 0;

  at(time: number, run: (() => void) | Fires): SimEvent {
    const event: SimEvent = { run };
    this.enter(time, event);
    return event;
  }

  after(delay: number, run: (() => void) | Fires): SimEvent {
    return this.at(this.now + delay, run);
  }

  /** As `at`, for somebody who brings the event itself. */
  enter(wanted: number, event: SimEvent): void {
    const events = this.#events;
    const time = Math.max(wanted, this.now);
    let index = events.length;
    events.push(event);
    if (index === this.#times.length) this.#grow();
    const times = this.#times;
    const orders = this.#orders;
    // Whoever comes later has the greater order: equal times stay as they are.
    while (index > 0) {
      const above = (index - 1) >> 1;
      const parent = times[above] as number;
      if (parent <= time) break;
      times[index] = parent;
      orders[index] = orders[above] as number;
      events[index] = events[above] as SimEvent;
      index = above;
    }
    this.#order += 1;
    times[index] = time;
    orders[index] = this.#order;
    events[index] = event;
  }

  /** Time of the next event that was not cancelled; Infinity where there is none. */
  nextTime(): number {
    for (let first = this.#events[0]; first !== undefined; first = this.#events[0]) {
      if (first.run !== null) return this.#times[0] as number;
      this.#pop();
    }
    return Number.POSITIVE_INFINITY;
  }

  /** Takes the next event out, moves time to it and runs it. To be called after nextTime only. */
  runNext(): void {
    const event = this.#events[0];
    const run = event?.run ?? null;
    if (event === undefined || run === null) throw new Error("no event is left");
    this.now = this.#times[0] as number;
    this.#pop();
    event.run = null;
    if (typeof run === "function") run();
    else run.fire();
  }

  #pop(): void {
    const events = this.#events;
    const last = events.pop() as SimEvent;
    const count = events.length;
    if (count === 0) return;
    const times = this.#times;
    const orders = this.#orders;
    const time = times[count] as number;
    const order = orders[count] as number;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= count) break;
      let below = times[child] as number;
      const right = child + 1;
      if (right < count) {
        const other = times[right] as number;
        if (other < below || (other === below && (orders[right] as number) < (orders[child] as number))) {
          child = right;
          below = other;
        }
      }
      if (time < below || (time === below && order < (orders[child] as number))) break;
      times[index] = below;
      orders[index] = orders[child] as number;
      events[index] = events[child] as SimEvent;
      index = child;
    }
    times[index] = time;
    orders[index] = order;
    events[index] = last;
  }

  #grow(): void {
    const [times, orders] = [new Float64Array(2 * this.#times.length), new Float64Array(2 * this.#times.length)];
    times.set(this.#times);
    orders.set(this.#orders);
    this.#times = times;
    this.#orders = orders;
  }
}

const WALL_EPOCH = 1_767_225_600_000;
/** A sleeper never wakes before its instant, whatever the rounding of the conversion does. */
const ROUND_UP_MS = 0.001;

/** A machine's clocks: the boot-time clock runs at a rate of its own and counts suspends; the wall clock may jump. */
export class MachineClock {
  readonly #queue: EventQueue;
  readonly rate: number;
  #bootedAt: number;
  #bootOffset: number;
  boots = 1;
  wallOffset = 0;

  constructor(queue: EventQueue, options: { readonly rate: number; readonly uptime: number }) {
    this.#queue = queue;
    this.rate = options.rate;
    this.#bootedAt = queue.now;
    this.#bootOffset = options.uptime;
  }

  boot(): Ms {
    return ms(this.#bootOffset + (this.#queue.now - this.#bootedAt) * this.rate);
  }

  /** Boot time at a true instant. */
  bootAt(time: number): number {
    return this.#bootOffset + (time - this.#bootedAt) * this.rate;
  }

  /** The true time at which the boot clock shows the instant, or a moment later. */
  trueTime(boot: number): number {
    return this.#bootedAt + (boot - this.#bootOffset) / this.rate + ROUND_UP_MS;
  }

  wall(): number {
    return WALL_EPOCH + this.#queue.now + this.wallOffset;
  }

  reboot(): void {
    this.#bootedAt = this.#queue.now;
    this.#bootOffset = 0;
    this.boots += 1;
  }
}

/** A process on a machine: while it is stopped nothing reaches it, and what would have comes when it goes on; dead, nothing does. */
export class SimProcess implements Clock {
  readonly queue: EventQueue;
  readonly machine: MachineClock;
  state: "running" | "stopped" | "dead" = "running";
  #backlog: (() => void)[] = [];

  constructor(queue: EventQueue, machine: MachineClock) {
    this.queue = queue;
    this.machine = machine;
  }

  now(): Ms {
    return this.machine.boot();
  }

  wallNow(): number {
    return this.machine.wall();
  }

  sleepUntil(at: Ms, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const sleep = new Sleep(this, resolve, signal);
      this.queue.enter(this.machine.trueTime(at), sleep);
      signal?.addEventListener("abort", sleep);
    });
  }

  /** Lets something reach the process, now or when it goes on. */
  deliver(run: () => void): void {
    if (this.state === "running") run();
    else if (this.state === "stopped") this.#backlog.push(run);
  }

  /** Resolves after that much true time, with what `produce` says then. */
  later<T>(delay: number, produce: () => T): Promise<T> {
    return new Promise((resolve) => {
      this.queue.after(delay, () => {
        if (this.state !== "dead") this.deliver(() => resolve(produce()));
      });
    });
  }

  stop(): void {
    if (this.state === "running") this.state = "stopped";
  }

  resume(): void {
    if (this.state !== "stopped") return;
    this.state = "running";
    const backlog = this.#backlog;
    this.#backlog = [];
    for (const run of backlog) run();
  }

  kill(): void {
    this.state = "dead";
    this.#backlog = [];
  }
}

class Sleep implements SimEvent, Fires {
  run: Fires | null = this;
  readonly #process: SimProcess;
  readonly #wake: () => void;
  readonly #signal: AbortSignal | undefined;

  constructor(process: SimProcess, wake: () => void, signal: AbortSignal | undefined) {
    this.#process = process;
    this.#wake = wake;
    this.#signal = signal;
  }

  fire(): void {
    this.#signal?.removeEventListener("abort", this);
    this.#process.deliver(this.#wake);
  }

  /** The signal was aborted. */
  handleEvent(): void {
    this.run = null;
    this.#wake();
  }
}
