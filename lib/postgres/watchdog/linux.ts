// Owns the kernel's watchdog device (/dev/watchdog): it resets the machine. Must not be opened to look: opening starts it.

import { accessSync, closeSync, constants, openSync, statSync, writeSync } from "node:fs";
import type { TimerDevice } from "./device.ts";
import { ioctlInt } from "./libc.ts";

// Source: linux/watchdog.h; the numbers are those of _IOR/_IOWR('W', n, int) on x86-64 and arm64.
const WDIOC_SETOPTIONS = 0x80045704;
const WDIOC_KEEPALIVE = 0x80045705;
const WDIOC_SETTIMEOUT = 0xc0045706;
const WDIOS_DISABLECARD = 1;
const DEFAULT_DEVICE = "/dev/watchdog";

/** There, a character device, and ours to write. Says nothing about whether somebody else has it open. */
export function kernelWatchdogUsable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return statSync(path).isCharacterDevice();
  } catch {
    // No device, or not for this user: the usual case.
    return false;
  }
}

export class KernelWatchdog implements TimerDevice {
  readonly #path: string;
  #fd: number | null = null;

  constructor(path: string) {
    this.#path = path;
  }

  /** In Patroni's words, which name the device where it is not the usual one. */
  describe(): string {
    return this.#path === DEFAULT_DEVICE ? "Linux watchdog device" : `Linux watchdog device at ${this.#path}`;
  }

  look(): string | null {
    return kernelWatchdogUsable(this.#path) ? null : `watchdog ${this.#path} is not there, or not to be written by this user`;
  }

  get opened(): boolean {
    return this.#fd !== null;
  }

  open(seconds: number): string | null {
    try {
      this.#fd = openSync(this.#path, constants.O_WRONLY);
    } catch (error) {
      return `watchdog ${this.#path}: ${error instanceof Error ? error.message : String(error)}`;
    }
    return this.setTimeout(seconds);
  }

  setTimeout(seconds: number): string | null {
    if (this.#fd === null) return `watchdog ${this.#path} is not open`;
    const granted = ioctlInt(this.#fd, WDIOC_SETTIMEOUT, seconds);
    if (granted === null) return `watchdog ${this.#path} does not take a timeout of ${seconds} s`;
    // A driver may round; up would reach past the lease.
    return granted > seconds ? `watchdog ${this.#path} makes ${granted} s of the timeout of ${seconds} s` : null;
  }

  ping(): string | null {
    if (this.#fd === null) return `watchdog ${this.#path} is not open`;
    return ioctlInt(this.#fd, WDIOC_KEEPALIVE, 0) === null ? `watchdog ${this.#path} does not take a keepalive` : null;
  }

  /** Closing alone does not switch it off: the magic "V" does, unless the driver was built never to stop. */
  close(): string | null {
    if (this.#fd === null) return null;
    const fd = this.#fd;
    this.#fd = null;
    let wrong: string | null = null;
    try {
      ioctlInt(fd, WDIOC_SETOPTIONS, WDIOS_DISABLECARD);
      writeSync(fd, "V");
    } catch (error) {
      wrong = `watchdog ${this.#path} cannot be switched off: ${error instanceof Error ? error.message : String(error)}`;
    } finally {
      closeSync(fd);
    }
    return wrong;
  }
}
