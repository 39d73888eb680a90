// Owns what a command may use of its process: output, one line of input at a time, time, environment. Knows no cluster.

import { createInterface, type Interface } from "node:readline";
import type { Clock } from "../../model/clock.ts";

export interface CtlTerminal {
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** How a shell can call this very program; default: by its name. */
  readonly invocation?: readonly string[];
  /** Whether a person sees standard output: colours, clearing the screen. */
  readonly outIsTerminal: boolean;
  /** Ends a command that watches. */
  readonly signal: AbortSignal;
  out(text: string): void;
  complain(text: string): void;
  /** The next line of standard input without its end; null at the end of input, or when interrupted. `hidden`: not shown while it is typed. */
  readLine(echo: "shown" | "hidden"): Promise<string | null>;
  /** All that is left of standard input. */
  readAll(): Promise<string>;
}

/** The lines of the real standard input. It is opened with the first question, so that a command that asks nothing never waits for it. */
export class StandardInput {
  readonly #signal: AbortSignal;
  #lines: Interface | null = null;
  #waiting: ((line: string | null) => void) | null = null;
  readonly #read: string[] = [];
  #ended = false;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", () => this.close(), { once: true });
  }

  readLine(echo: "shown" | "hidden"): Promise<string | null> {
    this.#open();
    const line = this.#read.shift();
    if (line !== undefined) return Promise.resolve(line);
    if (this.#ended) return Promise.resolve(null);
    const hide = echo === "hidden" && process.stdin.isTTY;
    if (hide) setEcho("off");
    return new Promise((resolve) => {
      this.#waiting = (text) => {
        if (hide) setEcho("on");
        resolve(text);
      };
    });
  }

  async readAll(): Promise<string> {
    return await Bun.stdin.text();
  }

  /** Lets the process end. */
  close(): void {
    this.#lines?.close();
    this.#lines = null;
    this.#end();
  }

  #open(): void {
    if (this.#lines !== null || this.#ended) return;
    if (this.#signal.aborted) {
      this.#end();
      return;
    }
    // Not as a terminal: the kernel's own line editing is enough, and Ctrl-C stays a signal.
    this.#lines = createInterface({ input: process.stdin, terminal: false });
    this.#lines.on("line", (line) => {
      if (this.#waiting === null) this.#read.push(line);
      else this.#answer(line);
    });
    this.#lines.on("close", () => this.#end());
  }

  #answer(line: string | null): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.(line);
  }

  #end(): void {
    this.#ended = true;
    this.#answer(null);
  }
}

function setEcho(echo: "on" | "off"): void {
  Bun.spawnSync(["stty", echo === "on" ? "echo" : "-echo"], { stdin: "inherit", stdout: "ignore", stderr: "ignore" });
}
