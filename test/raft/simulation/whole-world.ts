// Owns one simulated cluster of whole members: driver, storage, transport, core and key-value machine as in production, over
// fake disks, a fake network and virtual clocks.

import { drainMicrotasks } from "bun:jsc";
import { Random } from "../../simulation/random.ts";
import { EventQueue } from "../../simulation/virtual-clock.ts";
import { FakeNetwork } from "../fake-network.ts";
import { Host, type HostWorld } from "./host.ts";
import { LeaseHolders } from "./lease-holders.ts";
import { Trace, Violation } from "./trace.ts";
import { WholeClients } from "./whole-clients.ts";
import { WholeObserver } from "./whole-observer.ts";
import { drawWholeSettings, type WholeSettings } from "./whole-settings.ts";
import { WholeWatchers } from "./whole-watchers.ts";

/** A run that needs more than this many steps does not end. */
const STEPS_MAX = 5_000_000;

export class WholeWorld implements HostWorld {
  readonly queue = new EventQueue();
  readonly random: Random;
  readonly trace: Trace;
  readonly settings: WholeSettings;
  readonly network: FakeNetwork;
  readonly founders: readonly string[];
  readonly hosts: readonly Host[];
  readonly clients: WholeClients;
  readonly watchers: WholeWatchers;
  readonly holders: LeaseHolders;
  readonly observer: WholeObserver;
  /** Has lost something that was durable; nobody else may until it is a whole voter again. */
  hurt: Host | null = null;
  steps = 0;
  #healed = false;

  constructor(seed: number, print: ((line: string) => void) | null) {
    this.random = new Random(seed);
    this.trace = new Trace(print);
    this.settings = drawWholeSettings(this.random);
    const { members, delayMs, arrival } = this.settings;
    const { queue, random } = this;
    this.network = new FakeNetwork({
      schedule: { now: () => queue.now, at: (instant, run) => void queue.at(instant, run) },
      random: () => random.next(),
      delayMs: () => delayMs * (0.5 + random.next()),
      arrival,
    });
    this.founders = Array.from({ length: members }, (_, index) => `m${index + 1}:2380`);
    this.hosts = this.founders.map((_, index) => new Host(this, index + 1));
    this.clients = new WholeClients(this);
    this.watchers = new WholeWatchers(this);
    this.holders = new LeaseHolders(this);
    this.observer = new WholeObserver({ trace: this.trace, historyMax: this.settings.historyMax, now: () => queue.now });
  }

  runUntil(end: number): void {
    const { queue } = this;
    while (queue.nextTime() <= end) {
      queue.runNext();
      drainMicrotasks();
      this.steps += 1;
      if (this.observer.violation !== null) throw this.observer.violation;
      if (this.holders.violation !== null) throw this.holders.violation;
      if (this.steps > STEPS_MAX) throw new Violation(`${STEPS_MAX} steps: the members keep each other busy without end`);
    }
    queue.now = end;
  }

  anyAlive(): Host | null {
    const alive = this.hosts.filter((host) => host.alive);
    return alive.length === 0 ? null : this.random.pick(alive);
  }

  /** Who leads the highest term, by its own word. */
  leader(): Host | null {
    let found: { readonly host: Host; readonly term: number } | null = null;
    for (const host of this.hosts) {
      const status = host.alive ? (host.node?.status() ?? null) : null;
      if (status?.role !== "leader" || (found !== null && found.term >= status.term)) continue;
      found = { host, term: status.term };
    }
    return found?.host ?? null;
  }

  /** Three are needed to do without one, and one at a time. */
  mayHurt(host: Host): boolean {
    if (this.hurt !== null && this.isWhole(this.hurt)) this.hurt = null;
    // While a change is under way the voters before it count as well, and one of them may be gone already. Where all is committed none is:
    // a committed joint configuration is followed by the next one at once.
    const status = this.leader()?.node?.status() ?? null;
    const settled = status !== null && status.commit === status.lastIndex && status.members.every(({ part }) => part === "voter");
    return settled && this.hurt === null && this.hosts.length >= 3 && this.hosts.every((other) => other === host || this.isWhole(other));
  }

  /** A voter of what the leader believes in, with its log whole and nearly at the end. */
  isWhole(host: Host): boolean {
    const leader = this.leader()?.node?.status() ?? null;
    const status = host.alive ? (host.node?.status() ?? null) : null;
    if (leader === null || status === null) return false;
    const entry = leader.members.find(({ id }) => id === status.member.id);
    const there = leader.member.id === status.member.id || (entry?.matched ?? 0) >= leader.commit;
    return status.state === "serving" && status.log === "whole" && entry?.part === "voter" && there;
  }

  restartLater(host: Host): void {
    this.queue.after(this.random.pick([10, 200, 2000]) * this.random.between(0.5, 1.5), () => this.restart(host));
  }

  /** As whoever looks after the machine would: a folder that the member refuses is emptied where that is what its message says. */
  restart(host: Host): void {
    if (host.state !== "down") return;
    const removed = host.fault?.includes(REMOVED) === true;
    if (removed || (host.fault !== null && host === this.hurt && host.refusals >= REFUSALS_BEFORE_WIPE)) host.wipe();
    host.start();
  }

  mendLater(): void {
    this.queue.after(this.random.pick([200, 1500, 5000]) * this.random.between(0.5, 1.5), () => this.network.healAll());
  }

  /** Members that stopped by themselves are started again, now and then. */
  tend(): void {
    for (const host of this.hosts) if (host.state === "down" && host.fault !== null) this.restart(host);
    this.queue.after(1000, () => this.tend());
  }

  get healed(): boolean {
    return this.#healed;
  }

  heal(): void {
    this.#healed = true;
    this.network.healAll();
    for (const host of this.hosts) {
      host.disk.full = false;
      host.disk.fault = null;
      host.diskFactor = 1;
      host.resume();
      this.restart(host);
    }
  }
}

/** What a member says that was taken out of the cluster: its operator empties the folder. */
const REMOVED = "was removed from the cluster";
/** A start that fails may also be a fault of the moment (a full disk). */
const REFUSALS_BEFORE_WIPE = 3;
