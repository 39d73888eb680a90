// Owns the worker that leads a PgBouncer to the leader, as a process: its configuration, its lock, its signals and how it ends. It needs
// no PostgreSQL and no supervisor on its machine.

import { hostname } from "node:os";
import { loadNodeConfig } from "../../config/load.ts";
import { clusterKeys } from "../../dcs/keys.ts";
import { openStore } from "../../dcs/open-store.ts";
import type { Store } from "../../dcs/store.ts";
import { StoreChoiceError } from "../../dcs/store-choice.ts";
import type { Clock } from "../../model/clock.ts";
import type { ConfigFault } from "../../model/errors.ts";
import type { NodeConfig } from "../../model/node-config.ts";
import type { PgbouncerConfig } from "../../model/pgbouncer.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { ms } from "../../model/units.ts";
import { realClock } from "../clock.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { createLog, type NodeLog } from "../log.ts";
import { examinePooler } from "../pgbouncer/examine.ts";
import { Pooler } from "../pgbouncer/pooler.ts";
import { acquireRunLock, type RunLock } from "../run-lock.ts";
import { complain, readArguments } from "./open.ts";

const WORKER = "pgbouncer";
const CHECK_FLAG = "--check";

/**
 * Runs until SIGINT or SIGTERM; SIGHUP has the file read again. Exit status: 0 then, 1 refused, 2 usage, 4 another worker leads this pool.
 * With --check it shows what PgBouncer's settings make worse: 0 nothing, 1 something, or it could not be looked at.
 */
export async function mainOfPgbouncer(
  argv: readonly string[] = process.argv.slice(2),
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<ExitCode> {
  const words = readArguments({ worker: WORKER, flags: [CHECK_FLAG], argv });
  if (!words.ok) return words.error;
  const load = () => loadPooler(words.value.path, env);
  const first = await load();
  if (!first.ok) {
    for (const fault of first.error) complain(`${fault.path}: ${fault.message}`);
    return EXIT.failed;
  }
  const clock = realClock();
  if (words.value.flags.has(CHECK_FLAG)) return await check(first.value.pgbouncer, clock);
  const log = createLog(first.value.config.log);
  try {
    return await follow({ first: first.value, load, clock, log });
  } finally {
    log.close();
  }
}

/** A pooler's file as read. */
interface PoolerFile {
  readonly config: NodeConfig;
  readonly pgbouncer: PgbouncerConfig;
  readonly warnings: readonly ConfigFault[];
}

async function loadPooler(
  path: string | null,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Result<PoolerFile, readonly ConfigFault[]>> {
  const loaded = await loadNodeConfig({ path, env, purpose: "pooler" });
  if (!loaded.ok) return loaded;
  const { config, warnings } = loaded.value;
  const { pgbouncer } = config;
  if (pgbouncer === null) throw new Error("a pooler's configuration without its section");
  return ok({ config, pgbouncer, warnings });
}

interface Follow {
  readonly first: PoolerFile;
  readonly load: () => ReturnType<typeof loadPooler>;
  readonly clock: Clock;
  readonly log: NodeLog;
}

/** What a file stands for while it is in force. */
interface InForce {
  readonly file: PoolerFile;
  readonly lock: RunLock;
  readonly store: Store;
}

/** One pooler after the other: each reload that changes something ends one, and begins the next. */
async function follow({ first, load, clock, log }: Follow): Promise<ExitCode> {
  for (const { path, message } of first.warnings) log.warning(`${path}: ${message}`);
  const opened = await openFile(first, { clock, log });
  if (!opened.ok) {
    log.critical(opened.error.message);
    return opened.error.exit;
  }
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => stop.abort());
  let asked = Promise.withResolvers<void>();
  process.on("SIGHUP", () => asked.resolve());
  let now: InForce | null = opened.value;
  while (now !== null) {
    const { file, store }: InForce = now;
    const ended = new AbortController();
    const pooler = poolerOf(file, { store, clock, log });
    const running = pooler.run(AbortSignal.any([stop.signal, ended.signal]));
    let next: InForce | null = null;
    while (next === null && !stop.signal.aborted) {
      await Promise.race([running, asked.promise]);
      asked = Promise.withResolvers();
      if (!stop.signal.aborted) next = await reloaded(now, { load, clock, log });
    }
    // Clients that wait for a handover are not let go into it.
    if (next !== null) await Promise.race([pooler.idle(), running]);
    ended.abort();
    await running;
    await store.close();
    if (next?.lock !== now.lock) now.lock.release();
    if (stop.signal.aborted && next !== null) await giveUp(next);
    now = stop.signal.aborted ? null : next;
  }
  return EXIT.ok;
}

function poolerOf(
  { config, pgbouncer }: PoolerFile,
  parts: { readonly store: Store; readonly clock: Clock; readonly log: NodeLog },
): Pooler {
  const { namespace, scope } = config;
  const keys = clusterKeys({ namespace, scope, group: config.citus?.group ?? null });
  const name = pgbouncer.name ?? hostname();
  parts.log.info(`pooler ${name}: PgBouncer at ${pgbouncer.host}:${pgbouncer.port} follows ${scope}`);
  return new Pooler({ config: pgbouncer, keys, scope, name, ...parts });
}

/** The file read again, and open; null where it is the same, or cannot be taken: what is in force stays so. */
async function reloaded(now: InForce, { load, clock, log }: Omit<Follow, "first">): Promise<InForce | null> {
  const loaded = await load();
  if (!loaded.ok) {
    for (const { path, message } of loaded.error) log.error(`${path}: ${message}`);
    log.warning("the configuration stays as it was");
    return null;
  }
  const file = loaded.value;
  if (JSON.stringify(file.config) === JSON.stringify(now.file.config)) {
    log.info("the configuration was loaded again: nothing has changed");
    return null;
  }
  for (const { path, message } of file.warnings) log.warning(`${path}: ${message}`);
  const opened = await openFile(file, { clock, log }, now);
  if (!opened.ok) {
    log.error(opened.error.message);
    log.warning("the configuration stays as it was");
    return null;
  }
  log.reconfigure(file.config.log);
  log.info("the configuration was loaded again");
  return opened.value;
}

/** Takes the lock of its databases_file, where the one in force is not the same, and opens its store. The error: one line. */
async function openFile(
  file: PoolerFile,
  parts: { readonly clock: Clock; readonly log: NodeLog },
  before: InForce | null = null,
): Promise<Result<InForce, { readonly message: string; readonly exit: ExitCode }>> {
  const path = `${file.pgbouncer.databasesFile}.lock`;
  const lock = before !== null && before.lock.path === path ? ok(before.lock) : acquireRunLock(path, WORKER);
  if (!lock.ok) {
    const { error } = lock;
    if (error.kind === "held")
      return err({ message: `another worker leads this pool (pid ${error.holderPid})`, exit: EXIT.alreadyRunning });
    return err({ message: error.message, exit: EXIT.failed });
  }
  const store = await openPoolerStore(file.config, parts);
  if (store.ok) return ok({ file, lock: lock.value, store: store.value });
  if (lock.value !== before?.lock) lock.value.release();
  return err({ message: store.error, exit: EXIT.failed });
}

/** Opened for a reload that came to nothing. */
async function giveUp({ lock, store }: InForce): Promise<void> {
  await store.close();
  lock.release();
}

async function openPoolerStore(
  config: NodeConfig,
  parts: { readonly clock: Clock; readonly log: NodeLog },
): Promise<Result<Store, string>> {
  try {
    return ok(await openStore(config, parts));
  } catch (error) {
    if (!(error instanceof StoreChoiceError)) throw error;
    return err(error.message);
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
