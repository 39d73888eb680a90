// Owns one machine's PostgreSQL as a thing of its own: data directory, postmaster, roles. It outlives the supervisor that uses it.
// What a server does takes time on the machine; how its WAL gets to others is in servers.ts.

import type { DataDirectory, FollowTarget, SlotStatus } from "../../lib/model/postgres.ts";
import type { Link, Servers } from "./servers.ts";
import { type Branch, NO_SYNC_SETTING, type ServerSetting, syncSetting, type WalEnd } from "./wal.ts";

export type ControlState = "in production" | "shut down" | "in archive recovery" | "shut down in recovery";

export interface Postmaster {
  readonly pid: number;
  readonly startTicks: number;
  readonly startedAt: number;
  phase: "starting" | "up" | "stopping";
  /** SIGSTOP: it hears no signal but SIGKILL; backends go on. */
  stopped: boolean;
}

const VALID: DataDirectory = { kind: "valid", majorVersion: 15 };
const SHUTDOWN_RECORD = 120;
/** Written at the end of recovery, so that a promoted server always has WAL of its own. */
const END_OF_RECOVERY_RECORD = 80;
const FAST_STOP_POLL = 20;
/** How often new names meet a checkpointer that is syncing a checkpoint to disk. */
const CHECKPOINT_UNDER_WAY = 0.3;

export class FakeServer {
  readonly name: string;
  readonly world: Servers;
  directory: DataDirectory = { kind: "empty" };
  branch: Branch | null = null;
  /** End of WAL: written, or received and flushed. */
  lsn = 0;
  /** How far commits are acknowledged; behind `lsn` only while they wait for a standby. */
  acknowledged = 0;
  controlState: ControlState = "shut down";
  checkpointLsn = 0;
  postmaster: Postmaster | null = null;
  inRecovery = true;
  /** bootstrap is at work: nobody knows this server yet. */
  making = false;
  /** Answers nobody, writes nothing. */
  hung = false;
  /** The whole machine stands still. */
  frozen = false;
  /** Backends of an immediate stop go on until then. */
  writesUntil = Number.POSITIVE_INFINITY;
  target: FollowTarget | null = null;
  sync: ServerSetting = NO_SYNC_SETTING;
  /** The checkpointer has taken the names: until then commits wait for nobody, whatever a session shows. */
  syncTaken = false;
  readonly slots = new Map<string, SlotStatus>();
  link: Link | null = null;
  readonly senders: Link[] = [];
  /** How many of the next starts fail, and what the next ones take longer. */
  startsToFail = 0;
  startDelay = 0;
  /** How many reasons pre_promote has to veto a promotion here. */
  vetoed = 0;
  #epoch = 0;
  #pids = 1000;
  #frozenBacklog: (() => void)[] = [];
  readonly #exitListeners = new Set<() => void>();
  readonly #standbyListeners = new Set<() => void>();
  #upListeners: ((up: boolean) => void)[] = [];

  constructor(name: string, world: Servers) {
    this.name = name;
    this.world = world;
  }

  get up(): boolean {
    return this.postmaster !== null && this.postmaster.phase === "up";
  }

  /** Takes writes at this instant, acknowledged or not. */
  get writable(): boolean {
    const { postmaster } = this;
    if (postmaster === null || this.inRecovery || this.hung || this.frozen) return false;
    return postmaster.phase === "up" || (postmaster.phase === "stopping" && this.world.queue.now < this.writesUntil);
  }

  get wal(): WalEnd {
    if (this.branch === null) throw new Error(`${this.name} has no data`);
    return { branch: this.branch, lsn: this.lsn };
  }

  /** On the machine's own time: not while it is frozen, and not once the server was killed. */
  later(delay: number, run: () => void): void {
    const epoch = this.#epoch;
    this.world.queue.after(delay, () => {
      if (this.#epoch !== epoch) return;
      if (this.frozen) this.#frozenBacklog.push(run);
      else run();
    });
  }

  onExit(listener: () => void): () => void {
    this.#exitListeners.add(listener);
    return () => this.#exitListeners.delete(listener);
  }

  /** Told of what a status query would show otherwise than before: its standbys, or that there is no answer. */
  onStandbys(listener: () => void): () => void {
    this.#standbyListeners.add(listener);
    return () => this.#standbyListeners.delete(listener);
  }

  standbysChanged(): void {
    for (const listener of this.#standbyListeners) listener();
  }

  /** Answers nobody from now on, and writes nothing. */
  hang(): void {
    this.hung = true;
    this.standbysChanged();
  }

  /** Told once: the server accepts connections, or the start failed. */
  onceUp(listener: (up: boolean) => void): void {
    this.#upListeners.push(listener);
  }

  initdb(branch: Branch): void {
    this.directory = VALID;
    this.branch = branch;
    this.lsn = 1000;
    this.acknowledged = this.lsn;
    this.checkpointLsn = 900;
    this.controlState = "shut down";
  }

  /** A copy of, or a rewind to, another server's WAL. */
  becomeCopyOf(source: WalEnd): void {
    this.directory = VALID;
    this.branch = source.branch;
    this.lsn = source.lsn;
    this.checkpointLsn = Math.max(0, source.lsn - SHUTDOWN_RECORD);
    this.controlState = "in archive recovery";
  }

  /** A single-user server: what is there is recovered, and a shutdown checkpoint written behind it. */
  endRecovery(): void {
    this.checkpointLsn = this.lsn;
    this.lsn += SHUTDOWN_RECORD;
    this.controlState = "shut down";
  }

  wipe(): void {
    this.directory = { kind: "empty" };
    this.branch = null;
    this.lsn = 0;
    this.slots.clear();
  }

  launch(options: { readonly role: "primary" | "standby"; readonly follow: FollowTarget | null; readonly syncNames: string | null }): void {
    const { random } = this.world;
    this.#pids += 1;
    this.postmaster = {
      pid: this.#pids,
      startTicks: Math.floor(this.world.queue.now),
      startedAt: this.world.queue.now,
      phase: "starting",
      stopped: false,
    };
    this.hung = false;
    this.writesUntil = Number.POSITIVE_INFINITY;
    this.inRecovery = true;
    this.target = options.role === "primary" ? null : options.follow;
    this.sync = syncSetting(options.syncNames ?? "");
    // The checkpointer begins with what the files say.
    this.syncTaken = this.sync.count > 0;
    const crashed = this.controlState === "in production" || this.controlState === "in archive recovery";
    const duration = random.between(30, crashed ? 600 : 200) + this.startDelay;
    this.startDelay = 0;
    this.later(duration, () => {
      if (this.startsToFail > 0) {
        this.startsToFail -= 1;
        this.#ended();
      } else this.#started(options.role);
    });
  }

  #started(role: "primary" | "standby"): void {
    const { postmaster } = this;
    if (postmaster === null || postmaster.phase !== "starting") return;
    postmaster.phase = "up";
    if (role === "primary") {
      const wasStandby = this.controlState === "in archive recovery" || this.controlState === "shut down in recovery";
      // Without a promotion the timeline stays: its WAL parts from the others' unseen.
      if (wasStandby) this.branch = this.world.fork(this.wal, this.wal.branch.timeline);
      this.inRecovery = false;
      this.controlState = "in production";
      this.acknowledged = this.lsn;
      this.world.hooks.becamePrimary(this, "started");
    } else {
      this.controlState = "in archive recovery";
      this.world.connect(this);
    }
    for (const listener of this.#upListeners.splice(0)) listener(true);
  }

  /** pg_promote: goes through whoever asked for it lives or not. */
  promote(): void {
    this.later(this.world.random.between(20, 120), () => {
      if (!this.up || !this.inRecovery) return;
      this.world.disconnect(this);
      for (const link of [...this.senders]) this.world.drop(link);
      this.branch = this.world.fork(this.wal, this.world.nextTimeline(this.wal.branch.timeline));
      this.lsn += END_OF_RECOVERY_RECORD;
      this.acknowledged = this.lsn;
      this.inRecovery = false;
      this.target = null;
      this.controlState = "in production";
      this.world.hooks.becamePrimary(this, "promoted");
    });
  }

  setSyncNames(text: string): void {
    const { random } = this.world;
    this.sync = syncSetting(text);
    if (this.sync.count === 0) this.syncTaken = false;
    else if (!this.syncTaken)
      this.later(random.chance(CHECKPOINT_UNDER_WAY) ? random.between(50, 10000) : random.between(1, 20), () => this.#takeNames());
    this.standbysChanged();
    this.world.hooks.changed();
  }

  #takeNames(): void {
    this.syncTaken = this.sync.count > 0;
    this.world.hooks.changed();
  }

  get commitsWait(): boolean {
    return this.syncTaken && this.sync.count > 0;
  }

  /** SIGINT: no more writes, a checkpoint, the standbys get it, gone. */
  stopFast(onShutdownCheckpoint: (() => void) | null): void {
    const { postmaster } = this;
    if (postmaster === null || postmaster.phase === "stopping" || this.hung || postmaster.stopped) return;
    const wasUp = postmaster.phase === "up";
    postmaster.phase = "stopping";
    this.writesUntil = this.world.queue.now;
    this.standbysChanged();
    this.world.hooks.changed();
    this.later(this.world.random.between(10, 150), () => {
      if (this.inRecovery) {
        this.controlState = wasUp ? "shut down in recovery" : this.controlState;
        this.#ended();
        return;
      }
      this.checkpointLsn = this.lsn;
      this.world.append(this, SHUTDOWN_RECORD, this.world.queue.now);
      this.controlState = "shut down";
      onShutdownCheckpoint?.();
      this.#untilSent();
    });
  }

  #untilSent(): void {
    if (this.senders.every((link) => link.to.lsn >= this.lsn)) this.#ended();
    else this.later(FAST_STOP_POLL, () => this.#untilSent());
  }

  /** SIGQUIT: backends end within milliseconds, the postmaster a little later; a stopped or hung one hears nothing. */
  stopImmediate(): void {
    const { postmaster } = this;
    if (postmaster === null || postmaster.stopped || this.hung) return;
    const now = this.world.queue.now;
    if (postmaster.phase !== "stopping") this.writesUntil = now + this.world.random.between(0, 20);
    postmaster.phase = "stopping";
    this.standbysChanged();
    this.later(this.world.random.between(20, 60), () => this.#ended());
  }

  /** SIGKILL to every process of it. */
  kill(): void {
    if (this.postmaster !== null) this.#ended();
  }

  /** The machine lost its power: nobody is told. */
  vanish(): void {
    this.#exitListeners.clear();
    this.#standbyListeners.clear();
    this.#upListeners = [];
    if (this.postmaster !== null) this.#ended();
  }

  freeze(): void {
    this.frozen = true;
    this.world.hooks.changed();
  }

  thaw(): void {
    this.frozen = false;
    const backlog = this.#frozenBacklog;
    this.#frozenBacklog = [];
    for (const run of backlog) run();
    this.world.hooks.changed();
  }

  #ended(): void {
    this.#epoch += 1;
    this.#frozenBacklog = [];
    this.postmaster = null;
    this.inRecovery = true;
    this.hung = false;
    this.making = false;
    this.world.disconnect(this);
    this.world.serverGone(this);
    this.standbysChanged();
    for (const listener of this.#upListeners.splice(0)) listener(false);
    for (const listener of [...this.#exitListeners]) listener();
    this.world.hooks.changed();
  }
}
