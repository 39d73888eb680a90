// Owns what /proc says of processes: is this pid alive, is it the postmaster of THIS data directory, which processes
// belong to it. It reads only and starts no child process. /proc is memory, so the reads are synchronous. Where not even that can be read
// (no file descriptor is left) it throws: whoever takes a server for gone gives its lock away.

import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { basename } from "node:path";

/** USER_HZ: what proc(5) counts in on every Linux. */
const TICKS_PER_SECOND = 100;

export interface ProcessFacts {
  readonly pid: number;
  /** One letter of proc(5): R, S, D, T (stopped), t (traced), Z (zombie), X. */
  readonly state: string;
  readonly parentPid: number;
  /** Clock ticks since boot at which it started: pid and startTicks together name a process for good. */
  readonly startTicks: number;
}

/** Device and inode of a directory, so that links and other spellings of its path do not matter. */
export interface DirectoryIdentity {
  readonly device: number;
  readonly inode: number;
}

/** Identity of an existing directory; null where there is none or it cannot be reached. */
export function directoryIdentity(path: string): DirectoryIdentity | null {
  const stats = attempt(() => statSync(path));
  return stats === null ? null : { device: stats.dev, inode: stats.ino };
}

/** What the paths were at their last look; a process has one data directory. */
const DIRECTORIES_MAX = 64;
const lastKnown = new Map<string, DirectoryIdentity>();

/**
 * As directoryIdentity, of a directory in which a server may run. A path that just now cannot be looked at (EACCES, EIO) is what it was
 * when it last could: whoever runs in it runs on, and must not be taken for gone.
 */
export function serverDirectory(path: string): DirectoryIdentity | null {
  try {
    const { dev, ino } = statSync(path);
    const identity = { device: dev, inode: ino };
    if (lastKnown.size >= DIRECTORIES_MAX) lastKnown.clear();
    lastKnown.set(path, identity);
    return identity;
  } catch (error) {
    const code = errorCode(error);
    if (code === null) throw error;
    return code === "ENOENT" || code === "ENOTDIR" ? null : (lastKnown.get(path) ?? null);
  }
}

/** Facts of a living process; null where there is none. A zombie is dead: it counts as none. */
export function readProcess(pid: number): ProcessFacts | null {
  const facts = readProcessOrZombie(pid);
  return facts === null || facts.state === "Z" || facts.state === "X" ? null : facts;
}

/** As readProcess, with the dead that nobody has buried yet: their pid is still taken. */
export function readProcessOrZombie(pid: number): ProcessFacts | null {
  const text = attempt(() => readFileSync(`/proc/${pid}/stat`, "latin1"));
  return text === null ? null : parseProcessStat(text);
}

/** Parses /proc/PID/stat; null when the text has another form. The command name may hold spaces and brackets. */
export function parseProcessStat(text: string): ProcessFacts | null {
  const open = text.indexOf("(");
  const close = text.lastIndexOf(")");
  if (open < 0 || close < open) return null;
  const pid = Number(text.slice(0, open));
  const fields = text.slice(close + 2).split(" ");
  const [state, parent] = fields;
  const startTicks = Number(fields[19]);
  if (state === undefined || !Number.isInteger(pid) || !Number.isInteger(startTicks)) return null;
  return { pid, state, parentPid: Number(parent), startTicks };
}

/**
 * Whether a process sleeps until something happens, and how often it has given the processor up or lost it: with an equal count it is one and
 * the same sleep. Null where there is no such process, or the kernel does not tell.
 */
export function readSleep(pid: number): { readonly asleep: boolean; readonly turns: number } | null {
  const text = attempt(() => readFileSync(`/proc/${pid}/status`, "latin1")) ?? "";
  const state = /^State:\s*(\w)/m.exec(text)?.[1];
  const [given, lost] = [/^voluntary_ctxt_switches:\s*(\d+)/m.exec(text)?.[1], /^nonvoluntary_ctxt_switches:\s*(\d+)/m.exec(text)?.[1]];
  if (state === undefined || given === undefined || lost === undefined) return null;
  return { asleep: state === "S", turns: Number(given) + Number(lost) };
}

/** Where /proc cannot be read, a pid that is taken counts as that process: what may live must not be taken for gone. */
export function isAlive(target: { readonly pid: number; readonly startTicks: number }): boolean {
  try {
    return readProcess(target.pid)?.startTicks === target.startTicks;
  } catch (error) {
    if (errorCode(error) === null) throw error;
    return isTaken(target.pid);
  }
}

/** Asked of the kernel without a file. */
function isTaken(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return errorCode(error) !== "ESRCH";
  }
}

/**
 * The process if it is a postmaster that runs in this data directory. A pid that was reused by anything else, also by a
 * backend or by a server of another directory, is null: the postmaster stands in its data directory and keeps its
 * argv, its children call themselves `postgres: …`.
 */
export function postmasterAt(pid: number, directory: DirectoryIdentity): ProcessFacts | null {
  if (pid === process.pid) return null;
  const facts = readProcess(pid);
  if (facts === null || !standsIn(pid, directory)) return null;
  const [program] = commandLine(pid);
  if (program === undefined || program === "" || program.startsWith("postgres:")) return null;
  return isPostgresProgram(pid) ? facts : null;
}

/** The postmaster of this data directory found among all processes: for when postmaster.pid does not tell. */
export function searchPostmaster(directory: DirectoryIdentity): ProcessFacts | null {
  const processes = serverProcesses(directory);
  const pids = new Set(processes.map((found) => found.pid));
  // A child looks like its postmaster until it has set its own title.
  const roots = processes.filter((found) => !pids.has(found.parentPid) && postmasterAt(found.pid, directory) !== null);
  return roots[0] ?? null;
}

/** All living server processes (postmaster, backends, workers; orphans too) of this data directory. */
export function serverProcesses(directory: DirectoryIdentity): readonly ProcessFacts[] {
  const found: ProcessFacts[] = [];
  for (const entry of attempt(() => readdirSync("/proc")) ?? []) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    // A person's shell or psql may stand in the same directory: only the server program itself counts.
    if (!standsIn(pid, directory) || !isPostgresProgram(pid)) continue;
    const facts = readProcess(pid);
    if (facts !== null) found.push(facts);
  }
  return found;
}

/** Epoch seconds at which a process started, to about a second; null where /proc does not tell. */
export function startEpochSeconds(facts: ProcessFacts): number | null {
  const uptime = Number((attempt(() => readFileSync("/proc/uptime", "utf8")) ?? "").split(" ")[0]);
  return Number.isFinite(uptime) && uptime > 0 ? Date.now() / 1000 - uptime + facts.startTicks / TICKS_PER_SECOND : null;
}

/** Sends a signal to exactly this process; false where it is gone already. Throws where it is not ours to signal. */
export function sendSignal(target: { readonly pid: number; readonly startTicks: number }, signal: NodeJS.Signals): boolean {
  if (!isAlive(target)) return false;
  try {
    process.kill(target.pid, signal);
    return true;
  } catch (error) {
    if (errorCode(error) === "ESRCH") return false;
    throw error;
  }
}

export function errorCode(error: unknown): string | null {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : null;
}

function standsIn(pid: number, directory: DirectoryIdentity): boolean {
  const cwd = directoryIdentity(`/proc/${pid}/cwd`);
  return cwd !== null && cwd.device === directory.device && cwd.inode === directory.inode;
}

function isPostgresProgram(pid: number): boolean {
  const exe = attempt(() => readlinkSync(`/proc/${pid}/exe`));
  // Replaced by an upgrade while it runs: the link then ends in " (deleted)".
  if (exe !== null) return /^postgres/.test(basename(exe.replace(/ \(deleted\)$/, "")));
  // A process that is being killed loses its program before its open files: until those are closed, it counts.
  return /^postgres/.test(attempt(() => readFileSync(`/proc/${pid}/comm`, "utf8")) ?? "");
}

function commandLine(pid: number): readonly string[] {
  return (attempt(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")) ?? "").split("\0");
}

/** No file descriptor or no memory was left for the look: nothing was learnt of the process, least of all that it is not there. */
const NOTHING_LEARNT: ReadonlySet<string> = new Set(["EMFILE", "ENFILE", "ENOMEM"]);

/** A process may end between two reads, and another user's is closed to us: both mean "not there". Throws where nothing was learnt. */
function attempt<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    const code = errorCode(error);
    if (code === null || NOTHING_LEARNT.has(code)) throw error;
    return null;
  }
}
