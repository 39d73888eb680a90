// Owns the interface that the HA loop has to whatever ends PostgreSQL, or the machine, when the lease runs out and this
// process cannot act: the guard process, the kernel's watchdog device, or a FIFO for tests. Must not know the DCS.

import type { Result } from "../../model/result.ts";
import type { Ms } from "../../model/units.ts";

/** What stands in `fencing` of the status document. */
export type Fencing = "linux" | "process" | "testing" | "none";

/**
 * - `unusable`: this driver cannot work here (no device, no bash, timeout too short); trying again will not help.
 * - `failed`: it did not do what was asked; PostgreSQL is not protected by it.
 */
export interface WatchdogError {
  readonly kind: "unusable" | "failed";
  readonly message: string;
}

/** A process, told apart from a later one with the same pid by its start (field 22 of /proc/PID/stat). */
export interface ProcessId {
  readonly pid: number;
  readonly startTicks: number;
}

export interface ArmOptions {
  /** null: whatever postmaster.pid names at the deadline (armed before PostgreSQL is started as primary). */
  readonly postmaster: ProcessId | null;
  /** Boot-time instant at which the lease ends. */
  readonly leaseEnd: Ms;
  readonly ttl: Ms;
  readonly loopWait: Ms;
}

export interface Watchdog {
  /** What protects at this moment where armed; what would, otherwise. */
  readonly fencing: Fencing;
  /** True from a successful arm until disarm. */
  readonly armed: boolean;
  /**
   * Makes arming fast (starts the guard process, idle), or looks whether a device is there, without opening it; for these times, where
   * they are given. Errors as arm; arm does it itself where it was not called.
   */
  prepare(times?: Pick<ArmOptions, "ttl" | "loopWait">): Promise<Result<null, WatchdogError>>;
  /** Only on the leader, outside pause, before promotion. Again with another postmaster, ttl or loop_wait: replaces. Errors: unusable, failed. */
  arm(options: ArmOptions): Promise<Result<null, WatchdogError>>;
  /**
   * After each confirmed renewal (or unanimous failsafe round): the new end of the lease. Does not wait. Errors: failed;
   * then the protection ends at the former lease end or is gone: arm again.
   */
  extend(leaseEnd: Ms): Result<null, WatchdogError>;
  /** Only once all client backends are gone (the caller's duty), or on pause. Errors: failed: it may still act. */
  disarm(): Promise<Result<null, WatchdogError>>;
  /** Armed and, as far as can be seen now, able to act. */
  healthy(): boolean;
  /** The instant at which this driver acts when it hears nothing more; the holder must have stopped PostgreSQL before. null = it does not act. */
  actsAt(leaseEnd: Ms): Ms | null;
  /** Takes the protection over that a dead supervisor of this node left. `guard` is what the lease file names. Errors: unusable, failed. */
  attach(guard: ProcessId | null, options: ArmOptions): Promise<Result<null, WatchdogError>>;
  /** The process that has to be named in the lease file; null where there is none. */
  guardProcess(): ProcessId | null;
  /** Told when the protection is lost unasked. Returns the way to unsubscribe. */
  onLost(listener: (reason: string) => void): () => void;
  /** Ends helpers that are idle, and resolves when they have ended; an armed guard goes on by itself. */
  close(): Promise<void>;
}
