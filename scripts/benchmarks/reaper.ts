// Owns the burial of orphaned servers and guards: this process stands above all that a benchmark starts, as a real init does. Where
// PID 1 reaps late, a dead postmaster stays a zombie, and that lateness would be measured as the supervisor's own. Children that the
// benchmark itself started are none of its business. Source: prctl(2), PR_SET_CHILD_SUBREAPER; waitpid(2).

import { dlopen, FFIType } from "bun:ffi";
import { readFileSync } from "node:fs";

const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;
const LOOK_EVERY_MS = 5;
/** What supervisors leave behind, by command name; the benchmark starts none of these itself. */
const ORPHANS: ReadonlySet<string> = new Set(["postgres", "bash"]);

const libc = dlopen("libc.so.6", {
  prctl: { args: [FFIType.i32, FFIType.u64, FFIType.u64, FFIType.u64, FFIType.u64], returns: FFIType.i32 },
  waitpid: { args: [FFIType.i32, FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
});

/** From now on orphans below this process become its children, and the dead among them are buried. Returns the way to end that. */
export function reapOrphans(): () => void {
  if (libc.symbols.prctl(PR_SET_CHILD_SUBREAPER, 1n, 0n, 0n, 0n) !== 0) throw new Error("prctl(PR_SET_CHILD_SUBREAPER) failed");
  const timer = setInterval(() => {
    for (const pid of children()) if (isDeadOrphan(pid)) libc.symbols.waitpid(pid, null, WNOHANG);
  }, LOOK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}

function children(): readonly number[] {
  return readFileSync(`/proc/self/task/${process.pid}/children`, "latin1").split(" ").filter(Boolean).map(Number);
}

function isDeadOrphan(pid: number): boolean {
  try {
    const [, name = "", state] = /\((.*)\) (\S)/s.exec(readFileSync(`/proc/${pid}/stat`, "latin1")) ?? [];
    return state === "Z" && ORPHANS.has(name);
  } catch {
    // Buried between the list and the look.
    return false;
  }
}
