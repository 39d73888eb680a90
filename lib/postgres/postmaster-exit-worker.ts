// Owns one blocking wait: a Worker thread that sleeps in poll(2) on the pidfd of one process and posts a message the
// moment it exits, whoever's child it is. It never signals anything and knows nothing of PostgreSQL.
// Source: pidfd_open(2), eventfd(2), poll(2).

import { dlopen, ptr } from "bun:ffi";
import { isAlive } from "./processes.ts";

export interface WatchRequest {
  readonly kind: "watch" | "close";
  /** Grows with each request; the worker sleeps only while no newer request was announced in `announced`. */
  readonly sequence: number;
  readonly pid: number;
  readonly startTicks: number;
}

export type WatchReport =
  /** Writing 8 bytes into this file descriptor ends the sleep. */
  | { readonly kind: "ready"; readonly wakeFd: number }
  | { readonly kind: "exited"; readonly pid: number }
  /** No pidfd here (an old kernel, or a sandbox that forbids it): the other side has to poll. */
  | { readonly kind: "unavailable"; readonly reason: string }
  | { readonly kind: "closed" };

/** How the two sides meet before the first message; the array holds the sequence announced last. */
export interface WorkerStart {
  readonly kind: "start";
  readonly announced: SharedArrayBuffer;
}

const PIDFD_OPEN = 434;
const EFD_CLOEXEC_NONBLOCK = 0o2004000;
const POLLIN = 1;
const LIBC_NAMES = ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1", "libc.so"];

declare const self: Worker;

let announced: Int32Array<SharedArrayBuffer> | null = null;
const libc = openLibc();
const wakeFd = libc?.eventfd(0, EFD_CLOEXEC_NONBLOCK) ?? -1;

self.onmessage = (event: MessageEvent<WorkerStart | WatchRequest>) => {
  const message = event.data;
  if (message.kind === "start") {
    announced = new Int32Array(message.announced);
    post(libc === null || wakeFd < 0 ? { kind: "unavailable", reason: "no eventfd through libc" } : { kind: "ready", wakeFd });
    return;
  }
  if (message.kind === "close") {
    if (libc !== null && wakeFd >= 0) libc.close(wakeFd);
    post({ kind: "closed" });
    return;
  }
  waitForExit(message);
};

function waitForExit(request: WatchRequest): void {
  if (libc === null || announced === null) return;
  const pidFd = Number(libc.syscall(PIDFD_OPEN, request.pid, 0));
  if (pidFd < 0) {
    // The errno is not visible here, so the other side looks whether the process is still there.
    post({ kind: "unavailable", reason: "pidfd_open failed" });
    return;
  }
  // Between the request and pidfd_open the pid may have passed to another process.
  if (!isAlive(request)) {
    libc.close(pidFd);
    post({ kind: "exited", pid: request.pid });
    return;
  }
  const fds = new Int32Array([wakeFd, POLLIN, pidFd, POLLIN]);
  const counter = new BigUint64Array(1);
  for (;;) {
    libc.read(wakeFd, ptr(counter), 8);
    if (Atomics.load(announced, 0) !== request.sequence) break;
    libc.poll(ptr(fds), 2, -1);
    // revents is the upper half of the second word of each struct pollfd.
    if ((fds[3] ?? 0) >>> 16 !== 0) {
      post({ kind: "exited", pid: request.pid });
      break;
    }
  }
  libc.close(pidFd);
}

function post(report: WatchReport): void {
  self.postMessage(report);
}

function openLibc() {
  for (const name of LIBC_NAMES) {
    try {
      return dlopen(name, {
        syscall: { args: ["i64", "i64", "i64"], returns: "i64" },
        eventfd: { args: ["u32", "i32"], returns: "i32" },
        poll: { args: ["ptr", "u64", "i32"], returns: "i32" },
        read: { args: ["i32", "ptr", "u64"], returns: "i64" },
        close: { args: ["i32"], returns: "i32" },
      }).symbols;
    } catch {
      // This libc is not on this system; the next name may be. None at all is reported as `unavailable`.
    }
  }
  return null;
}
