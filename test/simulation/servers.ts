// Owns replication between the simulated servers: who streams from whom, with delay and partitions, what clients write, and what is
// acknowledged. Time goes on here in ticks of the clients, all of them handled in order before any other event runs.

import type { FakeServer } from "./fake-server.ts";
import type { Random } from "./random.ts";
import type { EventQueue, SimEvent } from "./virtual-clock.ts";
import { type Branch, containsWal, streamingError, type WalEnd } from "./wal.ts";

/** What the rest of the world is told. */
export interface ServerHooks {
  reaches(from: string, to: string): boolean;
  becamePrimary(server: FakeServer, how: "promoted" | "started"): void;
  /** Commits up to this position were acknowledged; `synchronous`: after waiting for a standby. */
  acknowledged(server: FakeServer, lsn: number, synchronous: boolean): void;
  violation(text: string): void;
  changed(): void;
  /** Clients have written: invariants are looked at before anything else happens. */
  ticked(): void;
  trace(server: FakeServer, text: string): void;
}

/** One walsender with its walreceiver. */
export interface Link {
  readonly from: FakeServer;
  readonly to: FakeServer;
  readonly pid: number;
  /** One way, ms. */
  delay: number;
  /** Without a fault. */
  readonly usualDelay: number;
  /** Sent and not confirmed yet: when, and up to where. Below `received` it has arrived. */
  readonly times: number[];
  readonly positions: number[];
  received: number;
  confirmed: number;
  /** What the sender knows to be flushed. */
  flushed: number;
  stalled: boolean;
  timeout: SimEvent | null;
}

/** wal_retrieve_retry_interval. */
const RETRY_MS = 5000;

export class Servers {
  readonly queue: EventQueue;
  readonly random: Random;
  readonly hooks: ServerHooks;
  readonly all: FakeServer[] = [];
  readonly links: Link[] = [];
  /** host:port → server. */
  readonly byAddress = new Map<string, FakeServer>();
  /** wal_sender_timeout, wal_receiver_timeout. */
  readonly walTimeout: number;
  readonly #writeEvery: number;
  #nextWrite: number;
  #branches = 0;
  #newestTimeline = 1;
  readonly reuseTimelines: boolean;
  #pids = 50_000;
  /** Commits that clients asked for and that were acknowledged at once or later. */
  commits = 0;

  constructor(options: {
    readonly queue: EventQueue;
    readonly random: Random;
    readonly hooks: ServerHooks;
    readonly reuseTimelines: boolean;
  }) {
    this.reuseTimelines = options.reuseTimelines;
    this.queue = options.queue;
    this.random = options.random;
    this.hooks = options.hooks;
    this.walTimeout = this.random.between(5000, 60_000);
    this.#writeEvery = this.random.between(150, 1500);
    this.#nextWrite = this.#writeEvery;
  }

  fork(from: WalEnd | null, timeline: number, systemIdentifier = ""): Branch {
    this.#branches += 1;
    return {
      id: this.#branches,
      timeline,
      parent: from?.branch ?? null,
      forkedAt: from?.lsn ?? 0,
      systemIdentifier: from?.branch.systemIdentifier ?? systemIdentifier,
    };
  }

  /** PostgreSQL takes the number after the newest that it has heard of, so two servers may take the same (plants.ts). */
  nextTimeline(own: number): number {
    this.#newestTimeline = this.reuseTimelines ? own + 1 : Math.max(own, this.#newestTimeline) + 1;
    return this.#newestTimeline;
  }

  /** Handles everything that happens on its own until then. To be called before time moves. */
  advance(to: number): void {
    while (this.#nextWrite <= to) {
      const at = this.#nextWrite;
      this.#nextWrite += this.#writeEvery * (0.5 + this.random.next());
      this.queue.now = at;
      this.#deliver(at);
      for (const server of this.all) {
        if (!server.writable) continue;
        this.append(server, 100 + Math.floor(this.random.next() * 4000), at);
        if (!server.commitsWait) this.#acknowledge(server, server.lsn, false);
      }
      this.hooks.ticked();
    }
  }

  /** Brings what is under way up to the present. */
  settle(): void {
    this.#deliver(this.queue.now);
  }

  append(server: FakeServer, bytes: number, at: number): void {
    server.lsn += bytes;
    this.#send(server, at);
  }

  /** Tries to stream from the target that the standby has; goes on trying as PostgreSQL does. */
  connect(standby: FakeServer): void {
    if (standby.link !== null || !standby.up || !standby.inRecovery || standby.target === null) return;
    const upstream = this.byAddress.get(`${standby.target.host}:${standby.target.port}`);
    const error = upstream === undefined ? "no such host" : this.#refusal(standby, upstream);
    const { target } = standby;
    if (error !== null || upstream === undefined) {
      standby.later(RETRY_MS, () => {
        if (standby.target === target) this.connect(standby);
      });
      return;
    }
    if (!containsWal(upstream.wal, standby.wal)) {
      this.hooks.violation(
        `${standby.name} (timeline ${standby.wal.branch.timeline}, ${standby.lsn}) streams from ${upstream.name} (timeline ${upstream.wal.branch.timeline}, ${upstream.lsn}), which does not contain its WAL`,
      );
    }
    this.#pids += 1;
    const usualDelay = this.random.between(0.2, this.random.chance(0.1) ? 200 : 5);
    const link: Link = {
      from: upstream,
      to: standby,
      pid: this.#pids,
      delay: usualDelay,
      usualDelay,
      times: [],
      positions: [],
      received: 0,
      confirmed: 0,
      flushed: standby.lsn,
      stalled: false,
      timeout: null,
    };
    standby.link = link;
    upstream.senders.push(link);
    upstream.standbysChanged();
    this.links.push(link);
    this.hooks.trace(standby, `streams from ${upstream.name} at ${standby.lsn}`);
    this.#push(link, this.queue.now, upstream.lsn);
    this.hooks.changed();
  }

  #refusal(standby: FakeServer, upstream: FakeServer): string | null {
    if (upstream === standby) return "itself";
    if (!upstream.up || upstream.hung || upstream.frozen) return "no answer";
    if (!this.hooks.reaches(standby.name, upstream.name) || !this.hooks.reaches(upstream.name, standby.name)) return "no route";
    const slot = standby.target?.slotName ?? null;
    if (slot !== null && !upstream.slots.has(slot)) return `replication slot ${slot} does not exist`;
    return streamingError(standby.wal, upstream.wal);
  }

  /** The standby's walreceiver ends. */
  disconnect(standby: FakeServer): void {
    if (standby.link !== null) this.drop(standby.link);
  }

  drop(link: Link): void {
    if (link.timeout !== null) link.timeout.run = null;
    if (link.to.link === link) link.to.link = null;
    remove(link.from.senders, link);
    link.from.standbysChanged();
    remove(this.links, link);
    const { to } = link;
    if (to.up && to.inRecovery) {
      const target = to.target;
      to.later(this.random.between(5, RETRY_MS), () => {
        if (to.target === target) this.connect(to);
      });
    }
    this.hooks.changed();
  }

  /** Its connections are reset where the other side can be reached; else the other side finds out by its timeout. */
  serverGone(server: FakeServer): void {
    for (const link of [...server.senders]) {
      if (this.hooks.reaches(server.name, link.to.name)) this.drop(link);
      else this.#stall(link);
    }
  }

  /** The network changed: links stall and go on. */
  lookAtLinks(): void {
    for (const link of [...this.links]) {
      const open =
        this.hooks.reaches(link.from.name, link.to.name) &&
        this.hooks.reaches(link.to.name, link.from.name) &&
        link.from.postmaster !== null;
      if (!open) this.#stall(link);
      else if (link.stalled) {
        link.stalled = false;
        if (link.timeout !== null) link.timeout.run = null;
        link.timeout = null;
      }
    }
    this.hooks.changed();
  }

  #stall(link: Link): void {
    link.stalled = true;
    link.timeout ??= this.queue.after(this.walTimeout, () => {
      link.timeout = null;
      this.drop(link);
    });
  }

  #send(server: FakeServer, at: number): void {
    for (const link of server.senders) this.#push(link, at, server.lsn);
  }

  #push(link: Link, at: number, position: number): void {
    link.times.push(at);
    link.positions.push(position);
  }

  #deliver(now: number): void {
    for (const link of this.links) {
      if (link.stalled || link.to.hung || link.to.frozen || link.from.frozen || link.from.hung) continue;
      this.#receive(link, now);
    }
    for (const server of this.all) {
      if (server.acknowledged < server.lsn && server.writable) this.#confirm(server);
    }
  }

  #receive(link: Link, now: number): void {
    const { times, positions, to } = link;
    const before = to.lsn;
    while (link.received < times.length && (times[link.received] as number) + link.delay <= now) {
      const position = positions[link.received] as number;
      link.received += 1;
      if (position > to.lsn) to.lsn = position;
      to.branch = link.from.branch;
    }
    if (to.lsn !== before && to.senders.length > 0) this.#send(to, now);
    while (link.confirmed < link.received && (times[link.confirmed] as number) + 2 * link.delay <= now) {
      link.flushed = Math.max(link.flushed, positions[link.confirmed] as number);
      link.confirmed += 1;
    }
    if (link.confirmed === times.length && times.length > 0) {
      times.length = 0;
      positions.length = 0;
      link.received = 0;
      link.confirmed = 0;
    }
  }

  #confirm(server: FakeServer): void {
    const position = server.commitsWait ? synchronousPosition(server) : server.lsn;
    if (position > server.acknowledged) this.#acknowledge(server, Math.min(position, server.lsn), server.commitsWait);
  }

  #acknowledge(server: FakeServer, position: number, synchronous: boolean): void {
    server.acknowledged = position;
    this.commits += 1;
    this.hooks.acknowledged(server, position, synchronous);
  }
}

/** The standbys that count now: by the order of the setting, or all that it names. */
export function synchronousLinks(server: FakeServer): readonly Link[] {
  const { count, names, method } = server.sync;
  const chosen: Link[] = [];
  for (const name of names) {
    const link = linkTo(server, name);
    if (link !== null && (method === "any" || chosen.length < count)) chosen.push(link);
  }
  return chosen;
}

/** Up to where enough standbys have confirmed; -1 where there are too few. */
function synchronousPosition(server: FakeServer): number {
  const { count, names, method } = server.sync;
  if (method === "any") return quorumPosition(server);
  let chosen = 0;
  let lowest = Number.POSITIVE_INFINITY;
  for (let index = 0; index < names.length && chosen < count; index += 1) {
    const link = linkTo(server, names[index]);
    if (link === null) continue;
    chosen += 1;
    if (link.flushed < lowest) lowest = link.flushed;
  }
  return chosen < count ? -1 : lowest;
}

/** The highest position that `count` standbys have reached. */
function quorumPosition(server: FakeServer): number {
  const flushed = synchronousLinks(server).map((link) => link.flushed);
  flushed.sort((a, b) => b - a);
  return flushed[server.sync.count - 1] ?? -1;
}

function linkTo(server: FakeServer, name: string | undefined): Link | null {
  for (const link of server.senders) if (link.to.name === name) return link;
  return null;
}

/** Can it acknowledge a write at this instant? */
export function acknowledges(server: FakeServer): boolean {
  if (!server.writable || server.making) return false;
  if (!server.commitsWait) return true;
  const { count, names, method } = server.sync;
  let chosen = 0;
  for (let index = 0; index < names.length && chosen < count; index += 1) {
    const link = linkTo(server, names[index]);
    if (link === null) continue;
    if (!link.stalled && !link.to.hung && !link.to.frozen) chosen += 1;
    else if (method === "first") return false;
  }
  return chosen >= count;
}

function remove<T>(list: T[], item: T): void {
  const index = list.indexOf(item);
  if (index >= 0) list.splice(index, 1);
}
