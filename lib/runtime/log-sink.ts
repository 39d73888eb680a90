// Owns where log lines go: stderr, or a file in `log.dir` with rotation. Must not throw and must not wait: a reader of
// stderr that has stopped would otherwise stop the HA loop with it.

import { dlopen, FFIType, ptr } from "bun:ffi";
import { accessSync, closeSync, constants, existsSync, fchmodSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { LogConfig } from "../model/node-config.ts";

/** A pipe that polls writable takes this much without waiting. Source: pipe(7), PIPE_BUF. */
const PIECE_BYTES = 4096;
/** Lines that wait for a slow reader of stderr; about an hour of a quiet node. More are lost, oldest first, and counted. */
const BACKLOG_LINES_MAX = 1000;
/** How often the backlog is tried again. */
const BACKLOG_RETRY_MS = 500;
/** How long a close may wait for a slow reader. */
const CLOSE_WAIT_MS = 250;
const LOG_FILE = "patroni.log";

const libc = dlopen("libc.so.6", { poll: { args: [FFIType.ptr, FFIType.u64, FFIType.i32], returns: FFIType.i32 } });
const POLLOUT = 4;

export interface SinkOptions {
  /** File descriptor in place of 2, for tests. */
  readonly stderrFd?: number;
}

export interface LogSink {
  /** One line without its newline. False where it is lost, or waits for a slow reader. */
  write(line: string): boolean;
  lost(): number;
  close(): void;
}

/** The sink of the configuration; where its folder cannot be used, stderr, and the fault in words. */
export function createSink(config: LogConfig, options: SinkOptions): { readonly sink: LogSink; readonly fault: string | null } {
  const stderr = (): LogSink => new StreamSink(options.stderrFd ?? 2);
  if (config.dir === null) return { sink: stderr(), fault: null };
  try {
    accessSync(config.dir, constants.W_OK | constants.X_OK);
    return { sink: new FileSink(config.dir, config), fault: null };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { sink: stderr(), fault: `log.dir: ${config.dir} cannot be used: ${reason}` };
  }
}

class StreamSink implements LogSink {
  readonly #fd: number;
  #backlog: Uint8Array[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lost = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(line: string): boolean {
    const bytes = Buffer.from(`${line}\n`);
    if (this.#backlog.length > 0) this.#drain();
    if (this.#backlog.length === 0) {
      const lostBefore = this.#lost;
      const rest = this.#tryWrite(bytes);
      if (rest === null) return this.#lost === lostBefore;
      this.#backlog.push(rest);
    } else {
      this.#backlog.push(bytes);
    }
    if (this.#backlog.length > BACKLOG_LINES_MAX) {
      this.#backlog.shift();
      this.#lost++;
    }
    this.#retryLater();
    return false;
  }

  lost(): number {
    return this.#lost;
  }

  /** The last lines say why a process ends: they are given a moment. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const end = performance.now() + CLOSE_WAIT_MS;
    this.#drain();
    while (this.#backlog.length > 0 && performance.now() < end) {
      writable(this.#fd, CLOSE_WAIT_MS);
      this.#drain();
    }
    this.#lost += this.#backlog.length;
    this.#backlog = [];
  }

  /** What could not be written; null when all was, or when it is lost for good (closed, disk full). */
  #tryWrite(bytes: Uint8Array): Uint8Array | null {
    let rest = bytes;
    while (rest.length > 0) {
      if (!writable(this.#fd)) return rest;
      try {
        rest = rest.subarray(writeSync(this.#fd, rest, 0, Math.min(rest.length, PIECE_BYTES)));
      } catch (error) {
        if (error instanceof Error && "code" in error && error.code === "EAGAIN") return rest;
        this.#lost++;
        return null;
      }
    }
    return null;
  }

  #drain(): void {
    while (this.#backlog.length > 0) {
      const rest = this.#tryWrite(this.#backlog[0] ?? new Uint8Array());
      if (rest !== null) {
        this.#backlog[0] = rest;
        return;
      }
      this.#backlog.shift();
    }
  }

  #retryLater(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#drain();
      if (this.#backlog.length > 0) this.#retryLater();
    }, BACKLOG_RETRY_MS);
    this.#timer.unref();
  }
}

const pollFd = new Int32Array(new ArrayBuffer(8));

/** A pipe without room, or a socket, is not; a file always is. Also true for a broken one: the write then tells. */
function writable(fd: number, waitMs = 0): boolean {
  pollFd[0] = fd;
  pollFd[1] = POLLOUT;
  return libc.symbols.poll(ptr(pollFd), 1, waitMs) !== 0;
}

class FileSink implements LogSink {
  readonly #path: string;
  readonly #config: LogConfig;
  #fd: number;
  #bytes: number;
  #lost = 0;
  /** A disk that filled up took the beginning of the last line alone. */
  #torn = false;

  /** Throws where the file cannot be opened. */
  constructor(dir: string, config: LogConfig) {
    this.#path = join(dir, LOG_FILE);
    this.#config = config;
    this.#fd = this.#open();
    this.#bytes = fstatSync(this.#fd).size;
  }

  write(line: string): boolean {
    const bytes = Buffer.from(`${this.#torn ? "\n" : ""}${line}\n`);
    try {
      if (this.#config.fileSizeBytes > 0 && this.#bytes > 0 && this.#bytes + bytes.length > this.#config.fileSizeBytes) this.#rotate();
      const written = writeSync(this.#fd, bytes);
      this.#bytes += written;
      this.#torn = written < bytes.length;
      if (this.#torn) this.#lost++;
      return !this.#torn;
    } catch {
      // Full or read-only disk: the line is lost, and counted.
      this.#lost++;
      return false;
    }
  }

  lost(): number {
    return this.#lost;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #open(): number {
    const fd = openSync(this.#path, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o666);
    if (this.#config.mode !== null) fchmodSync(fd, this.#config.mode);
    return fd;
  }

  /** patroni.log → .1 → … → .file_num; the oldest goes. With file_num 0 the file is never rotated, as in Patroni. */
  #rotate(): void {
    const last = this.#config.fileNum;
    if (last <= 0) return;
    for (let number = last - 1; number >= 1; number--) {
      if (existsSync(`${this.#path}.${number}`)) renameSync(`${this.#path}.${number}`, `${this.#path}.${number + 1}`);
    }
    renameSync(this.#path, `${this.#path}.1`);
    const fd = this.#open();
    closeSync(this.#fd);
    this.#fd = fd;
    this.#bytes = 0;
  }
}
