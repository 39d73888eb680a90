// Owns one guard process: its folder with FIFOs, its start, the orders to it and its answers. Must not decide when it is
// armed (guard.ts does) nor hold a deadline of its own.

import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, closeSync, constants, mkdirSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { setPriority } from "node:os";
import { join } from "node:path";
import { err, ok, type Result } from "../../model/result.ts";
import guardScript from "./guard.sh" with { type: "text" };
import { FOLDER_PREFIX, type GuardReport, parseReport } from "./guard-report.ts";
import { makeFifo, unreadBytes } from "./libc.ts";
import { processAlive, processId } from "./process-table.ts";
import type { ProcessId, WatchdogError } from "./watchdog.ts";

/** A line longer than this is not written in one piece, so it could not be refused in one piece either. Source: pipe(7), PIPE_BUF. */
const ORDER_BYTES_MAX = 4096;
/** An answer takes about a millisecond; on a machine without a free core for this long, nothing else works either. */
const ANSWER_TIMEOUT_MS = 500;
/** An idle guard ends within milliseconds of the word; one that is stopped never does. */
const RELEASE_MAX_MS = 1_000;
const START_TIMEOUT_MS = 5000;
const GUARD_NICE = -15;

export interface GuardFolder {
  /** The node's state folder (mode 0700, beside the data directory). */
  readonly stateDir: string;
  readonly runLockPath: string;
  /** What the run lock file names as its holder's token. */
  readonly token: string;
}

type Answer = { readonly verb: string; readonly rest: string };

export class GuardProcess {
  readonly id: ProcessId;
  readonly #token: string;
  readonly #orders: number;
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<string, (answer: Answer | null) => void>();
  #sequence = 0;
  #sentAt = 0;
  #gone = false;
  #lastRefusal: string | null = null;
  /** The last deadline sent, until the guard has confirmed it. */
  #unconfirmed: { readonly deadline: number; readonly timer: ReturnType<typeof setTimeout> } | null = null;
  #onExit: (() => void) | null = null;
  #onFired: ((report: GuardReport | null) => void) | null = null;

  private constructor(options: { id: ProcessId; token: string; orders: number; folder: string; child: ChildProcess }) {
    this.id = options.id;
    this.#token = options.token;
    this.#orders = options.orders;
    this.#folder = options.folder;
    this.#child = options.child;
  }

  /** Starts one, idle. Resolves when it reads orders (a few ms). Errors: unusable (no bash), failed. */
  static async start(options: GuardFolder): Promise<Result<GuardProcess, WatchdogError>> {
    const folder = join(options.stateDir, `${FOLDER_PREFIX}new-${process.pid}-${Math.random().toString(36).slice(2)}`);
    try {
      mkdirSync(folder, { mode: 0o700 });
      // A copy, because a program that bash runs must not be replaced under it by an upgrade.
      await Bun.write(join(folder, "guard.sh"), guardScript);
      chmodSync(folder, 0o700);
    } catch (error) {
      return failed(`the guard's folder cannot be made: ${error instanceof Error ? error.message : String(error)}`);
    }
    for (const name of ["in", "idle"]) {
      if (!makeFifo(join(folder, name), 0o600)) return failed(`a FIFO cannot be made in ${folder}`);
    }
    const child = spawn("bash", ["./guard.sh", options.runLockPath], {
      cwd: folder,
      // Its own session: signals for our group or terminal do not reach it.
      detached: true,
      stdio: ["ignore", "pipe", "ignore"],
      env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C" },
    });
    const ready = await firstLine(child);
    if (!ready.ok) {
      rmSync(folder, { recursive: true, force: true });
      return ready;
    }
    const id = processId(child.pid ?? 0);
    if (id === null) return failed("the guard ended at once");
    favour(id.pid);
    const home = join(options.stateDir, `${FOLDER_PREFIX}${id.pid}`);
    rmSync(home, { recursive: true, force: true });
    renameSync(folder, home);
    const orders = openSync(join(home, "in"), constants.O_WRONLY | constants.O_NONBLOCK);
    const guard = new GuardProcess({ id, token: options.token, orders, folder: home, child });
    guard.#listen(child);
    return ok(guard);
  }

  /** Sends an order that is answered, and waits. Value: round trip in ms. Errors: failed (refused, dead, silent). */
  async ask(order: "arm" | "disarm" | "ping", ...words: readonly (string | number)[]): Promise<Result<number, WatchdogError>> {
    const sequence = String(++this.#sequence);
    const began = performance.now();
    const sent = this.#send([order, this.#token, sequence, ...words]);
    if (!sent.ok) return sent;
    const answer = await new Promise<Answer | null>((resolve) => {
      const timer = setTimeout(() => resolve(null), ANSWER_TIMEOUT_MS);
      this.#waiting.set(sequence, (value) => {
        clearTimeout(timer);
        resolve(value);
      });
    });
    this.#waiting.delete(sequence);
    if (answer === null) return failed(this.#gone ? "the guard ended" : `the guard did not answer within ${ANSWER_TIMEOUT_MS} ms`);
    if (answer.verb === "refused") return failed(`the guard refused: ${answer.rest}`);
    // What it refused before belongs to its former deadline.
    if (order === "arm") this.#lastRefusal = null;
    return ok(performance.now() - began);
  }

  /** One small write that never waits. Errors: failed (dead, not reading, or the last order was refused); it was tried all the same. */
  extend(deadline: number): Result<null, WatchdogError> {
    const deaf = this.#deaf();
    const sent = this.#sendDeadline(deadline);
    if (!sent.ok) return sent;
    if (deaf) return failed("the guard does not read its orders (is it stopped?)");
    if (this.#lastRefusal !== null) {
      const reason = this.#lastRefusal;
      this.#lastRefusal = null;
      return failed(`the guard refused: ${reason}`);
    }
    return sent;
  }

  /** An extension that got lost would end a primary that is well: it is sent again until it is confirmed. */
  #sendDeadline(deadline: number): Result<null, WatchdogError> {
    this.#settleDeadline();
    const sent = this.#send(["extend", this.#token, deadline]);
    if (!sent.ok) return sent;
    const timer = setTimeout(() => this.#sendDeadline(deadline), ANSWER_TIMEOUT_MS);
    timer.unref();
    this.#unconfirmed = { deadline, timer };
    return sent;
  }

  #settleDeadline(): void {
    if (this.#unconfirmed !== null) clearTimeout(this.#unconfirmed.timer);
    this.#unconfirmed = null;
  }

  /** Alive, and reading its orders. */
  responsive(): boolean {
    return !this.#gone && !this.#deaf();
  }

  /** Its exit, noticed within milliseconds. */
  onExit(listener: () => void): void {
    this.#onExit = listener;
  }

  /** It acted. null: its report could not be read. */
  onFired(listener: (report: GuardReport | null) => void): void {
    this.#onFired = listener;
  }

  /** Lets an idle one go, with its folder. Resolves when it has ended; one that does not within RELEASE_MAX_MS is killed. */
  async release(): Promise<void> {
    if (!this.#gone) this.#send(["quit", this.#token]);
    this.#forget();
    const ended = await this.#ended(RELEASE_MAX_MS);
    if (!ended && processAlive(this.id)) process.kill(this.id.pid, "SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Value: whether it has. */
  #ended(withinMs: number): Promise<boolean> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, withinMs, false);
      child.once("exit", () => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  }

  /** Stops listening; it goes on with what it has. */
  leave(): void {
    this.#forget();
  }

  /** Ends one that is stuck, or that another has replaced. */
  kill(): void {
    if (processAlive(this.id)) process.kill(this.id.pid, "SIGKILL");
    this.#forget();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Orders that were sent long ago lie unread: it is stopped, or gets no core. */
  #deaf(): boolean {
    return performance.now() - this.#sentAt > ANSWER_TIMEOUT_MS && unreadBytes(this.#orders) !== 0;
  }

  #forget(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#settleDeadline();
    this.#onExit = null;
    closeSync(this.#orders);
    this.#child.stdout?.destroy();
    this.#child.unref();
  }

  #send(words: readonly (string | number)[]): Result<null, WatchdogError> {
    if (this.#gone) return failed("the guard has ended");
    const line = Buffer.from(`${words.join(" ")} ;\n`);
    if (line.length > ORDER_BYTES_MAX || line.indexOf(0x0a) !== line.length - 1) return failed("not an order that the guard could read");
    try {
      // The age of the oldest order that may lie unread.
      if (unreadBytes(this.#orders) === 0) this.#sentAt = performance.now();
      writeSync(this.#orders, line);
      return ok(null);
    } catch (error) {
      return failed(`the guard takes no orders: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  #listen(child: ChildProcess): void {
    let pending = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      pending += chunk.toString();
      const lines = pending.split("\n");
      pending = lines.pop() ?? "";
      for (const line of lines) this.#hear(line);
    });
    child.on("exit", () => {
      const listener = this.#onExit;
      for (const resolve of this.#waiting.values()) resolve(null);
      this.#forget();
      listener?.();
    });
    // Neither the process nor its pipe may keep this process alive.
    child.unref();
    const pipe: unknown = child.stdout;
    if (typeof pipe === "object" && pipe !== null && "unref" in pipe && typeof pipe.unref === "function") pipe.unref();
  }

  #hear(line: string): void {
    const [verb = "", sequence = "", ...rest] = line.split(" ");
    if (verb === "extended") {
      if (sequence === String(this.#unconfirmed?.deadline)) this.#settleDeadline();
      return;
    }
    if (verb === "fired") {
      this.#settleDeadline();
      this.#onFired?.(parseReport(rest.join(" ")));
      return;
    }
    const waiting = this.#waiting.get(sequence);
    if (waiting !== undefined) waiting({ verb, rest: rest.join(" ") });
    else if (verb === "refused") {
      // Any other refusal is of an order that did not arrive as it was sent.
      if (rest.join(" ") === "not armed") this.#settleDeadline();
      this.#lastRefusal = rest.join(" ");
    }
  }
}

function firstLine(child: ChildProcess): Promise<Result<null, WatchdogError>> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      finish(failed("the guard did not start in time"));
    }, START_TIMEOUT_MS);
    const finish = (result: Result<null, WatchdogError>): void => {
      clearTimeout(timer);
      child.removeAllListeners();
      child.stdout?.removeAllListeners("data");
      resolve(result);
    };
    child.once("error", (error) => finish(err({ kind: "unusable", message: `bash cannot be run: ${error.message}` })));
    child.once("exit", () => finish(failed("the guard ended at once")));
    child.stdout?.once("data", () => finish(ok(null)));
  });
}

/** It sleeps all its life and must not wait for a core at the end of it. */
function favour(pid: number): void {
  try {
    setPriority(pid, GUARD_NICE);
  } catch {
    // Only privileged users may; without it the guard is as fast as the machine lets it.
  }
}

function failed(message: string): { readonly ok: false; readonly error: WatchdogError } {
  return err({ kind: "failed", message });
}
