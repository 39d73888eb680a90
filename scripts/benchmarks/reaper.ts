// Owns the burial of orphans: this process stands above every server that a benchmark starts, as a real init does. Where PID 1
// reaps late, a dead postmaster stays a zombie, and that lateness would be measured as the supervisor's own.
// Source: prctl(2), PR_SET_CHILD_SUBREAPER; waitpid(2).

import { dlopen, FFIType } from "bun:ffi";
import { readFileSync } from "node:fs";
import { readProcessOrZombie } from "../../lib/postgres/processes.ts";

const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;
const LOOK_EVERY_MS = 5;

const libc = dlopen("libc.so.6", {
  prctl: { args: [FFIType.i32, FFIType.u64, FFIType.u64, FFIType.u64, FFIType.u64], returns: FFIType.i32 },
  waitpid: { args: [FFIType.i32, FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
});

/** From now on orphans below this process become its children, and are buried within two looks. Returns the way to end that. */
export function reapOrphans(): () => void {
  if (libc.symbols.prctl(PR_SET_CHILD_SUBREAPER, 1n, 0n, 0n, 0n) !== 0) throw new Error("prctl(PR_SET_CHILD_SUBREAPER) failed");
  let before: ReadonlySet<number> = new Set();
  // Children that this process started itself are buried by their own event: whoever is dead at two looks is an orphan.
  const timer = setInterval(() => {
    const dead = children().filter((pid) => readProcessOrZombie(pid)?.state === "Z");
    for (const pid of dead) if (before.has(pid)) libc.symbols.waitpid(pid, null, WNOHANG);
    before = new Set(dead);
  }, LOOK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}

function children(): readonly number[] {
  return readFileSync(`/proc/self/task/${process.pid}/children`, "latin1").split(" ").filter(Boolean).map(Number);
}
