// Owns the watch over one process at a time: calls back within milliseconds of its exit, whoever's child it is.
// The sleeping is done by postmaster-exit-worker.ts; where the kernel has no pidfd, a timer looks instead.

import { writeSync } from "node:fs";
import type { Log } from "../model/log.ts";
import { threadModule } from "../model/product-place.ts";
import type { WatchReport, WatchRequest, WorkerStart } from "./postmaster-exit-worker.ts";
import { isAlive } from "./processes.ts";

export interface WatchedProcess {
  readonly pid: number;
  readonly startTicks: number;
}

/** How often the fall-back looks; only where pidfd is not available. */
const FALLBACK_POLL_MS = 20;
const WAKE = new Uint8Array(new BigUint64Array([1n]).buffer);

export class ExitWatch {
  readonly #log: Log;
  readonly #onExit: (process: WatchedProcess) => void;
  readonly #announced = new SharedArrayBuffer(4);
  #worker: Worker | null = null;
  #wakeFd = -1;
  #sequence = 0;
  #watched: WatchedProcess | null = null;
  #timer: ReturnType<typeof setInterval> | null = null;
  #unavailable = false;
  readonly #ready = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<void>();

  /** `onExit` is called once for each process that was handed to `watch` and ended, never for one that was replaced. */
  constructor(options: { readonly log: Log; readonly onExit: (process: WatchedProcess) => void }) {
    this.#log = options.log;
    this.#onExit = options.onExit;
  }

  get watched(): WatchedProcess | null {
    return this.#watched;
  }

  /** Watches this process in place of the one before. The same one again changes nothing. */
  watch(target: WatchedProcess): void {
    if (this.#watched?.pid === target.pid && this.#watched.startTicks === target.startTicks) return;
    this.#watched = target;
    this.#stopTimer();
    if (this.#unavailable) this.#pollInstead(target);
    else this.#request("watch", target);
  }

  /** Ends the worker; resolves when its thread has let go of its file descriptors. */
  async close(): Promise<void> {
    this.#watched = null;
    this.#stopTimer();
    const worker = this.#worker;
    if (worker === null) return;
    worker.ref();
    await this.#ready.promise;
    if (this.#wakeFd >= 0) {
      this.#request("close", { pid: 0, startTicks: 0 });
      await this.#closed.promise;
    }
    this.#worker = null;
    this.#wakeFd = -1;
    worker.terminate();
  }

  #request(kind: WatchRequest["kind"], target: WatchedProcess): void {
    this.#worker ??= this.#startWorker();
    // Announced before the wake, and the wake before the message: the worker never sleeps on an outdated request.
    this.#sequence += 1;
    Atomics.store(new Int32Array(this.#announced), 0, this.#sequence);
    if (this.#wakeFd >= 0) writeSync(this.#wakeFd, WAKE);
    this.#worker.postMessage({ kind, pid: target.pid, startTicks: target.startTicks, sequence: this.#sequence } satisfies WatchRequest);
  }

  #startWorker(): Worker {
    const worker = new Worker(threadModule("lib/postgres/postmaster-exit-worker.ts"));
    worker.unref();
    worker.onmessage = (event: MessageEvent<WatchReport>) => this.#report(event.data);
    worker.onerror = (event) => this.#fallBack(event.message);
    worker.postMessage({ kind: "start", announced: this.#announced } satisfies WorkerStart);
    return worker;
  }

  #report(report: WatchReport): void {
    switch (report.kind) {
      case "ready":
        this.#wakeFd = report.wakeFd;
        this.#ready.resolve();
        // A request posted before the descriptor was known could not wake the worker; announce it again.
        if (this.#watched !== null) this.#request("watch", this.#watched);
        return;
      case "exited":
        if (this.#watched?.pid === report.pid) this.#exited(this.#watched);
        return;
      case "unavailable":
        this.#pidfdFailed(report.reason);
        return;
      case "closed":
        this.#closed.resolve();
        return;
    }
  }

  #pidfdFailed(reason: string): void {
    const watched = this.#watched;
    if (watched === null) return;
    if (isAlive(watched)) this.#fallBack(reason);
    else this.#exited(watched);
  }

  #fallBack(reason: string): void {
    if (!this.#unavailable) this.#log.warning(`watching the postmaster by polling every ${FALLBACK_POLL_MS} ms: ${reason}`);
    this.#unavailable = true;
    this.#ready.resolve();
    if (this.#watched !== null) this.#pollInstead(this.#watched);
  }

  #pollInstead(target: WatchedProcess): void {
    this.#stopTimer();
    this.#timer = setInterval(() => {
      if (!isAlive(target)) this.#exited(target);
    }, FALLBACK_POLL_MS);
    this.#timer.unref();
  }

  #exited(target: WatchedProcess): void {
    this.#stopTimer();
    this.#watched = null;
    this.#onExit(target);
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
