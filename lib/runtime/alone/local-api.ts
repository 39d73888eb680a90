// Owns the mark that workers/http-api.ts runs alone on this machine for this node: an answer at our own address is then ours.

import { join } from "node:path";
import { runLockHolder, stateDir } from "../run-lock.ts";

/** Held by the process that serves the API alone; its own lock, so that it can stand beside a leader-race. */
export function apiLockPath(dataDir: string): string {
  return join(stateDir(dataDir), "http-api.lock");
}

export function localApiRuns(dataDir: string): boolean {
  return runLockHolder(apiLockPath(dataDir)) !== null;
}
