// Owns starting a long-lived process of a quickstart: as the server user, in a session of its own, with a clean
// environment that carries the run's mark, its output in a log file. It must not wait for what it starts.

import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { give, type ServerUser } from "./folder.ts";
import { identify, type ProcessId } from "./processes.ts";

export interface LaunchOrder {
  readonly command: readonly [string, ...string[]];
  /** Working directory; also its HOME. */
  readonly folder: string;
  readonly logFile: string;
  readonly runId: string;
  /** The node that it belongs to; null for what belongs to none. */
  readonly node: string | null;
  readonly user: ServerUser;
}

export interface Launched {
  readonly id: ProcessId;
  /** Resolves to a few words when the process ends, e.g. `exit status 1`. */
  readonly ended: Promise<string>;
}

/** Variables that would reconfigure a server behind the quickstart's back, or name the caller's own temporary folder. */
const foreignVariable = /^(PG|PATRONI|MATRIARCH|CONSUL|NODE_|BUN_)|^(TMPDIR|TMP|TEMP)$/;

export function markOf(runId: string): string {
  return `QUICKSTART_RUN_ID=${runId}`;
}

/** What stands in the environment of one node's processes. */
export function nodeMark(runId: string, node: string): string {
  return `QUICKSTART_NODE=${runId}/${node}`;
}

/** Throws Error when the program cannot be started. */
export async function launch(order: LaunchOrder): Promise<Launched> {
  const [program, ...args] = order.command;
  const kept = Object.entries(process.env).filter(([name]) => !foreignVariable.test(name));
  const marks = [markOf(order.runId), ...(order.node === null ? [] : [nodeMark(order.runId, order.node)])];
  const log = openSync(order.logFile, "a", 0o600);
  give(order.logFile, order.user);
  const child = spawn(program, args, {
    cwd: order.folder,
    detached: true,
    stdio: ["ignore", log, log],
    env: { ...Object.fromEntries(kept), HOME: order.folder, ...Object.fromEntries(marks.map((mark) => mark.split("="))) },
    ...(order.user.uid === null || order.user.gid === null ? {} : { uid: order.user.uid, gid: order.user.gid }),
  });
  closeSync(log);
  const ended = new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => resolve(signal === null ? `exit status ${code}` : `signal ${signal}`));
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", () => resolve());
    child.once("error", (error) => reject(new Error(`${program} could not be started: ${error.message}`)));
  });
  // The child must not keep a detached quickstart alive; a foreground one waits for its signal.
  child.unref();
  const id = child.pid === undefined ? null : identify(child.pid);
  if (id === null) throw new Error(`${program} ended at once (${await ended}); see ${order.logFile}`);
  return { id, ended };
}
