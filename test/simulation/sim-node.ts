// Owns one machine of the simulator: clock, PostgreSQL, guard, lease file, and the supervisor that runs on it, if any.

import type { FailsafeAnswer, FailsafeHeartbeat, FailsafePromise } from "../../lib/model/failsafe.ts";
import type { Tags } from "../../lib/model/member.ts";
import type { NodeConfig } from "../../lib/model/node-config.ts";
import { apiUrl } from "../../lib/runtime/member-record.ts";
import type { NodeContext } from "../../lib/runtime/node-context.ts";
import { Guard, type LeaseRecord } from "./fake-guard.ts";
import { type ApiPort, DcsWay } from "./fake-network.ts";
import { FakeServer } from "./fake-server.ts";
import { Supervisor } from "./supervisor.ts";
import { MachineClock, type SimProcess } from "./virtual-clock.ts";
import type { World } from "./world.ts";

/**
 * From the end of a pause, as a node sees it, to the guard armed or PostgreSQL stopped: one request to the DCS may lie between. Counted
 * while the supervisor runs: one that is killed or stands still fences nothing, and who comes after it begins anew.
 */
const FENCED_AGAIN_MS = 15_000;

export class SimNode implements ApiPort {
  readonly name: string;
  readonly world: World;
  config: NodeConfig;
  readonly machine: MachineClock;
  readonly server: FakeServer;
  readonly guard: Guard;
  readonly way = new DcsWay();
  leaseFile: LeaseRecord | null = null;
  /** What it has promised in failsafe mode, as its disk has it, and in which life of the machine. */
  promiseFile: { readonly promise: FailsafePromise; readonly boots: number } | null = null;
  supervisor: Supervisor | null = null;
  powered = true;
  silent = false;
  /** Nobody starts the supervisor while a fault keeps it away. */
  keptDown = 0;
  /** Boot time: no lease that this node was given lasts longer. 0 before the first. */
  leaseEnd = 0;
  /** How much of that is left; 0 where PostgreSQL is fenced, or has to be. */
  #unfencedFor = 0;
  #unfencedSeenAt = 0;

  constructor(world: World, config: NodeConfig) {
    this.world = world;
    this.name = config.name;
    this.config = config;
    const { random } = world;
    this.machine = new MachineClock(world.queue, {
      rate: 1 + random.between(-world.clockError, world.clockError),
      uptime: random.between(1e5, 1e8),
    });
    this.server = new FakeServer(config.name, world.servers);
    this.guard = new Guard({
      queue: world.queue,
      machine: this.machine,
      server: this.server,
      disabled: world.plants.guardDisabled,
      lateMs: world.plants.guardLateMs,
    });
    world.servers.all.push(this.server);
    const { host, port } = config.postgresql.connectAddress;
    world.servers.byAddress.set(`${host}:${port}`, this.server);
  }

  get tags(): Tags {
    return this.config.tags;
  }

  /** Somebody has changed the tags in the node's file and had it read again. */
  retag(tags: Tags): void {
    this.config = { ...this.config, tags };
    this.supervisor?.reread();
  }

  get process(): SimProcess | null {
    return this.supervisor?.process ?? null;
  }

  answer(): ReturnType<Supervisor["answer"]> {
    return this.supervisor === null ? Promise.resolve(null) : this.supervisor.answer();
  }

  failsafe(beat: FailsafeHeartbeat): Promise<FailsafeAnswer> {
    return this.supervisor === null ? Promise.resolve({ kind: "silent", reason: "no answer" }) : this.supervisor.failsafe(beat);
  }

  start(): void {
    if (this.supervisor !== null || !this.powered || this.keptDown > 0) return;
    this.trace("the supervisor starts");
    const supervisor = new Supervisor(this);
    this.supervisor = supervisor;
    if (this.#unfencedFor > 0) this.#unfencedFor = FENCED_AGAIN_MS;
    this.world.apis.set(apiUrl(supervisor.context.state), this);
    supervisor.start();
  }

  startLater(delay: number): void {
    this.world.queue.after(delay, () => this.start());
  }

  supervisorEnded(supervisor: Supervisor, why: string): void {
    this.trace(`the supervisor ended: ${why}`);
    if (this.supervisor !== supervisor) return;
    this.noteLease();
    this.unfenced();
    this.supervisor = null;
    // As a service manager does.
    this.startLater(this.world.random.between(1000, 8000));
  }

  /** SIGKILL of the supervisor alone. */
  killSupervisor(): void {
    this.noteLease();
    this.unfenced();
    this.supervisor?.kill();
    this.supervisor = null;
  }

  /** The machine loses its power: memory is gone, disks stay. */
  crash(): void {
    this.killSupervisor();
    this.powered = false;
    this.guard.vanish();
    this.server.vanish();
    if (this.server.frozen) this.server.thaw();
  }

  boot(): void {
    if (this.powered) return;
    this.powered = true;
    this.machine.reboot();
    this.leaseEnd = 0;
    this.world.servers.lookAtLinks();
    this.startLater(this.world.random.between(500, 3000));
  }

  /** The virtual machine stands still: its boot-time clock goes on. */
  suspend(): void {
    this.server.freeze();
    this.supervisor?.stop();
  }

  /**
   * Where the guard's deadline passed meanwhile, the machine's own watchdog has ended everything: no process can be sure to act
   * before the backends go on (docs/fencing.md).
   */
  goOn(): void {
    if (!this.powered) return;
    if (this.guard.overdue) {
      this.crash();
      this.boot();
      return;
    }
    this.server.thaw();
    this.guard.look();
    this.supervisor?.resume();
  }

  /** Paused as far as its supervisor knows, or knew when it died, and the guard let go: nothing fences this PostgreSQL. */
  unfenced(): boolean {
    const { supervisor, server } = this;
    const { now } = this.world.queue;
    const since = now - this.#unfencedSeenAt;
    this.#unfencedSeenAt = now;
    // A supervisor that was started meanwhile knows only once it has read the configuration.
    if (supervisor === null || supervisor.context.state.cluster === null) return this.#unfencedFor > 0;
    const { armed } = supervisor.context.watchdog;
    if (!armed && supervisor.context.state.settings.dynamic.pause) this.#unfencedFor = FENCED_AGAIN_MS;
    else if (this.#unfencedFor > 0) {
      if (armed || server.postmaster === null) this.#unfencedFor = 0;
      else if (supervisor.process.state === "running" && !server.frozen) this.#unfencedFor = Math.max(0, this.#unfencedFor - since);
    }
    return this.#unfencedFor > 0;
  }

  leaseSeen(end: number): void {
    if (end > this.leaseEnd) this.leaseEnd = end;
  }

  /** The lease as the running supervisor counts it. */
  noteLease(): void {
    const held = this.supervisor?.context.state.heldFacts();
    if (held !== undefined && held !== null) this.leaseSeen(held.leaseEndsAt);
  }

  trace(text: string): void {
    this.world.trace(this.name, text);
  }

  log(): NodeContext["log"] {
    const { world } = this;
    const write = (text: string): void => {
      if (text.startsWith("the cycle did not settle")) world.violation(`${this.name}: ${text}`);
      if (world.tracing) this.trace(text);
    };
    return {
      debug: () => {},
      heartbeat: () => {},
      info: world.tracing ? write : () => {},
      warning: write,
      error: write,
      critical: (text) => world.violation(`${this.name}: ${text}`),
    };
  }
}
