// Owns the composition of one node: which parts there are, in which order they come up and go down. Decides nothing about HA.

import type { LoadedConfig } from "../config/load.ts";
import { reloadNodeConfig } from "../config/reload.ts";
import { leaseMargin } from "../core/lease.ts";
import type { Store } from "../dcs/store.ts";
import type { Cluster } from "../model/cluster.ts";
import { err, ok, type Result } from "../model/result.ts";
import { ms } from "../model/units.ts";
import { recallLease } from "./adoption.ts";
import { localApiRuns } from "./alone/local-api.ts";
import { stopAndRelease } from "./alone/stop-and-release.ts";
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
import type { NodeContext } from "./node-context.ts";
import type { NodeFailure } from "./node-failure.ts";
import type { NodeService } from "./node-service.ts";
import type { NodeSight } from "./node-sight.ts";
import { lookAtPostgres } from "./observe.ts";
import type { PeerClient } from "./peer-client.ts";
import { refreshCluster } from "./perform-dcs.ts";
import { somebodyListens, takenAddress } from "./port-check.ts";
import type { SupervisedMember } from "./raft-member.ts";
import type { RunLock } from "./run-lock.ts";
import { SessionTtl } from "./session-ttl.ts";
import type { LiveSettings } from "./settings.ts";
import { takeOver } from "./take-over.ts";
import type { TimeLimits } from "./time-limits.ts";
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
  readonly backup: (context: NodeContext, store: Store, note: NoteEvent) => Pick<BackupRunner, "note" | "close">;
}

export interface NodeOptions {
  readonly loaded: LoadedConfig;
  /** Where the configuration came from, for a reload. */
  readonly path: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly workers: NodeWorkers;
  /** The name of a worker that runs alone as the whole node: PostgreSQL is then stopped and the lock released whatever ends it. */
  readonly alone?: string;
  /** `--adopt`: PostgreSQL's data may go into a new Raft. */
  readonly adopt?: "adopt" | "careful";
}

/** A node of our name that says nothing within this time is taken for gone. */
const NAME_ASKED_MS = 1000;

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
  readonly #backups: Pick<BackupRunner, "note" | "close">;
  #api: ApiPort | null = null;
  #reloading: Promise<void> = Promise.resolve();
  #configured = "";
  /** The configuration in force was not taken to PostgreSQL yet. */
  #configureLater = false;
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
    this.#backups = options.workers.backup(parts.context, parts.store, (body, text) => parts.sight.recorder.note(body, text));
    this.#clockWatch = new ClockWatch({
      marginMs: leaseMargin(state.settings.dynamic.leaseTtlMs),
      onDoubt: (reason) => {
        state.leaseDoubtedAt = clock.now();
        this.#log.warning(`${reason}: the lease counts again from the next renewal`);
        waker.wake();
      },
    });
    state.beforeLeaseIsJudged = () => this.#clockWatch.check();
    state.onCluster = (cluster) => this.#takeConfig(cluster);
    state.onPromoted = () => {
      lookAtPostgres(this.context)
        .then(() => this.#catalogues?.note())
        .catch((reason: unknown) => this.#log.error(`the new primary is not in the catalogue yet: ${String(reason)}`));
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
    const parts = await compose({ loaded, worker: alone ?? null, adopt: adopt ?? "careful" });
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
    const { dataDir, listenHosts, port } = context.state.settings.node.postgresql;
    const { dataDirectory, process } = await context.postgres.inspect();
    if (dataDirectory.kind === "foreign") {
      const message = `postgresql.data_dir: ${dataDir} is not empty and not a PostgreSQL data directory (it holds ${dataDirectory.sample}); name an empty directory or PostgreSQL's own`;
      return { code: EXIT.failed, message };
    }
    const taken = process.kind === "none" ? await takenAddress(listenHosts, port) : null;
    if (taken !== null) {
      const message = `postgresql.listen: ${taken} is taken by another process; choose a free port or end that process`;
      return { code: EXIT.failed, message };
    }
    if (await refreshCluster(context)) {
      if (await this.#nameIsTaken())
        return { code: EXIT.failed, message: `Can't start; there is already a node named '${context.state.settings.node.name}' running` };
      await this.#limits.ask();
      if (context.state.cluster !== null) this.#takeConfig(context.state.cluster);
      await this.#sessionTtl.follow();
    }
    const api = await this.#options.workers.httpApi(this.service, this.#log);
    if (!api.ok) return { code: EXIT.failed, message: `${api.error.path}: ${api.error.message}` };
    this.#api = api.value;
    return null;
  }

  /** A member key of our name whose API answers is somebody else's: ours does not listen yet. */
  async #nameIsTaken(): Promise<boolean> {
    const { clock, peers, state } = this.context;
    const member = state.cluster?.members.find(({ name }) => name === state.settings.node.name);
    if (member === undefined || member.apiUrl === null || localApiRuns(state.settings.node.postgresql.dataDir)) return false;
    // After a restart it is our own of before, and nobody listens there: for that no HTTP client has to be loaded.
    const deadline = ms(clock.now() + NAME_ASKED_MS);
    return (await somebodyListens(member.apiUrl, NAME_ASKED_MS)) && (await peers.ask(member.apiUrl, deadline)) !== null;
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
    void this.#configurePostgres().then(() => context.waker.wake());
    void this.#prepareWatchdog();
    this.#peers.prepare();
    await this.#openCatalogues();
    this.#watch = this.#options.workers.watch(context, this.#watching.signal, (cluster) => this.#takeConfig(cluster));
    this.#clockWatch.start();
    const race = this.#options.workers.leaderRace(context, this.#stopping.signal, () => this.#afterCycle());
    if (this.#options.alone !== undefined) await this.#endAlone(race);
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
  async #endAlone(race: Promise<LoopEnd>): Promise<void> {
    const broken = await race.then(
      () => null,
      (reason: unknown) => String(reason),
    );
    if (broken !== null) this.#log.critical(broken);
    await stopAndRelease(this.context);
  }

  /** SIGTERM: hand over where this node leads, stop PostgreSQL, leave. */
  stop(): void {
    this.#sight.recorder.supervisor("stopping");
    this.#stopping.abort();
    this.#member?.retire();
  }

  /** SIGHUP and POST /reload. Reloads run one after the other; a broken file changes nothing. */
  reload(): void {
    this.#reloading = this.#reloading
      .then(() => this.#reloadNow())
      .catch((reason: unknown) => this.#log.error(`the reload failed: ${String(reason)}`));
  }

  async #reloadNow(): Promise<void> {
    const { state, waker } = this.context;
    const reloaded = await reloadNodeConfig(this.#settings.loaded, { path: this.#options.path, env: this.#options.env });
    for (const { path, message } of reloaded.faults) this.#log.error(`${path}: ${message}`);
    if (reloaded.loaded === this.#settings.loaded) return this.#log.warning("the configuration stays as it was");
    this.#settings.applyFile(reloaded.loaded);
    state.settings = this.#settings.current;
    this.#clockWatch.setMargin(leaseMargin(state.settings.dynamic.leaseTtlMs));
    this.#log.reconfigure(state.settings.node.log);
    this.#sight.hooks.configure(state.settings.node.hooks);
    await this.#configurePostgres({ asked: true });
    this.context.postgres.callback("on_reload", state.postgresRole());
    if (this.#api !== null) await this.#api.reload(state.settings);
    await this.#openCatalogues();
    await takeOver({ store: this.#store, peers: this.#peers, catalogues: this.#catalogues, log: this.#log }, state.settings.node);
    this.#log.info("the configuration was loaded again");
    waker.wake();
  }

  #takeConfig(cluster: Cluster): void {
    this.#limits.note(cluster);
    const changed = this.#settings.applyCluster(cluster);
    if (this.#settings.applyLimits(this.#limits.current) || changed) this.#settingsChanged();
  }

  #settingsChanged(): void {
    const { state, waker } = this.context;
    state.settings = this.#settings.current;
    this.#clockWatch?.setMargin(leaseMargin(state.settings.dynamic.leaseTtlMs));
    waker.wake();
    // A pause that is over ends at once, not with the cycle: the renewal in between may take long.
    keepFenced(this.context).catch((reason: unknown) => this.#log.error(`PostgreSQL is not fenced: ${String(reason)}`));
    // What it means for PostgreSQL (a pending restart) is published as soon as it is known.
    void this.#configurePostgres().then(() => waker.wake());
  }

  /** `asked`: an operator wants a reload, whether or not the configuration is another one. */
  async #configurePostgres({ asked }: { readonly asked: boolean } = { asked: false }): Promise<void> {
    const { state, postgres } = this.context;
    const config = state.settings.node.postgresql;
    const standby = state.local.standbyRole === "standby_leader" ? "standby_leader" : "replica";
    const role = state.local.lastRole === "primary" ? "primary" : standby;
    const text = `${role} ${JSON.stringify(config)}`;
    if (this.#configured === text && !asked) return;
    // A server that runs while its data directory is being made is the maker's; where none runs, this is for its first start.
    this.#configureLater = state.local.dataDirectory.kind !== "valid" && state.local.process.kind !== "none";
    if (this.#configureLater) return;
    this.#configured = text;
    const done = await postgres.configure(config, { role, asked });
    if (!done.ok) this.#log.error(`the configuration of PostgreSQL was not changed: ${done.error.message}`);
  }

  async #afterCycle(): Promise<void> {
    const { state } = this.context;
    if (state.local.dataDirectory.kind === "valid") await this.#settings.saveDynamic();
    if (this.#member !== null) {
      state.raft = await this.#member.afterCycle(state.local.dataDirectory.kind);
      state.raftFigures = this.#member.figures;
    }
    if (state.dcsFailure === null) await this.#limits.ask();
    if (state.cluster !== null) this.#takeConfig(state.cluster);
    if (this.#configureLater) await this.#configurePostgres();
    await this.#sessionTtl.follow();
    await keepFenced(this.context);
    this.#catalogues?.note();
    this.#mpp.note();
    this.#vip.note();
    void this.#backups.note();
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
    if (mode === "required") state.fencingMissing = true;
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
    await this.#vip.close();
    await this.#backups.close();
    await this.#sight.close();
    await postgres.close();
    await watchdog.close();
    await this.#store.close();
    // The last of all: until here the lock was kept with it, and released through it.
    await this.#member?.stop();
    this.#runLock.release();
  }
}
