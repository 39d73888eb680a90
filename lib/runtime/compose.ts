// Owns the list of parts that a node is made of: each opened once, in one place. Decides nothing.

import { type LoadedConfig, limitsOf } from "../config/load.ts";
import { ClusterStore } from "../dcs/cluster-store.ts";
import { openStore } from "../dcs/open-store.ts";
import type { Store } from "../dcs/store.ts";
import { StoreChoiceError } from "../dcs/store-choice.ts";
import type { Clock } from "../model/clock.ts";
import type { Log } from "../model/log.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { err, ok, type Result } from "../model/result.ts";
import { LocalPostgresql } from "../postgres/local.ts";
import { chooseWatchdog } from "../postgres/watchdog/choose.ts";
import { realClock } from "./clock.ts";
import { EXIT } from "./exit-codes.ts";
import { DiskLeaseKeeper } from "./lease-keeper.ts";
import { createLog, type NodeLog } from "./log.ts";
import { measuredStore } from "./measured-store.ts";
import { type MppPart, mppPart } from "./mpp/mpp.ts";
import type { NodeContext } from "./node-context.ts";
import type { NodeFailure } from "./node-failure.ts";
import { type NodeSight, openSight } from "./node-sight.ts";
import { NodeState } from "./node-state.ts";
import { PeerClient } from "./peer-client.ts";
import { DcsPoolerGate } from "./pooler-gate.ts";
import { DiskPromiseKeeper } from "./promise-keeper.ts";
import type { SupervisedMember } from "./raft-member.ts";
import { acquireRunLock, type RunLock, runLockPath, stateDir } from "./run-lock.ts";
import { sessionCheckOf } from "./session-ttl.ts";
import { LiveSettings } from "./settings.ts";
import { TimeLimits } from "./time-limits.ts";
import { Waker } from "./waker.ts";

/** What a node is made of. */
export interface Parts {
  readonly context: NodeContext;
  readonly peers: PeerClient;
  readonly settings: LiveSettings;
  readonly limits: TimeLimits;
  readonly store: Store;
  /** The node's own member of the Raft; null over Consul, and for a client of other members. */
  readonly member: SupervisedMember | null;
  readonly runLock: RunLock;
  readonly log: NodeLog;
  readonly sight: NodeSight;
  readonly mpp: MppPart;
}

export interface ComposeOptions {
  readonly loaded: LoadedConfig;
  /** Names a worker that runs alone. */
  readonly worker?: string | null;
  /** `adopt`: PostgreSQL's data may go into a new Raft (docs/raft.md). */
  readonly adopt?: "adopt" | "careful";
}

/** Opens run lock, store and state, and starts the node's member of the Raft, if it has one; asks nothing. Errors: one line and the exit status. */
export async function compose(options: ComposeOptions): Promise<Result<Parts, NodeFailure>> {
  const node = options.loaded.config;
  const { name, scope } = node;
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
  const logs = partLogs(log, node);
  const opened = await openNodeStore(node, { clock, log: logs.store, adopt: options.adopt ?? "careful" });
  if (!opened.ok) {
    runLock.value.release();
    return opened;
  }
  const { store, member } = opened.value;
  const settings = new LiveSettings(options.loaded, logs.config);
  const state = new NodeState(clock, settings.current);
  state.knownConfig = settings.dynamic;
  const places = { dataDir, stateDir: stateDir(dataDir), runLockPath: runLockPath(dataDir), token: runLock.value.token };
  const safetyMargin = () => state.settings.node.watchdog.safetyMarginSeconds;
  const watchdog = chooseWatchdog(node.watchdog, { clock, log: logs.watchdog, ...places }, safetyMargin);
  const lease = DiskLeaseKeeper.open({ dataDir, state, watchdog, log: logs.watchdog });
  if (!lease.ok) {
    await store.close();
    await member?.stop();
    runLock.value.release();
    return err({ code: EXIT.failed, message: `${lease.error.path}: ${lease.error.message}` });
  }
  const sight = openSight({ node, clock, log, state, watchdog });
  const cluster = new ClusterStore({
    store: measuredStore(store, clock, (measure) => sight.measures.request(measure)),
    clock,
    log: logs.dcs,
    namespace: node.namespace,
    scope,
    group: node.citus?.group ?? null,
    name,
    ttl: state.settings.dynamic.ttlMs,
    sessionCheckTtl: sessionCheckOf(node),
  });
  const postgres = new LocalPostgresql({ config: settings.current.node.postgresql, name, scope, clock, log: logs.postgresql });
  const peers = new PeerClient({ restapi: node.restapi, ctl: node.ctl, clock });
  const context: NodeContext = {
    clock,
    log: logs.ha,
    store: cluster,
    postgres,
    peers,
    watchdog,
    lease: lease.value,
    promises: new DiskPromiseKeeper({ dataDir, clock, log: logs.ha }),
    state,
    waker: new Waker(clock),
  };
  const limits = new TimeLimits({ store: cluster, clock, log: logs.ha, self: name, initial: limitsOf(node) });
  const mpp = await mppPart({ context, store, peers });
  state.mpp = mpp;
  state.poolers = new DcsPoolerGate({ context, store });
  return ok({ context, peers, settings, limits, store, member, runLock: runLock.value, log, sight, mpp });
}

/** As Patroni names its parts, so that its users' `log.loggers` mean the same here. */
function partLogs(log: NodeLog, { consul }: NodeConfig) {
  return {
    ha: log.named("ha"),
    dcs: log.named("dcs"),
    store: log.named(consul === null ? "dcs.raft" : "dcs.consul"),
    postgresql: log.named("postgresql"),
    watchdog: log.named("watchdog"),
    config: log.named("config"),
  };
}

async function openNodeStore(
  node: NodeConfig,
  parts: { readonly clock: Clock; readonly log: Log; readonly adopt: "adopt" | "careful" },
): Promise<Result<Pick<Parts, "store" | "member">, NodeFailure>> {
  const { raft } = node;
  if (node.consul === null && raft !== null && raft.selfAddr !== null) {
    // Its modules are none of a node's over Consul.
    const { SupervisedMember } = await import("./raft-member.ts");
    const started = await SupervisedMember.start({ raft, dataDir: node.postgresql.dataDir, ...parts });
    return started.ok ? ok({ store: started.value.store, member: started.value }) : started;
  }
  try {
    return ok({ store: await openStore(node, parts), member: null });
  } catch (error) {
    if (!(error instanceof StoreChoiceError)) throw error;
    return err({ code: EXIT.failed, message: error.message });
  }
}
