// Owns how a worker that runs alone begins and ends: words on the command line, configuration, the refusal beside a running
// supervisor, the parts that only look. It performs nothing on the node; what a worker may change is the worker's own file.

import { limitsOf, loadNodeConfig } from "../../config/load.ts";
import { ClusterStore } from "../../dcs/cluster-store.ts";
import { openStore } from "../../dcs/open-store.ts";
import type { Store } from "../../dcs/store.ts";
import { StoreChoiceError } from "../../dcs/store-choice.ts";
import type { StoreError } from "../../model/errors.ts";
import type { Log } from "../../model/log.ts";
import type { NodeConfig } from "../../model/node-config.ts";
import { workerCommand } from "../../model/product-place.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { LocalPostgresql } from "../../postgres/local.ts";
import { NoWatchdog } from "../../postgres/watchdog/choose.ts";
import { realClock } from "../clock.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { createLog, type NodeLog } from "../log.ts";
import type { LeaseKeeper, NodeContext, PromiseKeeper } from "../node-context.ts";
import { NodeState } from "../node-state.ts";
import { PeerClient } from "../peer-client.ts";
import { acquireRunLock, runLockOwner, runLockPath } from "../run-lock.ts";
import { sessionCheckOf } from "../session-ttl.ts";
import { LiveSettings } from "../settings.ts";
import { TimeLimits } from "../time-limits.ts";
import { Waker } from "../waker.ts";

export interface AloneOptions {
  /** The worker's name, as in workers/NAME.ts. */
  readonly worker: string;
  /** Flags that it takes, e.g. `--perform`. */
  readonly flags?: readonly string[];
  /** `hold`: it changes something, so nobody else may be at work on this node. `look`: it only must not stand beside a supervisor. */
  readonly lock: "hold" | "look";
  /** Workers that, holding the run lock alone, may go on beside this one. */
  readonly beside?: readonly string[];
  readonly argv?: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** What a worker alone stands on. Its `context` has no fencing and no lease of its own: nothing here may lead. */
export interface Alone {
  readonly context: NodeContext;
  readonly store: Store;
  readonly log: NodeLog;
  readonly settings: LiveSettings;
  /** How short the times of the configuration may be here. */
  readonly limits: TimeLimits;
  readonly flags: ReadonlySet<string>;
  /** SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  close(): Promise<void>;
}

export interface AloneArguments {
  readonly path: string | null;
  readonly flags: ReadonlySet<string>;
}

/** Reads `[FLAG…] [node.yml]`; says how it is used where the words are wrong. */
export function readArguments(options: Pick<AloneOptions, "worker" | "flags" | "argv">): Result<AloneArguments, ExitCode> {
  const argv = options.argv ?? process.argv.slice(2);
  const known = options.flags ?? [];
  const usage = `usage: ${workerCommand(options.worker)} ${known.map((flag) => `[${flag}] `).join("")}[node.yml | folder]`;
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(`${usage}\n`);
    return err(EXIT.ok);
  }
  const flags = argv.filter((word) => word.startsWith("-"));
  const paths = argv.filter((word) => !word.startsWith("-"));
  if (paths.length > 1 || flags.some((flag) => !known.includes(flag))) {
    complain(usage);
    return err(EXIT.usage);
  }
  return ok({ path: paths[0] ?? null, flags: new Set(flags) });
}

/** Opens what the worker needs. The error is the exit status; why is said on stderr, and nothing was changed. */
export async function openAlone(options: AloneOptions): Promise<Result<Alone, ExitCode>> {
  const env = options.env ?? process.env;
  const words = readArguments(options);
  if (!words.ok) return words;
  const loaded = await loadNodeConfig({ path: words.value.path, env });
  if (!loaded.ok) {
    for (const fault of loaded.error) complain(`${fault.path}: ${fault.message}`);
    return err(EXIT.failed);
  }
  const node = loaded.value.config;
  const taken = takeLock(node, options);
  if (!taken.ok) return taken;
  const clock = realClock();
  // stdout is for the answer; a log file is the supervisor's.
  const log = createLog({ ...node.log, dir: null });
  const opened = await openNodeStore(node, { clock, log });
  if (!opened.ok) {
    taken.value.release();
    return opened;
  }
  const store = opened.value;
  const settings = new LiveSettings(loaded.value, log);
  const state = new NodeState(clock, settings.current);
  const { ttlMs } = state.settings.dynamic;
  const place = { namespace: node.namespace, scope: node.scope, group: node.citus?.group ?? null, name: node.name };
  const context: NodeContext = {
    clock,
    log,
    store: new ClusterStore({ store, clock, log, ...place, ttl: ttlMs, sessionCheckTtl: sessionCheckOf(node) }),
    postgres: new LocalPostgresql({ config: settings.current.node.postgresql, name: node.name, scope: node.scope, clock, log }),
    peers: new PeerClient({ restapi: node.restapi, ctl: node.ctl, clock }),
    watchdog: new NoWatchdog(),
    lease: NO_LEASE,
    promises: NO_PROMISES,
    state,
    waker: new Waker(clock),
  };
  // What it says while a node runs would be in the way of a worker's own answer.
  const quiet: Log = {
    debug: (text) => log.debug(text),
    info: (text) => log.debug(text),
    warning: (text) => log.warning(text),
    error: (text) => log.error(text),
    critical: (text) => log.critical(text),
  };
  const limits = new TimeLimits({ store: context.store, clock, log: quiet, self: node.name, initial: limitsOf(node) });
  const close = async (): Promise<void> => {
    await context.postgres.close();
    await store.close();
    log.close();
    taken.value.release();
  };
  return ok({ context, store, log, settings, limits, flags: words.value.flags, signal: interruption(), close });
}

/** Asks the store how short its times may be, where it has not answered yet, and takes the `config` key of the view into the settings. */
export async function takeConfig(alone: Alone): Promise<void> {
  await alone.limits.ask();
  takeConfigAsKnown(alone);
}

/** The same for who has no time to ask. */
export function takeConfigAsKnown({ context, settings, limits }: Alone): void {
  const { state } = context;
  if (state.cluster === null) return;
  limits.note(state.cluster);
  const changed = settings.applyLimits(limits.current);
  if (settings.applyCluster(state.cluster) || changed) state.settings = settings.current;
}

/** What an answer of the store means for a shell. */
export function exitOf(error: StoreError): ExitCode {
  return error.kind === "unavailable" || error.kind === "unknown-outcome" ? EXIT.storeUnavailable : EXIT.failed;
}

export function complain(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** PostgreSQL and the files beside its data belong to one user. */
export function refuseRoot(worker: string): ExitCode | null {
  if (process.getuid?.() !== 0) return null;
  complain(`workers/${worker}.ts writes beside the data directory: start it as the user that owns that, not as root`);
  return EXIT.failed;
}

const NO_LEASE: LeaseKeeper = { former: () => null, save: () => undefined, clear: () => undefined };
/** Nobody can ask one that serves no API of its own for a promise. */
const NO_PROMISES: PromiseKeeper = { former: () => null, save: () => false };

function takeLock(node: NodeConfig, options: AloneOptions): Result<{ release(): void }, ExitCode> {
  const path = runLockPath(node.postgresql.dataDir);
  const refused = (pid: number, worker: string | null): Result<never, ExitCode> => {
    complain(`${worker ?? "a supervisor"} of this node is running (pid ${pid}): ${options.worker} does not work beside it`);
    return err(EXIT.alreadyRunning);
  };
  if (options.lock === "look") {
    const owner = runLockOwner(path);
    const welcome = owner === null || (owner.worker !== null && (options.beside ?? []).includes(owner.worker));
    return welcome ? ok({ release: () => undefined }) : refused(owner.pid, owner.worker);
  }
  const root = refuseRoot(options.worker);
  if (root !== null) return err(root);
  const lock = acquireRunLock(path, options.worker);
  if (lock.ok) return lock;
  if (lock.error.kind === "held") return refused(lock.error.holderPid, runLockOwner(path)?.worker ?? null);
  complain(`postgresql.data_dir: ${lock.error.message}`);
  return err(EXIT.failed);
}

async function openNodeStore(node: NodeConfig, parts: Parameters<typeof openStore>[1]): Promise<Result<Store, ExitCode>> {
  try {
    return ok(await openStore(node, parts));
  } catch (error) {
    if (!(error instanceof StoreChoiceError)) throw error;
    complain(error.message);
    return err(EXIT.failed);
  }
}

/** Aborted by SIGINT or SIGTERM. */
export function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => controller.abort());
  return controller.signal;
}
