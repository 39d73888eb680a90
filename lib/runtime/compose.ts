// Owns the list of parts that a node is made of: each opened once, in one place. Starts nothing and decides nothing.

import { type LoadedConfig, limitsOf } from "../config/load.ts";
import { ClusterStore } from "../dcs/cluster-store.ts";
import { openStore, StoreChoiceError } from "../dcs/open-store.ts";
import type { Store } from "../dcs/store.ts";
import { err, ok, type Result } from "../model/result.ts";
import { LocalPostgresql } from "../postgres/local.ts";
import { chooseWatchdog } from "../postgres/watchdog/choose.ts";
import { realClock } from "./clock.ts";
import { EXIT } from "./exit-codes.ts";
import { DiskLeaseKeeper } from "./lease-keeper.ts";
import { createLog, type NodeLog } from "./log.ts";
import type { NodeContext } from "./node-context.ts";
import { NodeState } from "./node-state.ts";
import { PeerClient } from "./peer-client.ts";
import { acquireRunLock, type RunLock, runLockPath, stateDir } from "./run-lock.ts";
import { ServiceRegistration } from "./service-registration.ts";
import { LiveSettings } from "./settings.ts";
import { TimeLimits } from "./time-limits.ts";
import { Waker } from "./waker.ts";

/** Why a node does not start: its exit status and one line. */
export interface NodeFailure {
  readonly code: number;
  readonly message: string;
}

/** What a node is made of. */
export interface Parts {
  readonly context: NodeContext;
  readonly settings: LiveSettings;
  readonly limits: TimeLimits;
  readonly store: Store;
  readonly runLock: RunLock;
  readonly log: NodeLog;
  readonly registration: ServiceRegistration | null;
}

/** Opens run lock, store and state; asks and starts nothing. `worker` names a worker that runs alone. Errors: one line and the exit status. */
export function compose(options: { readonly loaded: LoadedConfig; readonly worker?: string | null }): Result<Parts, NodeFailure> {
  const node = options.loaded.config;
  const clock = realClock();
  const log = createLog(node.log);
  for (const { path, message } of options.loaded.warnings) log.warning(`${path}: ${message}`);
  const { dataDir } = node.postgresql;
  const runLock = acquireRunLock(runLockPath(dataDir), options.worker ?? null);
  if (!runLock.ok) {
    if (runLock.error.kind === "held")
      return err({ code: EXIT.alreadyRunning, message: `another supervisor of this node is running (pid ${runLock.error.holderPid})` });
    return err({ code: EXIT.failed, message: `postgresql.data_dir: ${runLock.error.message}` });
  }
  let store: Store;
  try {
    store = openStore(node, { clock, log });
  } catch (error) {
    runLock.value.release();
    if (!(error instanceof StoreChoiceError)) throw error;
    return err({ code: EXIT.failed, message: error.message });
  }
  const settings = new LiveSettings(options.loaded, log);
  const state = new NodeState(clock, settings.current);
  state.knownConfig = settings.dynamic;
  const watchdog = chooseWatchdog(node.watchdog, {
    clock,
    log,
    dataDir,
    stateDir: stateDir(dataDir),
    runLockPath: runLockPath(dataDir),
    token: runLock.value.token,
  });
  const lease = DiskLeaseKeeper.open({ dataDir, state, watchdog, log });
  if (!lease.ok) {
    runLock.value.release();
    return err({ code: EXIT.failed, message: `${lease.error.path}: ${lease.error.message}` });
  }
  const cluster = new ClusterStore({
    store,
    clock,
    log,
    namespace: node.namespace,
    scope: node.scope,
    group: node.citus?.group ?? null,
    name: node.name,
    ttl: state.settings.dynamic.ttlMs,
  });
  const postgres = new LocalPostgresql({ config: settings.current.node.postgresql, name: node.name, scope: node.scope, clock, log });
  const context: NodeContext = {
    clock,
    log,
    store: cluster,
    postgres,
    peers: new PeerClient({ restapi: node.restapi, ctl: node.ctl, clock }),
    watchdog,
    lease: lease.value,
    state,
    waker: new Waker(clock),
  };
  const registration = node.consul === null ? null : new ServiceRegistration({ config: node.consul, clock, log, node });
  const limits = new TimeLimits({ store: cluster, clock, log, self: node.name, initial: limitsOf(node) });
  return ok({ context, settings, limits, store, runLock: runLock.value, log, registration });
}
