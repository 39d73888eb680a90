// Owns the settings of the JavaScript engine that suit a process which does a little now and then, all year, and its start anew with
// them: the engine and its allocator read them from the environment, once, before the first line runs. It is loaded before anything
// else and then loaded again, so it must stay small.

import { PRODUCT_FORM } from "../model/product-place.ts";

/** By the names under which they are read. Whoever sets one of them in the environment has chosen otherwise: it is left alone. */
export const ENGINE_SETTINGS: Readonly<Record<string, string>> = {
  // Freed memory goes back to the system this many ms later. At the usual 100 ms the same few pages go back after every cycle, and are
  // asked for again in the next: a tenth to a fifth of what a node at rest costs.
  MIMALLOC_PURGE_DELAY: "5000",
  MIMALLOC_PURGE_HOLES_MIN_INTERVAL: "5000",
  // The heap is some 10 MiB: helpers of the collector are threads that are made for it and end again a moment later.
  BUN_JSC_numberOfGCMarkers: "1",
};

export interface Engine {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly execPath: string;
  /** The words between the engine and the program. */
  readonly execArgv: readonly string[];
  /** The program of the source; the executable needs none. */
  readonly script: string;
  /** Replaces this process; throws where it cannot, and returns only in tests. */
  readonly replace: (file: string, argv: readonly string[], env: Readonly<Record<string, string>>) => void;
}

/**
 * This process goes on as `worker` with these words and the settings of the engine: the same pid, the same open files. Returns where it has
 * them. Also where they cannot be had: they spare processor time, and nothing depends on them.
 */
export function settleEngine(worker: string, words: readonly string[], engine: Engine = thisEngine()): void {
  const missing = Object.entries(ENGINE_SETTINGS).filter(([name]) => engine.env[name] === undefined);
  if (missing.length === 0) return;
  const env: Record<string, string> = Object.fromEntries(missing);
  for (const [name, value] of Object.entries(engine.env)) if (value !== undefined) env[name] = value;
  const start = PRODUCT_FORM === "executable" ? [worker] : [...engine.execArgv, engine.script];
  try {
    engine.replace(engine.execPath, [engine.execPath, ...start, ...words], env);
  } catch {
    // The program was replaced or removed under us: this process goes on as it is.
  }
}

/** PostgreSQL, callbacks and hooks have engines of their own, if any: what was set for this process alone does not reach them. */
export function forgetEngineSettings(env: Record<string, string | undefined>): void {
  for (const [name, value] of Object.entries(ENGINE_SETTINGS)) if (env[name] === value) delete env[name];
}

function thisEngine(): Engine {
  return {
    env: process.env,
    execPath: process.execPath,
    execArgv: process.execArgv,
    script: process.argv[1] ?? "",
    replace: (file, argv, env) => process.execve?.(file, argv, env),
  };
}
