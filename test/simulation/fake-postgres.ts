// Owns the Postgresql interface of one supervisor over a simulated server: what the HA loop may do and see. The server goes on
// when the supervisor dies; answers reach the supervisor only while it runs.

import { whyNotEndRecovery } from "../../lib/core/rewind-plan.ts";
import type { ConfigFault, PostgresError } from "../../lib/model/errors.ts";
import type { TimelineSwitch } from "../../lib/model/history.ts";
import type { PendingRestartReason } from "../../lib/model/member.ts";
import type {
  ControlData,
  FollowTarget,
  PostgresStatus,
  PostmasterProcess,
  ReplicationConnection,
  SlotStatus,
  UpstreamHistory,
} from "../../lib/model/postgres.ts";
import { err, ok, type Result } from "../../lib/model/result.ts";
import type { SlotAction } from "../../lib/model/slots.ts";
import { type Lsn, lsn, type Ms, ms, timeline } from "../../lib/model/units.ts";
import type { Postgresql, RemoteServer, StartOptions } from "../../lib/postgres/postgresql.ts";
import type { NearStandbys } from "../../lib/postgres/standby-watch.ts";
import { CHECKPOINTER_TAKES_MAX_MS } from "../../lib/postgres/waiting-commits.ts";
import type { FakeServer } from "./fake-server.ts";
import { watchFakeStandbys } from "./fake-standby-watch.ts";
import { synchronousLinks } from "./servers.ts";
import type { SimProcess } from "./virtual-clock.ts";
import { streamingError, switchesOf, type WalEnd } from "./wal.ts";

type Answer = Result<null, PostgresError>;

const DONE: Answer = ok(null);
const NONE: PostmasterProcess = { kind: "none" };
const NOT_RUNNING = err<PostgresError>({ kind: "unreachable", message: "PostgreSQL is not running" });
const STARTING = err<PostgresError>({ kind: "unreachable", message: "the database system is starting up" });
const STOPPING = err<PostgresError>({ kind: "unreachable", message: "the database system is shutting down" });
const NO_ANSWER = err<PostgresError>({ kind: "timeout", message: "no answer by the deadline" });
const KILL_AFTER_MS = 2000;

/** What may be planted here (plants.ts). */
export interface PostgresPlants {
  readonly followsWithoutRewind: boolean;
  /** Names that a session shows count as waited for. */
  readonly sessionBelieved: boolean;
}

export class FakePostgres implements Postgresql {
  readonly #server: FakeServer;
  readonly #process: SimProcess;
  readonly #plants: PostgresPlants;
  readonly #unsubscribe: (() => void)[] = [];
  #shown: { process: PostmasterProcess; readonly of: unknown; readonly stopped: boolean } = { process: NONE, of: null, stopped: false };

  constructor(server: FakeServer, process: SimProcess, plants: PostgresPlants) {
    this.#server = server;
    this.#process = process;
    this.#plants = plants;
  }

  inspect(): ReturnType<Postgresql["inspect"]> {
    return Promise.resolve({ dataDirectory: this.#server.directory, process: this.#processFacts() });
  }

  #processFacts(): PostmasterProcess {
    const { postmaster } = this.#server;
    if (postmaster === null) return NONE;
    if (this.#shown.of !== postmaster || this.#shown.stopped !== postmaster.stopped) {
      const { pid, startTicks, stopped } = postmaster;
      this.#shown = { process: { kind: "running", pid, startTicks, stopped }, of: postmaster, stopped };
    }
    return this.#shown.process;
  }

  controlData(): Promise<Result<ControlData, PostgresError>> {
    const server = this.#server;
    const absent = err({ kind: "failed" as const, message: "there is no pg_control" });
    if (server.branch === null) return Promise.resolve(absent);
    // It may be wiped while it is read.
    return this.#process.later(server.world.random.between(5, 30), () => (server.branch === null ? absent : ok(controlOf(server))));
  }

  status(deadline: Ms): Promise<Result<PostgresStatus, PostgresError>> {
    const server = this.#server;
    const { postmaster } = server;
    if (postmaster === null) return Promise.resolve(NOT_RUNNING);
    if (server.hung) return this.#process.sleepUntil(deadline).then(() => NO_ANSWER);
    if (postmaster.phase === "starting") return Promise.resolve(STARTING);
    if (postmaster.phase === "stopping") return Promise.resolve(STOPPING);
    server.world.settle();
    return Promise.resolve(ok(statusOf(server, this.#process.now())));
  }

  watchStandbys(seen: PostgresStatus, near: NearStandbys | null, onChange: () => void): () => void {
    const server = this.#server;
    const process = this.#process;
    const present = (): PostgresStatus | null => {
      if (!server.up || server.hung) return null;
      // Where positions count, they are the present ones.
      if (near !== null) server.world.settle();
      return statusOf(server, process.now());
    };
    return watchFakeStandbys({ server, process, seen, near, present, onChange });
  }

  onPostmasterExit(listener: () => void): () => void {
    const stop = this.#server.onExit(() => this.#process.deliver(listener));
    this.#unsubscribe.push(stop);
    return stop;
  }

  start(options: StartOptions): Promise<Answer> {
    const server = this.#server;
    if (server.postmaster !== null) return this.#refused("PostgreSQL runs already");
    if (server.directory.kind !== "valid") return this.#refused(`cannot start PostgreSQL: the data directory is ${server.directory.kind}`);
    server.launch({
      role: options.role === "primary" ? "primary" : "standby",
      follow: options.follow,
      syncNames: options.synchronousStandbyNames,
    });
    return this.#untilUp(options.signal);
  }

  #untilUp(signal: AbortSignal): Promise<Answer> {
    return new Promise((resolve) => {
      signal.addEventListener("abort", () => resolve(err({ kind: "cancelled", message: "the wait for PostgreSQL was given up" })), {
        once: true,
      });
      this.#server.onceUp((up) =>
        this.#process.deliver(() => resolve(up ? DONE : err({ kind: "failed", message: "PostgreSQL ended while starting" }))),
      );
    });
  }

  adopt(): Promise<Answer> {
    return Promise.resolve(this.#server.postmaster === null ? err({ kind: "failed", message: "no PostgreSQL is running to adopt" }) : DONE);
  }

  async stop(options: Parameters<Postgresql["stop"]>[0]): Promise<Answer> {
    const server = this.#server;
    const process = this.#process;
    if (server.postmaster === null) return DONE;
    const gone = new AbortController();
    const stopListening = server.onExit(() => process.deliver(() => gone.abort()));
    try {
      if (options.mode === "fast") {
        if (options.checkpoint === true && server.up && !server.hung) await process.later(server.world.random.between(5, 150), () => null);
        const report = options.onShutdownCheckpoint;
        server.stopFast(report === undefined ? null : () => process.deliver(() => report(controlOf(server))));
        if (!gone.signal.aborted) await process.sleepUntil(options.deadline, gone.signal);
      }
      if (gone.signal.aborted) return DONE;
      server.stopImmediate();
      await process.sleepUntil(ms(process.now() + KILL_AFTER_MS), gone.signal);
      server.kill();
      return DONE;
    } finally {
      stopListening();
    }
  }

  async promote(options: Parameters<Postgresql["promote"]>[0]): Promise<Answer> {
    const server = this.#server;
    if (!server.up) return NOT_RUNNING;
    if (!server.inRecovery) return DONE;
    server.world.disconnect(server);
    server.target = null;
    server.setSyncNames(options.synchronousStandbyNames ?? "");
    await this.#process.later(server.world.random.between(5, 40), () => null);
    const taken = await this.#namesTaken(options.namesHold);
    if (!taken.ok) return taken;
    if (!server.up || server.hung) return NOT_RUNNING;
    server.promote();
    while (server.up && server.inRecovery) {
      if (this.#process.now() >= options.deadline) return err({ kind: "timeout", message: "not promoted by the deadline" });
      await this.#process.later(8, () => null);
    }
    if (!server.up) return NOT_RUNNING;
    options.onWritable(server.commitsWait || this.#plants.sessionBelieved);
    return DONE;
  }

  /** As lib/postgres/promote.ts waits for the checkpointer. */
  async #namesTaken(hold: boolean): Promise<Answer> {
    const server = this.#server;
    const limit = this.#process.now() + CHECKPOINTER_TAKES_MAX_MS;
    while (server.up && !server.hung && server.sync.count > 0 && !server.commitsWait && !this.#plants.sessionBelieved) {
      if (this.#process.now() >= limit) return hold ? err({ kind: "failed", message: "the checkpointer is busy: not promoted" }) : DONE;
      await this.#process.later(8, () => null);
    }
    return DONE;
  }

  async follow(target: FollowTarget | null): Promise<Answer> {
    const server = this.#server;
    await this.#process.later(server.world.random.between(2, 20), () => null);
    if (!server.up || server.hung) return NOT_RUNNING;
    server.target = target;
    server.world.disconnect(server);
    server.world.connect(server);
    return DONE;
  }

  async bootstrap(options: Parameters<Postgresql["bootstrap"]>[0]): Promise<Answer> {
    const server = this.#server;
    const { random } = server.world;
    server.directory = { kind: "half-made", by: "initdb" };
    await this.#process.later(random.between(500, 2000), () => null);
    if (server.directory.kind !== "half-made") return err({ kind: "failed", message: "the data directory is gone" });
    server.initdb(server.world.fork(null, 1, `7${String(Math.floor(random.next() * 1e15)).padStart(18, "0")}`));
    server.making = true;
    server.launch({ role: "primary", follow: null, syncNames: null });
    const up = await this.#untilUp(options.signal);
    server.making = false;
    return up;
  }

  async clone(options: Parameters<Postgresql["clone"]>[0]): Promise<Answer> {
    const server = this.#server;
    const source = this.#reach(options.source);
    if (source === null) return err({ kind: "failed", message: "the source does not answer" });
    server.wipe();
    server.directory = { kind: "half-made", by: "clone" };
    await this.#process.later(server.world.random.between(500, 6000), () => null);
    if (options.signal.aborted) return err({ kind: "cancelled", message: "given up" });
    if (this.#reach(options.source) !== source) return err({ kind: "failed", message: "the source went away" });
    source.world.settle();
    server.becomeCopyOf(source.wal);
    return DONE;
  }

  async roleAt(target: FollowTarget, deadline: Ms): Promise<RemoteServer> {
    const { world, name } = this.#server;
    const other = world.byAddress.get(`${target.host}:${target.port}`);
    if (other === undefined || other.frozen || !world.hooks.reaches(name, other.name) || !world.hooks.reaches(other.name, name)) {
      await this.#process.sleepUntil(deadline);
      return { role: "silent", synchronous: null };
    }
    return await this.#process.later(world.random.between(1, 60), (): RemoteServer => {
      if (other.postmaster === null) return { role: "down", synchronous: null };
      if (!other.up || other.hung) return { role: "unclear", synchronous: null };
      if (other.inRecovery) return { role: "standby", synchronous: null };
      return { role: "primary", synchronous: { names: other.sync.text, commit: "on" } };
    });
  }

  async upstreamHistory(target: FollowTarget, deadline: Ms): Promise<Result<UpstreamHistory, PostgresError>> {
    const source = this.#reach(target);
    if (source === null) {
      await this.#process.sleepUntil(deadline);
      return err({ kind: "timeout", message: "no answer by the deadline" });
    }
    return await this.#process.later(source.world.random.between(1, 20), () => {
      const { branch, lsn: position } = this.#plants.followsWithoutRewind ? this.#server.wal : source.wal;
      return ok({
        systemIdentifier: branch.systemIdentifier,
        timeline: timeline(branch.timeline),
        walLsn: lsn(position),
        inRecovery: source.inRecovery,
        switches: switchesOf(branch),
      });
    });
  }

  timelineSwitches(): Promise<Result<readonly TimelineSwitch[], PostgresError>> {
    const { branch } = this.#server;
    return Promise.resolve(branch === null ? err({ kind: "failed", message: "there is no data" }) : ok(switchesOf(branch)));
  }

  async rewind(options: Parameters<Postgresql["rewind"]>[0]): Promise<Answer> {
    const server = this.#server;
    const source = this.#reach(options.source);
    if (server.postmaster !== null) return this.#refused("no rewind while PostgreSQL runs");
    if (!server.controlState.startsWith("shut down") && server.controlState !== "in archive recovery")
      return err({ kind: "failed", message: "target server must be shut down cleanly" });
    if (source === null || source.inRecovery) return err({ kind: "failed", message: "the source does not answer as a primary" });
    await this.#process.later(server.world.random.between(200, 3000), () => null);
    if (options.signal.aborted) return err({ kind: "cancelled", message: "given up" });
    if (this.#reach(options.source) !== source || source.inRecovery) return err({ kind: "failed", message: "the source went away" });
    source.world.settle();
    // pg_rewind's own recovery ends a crashed standby's on its timeline (lib/postgres/rewind.ts looks whether it may).
    if (server.controlState === "in archive recovery") {
      const upstream = { timeline: timeline(source.wal.branch.timeline), switches: switchesOf(source.wal.branch) };
      const end = { timeline: timeline(server.wal.branch.timeline), lsn: lsn(server.lsn) };
      const refused = whyNotEndRecovery({ control: controlOf(server), end, upstream });
      if (refused !== null) return err({ kind: "refused", message: refused });
      server.branch = server.world.fork(server.wal, server.wal.branch.timeline);
      server.endRecovery();
    }
    // "source and target cluster are on the same timeline: no rewind required"
    if (sameTimeline(server.wal, source.wal)) return DONE;
    server.becomeCopyOf(source.wal);
    return DONE;
  }

  async crashRecover(): Promise<Answer> {
    const server = this.#server;
    await this.#process.later(server.world.random.between(100, 1500), () => null);
    if (server.postmaster !== null || server.branch === null) return this.#refused("no crash recovery while PostgreSQL runs");
    // A standby's is left to pg_rewind.
    if (server.controlState !== "in archive recovery") server.endRecovery();
    return DONE;
  }

  localEndOfWal(): ReturnType<Postgresql["localEndOfWal"]> {
    const { branch, lsn: end } = this.#server;
    if (branch === null) return Promise.resolve(err({ kind: "failed", message: "there is no data" }));
    return this.#process.later(this.#server.world.random.between(10, 100), () => ok({ timeline: branch.timeline, lsn: BigInt(end) }));
  }

  removeDataDirectory(): Promise<Answer> {
    if (this.#server.postmaster !== null) return this.#refused("no removal of the data directory while PostgreSQL runs");
    this.#server.wipe();
    return Promise.resolve(DONE);
  }

  keptBeside(): Promise<string | null> {
    return Promise.resolve(null);
  }

  configure(): Promise<Result<PendingRestartReason, PostgresError>> {
    return Promise.resolve(ok({}));
  }

  pendingRestart(): PendingRestartReason {
    return NOTHING_PENDING;
  }

  faults(): Promise<readonly ConfigFault[]> {
    return Promise.resolve([]);
  }

  setSynchronousStandbyNames(value: string | null): Promise<Answer> {
    return this.#statement(() => this.#server.setSyncNames(value ?? ""));
  }

  commitsWait(): ReturnType<Postgresql["commitsWait"]> {
    return Promise.resolve(ok(this.#server.commitsWait || this.#plants.sessionBelieved ? "yes" : "not-yet"));
  }

  changeSlots(actions: readonly SlotAction[]): ReturnType<Postgresql["changeSlots"]> {
    const { slots, senders } = this.#server;
    const done = this.#statement(() => {
      for (const action of actions) {
        if (action.kind === "create-logical") throw new Error("no logical slots here");
        const { name } = action;
        const used = senders.some((link) => link.to.target?.slotName === name);
        if (action.kind === "drop" && !used) slots.delete(name);
        if (action.kind === "create-physical") slots.set(name, slotAt(name, lsn(this.#server.lsn)));
        if (action.kind === "advance") slots.set(name, slotAt(name, action.to));
      }
    });
    return done.then((result) => (result.ok ? ok([]) : result));
  }

  resumeReplay(): Promise<Answer> {
    throw new Error("replay never pauses here");
  }

  readLogicalSlots(): ReturnType<Postgresql["readLogicalSlots"]> {
    throw new Error("no logical slots here");
  }

  writeLogicalSlots(): ReturnType<Postgresql["writeLogicalSlots"]> {
    throw new Error("no logical slots here");
  }

  primarySlots(): ReturnType<Postgresql["primarySlots"]> {
    throw new Error("no logical slots here");
  }

  async checkpoint(): Promise<Answer> {
    await this.#process.later(this.#server.world.random.between(20, 1000), () => null);
    return this.#server.up ? DONE : NOT_RUNNING;
  }

  callback(): void {}

  hook(): Promise<Answer> {
    return Promise.resolve(this.#server.vetoed > 0 ? err({ kind: "failed", message: "vetoed" }) : DONE);
  }

  close(): Promise<void> {
    for (const stop of this.#unsubscribe) stop();
    return Promise.resolve();
  }

  #statement(run: () => void): Promise<Answer> {
    return this.#process.later(this.#server.world.random.between(1, 15), () => {
      if (!this.#server.up || this.#server.hung) return NOT_RUNNING;
      run();
      return DONE;
    });
  }

  /** The server there, where the network lets us and it answers. */
  #reach(target: FollowTarget | null): FakeServer | null {
    if (target === null) return null;
    const { world, name } = this.#server;
    const other = world.byAddress.get(`${target.host}:${target.port}`);
    if (other === undefined || !other.up || other.hung || other.frozen) return null;
    return world.hooks.reaches(name, other.name) && world.hooks.reaches(other.name, name) ? other : null;
  }

  #refused(message: string): Promise<{ readonly ok: false; readonly error: PostgresError }> {
    return Promise.resolve(err({ kind: "refused", message }));
  }
}

const NOTHING_PENDING: PendingRestartReason = {};

/** As pg_rewind compares them: timeline numbers alone. */
function sameTimeline(local: WalEnd, source: WalEnd): boolean {
  return local.branch.timeline === source.branch.timeline && streamingError(local, source) === null;
}

function controlOf(server: FakeServer): ControlData {
  const { branch } = server.wal;
  return {
    systemIdentifier: branch.systemIdentifier,
    state: server.controlState,
    checkpointLsn: lsn(server.checkpointLsn),
    checkpointRedoLsn: lsn(server.checkpointLsn),
    timeline: timeline(branch.timeline),
    minRecoveryEnd: null,
    minRecoveryTimeline: null,
    walLogHints: true,
    dataChecksums: false,
    maxConnections: 100,
    maxWorkerProcesses: 8,
    maxWalSenders: 10,
    maxPreparedTransactions: 0,
    maxLocksPerTransaction: 64,
  };
}

function statusOf(server: FakeServer, askedAt: Ms): PostgresStatus {
  const { branch } = server.wal;
  const { postmaster, inRecovery, link } = server;
  const position: Lsn = lsn(server.lsn);
  return {
    askedAt,
    backendPid: 1,
    postmasterStartTime: "",
    postmasterStartEpochSeconds: postmaster?.startTicks ?? 0,
    serverVersion: 150018,
    systemIdentifier: branch.systemIdentifier,
    inRecovery,
    walLsn: inRecovery ? null : position,
    receivedLsn: inRecovery ? position : null,
    replayedLsn: inRecovery ? position : null,
    replayTimestamp: null,
    replayPaused: false,
    timeline: timeline(branch.timeline),
    replicationState: inRecovery && link !== null ? "streaming" : null,
    walReceiver: null,
    replication: server.senders.length === 0 ? NO_ROWS : replicationOf(server),
    slots: server.slots.size === 0 ? NO_SLOTS : [...server.slots.values()],
    synchronousStandbyNames: server.sync.text,
    primaryConninfo: server.target === null ? "" : `host=${server.target.host} port=${server.target.port}`,
    primarySlotName: server.target?.slotName ?? "",
    restoreCommand: "",
  };
}

const NO_SLOTS: readonly SlotStatus[] = [];

/** All WAL is kept, so the slots of those that stream stay where they were made. */
function slotAt(name: string, restartLsn: Lsn): SlotStatus {
  const physical = { type: "physical", plugin: null, database: null, confirmedFlushLsn: null, catalogXmin: null } as const;
  return { ...physical, name, restartLsn, active: false, temporary: false, xmin: null, lost: false, failover: false };
}

const NO_ROWS: readonly ReplicationConnection[] = [];

function replicationOf(server: FakeServer): readonly ReplicationConnection[] {
  const chosen = synchronousLinks(server);
  return server.senders.map((link) => {
    const flushed = lsn(link.flushed);
    const name = link.to.name;
    const among = server.sync.method === "any" ? "quorum" : "sync";
    const syncState = chosen.includes(link) ? among : server.sync.names.includes(name) ? "potential" : "async";
    return {
      pid: link.pid,
      usename: "replicator",
      applicationName: name,
      clientAddr: null,
      state: "streaming",
      syncState,
      syncPriority: among === "quorum" ? Math.min(1, server.sync.names.indexOf(name) + 1) : server.sync.names.indexOf(name) + 1,
      writeLsn: flushed,
      flushLsn: flushed,
      replayLsn: flushed,
    };
  });
}
