// Owns the postmaster process: finding, starting and watching it, and signals to it and to what it leaves behind.
// It decides nothing about roles and writes no configuration file.

import { type ChildProcess, spawn } from "node:child_process";
import { type FSWatcher, watch } from "node:fs";
import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, ms } from "../model/units.ts";
import { findPostmaster, type PostmasterPidFile, readPostmasterPid } from "./data-directory.ts";
import { ExitWatch, type WatchedProcess } from "./exit-watch.ts";
import { pollUntil } from "./poll.ts";
import { errorCode, isAlive, type ProcessFacts, sendSignal, serverDirectory, serverProcesses } from "./processes.ts";
import { serverEnvironment } from "./programs.ts";
import { removeStaleLockFiles } from "./stale-lock-files.ts";
import { boundStartupLog, openStartupLog, STARTUP_LOG_CHECK_MS, type StartupLog, startupLogTail } from "./startup-log.ts";

/** Orphans of a dead postmaster: SIGQUIT first, SIGKILL this much later. Their shared memory is lost anyway. */
const ORPHAN_PATIENCE_MS = 300;
const ORPHANS_GONE_MAX_MS = 5_000;
const LAST_WORDS_MAX_MS = 500;
/** How often postmaster.pid is looked at while a start is young, and later; changes are also announced by the kernel. */
const START_POLL_MS = 5;
const START_POLL_LATER_MS = 50;
const START_YOUNG_MS = 3_000;

export interface LaunchOptions {
  /** Path of the server program. */
  readonly program: string;
  readonly args: readonly string[];
  readonly deadline: Ms;
  readonly signal: AbortSignal;
}

export class Postmaster {
  readonly #dataDir: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #listeners = new Set<() => void>();
  readonly #exitWatch: ExitWatch;
  #logTimer: ReturnType<typeof setInterval> | null = null;
  #lastSeen: ProcessFacts | null = null;
  /** As it was last read. */
  #pidFile: PostmasterPidFile | null = null;

  constructor(options: { readonly dataDir: string; readonly clock: Clock; readonly log: Log }) {
    this.#dataDir = options.dataDir;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#exitWatch = new ExitWatch({ log: options.log, onExit: () => this.#exited() });
  }

  /** The living postmaster of the data directory; null where there is none. */
  async find(): Promise<ProcessFacts | null> {
    this.#lastSeen = await findPostmaster(this.#dataDir);
    return this.#lastSeen;
  }

  /** What the last look that succeeded has found, unless its exit was seen since: for whoever may not wait for a look, or cannot look. */
  get lastSeen(): ProcessFacts | null {
    return this.#lastSeen;
  }

  /** postmaster.pid; where somebody has removed or spoilt it, what it said of the server that runs on. Null where none is known. */
  async pidFile(): Promise<PostmasterPidFile | null> {
    const file = await readPostmasterPid(this.#dataDir);
    if (file !== null) this.#pidFile = file;
    const last = this.#pidFile;
    if (file !== null || last === null) return file;
    try {
      return (await this.find())?.pid === last.pid ? last : null;
    } catch (error) {
      // Who cannot be looked at may run: asked there, it will tell.
      if (errorCode(error) === null) throw error;
      return last;
    }
  }

  /** Called once per exit of a postmaster that is watched. Returns the way to unsubscribe. */
  onExit(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Watches the running postmaster; null where none runs. Changes nothing. */
  async adopt(): Promise<ProcessFacts | null> {
    const found = await this.find();
    if (found === null) return null;
    this.#exitWatch.watch(found);
    this.#boundLog();
    return found;
  }

  /** Resolves when this process is gone; "later" at the deadline. Woken by the kernel, and it looks by itself now and then. */
  async waitForExit(target: WatchedProcess, deadline: Ms): Promise<"gone" | "later"> {
    const woken = new AbortController();
    const unsubscribe = this.onExit(() => woken.abort());
    this.#exitWatch.watch(target);
    try {
      while (isAlive(target)) {
        if (this.#clock.now() >= deadline) return "later";
        await this.#clock.sleepUntil(ms(Math.min(deadline, this.#clock.now() + 1_000)), woken.signal);
        if (woken.signal.aborted) break;
      }
      return "gone";
    } finally {
      unsubscribe();
    }
  }

  /** Sends a signal to the running postmaster; false where none runs. */
  async signal(name: NodeJS.Signals): Promise<boolean> {
    const found = await this.find();
    return found !== null && sendSignal(found, name);
  }

  /** Every living server process of the data directory, the postmaster and orphans included. */
  processes(): readonly ProcessFacts[] {
    const directory = serverDirectory(this.#dataDir);
    return directory === null ? [] : serverProcesses(directory);
  }

  /**
   * Starts the server in a session of its own, so that it outlives us, and resolves when postmaster.pid says that it
   * accepts connections. Errors: refused (one runs already), failed (it ended; with the end of its log), timeout and
   * cancelled (it goes on starting).
   */
  async launch(options: LaunchOptions): Promise<Result<ProcessFacts, PostgresError>> {
    const running = await this.find();
    if (running !== null) return err({ kind: "refused", message: `PostgreSQL runs already with pid ${running.pid}` });
    if (!(await this.endOrphans())) return err({ kind: "failed", message: "processes of the former server do not end" });
    let log: StartupLog;
    try {
      await removeStaleLockFiles(this.#dataDir, this.#log);
      log = await openStartupLog(this.#dataDir);
    } catch (error) {
      if (errorCode(error) === null) throw error;
      return err({ kind: "failed", message: `cannot prepare the start: ${String(error)}` });
    }
    try {
      const child = spawn(options.program, [...options.args], {
        detached: true,
        stdio: ["ignore", log.file.fd, log.file.fd],
        env: serverEnvironment(),
      });
      child.unref();
      return await this.#untilReady(child, options, log);
    } finally {
      await log.file.close();
    }
  }

  /** Ends backends that outlived their postmaster: a new one cannot start beside them. False where some do not end. */
  async endOrphans(): Promise<boolean> {
    const killAt = this.#clock.now() + ORPHAN_PATIENCE_MS;
    let signalled = false;
    const gone = await pollUntil({ clock: this.#clock, deadline: ms(this.#clock.now() + ORPHANS_GONE_MAX_MS), intervalMs: 5 }, () => {
      const left = this.processes();
      if (left.length === 0) return true;
      const kill = this.#clock.now() >= killAt;
      if (!signalled || kill) for (const orphan of left) sendSignal(orphan, kill ? "SIGKILL" : "SIGQUIT");
      signalled = true;
      return null;
    });
    return gone === true;
  }

  /** Ends the watch; the server runs on. */
  async close(): Promise<void> {
    if (this.#logTimer !== null) clearInterval(this.#logTimer);
    this.#listeners.clear();
    await this.#exitWatch.close();
  }

  async #untilReady(child: ChildProcess, options: LaunchOptions, log: StartupLog): Promise<Result<ProcessFacts, PostgresError>> {
    const startedAt = this.#clock.now();
    let ended: string | null = null;
    let wake: (() => void) | null = null;
    child.on("error", (error) => {
      ended = `cannot start ${options.program}: ${error.message}`;
      wake?.();
    });
    child.on("exit", (code, signal) => {
      ended = `PostgreSQL ended while starting (${signal ?? `exit status ${code}`})`;
      wake?.();
    });
    const watcher = this.#watchDirectory(() => wake?.());
    try {
      for (;;) {
        const ready = await this.#readyPostmaster();
        if (ready !== null) return ok(ready);
        if (ended !== null) return err({ kind: "failed", message: await this.#whyEnded(ended, log) });
        if (options.signal.aborted)
          return err({ kind: "cancelled", message: "the wait for PostgreSQL was given up; it is still starting" });
        const now = this.#clock.now();
        if (now >= options.deadline) return err({ kind: "timeout", message: "PostgreSQL is still starting" });
        const pause = new AbortController();
        wake = () => pause.abort();
        const interval = now - startedAt < START_YOUNG_MS ? START_POLL_MS : START_POLL_LATER_MS;
        await this.#clock.sleepUntil(ms(Math.min(options.deadline, now + interval)), AbortSignal.any([pause.signal, options.signal]));
      }
    } finally {
      watcher?.close();
      child.removeAllListeners();
      // An error event without a listener would end this process.
      child.on("error", () => undefined);
    }
  }

  /** The logging collector writes the last words after its postmaster's end. */
  async #whyEnded(ended: string, log: StartupLog): Promise<string> {
    const deadline = ms(this.#clock.now() + LAST_WORDS_MAX_MS);
    await pollUntil({ clock: this.#clock, deadline, intervalMs: START_POLL_MS }, () => (this.processes().length === 0 ? true : null));
    const tail = await startupLogTail(this.#dataDir, log);
    return tail === "" ? ended : `${ended}: ${tail}`;
  }

  /** The postmaster once it accepts connections; starts to watch it as soon as it is there. */
  async #readyPostmaster(): Promise<ProcessFacts | null> {
    // Looked at every few milliseconds: no search through /proc before the file is there.
    const file = await readPostmasterPid(this.#dataDir);
    const found = file === null ? null : await this.adopt();
    return found !== null && file?.pid === found.pid && file.status === "ready" ? found : null;
  }

  /** Looks after the size of the server's log as long as we are here. */
  #boundLog(): void {
    if (this.#logTimer !== null) return;
    this.#logTimer = setInterval(() => {
      boundStartupLog(this.#dataDir).catch((error: unknown) => this.#log.warning(`cannot shorten the server's log: ${String(error)}`));
    }, STARTUP_LOG_CHECK_MS);
    this.#logTimer.unref();
  }

  #watchDirectory(onChange: () => void): FSWatcher | null {
    try {
      const watcher = watch(this.#dataDir, (_event, name) => {
        if (name === null || name === "postmaster.pid") onChange();
      });
      watcher.on("error", (error) => this.#log.debug(`watching ${this.#dataDir} ended: ${error.message}`));
      return watcher;
    } catch (error) {
      // Out of inotify watches, for example: the timer alone does it, a few milliseconds later.
      this.#log.debug(`cannot watch ${this.#dataDir}: ${String(error)}`);
      return null;
    }
  }

  #exited(): void {
    this.#pidFile = null;
    this.#lastSeen = null;
    for (const listener of [...this.#listeners]) listener();
  }
}
