// Owns a network in memory for the simulator and for tests: byte streams between named hosts over an injected schedule, with
// delays, stalls in one direction, pauses, resets, crashes and power cuts. Deterministic: all chance comes from `random`, all time
// from the schedule, and nothing depends on the order of a hash. Knows no frame.
//
// It behaves as TCP does: a stream neither loses nor reorders nor repeats. What the wire loses becomes a stall, which ends when
// the wire is whole again (retransmission), or a reset.

import { formatHostAndPort, parseHostAndPort } from "../../lib/dcs/raft/transport/host-port.ts";
import type { ConnectError, Connection, Listener, Network } from "../../lib/dcs/raft/transport/network.ts";
import { FakeConnection, type Wire } from "./fake-connection.ts";

/** What the simulator gives: instants in ms; calls of one instant run in the order in which they were asked for. */
export interface Schedule {
  now(): number;
  at(instant: number, run: () => void): void;
}

export interface FakeNetworkOptions {
  readonly schedule: Schedule;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** One way, in ms, drawn for each delivery; a stream stays in order whatever is drawn. Default: 0.2 to 1. */
  readonly delayMs?: () => number;
  /** `chopped`: what is written at once may arrive in pieces. Default `whole`. */
  readonly arrival?: "whole" | "chopped";
}

/** One start of a host's process. */
interface Process {
  readonly host: string;
  state: "running" | "paused" | "crashed" | "off";
  readonly listeners: Map<number, (connection: Connection) => void>;
}

const FIRST_FREE_PORT = 40_000;

export class FakeNetwork {
  readonly #options: FakeNetworkOptions;
  readonly #processes = new Map<string, Process>();
  readonly #stalled = new Set<string>();
  /** Of living connections both ends, in the order in which they came about. */
  readonly #ends = new Set<FakeConnection>();
  #nextPort = FIRST_FREE_PORT;

  constructor(options: FakeNetworkOptions) {
    this.#options = options;
  }

  /** The network as a newly started process of the host sees it. The process before it must have crashed. */
  start(host: string): Network {
    const before = this.#processes.get(host)?.state;
    if (before === "running" || before === "paused") throw new Error(`${host} is running already`);
    const process: Process = { host, state: "running", listeners: new Map() };
    this.#processes.set(host, process);
    this.#wake();
    return {
      listen: async (address, accept) => this.#listen(process, address, accept),
      connect: (address, deadline) => this.#connect(process, address, deadline),
    };
  }

  /** Nothing more arrives from `from` at `to` until `heal`; new connections in either direction need both. */
  stall(from: string, to: string): void {
    this.#stalled.add(`${from} ${to}`);
  }

  heal(from: string, to: string): void {
    this.#stalled.delete(`${from} ${to}`);
    this.#wake();
  }

  healAll(): void {
    this.#stalled.clear();
    this.#wake();
  }

  isStalled(from: string, to: string): boolean {
    return this.#stalled.size > 0 && this.#stalled.has(`${from} ${to}`);
  }

  /** As SIGSTOP: its kernel goes on accepting connections and bytes, the process sees them after `resume`. */
  pause(host: string): void {
    const process = this.#processes.get(host);
    if (process?.state === "running") process.state = "paused";
  }

  resume(host: string): void {
    const process = this.#processes.get(host);
    if (process?.state === "paused") process.state = "running";
    this.#wake();
  }

  /** The process is killed: no handler of it is called any more, its listeners are gone, the others' connections are reset. */
  crash(host: string): void {
    this.#end(host, "crashed");
  }

  /** As `crash`, and nobody is told: connections stay silent until the host is started again, which resets them. */
  powerOff(host: string): void {
    this.#end(host, "off");
  }

  /** Both sides of every connection between the two are told that it was reset. */
  reset(one: string, other: string): void {
    for (const end of [...this.#ends]) {
      if ((end.local === one && end.other === other) || (end.local === other && end.other === one)) end.breakOff();
    }
  }

  #end(host: string, state: "crashed" | "off"): void {
    const process = this.#processes.get(host);
    if (process === undefined) return;
    process.state = state;
    process.listeners.clear();
    for (const end of [...this.#ends]) if (end.local === host) end.die();
    this.#wake();
  }

  #wake(): void {
    for (const end of [...this.#ends]) end.wake();
  }

  #delay(): number {
    return this.#options.delayMs?.() ?? 0.2 + 0.8 * this.#options.random();
  }

  #listen(process: Process, address: string, accept: (connection: Connection) => void): Listener {
    const at = parseHostAndPort(address);
    if (at === null) throw new Error(`not an address with a port: ${address}`);
    const port = at.port === 0 ? this.#nextPort++ : at.port;
    if (process.listeners.has(port)) throw new Error(`port ${port} of ${process.host} is in use`);
    process.listeners.set(port, accept);
    return { address: formatHostAndPort(process.host, port), close: () => process.listeners.delete(port) };
  }

  #connect(from: Process, address: string, deadline: number): Promise<Connection | ConnectError> {
    const at = parseHostAndPort(address);
    if (at === null) return Promise.resolve({ kind: "unreachable", message: `not an address with a port: ${address}` });
    const { schedule } = this.#options;
    return new Promise((resolve) => {
      const atDeadline = (): void =>
        schedule.at(Math.max(deadline, schedule.now()), () => resolve({ kind: "timeout", message: "it does not answer" }));
      schedule.at(schedule.now() + this.#delay(), () => {
        if (isGone(from)) return;
        const to = this.#processes.get(at.host);
        if (to === undefined || to.state === "off" || this.isStalled(from.host, at.host)) return atDeadline();
        const accept = to.listeners.get(at.port);
        const pair = accept === undefined ? null : this.#pair(from, to, at.port);
        if (pair !== null && accept !== undefined) pair.accepted.whenRunning(() => accept(pair.accepted));
        if (this.isStalled(at.host, from.host)) return atDeadline();
        schedule.at(schedule.now() + this.#delay(), () => {
          if (isGone(from)) return;
          if (schedule.now() > deadline) pair?.dialled.die();
          if (schedule.now() > deadline) resolve({ kind: "timeout", message: "it does not answer" });
          else if (pair === null || pair.dialled.isOver) resolve({ kind: "refused", message: "nobody listens there" });
          else pair.dialled.whenRunning(() => resolve(pair.dialled));
        });
      });
    });
  }

  #pair(from: Process, to: Process, port: number): { readonly dialled: FakeConnection; readonly accepted: FakeConnection } {
    const wire: Wire = {
      schedule: this.#options.schedule,
      random: this.#options.random,
      arrival: this.#options.arrival ?? "whole",
      delayMs: () => this.#delay(),
      stateOf: (end) => (end === "dialled" ? from.state : to.state),
      restarted: (end) => this.#processes.get(end === "dialled" ? from.host : to.host) !== (end === "dialled" ? from : to),
      isStalled: (source, target) => this.isStalled(source, target),
      over: (end) => void this.#ends.delete(end),
    };
    const dialled = new FakeConnection("dialled", wire, from.host, to.host, formatHostAndPort(to.host, port));
    const accepted = new FakeConnection("accepted", wire, to.host, from.host, formatHostAndPort(from.host, this.#nextPort++));
    dialled.pairWith(accepted);
    accepted.pairWith(dialled);
    this.#ends.add(dialled).add(accepted);
    return { dialled, accepted };
  }
}

function isGone(process: Process): boolean {
  return process.state === "crashed" || process.state === "off";
}
