// Owns the watchdog driver `process`: arming, extending and disarming a guard process of our own, replacing it when it
// dies, and the stop budget. Must not judge leases: it is told when a lease ends (safety.md, "The guard").

import type { Clock } from "../../model/clock.ts";
import type { Log } from "../../model/log.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Ms, ms } from "../../model/units.ts";
import { type GuardFolder, GuardProcess } from "./guard-process.ts";
import { collectReports, describeReport, endGuard, type GuardReport, livingGuards } from "./guard-report.ts";
import { childCount, processAlive, uptimeMs } from "./process-table.ts";
import type { ArmOptions, Fencing, ProcessId, Watchdog, WatchdogError } from "./watchdog.ts";

/** From SIGQUIT to SIGKILL: an immediate shutdown takes up to 60 ms with 60 busy writers; a stopped postmaster never ends. */
export const GRACE_MS = 300;
const STOP_BUDGET_MAX_MS = 2000;
/** A busy machine lets the guard wait before it gets a core, and its victims before they can die. */
const LOAD_ALLOWANCE_MS = 200;
/** Looking at one backend, signalling it, and the kernel taking it down. */
const BACKEND_ALLOWANCE_MS = 2;
/** Backends come after arming; a server with few now may have this many later. */
const BACKENDS_MIN = 25;
/** /proc/uptime is cut to 10 ms, and two reads are not one instant. */
const UPTIME_TOLERANCE_MS = 20;

export interface ProcessGuardOptions extends GuardFolder {
  readonly clock: Clock;
  readonly log: Log;
  readonly dataDir: string;
}

/** How long before the end of the lease the guard acts. Never more than min(2 s, ttl / 4). */
export function measureStopBudget(facts: { readonly ttl: Ms; readonly roundTripMs: number; readonly backends: number }): Ms {
  const wanted = GRACE_MS + LOAD_ALLOWANCE_MS + 10 * facts.roundTripMs + BACKEND_ALLOWANCE_MS * Math.max(facts.backends, BACKENDS_MIN);
  return ms(Math.min(Math.ceil(wanted), stopBudgetMax(facts.ttl)));
}

function stopBudgetMax(ttl: Ms): number {
  return Math.floor(Math.min(STOP_BUDGET_MAX_MS, ttl / 4));
}

export class ProcessGuard implements Watchdog {
  readonly fencing: Fencing = "process";
  readonly #options: ProcessGuardOptions;
  #guard: GuardProcess | null = null;
  #starting: Promise<Result<GuardProcess, WatchdogError>> | null = null;
  #armedFor: ArmOptions | null = null;
  #leaseEnd: Ms = ms(0);
  #budget: Ms;
  #lost = new Set<(reason: string) => void>();
  #turn: Promise<unknown> = Promise.resolve();
  #looked = false;

  constructor(options: ProcessGuardOptions) {
    this.#options = options;
    // Until the first arming measures it: what a quiet machine takes.
    this.#budget = measureStopBudget({ ttl: ms(4 * STOP_BUDGET_MAX_MS), roundTripMs: 1, backends: BACKENDS_MIN });
  }

  /** The most that the stop budget can be at this ttl: before arming, count with it. */
  static stopBudget(ttl: Ms): Ms {
    return ms(stopBudgetMax(ttl));
  }

  get armed(): boolean {
    return this.#armedFor !== null;
  }

  async prepare(): Promise<Result<null, WatchdogError>> {
    const guard = await this.#ready();
    return guard.ok ? ok(null) : guard;
  }

  arm(options: ArmOptions): Promise<Result<null, WatchdogError>> {
    return this.#inTurn(() => this.#arm(options));
  }

  extend(leaseEnd: Ms): Result<null, WatchdogError> {
    const guard = this.#guard;
    if (this.#armedFor === null || guard === null) return err({ kind: "failed", message: "the guard is not armed" });
    this.#leaseEnd = leaseEnd;
    return guard.extend(this.#deadline(leaseEnd));
  }

  disarm(): Promise<Result<null, WatchdogError>> {
    return this.#inTurn(async () => {
      const guard = this.#guard;
      this.#armedFor = null;
      this.#endFormer();
      if (guard === null) return ok(null);
      const answer = await guard.ask("disarm");
      if (answer.ok) return ok(null);
      // It must not act on a deadline that no longer counts, and it cannot be talked to: end it.
      this.#options.log.warning(`the guard could not be disarmed (${answer.error.message}); it is ended`);
      guard.kill();
      this.#guard = null;
      return ok(null);
    });
  }

  healthy(): boolean {
    return this.#armedFor !== null && this.#guard?.responsive() === true;
  }

  actsAt(leaseEnd: Ms): Ms {
    return ms(leaseEnd - this.#budget);
  }

  guardProcess(): ProcessId | null {
    return this.#guard?.id ?? null;
  }

  onLost(listener: (reason: string) => void): () => void {
    this.#lost.add(listener);
    return () => this.#lost.delete(listener);
  }

  /**
   * After a restart of the supervisor, once the lease was renewed: the former guard goes on with the deadline that it has.
   * A guard of our own is armed beside it, then the former one is ended: at no moment is there none.
   */
  attach(guard: ProcessId | null, options: ArmOptions): Promise<Result<null, WatchdogError>> {
    if (guard !== null && !processAlive(guard)) this.#options.log.warning(`the former guard ${guard.pid} is not running any more`);
    return this.arm(options);
  }

  async close(): Promise<void> {
    const [guard, armed] = [this.#guard, this.#armedFor !== null];
    this.#armedFor = null;
    this.#guard = null;
    if (armed) guard?.leave();
    else await guard?.release();
  }

  /** One after the other: a guard that is armed anew after its death must not outlive a disarm that came meanwhile. */
  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(action);
    // Whoever asked for it is told; the next in turn is not concerned.
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #arm(options: ArmOptions): Promise<Result<null, WatchdogError>> {
    const first = await this.#ready();
    if (!first.ok) return first;
    const answer = await this.#armOn(first.value, options);
    // It answers, and refuses: another one would as well.
    if (answer.ok || first.value.responsive()) return answer;
    // It is dead, stopped or deaf. It keeps its deadline until the next one is armed: at no moment is there less than before.
    this.#options.log.warning(`${answer.error.message}; the guard is replaced`);
    this.#guard = null;
    const second = await this.#ready();
    if (!second.ok) {
      this.#guard = first.value;
      return second;
    }
    const again = await this.#armOn(second.value, options);
    if (again.ok) {
      // A stopped guard would wake up one day with a deadline long past.
      first.value.kill();
    } else {
      second.value.kill();
      this.#guard = first.value;
    }
    return again;
  }

  async #ready(): Promise<Result<GuardProcess, WatchdogError>> {
    if (this.#guard !== null) return ok(this.#guard);
    if (!this.#looked) {
      this.#looked = true;
      for (const report of collectReports(this.#options.stateDir))
        this.#options.log.warning(`before this start: ${describeReport(report)}`);
    }
    this.#starting ??= GuardProcess.start(this.#options);
    const started = await this.#starting;
    this.#starting = null;
    if (!started.ok) return started;
    if (this.#guard === null) {
      this.#guard = started.value;
      started.value.onExit(() => this.#exited(started.value));
      started.value.onFired((report) => this.#fired(report));
    }
    return ok(this.#guard);
  }

  async #armOn(guard: GuardProcess, options: ArmOptions): Promise<Result<null, WatchdogError>> {
    const correction = this.#uptimeCorrection();
    if (correction === null) return err({ kind: "unusable", message: "/proc/uptime cannot be read" });
    const { pid, startTicks } = options.postmaster ?? { pid: 0, startTicks: 0 };
    const grace = Math.min(GRACE_MS, Math.floor(stopBudgetMax(options.ttl) / 2));
    const expected = Math.min(this.#budget, stopBudgetMax(options.ttl));
    const deadline = Math.floor(options.leaseEnd - expected);
    const answer = await guard.ask("arm", deadline, grace, correction, pid, startTicks, this.#options.dataDir);
    if (!answer.ok) return answer;
    // Measured on the order itself: promotion waits for one round trip, not for two.
    this.#budget = measureStopBudget({ ttl: options.ttl, roundTripMs: answer.value, backends: pid === 0 ? 0 : childCount(pid) });
    this.#armedFor = options;
    this.#leaseEnd = options.leaseEnd;
    if (this.#budget !== expected) {
      const corrected = guard.extend(this.#deadline(options.leaseEnd));
      if (!corrected.ok) return corrected;
    }
    this.#endFormer();
    return ok(null);
  }

  /**
   * Guards that a dead supervisor of this node left know a deadline that nobody renews: ours has taken their place. Ended,
   * not told: one that is stopped would act on that deadline when it wakes up.
   */
  #endFormer(): void {
    for (const id of livingGuards(this.#options.stateDir)) {
      if (id.pid !== this.#guard?.id.pid) endGuard(this.#options.stateDir, id);
    }
  }

  #deadline(leaseEnd: Ms): number {
    return Math.floor(leaseEnd - this.#budget);
  }

  /** What the guard has to add to /proc/uptime to get the boot-time clock: 0, but for containers with an uptime of their own. */
  #uptimeCorrection(): number | null {
    const uptime = uptimeMs();
    if (uptime === null) return null;
    const difference = this.#options.clock.now() - uptime;
    return Math.abs(difference) <= UPTIME_TOLERANCE_MS ? 0 : Math.ceil(difference);
  }

  #exited(guard: GuardProcess): void {
    if (this.#guard !== guard) return;
    this.#guard = null;
    const armedFor = this.#armedFor;
    if (armedFor === null) return;
    this.#options.log.warning("the guard process ended while it was armed; starting another");
    const again = this.#inTurn(async () => {
      // Disarmed, or armed again, since.
      if (this.#armedFor !== armedFor || this.#guard !== null) return ok(null);
      return this.#arm({ ...armedFor, leaseEnd: this.#leaseEnd });
    });
    again.then((result) => {
      if (!result.ok) this.#tellLost(`the guard process ended and cannot be started again: ${result.error.message}`);
    });
  }

  #fired(report: GuardReport | null): void {
    this.#armedFor = null;
    this.#tellLost(report === null ? "the guard stopped PostgreSQL" : describeReport(report));
  }

  #tellLost(reason: string): void {
    for (const listener of this.#lost) listener(reason);
  }
}
