// Owns one run of a node's supervisor in the simulator: the real loop, watches, state and cluster store over the fakes, put together
// and started as lib/runtime/node.ts does it. It decides nothing.

import type { Decision } from "../../lib/core/decision.ts";
import { leaseMargin } from "../../lib/core/lease.ts";
import type { PeerStatus } from "../../lib/core/observation.ts";
import { ClusterStore } from "../../lib/dcs/cluster-store.ts";
import { MemoryStore } from "../../lib/dcs/memory-store.ts";
import type { Cluster } from "../../lib/model/cluster.ts";
import type { FailsafeAnswer, FailsafeHeartbeat } from "../../lib/model/failsafe.ts";
import { type Lsn, ms, type Revision, revision } from "../../lib/model/units.ts";
import { recallLease } from "../../lib/runtime/adoption.ts";
import { keepFenced } from "../../lib/runtime/fencing.ts";
import { FreshStatus } from "../../lib/runtime/fresh-status.ts";
import { HaLoop } from "../../lib/runtime/ha-loop.ts";
import { LocalNodeService } from "../../lib/runtime/local-node-service.ts";
import type { FormerLease, LeaseKeeper, NodeContext, PromiseKeeper } from "../../lib/runtime/node-context.ts";
import { NodeState } from "../../lib/runtime/node-state.ts";
import { lookAtPostgres } from "../../lib/runtime/observe.ts";
import { UNOBSERVED } from "../../lib/runtime/observer.ts";
import { refreshCluster } from "../../lib/runtime/perform-dcs.ts";
import { SessionTtl, sessionCheckOf } from "../../lib/runtime/session-ttl.ts";
import { Waker } from "../../lib/runtime/waker.ts";
import { WatchLoop } from "../../lib/runtime/watch-loop.ts";
import { FakeWatchdog } from "./fake-guard.ts";
import { FakePeers, gateOf, StoreClient } from "./fake-network.ts";
import { FakePostgres } from "./fake-postgres.ts";
import { dynamicConfig } from "./node-config.ts";
import { plantStore } from "./plants.ts";
import type { SimNode } from "./sim-node.ts";
import { SimProcess } from "./virtual-clock.ts";
import type { World } from "./world.ts";

/** How late a look at the clocks may find that the process stood still. */
const DOUBT_WITHIN_MS = 5;

export class Supervisor {
  readonly process: SimProcess;
  readonly context: NodeContext;
  readonly store: MemoryStore;
  readonly #node: SimNode;
  #apiServing = false;
  readonly #service: LocalNodeService;
  readonly #watch: WatchLoop;
  readonly #loop: HaLoop;
  #configRevision: Revision | null = null;
  readonly #sessionTtl: SessionTtl;
  #stoppedAt = 0;

  constructor(node: SimNode) {
    const { world, machine, server } = node;
    this.#node = node;
    const process = new SimProcess(world.queue, machine);
    this.process = process;
    // Requests outlive the process that sent them, so they have a clock that is never stopped.
    const network = new SimProcess(world.queue, machine);
    this.store = new MemoryStore({ cluster: world.cluster, clock: network, gate: gateOf(node.way, world.random) });
    if (!node.way.open) this.store.cutOff();
    const log = node.log();
    const state = new NodeState(process, { node: node.config, dynamic: dynamicConfig(founding(world), sessionCheckOf(node.config)) });
    const client = new StoreClient(this.store, process, { random: world.random, latency: world.latency });
    const store = new ClusterStore({
      store: plantStore(world.plants, client, node.name),
      clock: world.plants.lateClock(process),
      log,
      namespace: node.config.namespace,
      scope: node.config.scope,
      group: null,
      name: node.name,
      ttl: state.settings.dynamic.ttlMs,
      sessionCheckTtl: sessionCheckOf(node.config),
      decoder: world.decoder,
    });
    const watchdog = new FakeWatchdog(node.guard, process, { budget: world.guardBudget, onLease: (end) => node.leaseSeen(end) });
    this.context = {
      clock: process,
      log,
      store,
      postgres: new FakePostgres(server, process, world.plants),
      peers: new FakePeers({
        name: node.name,
        process,
        network: world.network,
        random: world.random,
        portAt: (url) => world.apis.get(url),
        silentMember: world.plants.silentMember,
      }),
      watchdog,
      lease: new FileLeaseKeeper(node, state, watchdog),
      promises: promisesOf(node, process),
      state,
      waker: new Waker(process),
    };
    this.#sessionTtl = new SessionTtl(this.context);
    this.#service = new LocalNodeService(this.context, FreshStatus.of(this.context), () => {});
    this.#watch = new WatchLoop(this.context);
    this.#loop = new HaLoop(this.context, () => this.#afterCycle());
    const { onRule } = world;
    if (onRule !== null) {
      const decided = ({ rule }: Decision): null => {
        onRule(rule);
        return null;
      };
      state.observer = { ...UNOBSERVED, decided };
    }
    state.onCluster = (cluster) => this.#takeConfig(cluster);
    this.context.postgres.onPostmasterExit(() => this.#postmasterEnded());
    watchdog.onLost(() => this.context.waker.wake());
  }

  /** Runs in the background until it ends by itself or is killed. */
  start(): void {
    this.#run().then(
      (end) => this.#ended(`${end.code} ${end.message}`),
      (reason: unknown) => {
        this.#node.world.violation(
          `the supervisor of ${this.#node.name} broke: ${reason instanceof Error ? (reason.stack ?? reason.message) : String(reason)}`,
        );
        this.#ended("broken");
      },
    );
  }

  async #run(): Promise<{ readonly code: number; readonly message: string }> {
    const { context } = this;
    const { state } = context;
    if ((await refreshCluster(context)) && state.cluster !== null) this.#takeConfig(state.cluster);
    this.#apiServing = true;
    await lookAtPostgres(context);
    if (state.local.process.kind === "running") await context.postgres.adopt();
    await recallLease(context);
    await context.watchdog.prepare();
    this.#watch.start();
    const end = await this.#loop.run();
    await this.#watch.stop();
    await context.postgres.close();
    return end;
  }

  /** SIGTERM. */
  terminate(): void {
    this.process.deliver(() => {
      const { state, waker } = this.context;
      state.requests = { ...state.requests, shutdown: true };
      state.shutdownAsked.abort();
      waker.wake();
    });
  }

  /** It was told to end and has not ended yet. */
  get terminating(): boolean {
    return this.context.state.requests.shutdown;
  }

  /** SIGKILL: requests that were sent are still applied. */
  kill(): void {
    this.process.kill();
    void this.store.close();
    void this.context.postgres.close();
  }

  /** SIGSTOP. */
  stop(): void {
    this.#stoppedAt = this.process.now();
    this.process.stop();
  }

  /** SIGCONT: the watch over the clocks finds out, before or after other timers had their turn. */
  resume(): void {
    const { state, waker } = this.context;
    const late = this.process.now() - this.#stoppedAt;
    this.process.resume();
    if (late <= leaseMargin(state.settings.dynamic.leaseTtlMs)) return;
    void this.process.later(this.#node.world.random.between(0, DOUBT_WITHIN_MS), () => {
      state.leaseDoubtedAt = this.process.now();
      waker.wake();
    });
  }

  /** As GET /patroni answers it, read by a peer (lib/api/status-document.ts, lib/runtime/peer-document.ts). */
  async answer(): Promise<PeerStatus | null> {
    if (!this.#apiServing) return null;
    const facts = await this.#service.facts();
    const status = facts.postgres;
    const role = status === null ? facts.role : status.inRecovery ? "replica" : "primary";
    const positions = status === null ? [] : [status.walLsn, status.receivedLsn, status.replayedLsn];
    return {
      role,
      state: facts.state,
      timeline: status?.timeline ?? null,
      lsn: positions.reduce<Lsn | null>((highest, each) => (each !== null && (highest === null || each > highest) ? each : highest), null),
      tags: facts.tags,
      watchdogFailed: facts.watchdogFailed,
      paused: facts.paused,
      leaseHeld: facts.holdsLock,
    };
  }

  /** A request over REST; false where nobody hears it. What it answers is the asker's. */
  operate(ask: (service: LocalNodeService) => Promise<unknown>): boolean {
    if (!this.#apiServing) return false;
    this.process.deliver(() => void ask(this.#service));
    return true;
  }

  /** The node's file was read again. */
  reread(): void {
    const { state, waker } = this.context;
    state.settings = { ...state.settings, node: this.#node.config };
    this.process.deliver(() => waker.wake());
  }

  /** As POST /failsafe answers it (lib/api/failsafe.ts). */
  async failsafe(beat: FailsafeHeartbeat): Promise<FailsafeAnswer> {
    if (!this.#apiServing) return { kind: "silent", reason: "refused" };
    const { status, text, lsn } = await this.#service.failsafe(beat);
    return status === 200 ? { kind: "accepted", lsn } : { kind: "refused", status, text };
  }

  #ended(why: string): void {
    this.kill();
    this.#node.supervisorEnded(this, why);
  }

  #takeConfig(cluster: Cluster): void {
    if (cluster.config === null || cluster.config.revision === this.#configRevision) return;
    this.#configRevision = cluster.config.revision;
    const { state, waker } = this.context;
    state.settings = { node: this.#node.config, dynamic: dynamicConfig(cluster.config.data, sessionCheckOf(this.#node.config)) };
    waker.wake();
    void keepFenced(this.context);
  }

  #afterCycle(): Promise<void> {
    const { dynamic } = this.context.state.settings;
    // Most cycles end without anything to do here.
    if (this.#sessionTtl.settled && !dynamic.pause && this.context.state.held === null) return NOTHING;
    if (this.#sessionTtl.settled) return keepFenced(this.context);
    return this.#sessionTtl.follow().then(() => keepFenced(this.context));
  }

  #postmasterEnded(): void {
    const { clock, state, waker } = this.context;
    const ours = state.task?.kind;
    state.local.process = { kind: "none" };
    state.local.status = null;
    if (ours === undefined || ours === "promote") state.local.crashedAt = clock.now();
    waker.wake();
  }
}

const NOTHING = Promise.resolve();
const NO_TREE = {};

/** Before there is a configuration in the DCS: a standby cluster's node has to know from its file that it founds no cluster of its own. */
function founding({ settings }: World): Readonly<Record<string, unknown>> {
  return settings.standbyCluster ? settings.dcs : NO_TREE;
}

/** As lib/runtime/promise-keeper.ts: after a boot the whole length counts again, here at most a lease of the longest ttl. */
function promisesOf(node: SimNode, process: SimProcess): PromiseKeeper {
  const { machine, promiseFile } = node;
  const sameBoot = promiseFile?.boots === machine.boots;
  const former =
    promiseFile === null || sameBoot
      ? (promiseFile?.promise ?? null)
      : { ...promiseFile.promise, until: ms(process.now() + PROMISE_LENGTH_MAX_MS) };
  return {
    former: () => former,
    save: (promise) => {
      node.promiseFile = { promise, boots: machine.boots };
      return true;
    },
  };
}

const PROMISE_LENGTH_MAX_MS = 60_000;

class FileLeaseKeeper implements LeaseKeeper {
  readonly #node: SimNode;
  readonly #state: NodeState;
  readonly #watchdog: FakeWatchdog;
  readonly #former: FormerLease | null;

  constructor(node: SimNode, state: NodeState, watchdog: FakeWatchdog) {
    this.#node = node;
    this.#state = state;
    this.#watchdog = watchdog;
    const record = node.leaseFile;
    this.#former =
      record === null
        ? null
        : {
            ...record,
            revision: revision(record.revision),
            deadline: ms(record.deadline),
            // The store in memory asks nobody: each renewal is one request.
            checkedUntil: ms(record.deadline),
            sameBoot: record.boots === node.machine.boots,
          };
  }

  former(): FormerLease | null {
    return this.#former;
  }

  save(lease: Parameters<LeaseKeeper["save"]>[0]): void {
    const { process, systemIdentifier } = this.#state.local;
    this.#node.leaseSeen(lease.deadline);
    this.#node.leaseFile = {
      ...lease,
      boots: this.#node.machine.boots,
      systemIdentifier: systemIdentifier ?? "",
      postmaster: process.kind === "running" ? { pid: process.pid, startTicks: process.startTicks } : null,
      guard: this.#watchdog.guardProcess(),
    };
  }

  clear(): void {
    this.#node.leaseFile = null;
  }
}
