// Owns the composition of one node: which parts there are, in which order they come up and go down. Decides nothing about HA.

import type { LoadedConfig } from "../config/load.ts";
import { leaseMargin } from "../core/lease.ts";
import type { Store } from "../dcs/store.ts";
import type { Cluster } from "../model/cluster.ts";
import { err, ok, type Result } from "../model/result.ts";
import { recallLease } from "./adoption.ts";
import type { BackupRunner, NoteEvent } from "./backup/backup-runner.ts";
import type { Catalogues } from "./catalogues.ts";
import { ClockWatch } from "./clock.ts";
import { compose, type Parts } from "./compose.ts";
import { EXIT } from "./exit-codes.ts";
import { keepFenced } from "./fencing.ts";
import { FreshStatus } from "./fresh-status.ts";
import type { LoopEnd } from "./ha-loop.ts";
import { LocalNodeService } from "./local-node-service.ts";
import type { NodeLog } from "./log.ts";
import type { MppPart } from "./mpp/mpp.ts";
import { NodeConfiguration } from "./node-configuration.ts";
import type { NodeContext } from "./node-context.ts";
import type { NodeFailure } from "./node-failure.ts";
import { DiskNodeFile } from "./node-file.ts";
import type { NodeService } from "./node-service.ts";
import type { NodeSight } from "./node-sight.ts";
import type { Settings } from "./node-state.ts";
import { lookAtPostgres } from "./observe.ts";
import type { PeerClient } from "./peer-client.ts";
import { refreshCluster } from "./perform-dcs.ts";
import type { SupervisedMember } from "./raft-member.ts";
import type { RunLock } from "./run-lock.ts";
import { SessionTtl } from "./session-ttl.ts";
import type { LiveSettings } from "./settings.ts";
import { whyNotByName, whyNotHere } from "./start-checks.ts";
import { takeOver } from "./take-over.ts";
import type { TimeLimits } from "./time-limits.ts";
import { tellPromoted } from "./touch-member.ts";
import { UpgradePart } from "./upgrade-part.ts";
import type { Vip } from "./vip/vip.ts";

/** What listens for the node: given by the worker that composes it, since the API stands above the runtime. */
export interface ApiPort {
  reload(settings: NodeContext["state"]["settings"]): Promise<void>;
  stop(): Promise<void>;
}

/** Value null: this process serves no API. */
export type StartApi = (
  service: NodeService,
  log: NodeLog,
) => Promise<Result<ApiPort | null, { readonly path: string; readonly message: string }>>;

/** The workers that a node runs in its process; workers/ has them. Each ends when the signal says so. */
export interface NodeWorkers {
  readonly leaderRace: (context: NodeContext, signal: AbortSignal, afterCycle: () => Promise<void>) => Promise<LoopEnd>;
  readonly watch: (context: NodeContext, signal: AbortSignal, onChange: (cluster: Cluster) => void) => Promise<void>;
  readonly httpApi: StartApi;
  readonly vip: (context: NodeContext) => Vip;
  readonly backup: (context: NodeContext, store: Store, note: NoteEvent) => Promise<Pick<BackupRunner, "note" | "close">>;
}

export interface NodeOptions {
  readonly loaded: LoadedConfig;
  /** Where the configuration came from, for a reload. */
  readonly path: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly workers: NodeWorkers;
  /** A worker that runs alone as the whole node, and its `end`: PostgreSQL is stopped and the lock released whatever ended it. */
  readonly alone?: { readonly worker: string; readonly end: (context: NodeContext) => Promise<void> };
  /** `--adopt`: PostgreSQL's data may go into a new Raft. */
  readonly adopt?: "adopt" | "careful";
}

export class MatriarchNode {
  readonly context: NodeContext;
  readonly service: NodeService;
  readonly #options: NodeOptions;
  readonly #settings: LiveSettings;
  readonly #store: Store;
  readonly #peers: PeerClient;
  readonly #member: SupervisedMember | null;
  readonly #limits: TimeLimits;
  readonly #runLock: RunLock;
  readonly #log: NodeLog;
  readonly #sight: NodeSight;
  /** SIGTERM. */
  readonly #stopping = new AbortController();
  readonly #watching = new AbortController();
  #watch: Promise<void> = Promise.resolve();
  readonly #clockWatch: ClockWatch;
  /** Null until the node runs. */
  #catalogues: Catalogues | null = null;
  readonly #mpp: MppPart;
  readonly #vip: Vip;
  /** Null until the node runs. */
  #backups: Pick<BackupRunner, "note" | "close"> | null = null;
  readonly #upgrade: UpgradePart;
  #api: ApiPort | null = null;
  readonly #configuration: NodeConfiguration;
  readonly #sessionTtl: SessionTtl;

  private constructor(parts: Parts, options: NodeOptions) {
    this.#options = options;
    this.#settings = parts.settings;
    this.#store = parts.store;
    this.#peers = parts.peers;
    this.#member = parts.member;
    this.#limits = parts.limits;
    this.#runLock = parts.runLock;
    this.#log = parts.log;
    this.#sight = parts.sight;
    this.context = parts.context;
    const { state, waker, clock, postgres } = parts.context;
    this.#sessionTtl = new SessionTtl(parts.context);
    this.service = new LocalNodeService(parts.context, FreshStatus.of(parts.context), () => this.reload(), parts);
    this.#mpp = parts.mpp;
    this.#vip = options.workers.vip(parts.context);
    parts.context.state.vip = this.#vip;
    this.#upgrade = new UpgradePart(parts.context);
    state.nodeFile = new DiskNodeFile({
      path: options.path,
      env: options.env,
      loaded: () => parts.settings.loaded,
      reload: () => this.#configuration.reload(),
    });
    this.#clockWatch = new ClockWatch({
      marginMs: leaseMargin(state.settings.dynamic.leaseTtlMs),
      onDoubt: (reason) => {
        state.leaseDoubtedAt = clock.now();
        this.#log.warning(`${reason}: the lease counts again from the next renewal`);
        waker.wake();
      },
    });
    const { context, limits, log, sight, settings } = parts;
    this.#configuration = new NodeConfiguration({
      ...{ context, limits, log, sight, settings, path: options.path, env: options.env },
      onChange: ({ dynamic }) => this.#clockWatch.setMargin(leaseMargin(dynamic.leaseTtlMs)),
      takeOver: (current) => this.#takeOver(current),
    });
    state.beforeLeaseIsJudged = () => this.#clockWatch.check();
    state.onCluster = (cluster) => this.#configuration.takeCluster(cluster);
    state.onPromoted = () => {
      tellPromoted(this.context, () => this.#catalogues?.note()).catch((reason: unknown) =>
        this.#log.error(`the new primary is not told of yet: ${String(reason)}`),
      );
    };
    postgres.onPostmasterExit(() => this.#postmasterEnded());
    parts.context.watchdog.onLost((reason) => {
      this.#log.error(`the fencing of PostgreSQL is lost: ${reason}`);
      this.#sight.recorder.note({ kind: "fencing", fencing: "lost" }, `the fencing of PostgreSQL is lost: ${reason}`);
      waker.wake();
    });
  }

  /** Checks everything that can be checked before anything is changed. Errors: one line and the exit status. */
  static async start(options: NodeOptions): Promise<Result<MatriarchNode, NodeFailure>> {
    const { loaded, alone, adopt } = options;
    const parts = await compose({ loaded, worker: alone?.worker ?? null, adopt: adopt ?? "careful" });
    if (!parts.ok) return parts;
    const node = new MatriarchNode(parts.value, options);
    const checked = await node.#checkBeforeStart();
    if (checked !== null) {
      await node.#close();
      return err(checked);
    }
    return ok(node);
  }

  async #checkBeforeStart(): Promise<NodeFailure | null> {
    const { context } = this;
    const inTheWay = await whyNotHere(context);
    if (inTheWay !== null) return inTheWay;
    if (await refreshCluster(context)) {
      const namesake = await whyNotByName(context);
      if (namesake !== null) return namesake;
      await this.#limits.ask();
      if (context.state.cluster !== null) this.#configuration.takeCluster(context.state.cluster);
      await this.#sessionTtl.follow();
    }
    const api = await this.#options.workers.httpApi(this.service, this.#log);
    if (!api.ok) return { code: EXIT.failed, message: `${api.error.path}: ${api.error.message}` };
    this.#api = api.value;
    return null;
  }

  /** Runs until a decision or `stop()` ends it. */
  async run(): Promise<LoopEnd> {
    const { context } = this;
    this.#sight.recorder.supervisor("started");
    await lookAtPostgres(context);
    if (context.state.local.process.kind === "running") {
      const adopted = await context.postgres.adopt();
      if (adopted.ok) this.#log.info("PostgreSQL is running: it is taken over as it is");
      else this.#log.warning(adopted.error.message);
    }
    await recallLease(context);
    // The file may have changed while nobody was here, and a server that ran without us knows nothing of it.
    this.#configuration.tellPostgres();
    void this.#prepareWatchdog();
    void this.#peers.fault().then((fault) => fault && this.#log.error(`requests to other members: ${fault.path}: ${fault.message}`));
    await this.#openCatalogues();
    this.#backups = await this.#options.workers.backup(context, this.#store, (body, text) => this.#sight.recorder.note(body, text));
    this.#watch = this.#options.workers.watch(context, this.#watching.signal, (cluster) => this.#configuration.takeCluster(cluster));
    this.#clockWatch.start();
    const race = this.#options.workers.leaderRace(context, this.#stopping.signal, () => this.#afterCycle());
    const { alone } = this.#options;
    if (alone !== undefined) await this.#endAlone(race, alone.end);
    const end = await Promise.race([race, this.#memberLost()]);
    // As when the supervisor dies: the guard ends PostgreSQL with the lease, and whoever starts in time goes on.
    if (end === null) return { code: EXIT.failed, message: "the member of the Raft has stopped" };
    await this.#close();
    return end;
  }

  /** Loaded while the API answers already, and only for a node that is in a catalogue. */
  async #openCatalogues(): Promise<void> {
    const { clock, state } = this.context;
    if (state.settings.node.consul === null && state.settings.node.discovery === null) return;
    const { Catalogues } = await import("./catalogues.ts");
    this.#catalogues ??= new Catalogues({ clock, log: this.#log, state, service: this.service });
  }

  /** Resolves, to null, only where the node has a member and that has stopped by itself. */
  async #memberLost(): Promise<null> {
    if (this.#member === null) return new Promise(() => {});
    const reason = await this.#member.failed;
    this.#log.critical(`the member of the Raft has stopped, and this supervisor with it: ${reason}`);
    return null;
  }

  /** However it ended, a broken invariant included. */
  async #endAlone(race: Promise<LoopEnd>, end: (context: NodeContext) => Promise<void>): Promise<void> {
    const broken = await race.then(
      () => null,
      (reason: unknown) => String(reason),
    );
    if (broken !== null) this.#log.critical(broken);
    await end(this.context);
  }

  /** SIGTERM: hand over where this node leads, stop PostgreSQL, leave. */
  stop(): void {
    this.#sight.recorder.supervisor("stopping");
    this.#stopping.abort();
    this.#member?.retire();
  }

  /** SIGHUP and POST /reload. Reloads run one after the other; a broken file changes nothing. */
  reload(): void {
    void this.#configuration.reload();
  }

  async #takeOver(settings: Settings): Promise<void> {
    if (this.#api !== null) await this.#api.reload(settings);
    await this.#openCatalogues();
    await takeOver({ store: this.#store, peers: this.#peers, catalogues: this.#catalogues, log: this.#log }, settings.node);
  }

  async #afterCycle(): Promise<void> {
    const { state } = this.context;
    if (state.local.dataDirectory.kind === "valid") await this.#settings.saveDynamic();
    if (this.#member !== null) {
      state.raft = await this.#member.afterCycle(state.local.dataDirectory.kind);
      state.raftFigures = this.#member.figures;
    }
    if (state.dcsFailure === null) await this.#limits.ask();
    if (state.cluster !== null) this.#configuration.takeCluster(state.cluster);
    await this.#configuration.catchUp();
    await this.#sessionTtl.follow();
    await keepFenced(this.context);
    this.#catalogues?.note();
    this.#mpp.note();
    this.#vip.note();
    void this.#backups?.note();
    this.#upgrade.note();
  }

  async #prepareWatchdog(): Promise<void> {
    const { state, watchdog } = this.context;
    const { mode } = state.settings.node.watchdog;
    if (mode === "off") {
      this.#log.warning("watchdog.mode is off: nothing stops PostgreSQL if this supervisor hangs or dies");
      return;
    }
    const prepared = await watchdog.prepare();
    if (prepared.ok) return;
    this.#log.error(`the watchdog is not usable: ${prepared.error.message}`);
    // A guard taken over from the former process fences what runs here already.
    if (mode === "required" && !watchdog.armed) state.fencingMissing = true;
  }

  /** The postmaster is gone: where nobody here ended it, it crashed. */
  #postmasterEnded(): void {
    const { clock, state, waker } = this.context;
    const ours = state.task?.kind;
    state.localChanged();
    state.local.process = { kind: "none" };
    state.local.status = null;
    if (ours === undefined || ours === "promote") {
      state.local.crashedAt = clock.now();
      this.#log.warning("PostgreSQL ended unasked");
    }
    waker.wake();
  }

  async #close(): Promise<void> {
    const { postgres, watchdog } = this.context;
    this.#clockWatch.stop();
    this.#watching.abort();
    await this.#watch;
    await this.#api?.stop();
    await this.#catalogues?.close();
    await this.#mpp.close();
    await this.#upgrade.close();
    await this.#vip.close();
    await this.#backups?.close();
    await this.#sight.close();
    await postgres.close();
    await watchdog.close();
    await this.#store.close();
    // The last of all: until here the lock was kept with it, and released through it.
    await this.#member?.stop();
    this.#runLock.release();
  }
}
