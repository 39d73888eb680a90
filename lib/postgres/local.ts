// Owns nothing but the composition: the Postgresql interface over a real server, each method handed to the file that does
// the work. It decides nothing, and it never runs as root (the server refuses that by itself).

import type { Clock } from "../model/clock.ts";
import type { ConfigFault, PostgresError } from "../model/errors.ts";
import type { TimelineSwitch } from "../model/history.ts";
import { loaded } from "../model/lazy.ts";
import type { Log } from "../model/log.ts";
import type { PendingRestartReason } from "../model/member.ts";
import type { PostgresqlConfig } from "../model/node-config.ts";
import type { ControlData, FollowTarget, PostgresStatus, UpstreamHistory } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { SlotAction } from "../model/slots.ts";
import { type Ms, ms, timeline } from "../model/units.ts";
import { cloneReplica } from "./basebackup.ts";
import { bootstrapCluster } from "./bootstrap.ts";
import { CallbackLanes } from "./callbacks.ts";
import type { ConfigFilesRequest } from "./config-files.ts";
import type { Connection } from "./connection.ts";
import { readControlData } from "./control-data.ts";
import { inspectDataDirectory, inspectPostmaster, readTimelineSwitches } from "./data-directory.ts";
import { localEndOfWal } from "./end-of-wal.ts";
import { type HookName, runHook } from "./hooks.ts";
import { LocalConnections } from "./local-connections.ts";
import { type PrimarySlots, readLogicalSlots, readPrimarySlots, type SlotCopies, writeLogicalSlots } from "./logical-slots.ts";
import { readWayBackMark } from "./making-marker.ts";
import { keptBeside } from "./outside-links.ts";
import { parameterFaults } from "./parameter-check.ts";
import type { Postgresql, PromoteOptions, RemoteServer, StartOptions } from "./postgresql.ts";
import { Postmaster } from "./postmaster.ts";
import { programPath } from "./programs.ts";
import { promoteServer } from "./promote.ts";
import { askRole } from "./remote-role.ts";
import { removeDataDirectory } from "./remove-data-directory.ts";
import { crashRecover, rewindTo } from "./rewind.ts";
import { ServerConfiguration } from "./server-configuration.ts";
import { SlotKeeper } from "./slot-keeper.ts";
import type { SlotNote } from "./slots.ts";
import { type NearStandbys, watchStandbys } from "./standby-watch.ts";
import { readStatus } from "./status.ts";
import { stopServer } from "./stop.ts";
import { readUpstreamHistory } from "./upstream.ts";
import { type CommitWaiting, commitsWait, releaseWaitingCommits } from "./waiting-commits.ts";

/** One statement of ours on the local server, where the caller names no deadline. */
const STATEMENT_TIMEOUT_MS = 10_000;
/** A start that nobody limits: crash recovery of a large server may take this long. */
const BOOTSTRAP_START_TIMEOUT_MS = 300_000;

export interface LocalPostgresqlOptions {
  readonly config: PostgresqlConfig;
  /** This member's name. */
  readonly name: string;
  readonly scope: string;
  readonly clock: Clock;
  readonly log: Log;
}

export class LocalPostgresql implements Postgresql {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #dataDir: string;
  readonly #postmaster: Postmaster;
  readonly #connections: LocalConnections;
  readonly #configuration: ServerConfiguration;
  readonly #slots: SlotKeeper;
  readonly #callbacks = new CallbackLanes();

  constructor(options: LocalPostgresqlOptions) {
    const { config, clock, log, scope } = options;
    this.#clock = clock;
    this.#log = log;
    this.#dataDir = config.dataDir;
    this.#postmaster = new Postmaster({ dataDir: config.dataDir, clock, log });
    this.#connections = new LocalConnections({
      clock,
      log,
      config: () => this.#configuration.config,
      pidFile: () => this.#postmaster.pidFile(),
    });
    this.#configuration = new ServerConfiguration({
      config,
      scope,
      memberName: options.name,
      clock,
      log,
      connection: this.#connections.statements,
      postmaster: this.#postmaster,
    });
    this.#slots = new SlotKeeper({ clock, log, connection: this.#connections.statements, endpoint: () => this.#connections.endpoint() });
    // Backends may answer for a moment after their postmaster is dead; nothing of that is a status.
    this.#postmaster.onExit(() => this.#dropConnections());
  }

  async inspect(): ReturnType<Postgresql["inspect"]> {
    const [dataDirectory, process, wayBack] = await Promise.all([
      inspectDataDirectory(this.#dataDir),
      inspectPostmaster(this.#dataDir),
      readWayBackMark(this.#dataDir),
    ]);
    return wayBack === null ? { dataDirectory, process } : { dataDirectory, process, wayBack };
  }

  async controlData(): Promise<Result<ControlData, PostgresError>> {
    return await readControlData(this.#configuration.context.run, this.#clock, this.#dataDir);
  }

  async status(deadline: Ms): Promise<Result<PostgresStatus, PostgresError>> {
    return await readStatus(this.#connections.status, this.#clock, deadline);
  }

  watchStandbys(seen: PostgresStatus, near: NearStandbys | null, onChange: () => void): () => void {
    return watchStandbys({ clock: this.#clock, status: (deadline) => this.status(deadline), seen, near, onChange });
  }

  onPostmasterExit(listener: () => void): () => void {
    return this.#postmaster.onExit(listener);
  }

  async start(options: StartOptions): Promise<Result<null, PostgresError>> {
    const { dataDirectory, wayBack } = await this.inspect();
    if (wayBack !== undefined)
      return err({ kind: "refused", message: `cannot start PostgreSQL: the way back from restore ${wayBack} has not come to its end` });
    if (dataDirectory.kind === "valid") return await this.#start(options, {});
    return err({ kind: "refused", message: `cannot start PostgreSQL: the data directory is ${dataDirectory.kind}` });
  }

  async adopt(): Promise<Result<null, PostgresError>> {
    const found = await this.#postmaster.adopt();
    return found === null ? err({ kind: "failed", message: "no PostgreSQL is running to adopt" }) : ok(null);
  }

  async stop(options: Parameters<Postgresql["stop"]>[0]): Promise<Result<null, PostgresError>> {
    if (options.checkpoint === true && options.mode === "fast") {
      const done = await this.checkpoint(options.deadline);
      if (!done.ok) this.#log.warning(`the checkpoint before the stop failed: ${done.error.message}`);
    }
    if (options.mode === "fast" && (await options.beforeShutdown?.()) === "stay") {
      return err({ kind: "cancelled", message: "the stop was called off" });
    }
    const archive = options.archive === true ? await this.#archiver(options.deadline) : null;
    this.#dropConnections();
    const on = { postmaster: this.#postmaster, dataDir: this.#dataDir, clock: this.#clock, log: this.#log };
    const stopped = await stopServer({ ...on, readControlData: () => this.controlData() }, options);
    if (stopped.ok) await archive?.();
    return stopped;
  }

  async promote(options: PromoteOptions): Promise<Result<null, PostgresError>> {
    const configuration = this.#configuration;
    return await promoteServer(
      {
        connection: this.#connections.statements,
        clock: this.#clock,
        log: this.#log,
        detach: async (synchronousStandbyNames) => {
          const part = { role: configuration.standbyRole, follow: null, synchronousStandbyNames };
          const written = await configuration.write(part, options.deadline);
          return written.ok ? ok(written.value.changed.length > 0) : written;
        },
        configurePrimary: async (synchronousStandbyNames) => {
          const written = await configuration.change({ role: "primary", follow: null, synchronousStandbyNames }, this.#soon());
          return written.ok ? ok(null) : written;
        },
        reload: () => configuration.reload(),
        commitsWait: (deadline) => this.#commitsWait(this.#connections.statements, deadline),
      },
      options,
    );
  }

  async follow(target: FollowTarget | null, role: "replica" | "standby_leader"): Promise<Result<null, PostgresError>> {
    const deadline = this.#soon();
    const written = await this.#configuration.change({ role, follow: target }, deadline);
    if (!written.ok) return written;
    return await this.#configuration.untilInForce(written.value, ["primary_conninfo", "primary_slot_name"], deadline);
  }

  async bootstrap(options: Parameters<Postgresql["bootstrap"]>[0]): Promise<Result<null, PostgresError>> {
    const start = (): Promise<Result<null, PostgresError>> =>
      this.#start(
        {
          role: "primary",
          follow: null,
          synchronousStandbyNames: null,
          deadline: ms(this.#clock.now() + BOOTSTRAP_START_TIMEOUT_MS),
          signal: options.signal,
        },
        {},
      );
    return await bootstrapCluster(this.#configuration.context, { ...options, start });
  }

  async clone(options: Parameters<Postgresql["clone"]>[0]): Promise<Result<null, PostgresError>> {
    return (await this.#refuseWhileRunning("clone")) ?? (await cloneReplica(this.#configuration.context, options));
  }

  roleAt(target: FollowTarget, deadline: Ms): Promise<RemoteServer> {
    return askRole(this.#configuration.context, target, deadline);
  }

  async upstreamHistory(source: FollowTarget, deadline: Ms): Promise<Result<UpstreamHistory, PostgresError>> {
    return await readUpstreamHistory(this.#configuration.context, source, deadline);
  }

  async timelineSwitches(value: number): Promise<Result<readonly TimelineSwitch[], PostgresError>> {
    return await readTimelineSwitches(this.#dataDir, timeline(value));
  }

  async rewind(options: Parameters<Postgresql["rewind"]>[0]): Promise<Result<null, PostgresError>> {
    return (await this.#refuseWhileRunning("rewind")) ?? (await rewindTo(this.#configuration.context, options));
  }

  async crashRecover(signal: AbortSignal): Promise<Result<null, PostgresError>> {
    return (await this.#refuseWhileRunning("crash recovery")) ?? (await crashRecover(this.#configuration.context, signal));
  }

  async localEndOfWal(): Promise<Result<{ readonly timeline: number; readonly lsn: bigint }, PostgresError>> {
    const control = await this.controlData();
    return control.ok ? await localEndOfWal(this.#configuration.context, control.value) : control;
  }

  async removeDataDirectory(): Promise<Result<null, PostgresError>> {
    return (await this.#refuseWhileRunning("removal of the data directory")) ?? (await removeDataDirectory(this.#configuration.context));
  }

  async keptBeside(): Promise<string | null> {
    return await keptBeside(this.#configuration.context.config.dataDir);
  }

  async configure(config: PostgresqlConfig, options: Parameters<Postgresql["configure"]>[1]): ReturnType<Postgresql["configure"]> {
    return await this.#configuration.configure(config, options);
  }

  pendingRestart(): PendingRestartReason {
    return this.#configuration.pendingRestart;
  }

  async faults(): Promise<readonly ConfigFault[]> {
    return await parameterFaults(this.#configuration.context);
  }

  async setSynchronousStandbyNames(value: string | null, deadline: Ms): Promise<Result<null, PostgresError>> {
    const written = await this.#configuration.change({ synchronousStandbyNames: value }, deadline);
    if (!written.ok) return written;
    const inForce = await this.#configuration.untilInForce(written.value, ["synchronous_standby_names"], deadline);
    if (inForce.ok && value !== "") await releaseWaitingCommits(this.#connections.statements, { log: this.#log, deadline });
    return inForce;
  }

  /** Belongs to a look at the server, so no statement makes it wait. */
  async commitsWait(deadline: Ms): Promise<Result<CommitWaiting, PostgresError>> {
    return await this.#commitsWait(this.#connections.status, deadline);
  }

  async #commitsWait(connection: Connection, deadline: Ms): Promise<Result<CommitWaiting, PostgresError>> {
    const running = await this.#postmaster.find();
    return running === null ? ok("not-yet") : await commitsWait(connection, running.pid, deadline);
  }

  async resumeReplay(deadline: Ms): Promise<Result<null, PostgresError>> {
    const done = await this.#connections.statements.query("SELECT pg_catalog.pg_wal_replay_resume()", [], deadline);
    return done.ok ? ok(null) : done;
  }

  async changeSlots(actions: readonly SlotAction[]): Promise<Result<readonly SlotNote[], PostgresError>> {
    return await this.#slots.change(actions);
  }

  async readLogicalSlots(options: Parameters<Postgresql["readLogicalSlots"]>[0]): ReturnType<Postgresql["readLogicalSlots"]> {
    return await readLogicalSlots(this.#configuration.context, options);
  }

  async writeLogicalSlots(copies: SlotCopies): Promise<Result<null, PostgresError>> {
    return (await this.#refuseWhileRunning("change of slot files")) ?? (await writeLogicalSlots(this.#dataDir, copies, this.#log));
  }

  async primarySlots(options: Parameters<Postgresql["primarySlots"]>[0]): Promise<Result<PrimarySlots, PostgresError>> {
    return await readPrimarySlots(this.#configuration.context, options);
  }

  async checkpoint(deadline: Ms): Promise<Result<null, PostgresError>> {
    // It may take minutes, so it does not stand in the way of other statements.
    const connection = this.#connections.another();
    try {
      const done = await connection.query("CHECKPOINT", [], deadline);
      return done.ok ? ok(null) : done;
    } finally {
      await connection.close();
    }
  }

  callback(action: Parameters<Postgresql["callback"]>[0], role: string): void {
    this.#callbacks.call(this.#configuration.context, action, role);
  }

  async hook(name: HookName, deadline: Ms, signal?: AbortSignal): Promise<Result<null, PostgresError>> {
    return await runHook(this.#configuration.context, name, { deadline, ...(signal === undefined ? {} : { signal }) });
  }

  async close(): Promise<void> {
    this.#slots.drop();
    await Promise.all([this.#connections.close(), this.#postmaster.close(), this.#callbacks.close()]);
  }

  /** For the segment with the shutdown checkpoint, once the server is down. */
  async #archiver(deadline: Ms): Promise<(() => Promise<void>) | null> {
    const part = await loaded(() => import("./archive-checkpoint.ts"));
    if (part.ok) return part.value.archiverOf(this.#configuration.context, this.#connections.statements, deadline);
    this.#log.error(`Failed to archive WAL file with the shutdown checkpoint: ${part.error}`);
    return null;
  }

  async #start(options: StartOptions, extra: Partial<ConfigFilesRequest>): Promise<Result<null, PostgresError>> {
    const running = await this.#refuseWhileRunning("start");
    if (running !== null) return running;
    const control = await this.controlData();
    if (!control.ok) return control;
    const role = options.role === "standby" ? "replica" : options.role;
    const { follow, synchronousStandbyNames } = options;
    const written = await this.#configuration.prepareStart({ role, follow, synchronousStandbyNames }, control.value, extra);
    if (!written.ok) return written;
    const started = await this.#postmaster.launch({
      program: programPath(this.#configuration.config, "postgres"),
      args: written.value.serverArguments,
      deadline: options.deadline,
      signal: options.signal,
    });
    if (!started.ok) return started;
    await this.#connections.first(options);
    await this.#configuration.catchUp();
    return ok(null);
  }

  async #refuseWhileRunning(what: string): Promise<Result<null, PostgresError> | null> {
    const running = await this.#postmaster.find();
    return running === null ? null : err({ kind: "refused", message: `no ${what} while PostgreSQL runs (pid ${running.pid})` });
  }

  #dropConnections(): void {
    this.#connections.drop();
    this.#slots.drop();
  }

  #soon(): Ms {
    return ms(this.#clock.now() + STATEMENT_TIMEOUT_MS);
  }
}
