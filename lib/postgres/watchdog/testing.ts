// Owns the watchdog driver for tests: the orders that a kernel device would get, as text into a FIFO (contract §10).

import { accessSync, closeSync, constants, openSync, writeSync } from "node:fs";
import type { TimerDevice } from "./device.ts";

export class TestingWatchdog implements TimerDevice {
  readonly #path: string;
  #fd: number | null = null;

  constructor(path: string) {
    this.#path = path;
  }

  get opened(): boolean {
    return this.#fd !== null;
  }

  look(): string | null {
    try {
      accessSync(this.#path, constants.W_OK);
      return null;
    } catch (error) {
      return `watchdog ${this.#path}: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  describe(): string {
    return `Watchdog test harness at ${this.#path}`;
  }

  open(seconds: number): string | null {
    try {
      // Without a reader this fails at once instead of waiting for one.
      this.#fd = openSync(this.#path, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch (error) {
      return `watchdog ${this.#path}: ${error instanceof Error ? error.message : String(error)}`;
    }
    return this.setTimeout(seconds);
  }

  setTimeout(seconds: number): string | null {
    return this.#write(`Ctimeout=${seconds}\n`);
  }

  ping(): string | null {
    return this.#write("1");
  }

  close(): string | null {
    if (this.#fd === null) return null;
    const wrong = this.#write("V");
    closeSync(this.#fd);
    this.#fd = null;
    return wrong;
  }

  #write(text: string): string | null {
    if (this.#fd === null) return `watchdog ${this.#path} is not open`;
    try {
      writeSync(this.#fd, text);
      return null;
    } catch (error) {
      return `watchdog ${this.#path}: ${error instanceof Error ? error.message : String(error)}`;
    }
  }
}
