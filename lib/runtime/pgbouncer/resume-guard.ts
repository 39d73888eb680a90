// Owns the process that ends a PAUSE when the worker cannot: it is started before the PAUSE, in a session of its own, and resumes at once
// when the worker's end of its pipe closes, or at the deadline. It writes no file and knows no DCS.

import { type ChildProcess, spawn } from "node:child_process";
import * as v from "valibot";
import { GUARD_FLAG } from "../../model/pgbouncer.ts";
import { workerProgram } from "../../model/product-place.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Ms, ms } from "../../model/units.ts";
import { realClock } from "../clock.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { type ConsoleAddress, PoolerConsole } from "./console.ts";

/** What the two say to each other, a line each. */
const READY = "ready";
const ARM = "arm";
const ARMED = "armed";
const DISARM = "disarm";
/** A busy machine takes seconds to start a process; one that says nothing for so long hangs, and another is tried. */
const START_WITHIN_MS = 60_000;
/** One RESUME; a PgBouncer that hangs is asked again. */
const RESUME_WITHIN_MS = 1000;
const RESUME_AGAIN_MS = 200;
/** A PgBouncer that has not answered for so long is dead, and a dead one has no clients. */
const GIVE_UP_MS = 600_000;
/** Its first line: an address and some names. */
const ORDER_MAX_CHARS = 256 * 1024;

const ORDER = v.object({
  host: v.string(),
  port: v.number(),
  admin: v.object({ username: v.nullable(v.string()), password: v.nullable(v.string()), options: v.record(v.string(), v.string()) }),
  databases: v.nullable(v.array(v.string())),
  limitMs: v.number(),
});

export interface GuardOrder {
  readonly address: ConsoleAddress;
  /** As `followers` names them. */
  readonly databases: readonly string[] | null;
  /** From each arming to when it resumes by itself. */
  readonly limitMs: Ms;
}

export interface GuardStart {
  /** Program and words before the flag; this product's own worker unless named. */
  readonly command?: readonly [string, ...string[]];
  readonly withinMs?: number;
}

/** The worker's end. */
export class ResumeGuard {
  readonly #child: ChildProcess;
  readonly #words: { readonly wait: (word: string) => Promise<boolean> };
  #alive = true;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.once("exit", () => {
      this.#alive = false;
    });
    this.#words = wordsOf(child);
  }

  /** Resolves once it watches. Errors: why it does not; it is then gone. */
  static async start(order: GuardOrder, options: GuardStart = {}): Promise<Result<ResumeGuard, string>> {
    const { command = workerProgram("pgbouncer"), withinMs = START_WITHIN_MS } = options;
    const [program, ...words] = command;
    // Its own session: what ends our group or terminal does not reach it.
    const child = spawn(program, [...words, GUARD_FLAG], { detached: true, stdio: ["pipe", "pipe", "inherit"] });
    // Writing to one that has ended: its exit is what counts.
    child.stdin?.on("error", () => undefined);
    const guard = new ResumeGuard(child);
    const { host, port, admin } = order.address;
    // Over the pipe: arguments and environment can be read by others.
    child.stdin?.write(`${JSON.stringify({ host, port, admin, databases: order.databases, limitMs: order.limitMs })}\n`);
    if (await guard.#hear(READY, withinMs)) return ok(guard);
    if (!guard.#alive) return err("the guard of the PAUSE cannot be started");
    await guard.#kill();
    return err(`the guard of the PAUSE did not begin to watch within ${withinMs / 1000} s`);
  }

  get isAlive(): boolean {
    return this.#alive;
  }

  /** From now on it resumes when this process ends, or at its limit. False where it did not say so in time: then nothing may be paused. */
  async arm(withinMs: number): Promise<boolean> {
    if (!this.#alive) return false;
    this.#child.stdin?.write(`${ARM}\n`);
    const armed = await this.#hear(ARMED, withinMs);
    if (!armed) this.disarm();
    return armed;
  }

  /** The PAUSE is over. */
  disarm(): void {
    this.#child.stdin?.write(`${DISARM}\n`);
  }

  async #hear(word: string, withinMs: number): Promise<boolean> {
    const late = Promise.withResolvers<boolean>();
    const timer = setTimeout(late.resolve, withinMs, false);
    try {
      return await Promise.race([this.#words.wait(word), late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #kill(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await gone;
  }

  /** It ends, where it is armed after a RESUME. */
  release(): void {
    this.#child.stdin?.end();
    this.#child.unref();
  }
}

/** What a child says, line by line; a wait for a word ends with it, or with the child. */
function wordsOf(child: ChildProcess): { readonly wait: (word: string) => Promise<boolean> } {
  let text = "";
  let over = false;
  let notify = Promise.withResolvers<void>();
  const changed = (): void => {
    notify.resolve();
    notify = Promise.withResolvers();
  };
  child.stdout?.on("data", (part: Buffer) => {
    text += part.toString();
    changed();
  });
  for (const event of ["error", "exit"] as const) {
    child.once(event, () => {
      over = true;
      changed();
    });
  }
  const wait = async (word: string): Promise<boolean> => {
    for (;;) {
      const at = text.indexOf(`${word}\n`);
      if (at >= 0) {
        text = text.slice(at + word.length + 1);
        return true;
      }
      if (over) return false;
      await notify.promise;
    }
  };
  return { wait };
}

/** The guard's own main: `WORKER --resume-guard`, with its order on stdin. */
export async function mainOfResumeGuard(): Promise<ExitCode> {
  // Whoever ends a whole group means the worker; this one ends when its work is done.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
  const clock = realClock();
  const lines = linesOf(process.stdin);
  const first = await lines.next();
  const order = v.safeParse(ORDER, first.done === true ? null : JSON.parse(first.value));
  if (!order.success) return EXIT.usage;
  const { databases, limitMs, ...address } = order.output;
  const pooler = new PoolerConsole({ address, clock });
  process.stdout.write(`${READY}\n`);
  let armed = false;
  let next = lines.next();
  let overdue = new AbortController();
  let late: Promise<"late"> | null = null;
  for (;;) {
    const word = await (late === null ? next : Promise.race([next, late]));
    if (word === "late") {
      // A worker that hangs is resumed for; it stays armed, since what that one does when it goes on is undone when it ends.
      late = null;
      process.stderr.write("pgbouncer: the worker did not end the PAUSE in time: clients go on\n");
      await resumeAll(pooler, databases, clock);
      continue;
    }
    overdue.abort();
    late = null;
    if (word.done === true) break;
    armed = word.value === ARM;
    if (armed) {
      overdue = new AbortController();
      late = clock.sleepUntil(ms(clock.now() + limitMs), overdue.signal).then(() => "late" as const);
      process.stdout.write(`${ARMED}\n`);
    }
    next = lines.next();
  }
  if (!armed) return EXIT.ok;
  process.stderr.write("pgbouncer: the worker ended while clients were paused: they go on\n");
  return (await resumeAll(pooler, databases, clock)) ? EXIT.ok : EXIT.failed;
}

/** Again and again until PgBouncer has said that nothing is paused. */
async function resumeAll(
  pooler: PoolerConsole,
  databases: readonly string[] | null,
  clock: ReturnType<typeof realClock>,
): Promise<boolean> {
  const giveUpAt = clock.now() + GIVE_UP_MS;
  const left = new Set<string | null>(databases ?? [null]);
  for (;;) {
    for (const database of left) {
      if ((await pooler.resume(database, ms(clock.now() + RESUME_WITHIN_MS))).ok) left.delete(database);
    }
    if (left.size === 0) return true;
    if (clock.now() >= giveUpAt) return false;
    await clock.sleepUntil(ms(clock.now() + RESUME_AGAIN_MS));
  }
}

async function* linesOf(input: AsyncIterable<Buffer | string>): AsyncGenerator<string, void> {
  let text = "";
  for await (const part of input) {
    text += part.toString();
    if (text.length > ORDER_MAX_CHARS) return;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      yield text.slice(0, end);
      text = text.slice(end + 1);
    }
  }
}
