// Owns one simulated machine with a Raft member on it: its process, clock, disk and place in the network, as production puts
// them together (lib/dcs/raft/member/node.ts), and how it is started, killed, stopped and wiped.

import type { ClientAnswer, ClientRequest } from "../../../lib/dcs/raft/kv/client-protocol.ts";
import { raftMemberConfig } from "../../../lib/dcs/raft/member/config.ts";
import { RaftMemberNode } from "../../../lib/dcs/raft/member/node.ts";
import type { Network } from "../../../lib/dcs/raft/transport/network.ts";
import type { Clock } from "../../../lib/model/clock.ts";
import type { Log } from "../../../lib/model/log.ts";
import { type Ms, ms } from "../../../lib/model/units.ts";
import type { Random } from "../../simulation/random.ts";
import { type EventQueue, MachineClock, SimProcess } from "../../simulation/virtual-clock.ts";
import { FakeDisk } from "../fake-disk.ts";
import type { DiskOperation } from "../fake-file.ts";
import type { FakeNetwork } from "../fake-network.ts";
import { asItIs, type Trace } from "./trace.ts";
import { boundsOf, type WholeSettings } from "./whole-settings.ts";

export interface HostWorld {
  readonly queue: EventQueue;
  readonly random: Random;
  readonly trace: Trace;
  readonly network: FakeNetwork;
  readonly settings: WholeSettings;
  /** Addresses of the founders. */
  readonly founders: readonly string[];
}

const PORT = 2380;
/** So that a run of a few hundred entries fills several. */
const SEGMENT_BYTES = 16 * 1024;
const DOWN: ClientAnswer = { kind: "unavailable", reason: "the member is down" };
const DIED: ClientAnswer = { kind: "unknown-outcome", reason: "the member died" };

export class Host {
  readonly name: string;
  readonly address: string;
  disk: FakeDisk;
  /** Multiplies what the disk takes. */
  diskFactor = 1;
  state: "running" | "paused" | "down" = "down";
  /** Why the member stopped by itself or could not start; null where it did not. */
  fault: string | null = null;
  /** Stops by itself since it last served. */
  refusals = 0;
  readonly #world: HostWorld;
  readonly #machine: MachineClock;
  #process: SimProcess;
  #node: RaftMemberNode | null = null;
  readonly #asked = new Set<(answer: ClientAnswer) => void>();

  constructor(world: HostWorld, number: number) {
    this.#world = world;
    this.name = `m${number}`;
    this.address = `${this.name}:${PORT}`;
    const { clockError } = world.settings;
    this.#machine = new MachineClock(world.queue, {
      rate: 1 + world.random.between(-clockError, clockError),
      uptime: world.random.between(0, 1e6),
    });
    this.#process = new SimProcess(world.queue, this.#machine);
    this.disk = this.#newDisk();
  }

  get alive(): boolean {
    return this.state === "running" || this.state === "paused";
  }

  get node(): RaftMemberNode | null {
    return this.#node;
  }

  start(): void {
    const { queue, random, trace, network, settings, founders } = this.#world;
    if (this.state !== "down") return;
    this.state = "running";
    this.fault = null;
    const process = new SimProcess(queue, this.#machine);
    this.#process = process;
    const node = new RaftMemberNode({
      disk: this.disk,
      network: this.#networkOf(network.start(this.name)),
      clock: process,
      random: (bytes) => Uint8Array.from({ length: bytes }, () => random.whole(0, 255)),
      log: this.#log(),
      config: raftMemberConfig({
        selfAddress: this.address,
        partnerAddresses: founders,
        security: { kind: "plain" },
        snapshots: { entries: settings.snapshotEvery, bytes: 1_000_000 },
      }),
      defer: (run) => queue.after(0, () => process.deliver(run)),
      segmentBytes: SEGMENT_BYTES,
      bounds: boundsOf(settings),
    });
    this.#node = node;
    node.onStopped = (reason) => this.#ended(process, reason);
    trace.record(queue.now, this.name, "starts", asItIs);
    void node.start().then((started) => {
      if (!started.ok) this.#ended(process, started.error);
    });
  }

  /** `process`: what it wrote is in the kernel. `machine`: what was not synced is kept as the disk pleases. */
  kill(what: "process" | "machine"): void {
    if (!this.alive) return;
    this.#over();
    if (what === "process") {
      this.#world.network.crash(this.name);
      this.disk.kill();
    } else {
      this.#world.network.powerOff(this.name);
      this.disk.crash((_name, unsynced) => this.#kept(unsynced));
      this.#machine.reboot();
    }
  }

  pause(): void {
    if (this.state !== "running") return;
    this.state = "paused";
    this.#process.stop();
    this.#world.network.pause(this.name);
  }

  resume(): void {
    if (this.state !== "paused") return;
    this.state = "running";
    this.#world.network.resume(this.name);
    this.#process.resume();
  }

  jumpWall(byMs: number): void {
    this.#machine.wallOffset += byMs;
  }

  /** The folder is empty: by an operator, or with a new disk. */
  wipe(): void {
    this.disk = this.#newDisk();
    this.refusals = 0;
  }

  /** A client on this machine asks its member; `deadline` in true time. */
  request(request: ClientRequest, deadline: number): Promise<ClientAnswer> {
    const node = this.#node;
    if (!this.alive || node === null) return Promise.resolve(DOWN);
    return new Promise((resolve) => {
      const settle = (answer: ClientAnswer): void => {
        this.#asked.delete(settle);
        resolve(answer);
      };
      this.#asked.add(settle);
      const ask = (): void => void node.request(request, ms(this.#machine.bootAt(deadline))).then(settle);
      this.#process.deliver(ask);
    });
  }

  #ended(process: SimProcess, reason: string): void {
    if (process !== this.#process || !this.alive) return;
    const { queue, trace, network } = this.#world;
    trace.record(queue.now, this.name, `stopped: ${reason}`, asItIs);
    this.#over();
    this.fault = reason;
    this.refusals += 1;
    network.crash(this.name);
    this.disk.kill();
  }

  #over(): void {
    this.state = "down";
    this.#process.kill();
    this.#node = null;
    for (const settle of [...this.#asked]) settle(DIED);
  }

  #kept(unsynced: number): number {
    const { random } = this.#world;
    return random.chance(0.3) ? 0 : random.chance(0.3) ? unsynced : random.whole(0, unsynced);
  }

  /** The network knows true time; the member's deadlines are of its own clock. */
  #networkOf(network: Network): Network {
    return {
      listen: (address, accept) => network.listen(address, accept),
      connect: (address, deadline) => network.connect(address, ms(this.#machine.trueTime(deadline))),
    };
  }

  #newDisk(): FakeDisk {
    const { queue, random, settings } = this.#world;
    return new FakeDisk({
      after: (delay, run) => queue.after(delay, () => this.#process.deliver(run)),
      latency: ({ kind }: DiskOperation) =>
        (kind === "sync" || kind === "sync-folder" || kind === "create" ? settings.syncMs : settings.syncMs / 20) *
        (0.5 + random.next()) *
        this.diskFactor,
    });
  }

  #log(): Log {
    const { queue, trace } = this.#world;
    const write =
      (level: string) =>
      (message: string): void =>
        trace.record(queue.now, this.name, `${level} ${message}`, asItIs);
    return { debug: () => undefined, info: write("info"), warning: write("warning"), error: write("error"), critical: write("critical") };
  }
}

/** True time, as nobody in the cluster knows it: the clients' clock. */
export class TrueClock implements Clock {
  readonly #queue: EventQueue;

  constructor(queue: EventQueue) {
    this.#queue = queue;
  }

  now(): Ms {
    return ms(this.#queue.now);
  }

  wallNow(): number {
    return this.#queue.now;
  }

  sleepUntil(at: Ms, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const event = this.#queue.at(at, resolve);
      signal?.addEventListener("abort", () => {
        event.run = null;
        resolve();
      });
    });
  }
}
