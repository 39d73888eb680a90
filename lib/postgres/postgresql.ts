// Owns the interface to the local PostgreSQL: the effects that the HA loop may perform and the facts it may ask for.
// Implemented by local.ts over real processes, and by the simulator's fake. No method decides anything about HA.

import type { ConfigFault, PostgresError } from "../model/errors.ts";
import type { TimelineSwitch } from "../model/history.ts";
import type { PendingRestartReason } from "../model/member.ts";
import type { BootstrapConfig, PostgresqlConfig } from "../model/node-config.ts";
import type {
  ControlData,
  CopyProgress,
  DataDirectory,
  FollowTarget,
  PostgresStatus,
  PostmasterProcess,
  UpstreamHistory,
} from "../model/postgres.ts";
import type { Result } from "../model/result.ts";
import type { LogicalSlot, SlotAction } from "../model/slots.ts";
import type { Ms } from "../model/units.ts";
import type { PrimarySlots, SlotCopies } from "./logical-slots.ts";
import type { SlotNote } from "./slots.ts";
import type { NearStandbys } from "./standby-watch.ts";
import type { CommitWaiting } from "./waiting-commits.ts";

/**
 * - `primary`, `standby`: a PostgreSQL that says so.
 * - `unclear`: something accepts connections and does not say what it is (it refuses our login, is starting, hangs).
 * - `down`: the host refuses connections. `silent`: nothing answers.
 */
export type RemoteRole = "primary" | "standby" | "unclear" | "down" | "silent";

/** What was learnt of another server. */
export interface RemoteServer {
  readonly role: RemoteRole;
  /** How the commits of a primary wait: synchronous_standby_names, and synchronous_commit of a session that sets none; null of all else. */
  readonly synchronous: { readonly names: string; readonly commit: string } | null;
}

export type StopMode = "fast" | "immediate";

export interface PromoteOptions {
  readonly deadline: Ms;
  readonly synchronousStandbyNames: string | null;
  /** The sync key names standbys already: without the proof that commits wait for them nothing is promoted. */
  readonly namesHold: boolean;
  /**
   * The server accepts writes: clients look for it, and need not wait for what is still written into its files. `commitsWait`: each of
   * them waits for the names from the first one on.
   */
  readonly onWritable: (commitsWait: boolean) => void;
}

export interface Postgresql {
  /**
   * Facts without SQL and without a child process: files and /proc only. Cheap enough for every cycle. `wayBack`: the id of a restore
   * whose way back has begun here; left out where none has.
   */
  inspect(): Promise<{ readonly dataDirectory: DataDirectory; readonly process: PostmasterProcess; readonly wayBack?: string }>;

  /** Runs pg_controldata. Errors: failed. */
  controlData(): Promise<Result<ControlData, PostgresError>>;

  /** One status query on the kept connection (opened where needed, over the unix socket if so configured). Errors: unreachable (starting up counts), timeout. */
  status(deadline: Ms): Promise<Result<PostgresStatus, PostgresError>>;

  /**
   * Calls `onChange` once, within about a second, when the standbys of this primary are not as they were `seen` (who streams, for whom
   * commits wait; positions do not count, but where `near` is given, what it says of them) or when it does not answer any more. Returns
   * the way to end it.
   */
  watchStandbys(seen: PostgresStatus, near: NearStandbys | null, onChange: () => void): () => void;

  /** Called once per exit of the postmaster, within milliseconds, also for one that was adopted. Returns the way to unsubscribe. */
  onPostmasterExit(listener: () => void): () => void;

  /**
   * Writes all configuration files for the role and starts the postmaster (not as our child's child: it survives us);
   * resolves when it accepts connections. Errors: failed, timeout (then it is still starting), cancelled.
   */
  start(options: StartOptions): Promise<Result<null, PostgresError>>;

  /** Takes a postmaster that runs already: watches its exit; writes and changes nothing. */
  adopt(): Promise<Result<null, PostgresError>>;

  /**
   * Stops it. `fast` first runs a checkpoint where `checkpoint` is set; at the deadline fast becomes immediate, and two
   * seconds later SIGKILL to everything. Resolves when no process of it is left. A zombie counts as gone.
   */
  stop(options: {
    readonly mode: StopMode;
    readonly deadline: Ms;
    /** How long a fast stop may take from its signal on, where the deadline leaves more; null: no such limit. */
    readonly fastWithin?: Ms | null;
    readonly checkpoint?: boolean;
    /** Afterwards the segment with the shutdown checkpoint is archived, where the server archives; that it fails is told in the log alone. */
    readonly archive?: boolean;
    /** Called once when pg_control says "shut down" although walsenders may still run: its shutdown checkpoint. */
    readonly onShutdownCheckpoint?: (control: ControlData) => void;
    /** Awaited after that checkpoint, before the server hears of the stop; `stay` calls it off (`cancelled`). Not for an immediate one. */
    readonly beforeShutdown?: () => Promise<"go" | "stay">;
  }): Promise<Result<null, PostgresError>>;

  /** pg_promote with the walreceiver ended beforehand (docs: facts, wal_retrieve_retry_interval); resolves when writable and configured so. */
  promote(options: PromoteOptions): Promise<Result<null, PostgresError>>;

  /**
   * Points a running standby at another source (reload where the version allows, else restart), with the settings of that role.
   * null = no source: waits for WAL, or reads the archive.
   */
  follow(target: FollowTarget | null, role: "replica" | "standby_leader"): Promise<Result<null, PostgresError>>;

  /** initdb, then start as primary, create users, run post_bootstrap, pg_hba and the rest in place. `progress` gets words for the log. */
  bootstrap(options: {
    readonly bootstrap: BootstrapConfig;
    readonly signal: AbortSignal;
    readonly progress: (text: string) => void;
  }): Promise<Result<null, PostgresError>>;

  /** Makes a copy of `source` with the first method that works. Only into an absent, empty or half-made directory. */
  clone(options: {
    /** null: only methods with no_leader are tried. */
    readonly source: FollowTarget | null;
    /** `remote`: by the methods of standby_cluster; `basebackup`: by that alone. */
    readonly methods: "members" | "remote" | "basebackup";
    readonly signal: AbortSignal;
    readonly progress: (text: string) => void;
    /** How far a base backup has come; a script of the configuration says nothing of it. */
    readonly copied?: (progress: CopyProgress) => void;
  }): Promise<Result<null, PostgresError>>;

  /** Asks the source over a replication connection (IDENTIFY_SYSTEM, TIMELINE_HISTORY). Errors: unreachable, timeout. */
  upstreamHistory(source: FollowTarget, deadline: Ms): Promise<Result<UpstreamHistory, PostgresError>>;

  /** What runs at another server's address, whoever its supervisor is. Never fails: what cannot be told is `unclear`. */
  roleAt(target: FollowTarget, deadline: Ms): Promise<RemoteServer>;

  /** How this data directory's timelines came about: pg_wal/NNNNNNNN.history, oldest first; [] on timeline 1. Errors: failed. */
  timelineSwitches(timeline: number): Promise<Result<readonly TimelineSwitch[], PostgresError>>;

  /** Runs a checkpoint on the source first where needed, then pg_rewind. The server is stopped. Errors: failed, cancelled. */
  rewind(options: {
    readonly source: FollowTarget;
    readonly signal: AbortSignal;
    readonly progress: (text: string) => void;
  }): Promise<Result<null, PostgresError>>;

  /** Single-user mode until the crash recovery is done and it has shut down cleanly. Errors: failed, cancelled. */
  crashRecover(signal: AbortSignal): Promise<Result<null, PostgresError>>;

  /** Local end of WAL of a stopped server: from control data, or pg_waldump where it was not a clean shutdown. */
  localEndOfWal(): Promise<Result<{ readonly timeline: number; readonly lsn: bigint }, PostgresError>>;

  /** Moves or deletes the data directory; refuses a foreign one. Errors: failed. */
  removeDataDirectory(): Promise<Result<null, PostgresError>>;

  /** What an upgrade has put aside and keeps the data directory from being removed, in words; null where nothing does. Throws the system's error. */
  keptBeside(): Promise<string | null>;

  /**
   * Takes a new effective configuration: writes files, reloads a running server. Value: whether a restart is now pending, and why.
   * `reloaded` is called where the server was told to read its files again.
   */
  configure(
    config: PostgresqlConfig,
    options: { readonly role: "primary" | "replica" | "standby_leader"; readonly asked?: boolean; readonly reloaded?: () => void },
  ): Promise<Result<PendingRestartReason, PostgresError>>;

  /** Parameters that wait for a restart; {} where none. */
  pendingRestart(): PendingRestartReason;

  /** Checks the configuration against the installed version: what would be dropped or refused. */
  faults(): Promise<readonly ConfigFault[]>;

  /** Sets synchronous_standby_names ("" = none, null = as the configuration's own parameters say) and reloads; resolves when the server shows it. */
  setSynchronousStandbyNames(value: string | null, deadline: Ms): Promise<Result<null, PostgresError>>;

  /** Whether every commit waits by now for the synchronous standbys that the server has shown. Errors: unreachable, timeout, failed. */
  commitsWait(deadline: Ms): Promise<Result<CommitWaiting, PostgresError>>;

  /** Ends a pause of WAL replay, whoever began it. Errors: unreachable, timeout, failed. */
  resumeReplay(deadline: Ms): Promise<Result<null, PostgresError>>;

  /**
   * Makes, moves and drops slots. Value: what was done or failed, for the log; logical slots are moved beside it, and what comes of that
   * goes to the log by itself. Errors: unreachable, timeout.
   */
  changeSlots(actions: readonly SlotAction[]): Promise<Result<readonly SlotNote[], PostgresError>>;

  /**
   * Reads the files of those of the primary's logical slots whose WAL is here too. Errors: unreachable, timeout, failed, refused (the
   * server would not start with them).
   */
  readLogicalSlots(options: {
    readonly source: FollowTarget;
    readonly slots: readonly LogicalSlot[];
    readonly deadline: Ms;
    /** For WAL that is missing here and has to be fetched. */
    readonly walDeadline: Ms;
    readonly signal: AbortSignal;
  }): Promise<Result<SlotCopies, PostgresError>>;

  /** Puts them into the stopped server's data directory. Errors: refused (it runs), failed. */
  writeLogicalSlots(copies: SlotCopies): Promise<Result<null, PostgresError>>;

  /** What the primary holds for this standby and its copies. Errors: unreachable, timeout, failed. */
  primarySlots(options: {
    readonly source: FollowTarget;
    readonly physical: string;
    readonly logical: readonly string[];
    readonly deadline: Ms;
  }): Promise<Result<PrimarySlots, PostgresError>>;

  /** CHECKPOINT. */
  checkpoint(deadline: Ms): Promise<Result<null, PostgresError>>;

  /** Runs a callback of the configuration beside the loop; a newer one of another action replaces it. */
  callback(action: "on_start" | "on_stop" | "on_restart" | "on_reload" | "on_role_change", role: string): void;

  /** Runs `postgresql.pre_promote` or `before_stop` to its end. Errors: failed (exit status not 0), timeout, cancelled (by the signal). */
  hook(name: "pre_promote" | "before_stop", deadline: Ms, signal?: AbortSignal): Promise<Result<null, PostgresError>>;

  /** Closes connections and watchers; leaves the server running. */
  close(): Promise<void>;
}

export interface StartOptions {
  readonly role: "primary" | "standby" | "standby_leader";
  /** Source of a standby; null = none known yet (it waits, or reads the archive). */
  readonly follow: FollowTarget | null;
  /** Set before the first client can connect; null = leave empty. */
  readonly synchronousStandbyNames: string | null;
  readonly deadline: Ms;
  readonly signal: AbortSignal;
}
