// Owns the running of other programs to their end: PostgreSQL's own, and scripts of the configuration. Output is
// captured within a bound, a deadline or a signal ends the whole process group. It knows no program in particular.

import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { dirname, join } from "node:path";
import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import type { PostgresqlConfig } from "../model/node-config.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { ProgramOutcome, ProgramRequest, RunProgram } from "./context.ts";

/** What is kept of each stream, its end: enough for the longest pg_controldata or error, bounded for a chatty script. */
const OUTPUT_MAX_CHARACTERS = 1_000_000;
/** From SIGTERM to SIGKILL of a program that has to end. */
const KILL_AFTER_MS = 2_000;
/** What a program that has ended wrote arrives within milliseconds; a daemon that it left behind has its output open for ever. */
const LEFT_OPEN_MS = 1_000;
/** Programs that PostgreSQL ships and that we run; they are looked up in bin_dir. */
const POSTGRES_PROGRAMS = new Set([
  "initdb",
  "pg_basebackup",
  "pg_controldata",
  "pg_ctl",
  "pg_isready",
  "pg_resetwal",
  "pg_rewind",
  "pg_verifybackup",
  "pg_waldump",
  "postgres",
  "psql",
]);

/** Binds a runner to bin_dir, bin_name and the clock. */
export function programRunner(config: PostgresqlConfig, clock: Clock): RunProgram {
  return (request) => runProgram(config, clock, request);
}

/** Path of a program that PostgreSQL ships: bin_name applied, in bin_dir where that is set; else the bare name for PATH. */
export function programPath(config: Pick<PostgresqlConfig, "binDir" | "binName">, program: string): string {
  const name = config.binName[program] ?? program;
  return config.binDir === "" ? name : join(config.binDir, name);
}

/** The same configuration with the programs of another version, under their own names. */
export function withPrograms(config: PostgresqlConfig, binDir: string): PostgresqlConfig {
  return { ...config, binDir, binName: {} };
}

/** The folder of PostgreSQL's programs, also where PATH has them; "" where they cannot be found. */
export function programFolder(config: PostgresqlConfig): string {
  if (config.binDir !== "") return config.binDir;
  const found = findProgram(config, "postgres");
  return found === null ? "" : dirname(found);
}

/** This process's environment without our own configuration: it holds passwords, and no server or client of ours needs it. */
export function serverEnvironment(): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !/^(PATRONI_|MATRIARCH_|PGPASSWORD$)/.test(name)) kept[name] = value;
  }
  return kept;
}

async function runProgram(config: PostgresqlConfig, clock: Clock, request: ProgramRequest): Promise<Result<ProgramOutcome, PostgresError>> {
  const [program, ...args] = request.argv;
  if (program === undefined || program === "") return err({ kind: "failed", message: "no program was named" });
  if (request.signal?.aborted) return err({ kind: "cancelled", message: `${program} was not started` });
  const ownProgram = POSTGRES_PROGRAMS.has(program);
  const base = ownProgram || request.withoutSecrets === true ? serverEnvironment() : process.env;
  try {
    const child = spawn(ownProgram ? programPath(config, program) : program, args, {
      // A group of its own, so that whatever it starts ends with it.
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...base, ...request.env },
      ...(request.cwd === undefined ? {} : { cwd: request.cwd }),
    });
    return await awaitEnd(child, clock, request, program);
  } catch (error) {
    // Words that no program can be given, such as one with a NUL.
    return err({ kind: "failed", message: `cannot start ${program}: ${error instanceof Error ? error.message : String(error)}` });
  }
}

function awaitEnd(
  child: ChildProcess,
  clock: Clock,
  request: ProgramRequest,
  program: string,
): Promise<Result<ProgramOutcome, PostgresError>> {
  return new Promise((resolve) => {
    let ending: PostgresError | null = null;
    let killTimer: ReturnType<typeof setTimeout> | null = null;
    const end = (error: PostgresError): void => {
      if (ending !== null) return;
      ending = error;
      signalGroup(child, "SIGTERM");
      killTimer = setTimeout(() => {
        signalGroup(child, "SIGKILL");
        killTimer = setTimeout(() => leave(null), LEFT_OPEN_MS);
      }, KILL_AFTER_MS);
    };
    const onAbort = (): void => end({ kind: "cancelled", message: `${program} was ended` });
    request.signal?.addEventListener("abort", onAbort, { once: true });
    const deadlineTimer =
      request.deadline === undefined
        ? null
        : setTimeout(
            () => end({ kind: "timeout", message: `${program} did not end in time` }),
            Math.max(0, request.deadline - clock.now()),
          );
    const settle = (result: Result<ProgramOutcome, PostgresError>): void => {
      if (killTimer !== null) clearTimeout(killTimer);
      if (leftTimer !== null) clearTimeout(leftTimer);
      if (deadlineTimer !== null) clearTimeout(deadlineTimer);
      request.signal?.removeEventListener("abort", onAbort);
      resolve(result);
    };
    let leftTimer: ReturnType<typeof setTimeout> | null = null;
    /** Whoever still has its output open, or may not be ended by us, is not waited for. */
    const leave = (exitCode: number | null): void => {
      child.stdout?.destroy();
      child.stderr?.destroy();
      child.unref();
      settle(ending === null ? ok({ exitCode, stdout: stdout(), stderr: stderr() }) : err(ending));
    };
    const stdout = capture(child, "stdout", request.onLine);
    const stderr = capture(child, "stderr", request.onLine);
    child.on("error", (error) => settle(err({ kind: "failed", message: `cannot start ${program}: ${error.message}` })));
    child.on("exit", (exitCode) => {
      leftTimer = setTimeout(() => leave(exitCode), LEFT_OPEN_MS);
    });
    child.on("close", (exitCode) => {
      settle(ending === null ? ok({ exitCode, stdout: stdout(), stderr: stderr() }) : err(ending));
    });
    // A program that does not read its input closes the pipe early; that is its right.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(request.stdin ?? "");
  });
}

/** Collects a stream; the returned function gives what is kept of it. */
function capture(child: ChildProcess, name: "stdout" | "stderr", onLine: ProgramRequest["onLine"]): () => string {
  let text = "";
  let partial = "";
  const stream = child[name];
  stream?.setEncoding("utf8");
  stream?.on("data", (chunk: string) => {
    text = (text + chunk).slice(-OUTPUT_MAX_CHARACTERS);
    if (onLine === undefined) return;
    const lines = (partial + chunk).split(/\r\n|\r|\n/);
    partial = (lines.pop() ?? "").slice(-OUTPUT_MAX_CHARACTERS);
    for (const line of lines) if (line !== "") onLine(line, name);
  });
  stream?.on("end", () => {
    if (partial !== "") onLine?.(partial, name);
  });
  return () => text;
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    // The group has ended by itself meanwhile, or became another user's, as sudo's does: then it is not ours to end.
    const code = error instanceof Error && "code" in error ? error.code : null;
    if (code !== "ESRCH" && code !== "EPERM") throw error;
  }
}

/** Full path of the program if it can be run; null where it cannot be found or executed. */
export function findProgram(config: Pick<PostgresqlConfig, "binDir" | "binName">, program: string): string | null {
  const path = programPath(config, program);
  const candidates = path.includes("/") ? [path] : (process.env["PATH"] ?? "").split(":").map((folder) => join(folder, path));
  return candidates.find(isExecutable) ?? null;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
