// Owns the worker that leads a PgBouncer to the leader, as a process: its configuration, its lock, its signals and how it ends. It needs
// no PostgreSQL and no supervisor on its machine.

import { hostname } from "node:os";
import { loadNodeConfig } from "../../config/load.ts";
import { clusterKeys } from "../../dcs/keys.ts";
import { openStore } from "../../dcs/open-store.ts";
import type { Store } from "../../dcs/store.ts";
import { StoreChoiceError } from "../../dcs/store-choice.ts";
import type { Clock } from "../../model/clock.ts";
import type { NodeConfig } from "../../model/node-config.ts";
import type { PgbouncerConfig } from "../../model/pgbouncer.ts";
import { ms } from "../../model/units.ts";
import { realClock } from "../clock.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { createLog, type NodeLog } from "../log.ts";
import { examinePooler } from "../pgbouncer/examine.ts";
import { Pooler } from "../pgbouncer/pooler.ts";
import { acquireRunLock } from "../run-lock.ts";
import { complain, readArguments } from "./open.ts";

const WORKER = "pgbouncer";
const CHECK_FLAG = "--check";

/**
 * Runs until SIGINT or SIGTERM. Exit status: 0 then, 1 refused, 2 usage, 4 another worker leads this pool. With --check it shows what
 * PgBouncer's settings make worse: 0 nothing, 1 something, or it could not be looked at.
 */
export async function mainOfPgbouncer(
  argv: readonly string[] = process.argv.slice(2),
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<ExitCode> {
  const words = readArguments({ worker: WORKER, flags: [CHECK_FLAG], argv });
  if (!words.ok) return words.error;
  const loaded = await loadNodeConfig({ path: words.value.path, env, purpose: "pooler" });
  if (!loaded.ok) {
    for (const fault of loaded.error) complain(`${fault.path}: ${fault.message}`);
    return EXIT.failed;
  }
  const { config, warnings } = loaded.value;
  const { pgbouncer } = config;
  if (pgbouncer === null) throw new Error("a pooler's configuration without its section");
  const clock = realClock();
  if (words.value.flags.has(CHECK_FLAG)) return await check(pgbouncer, clock);
  const log = createLog(config.log);
  for (const { path, message } of warnings) log.warning(`${path}: ${message}`);
  try {
    return await follow({ config, pgbouncer, clock, log });
  } finally {
    log.close();
  }
}

async function follow(parts: {
  readonly config: NodeConfig;
  readonly pgbouncer: PgbouncerConfig;
  readonly clock: Clock;
  readonly log: NodeLog;
}): Promise<ExitCode> {
  const { config, pgbouncer, clock, log } = parts;
  const lock = acquireRunLock(`${pgbouncer.databasesFile}.lock`, WORKER);
  if (!lock.ok) {
    const { error } = lock;
    log.critical(error.kind === "held" ? `another worker leads this pool (pid ${error.holderPid})` : error.message);
    return error.kind === "held" ? EXIT.alreadyRunning : EXIT.failed;
  }
  const store = await openPoolerStore(config, { clock, log });
  if (store === null) return EXIT.failed;
  const { namespace, scope } = config;
  const keys = clusterKeys({ namespace, scope, group: config.citus?.group ?? null });
  const name = pgbouncer.name ?? hostname();
  log.info(`pooler ${name}: PgBouncer at ${pgbouncer.host}:${pgbouncer.port} follows ${scope}`);
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort());
  await new Pooler({ config: pgbouncer, store, keys, clock, log, scope, name }).run(stop.signal);
  await store.close();
  lock.value.release();
  return EXIT.ok;
}

async function openPoolerStore(config: NodeConfig, parts: { readonly clock: Clock; readonly log: NodeLog }): Promise<Store | null> {
  try {
    return await openStore(config, parts);
  } catch (error) {
    if (!(error instanceof StoreChoiceError)) throw error;
    parts.log.critical(error.message);
    return null;
  }
}

async function check(config: PgbouncerConfig, clock: Clock): Promise<ExitCode> {
  const examined = await examinePooler(config, clock, ms(clock.now() + CHECK_WITHIN_MS));
  if (!examined.ok) {
    complain(`PgBouncer's console at ${config.host}:${config.port} does not answer: ${examined.error}`);
    return EXIT.failed;
  }
  for (const { setting, says, fix } of examined.value) process.stdout.write(`${setting}: ${says}\n  → ${fix}\n`);
  if (examined.value.length === 0) process.stdout.write("nothing in PgBouncer's settings makes a change of the leader longer\n");
  return examined.value.length === 0 ? EXIT.ok : EXIT.failed;
}

const CHECK_WITHIN_MS = 5000;
