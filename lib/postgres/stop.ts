// Owns the stopping of the server: fast with its shutdown checkpoint seen the moment it is written, immediate, and in
// the end SIGKILL to everything. It does not decide which; it never touches another directory's processes.

import { watch } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import type { ControlData } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, ms } from "../model/units.ts";
import { saysShutDown } from "./control-data.ts";
import { pollUntil } from "./poll.ts";
import type { Postmaster } from "./postmaster.ts";
import { errorCode, type ProcessFacts, sendSignal } from "./processes.ts";

/** From SIGQUIT to SIGKILL. */
const KILL_AFTER_MS = 2_000;
/** How long killed processes may take to vanish; only one in uninterruptible disk sleep takes longer. */
const GONE_MAX_MS = 10_000;
/** How often pg_control is looked at during a stop; changes are also announced by the kernel. */
const CONTROL_POLL_MS = 10;
const REMAINS_POLL_MS = 2;

export interface StopDependencies {
  readonly postmaster: Postmaster;
  readonly dataDir: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly readControlData: () => Promise<Result<ControlData, PostgresError>>;
}

export interface StopRequest {
  readonly mode: "fast" | "immediate";
  /** When fast becomes immediate; an immediate stop begins at once and kills two seconds later. */
  readonly deadline: Ms;
  /** From the signal of a fast stop on, where that is earlier. */
  readonly fastWithin?: Ms | null;
  readonly onShutdownCheckpoint?: (control: ControlData) => void;
}

/** Resolves when no process of the server is left. Errors: failed (something survives SIGKILL, or may not be signalled). */
export async function stopServer(on: StopDependencies, request: StopRequest): Promise<Result<null, PostgresError>> {
  try {
    const target = request.mode === "immediate" ? await signalledFirst(on) : await on.postmaster.adopt();
    if (target !== null) {
      const left = request.mode === "fast" ? await stopFast(on, target, request) : "later";
      if (left === "later") await stopAtOnce(on, target);
    }
    return await clearRemains(on);
  } catch (error) {
    if (errorCode(error) !== "EPERM") throw error;
    return err({ kind: "failed", message: "PostgreSQL runs as another user and cannot be signalled" });
  }
}

async function stopFast(on: StopDependencies, target: ProcessFacts, request: StopRequest): Promise<"gone" | "later"> {
  const control = request.onShutdownCheckpoint === undefined ? null : watchControl(on, request.onShutdownCheckpoint);
  try {
    sendSignal(target, "SIGINT");
    // A postmaster that somebody has stopped hears nothing; it continues, finds the request and shuts down.
    sendSignal(target, "SIGCONT");
    const limit = request.fastWithin ?? null;
    const deadline = limit === null ? request.deadline : ms(Math.min(request.deadline, on.clock.now() + limit));
    return await on.postmaster.waitForExit(target, deadline);
  } finally {
    await control?.finish();
  }
}

/**
 * The signal goes out before anything is looked at: a look takes time, and fails where no file descriptor is left. Then the process last seen
 * is the one to stop.
 */
async function signalledFirst(on: StopDependencies): Promise<ProcessFacts | null> {
  const last = on.postmaster.lastSeen;
  if (last !== null) sendSignal(last, "SIGQUIT");
  try {
    return await on.postmaster.adopt();
  } catch (error) {
    if (last === null || errorCode(error) === null) throw error;
    on.log.warning(`PostgreSQL cannot be looked at: ${String(error)}; the postmaster last seen (pid ${last.pid}) is stopped`);
    return last;
  }
}

/** SIGQUIT to the postmaster, then SIGKILL to it and to every backend listed beforehand. */
async function stopAtOnce(on: StopDependencies, target: ProcessFacts): Promise<void> {
  sendSignal(target, "SIGQUIT");
  const listed = whereSeen(on);
  // It cannot pass the word on, so its backends are told directly; SIGQUIT ends a backend at once and writes nothing.
  if (target.state === "T" || target.state === "t")
    for (const backend of listed) if (backend.pid !== target.pid) sendSignal(backend, "SIGQUIT");
  // One that nobody has stopped does not mind; whether one is could not be seen without a look.
  sendSignal(target, "SIGCONT");
  if ((await on.postmaster.waitForExit(target, ms(on.clock.now() + KILL_AFTER_MS))) === "gone") return;
  on.log.warning("PostgreSQL did not end after SIGQUIT: SIGKILL to all of its processes");
  for (const each of [target, ...listed, ...whereSeen(on)]) sendSignal(each, "SIGKILL");
}

/** None where no look is possible: clearRemains looks again, and fails where it still is not. */
function whereSeen(on: StopDependencies): readonly ProcessFacts[] {
  try {
    return on.postmaster.processes();
  } catch (error) {
    if (errorCode(error) === null) throw error;
    return [];
  }
}

/** Backends may outlive their postmaster for a moment (or for long, when it was killed): wait, then kill. */
async function clearRemains(on: StopDependencies): Promise<Result<null, PostgresError>> {
  const killAt = on.clock.now() + KILL_AFTER_MS;
  const deadline = ms(killAt + GONE_MAX_MS);
  const gone = await pollUntil({ clock: on.clock, deadline, intervalMs: REMAINS_POLL_MS }, () => {
    const left = on.postmaster.processes();
    if (left.length === 0) return true;
    if (on.clock.now() >= killAt) for (const each of left) sendSignal(each, "SIGKILL");
    return null;
  });
  if (gone) return ok(null);
  const pids = on.postmaster.processes().map((each) => each.pid);
  return err({ kind: "failed", message: `processes of PostgreSQL do not end: ${pids.join(", ")}` });
}

/** Calls back once when pg_control says "shut down"; `finish` takes a last look, for a server that was quicker than we. */
function watchControl(on: StopDependencies, report: (control: ControlData) => void): { finish(): Promise<void> } {
  let state: "watching" | "reading" | "done" = "watching";
  let reading: Promise<void> = Promise.resolve();
  const look = (): Promise<void> => {
    if (state === "watching") {
      state = "reading";
      reading = read().catch((error: unknown) => on.log.warning(`cannot read pg_control during the stop: ${String(error)}`));
    }
    return reading;
  };
  const read = async (): Promise<void> => {
    const shutDown = await saysShutDown(on.dataDir);
    state = shutDown ? "done" : "watching";
    if (!shutDown) return;
    const control = await on.readControlData();
    if (control.ok && control.value.state.startsWith("shut down")) report(control.value);
    else on.log.warning(`the shutdown checkpoint cannot be read: ${control.ok ? control.value.state : control.error.message}`);
  };
  const timer = setInterval(look, CONTROL_POLL_MS);
  const watcher = openWatcher(join(on.dataDir, "global"), look);
  return {
    finish: async () => {
      clearInterval(timer);
      watcher?.close();
      await reading;
      await look();
    },
  };
}

function openWatcher(folder: string, onChange: () => void): { close(): void } | null {
  try {
    const watcher = watch(folder, onChange);
    // The timer looks as well, so losing the watch costs milliseconds only.
    watcher.on("error", () => watcher.close());
    return watcher;
  } catch (error) {
    if (errorCode(error) === null) throw error;
    return null;
  }
}
