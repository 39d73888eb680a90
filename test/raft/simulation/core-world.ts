// Owns one simulated cluster of cores: its seats, network, clients and faults, by the choices of a seed.

import { foundingConfiguration } from "../../../lib/dcs/raft/core/configuration.ts";
import type { Configuration, LogEntry, MembershipChange, Message, Output } from "../../../lib/dcs/raft/core/types.ts";
import { logIndex, type MemberId, term } from "../../../lib/model/raft.ts";
import { Random } from "../../simulation/random.ts";
import { EventQueue } from "../../simulation/virtual-clock.ts";
import { CoreClients } from "./core-clients.ts";
import { crashFor } from "./core-faults.ts";
import { CoreNetwork } from "./core-network.ts";
import { type CoreSettings, drawSettings } from "./core-settings.ts";
import { Ledger } from "./ledger.ts";
import type { SavedSnapshot } from "./machine-disk.ts";
import { memberNumber, Seat } from "./seat.ts";
import type { ProtocolPoint, SeatWorld } from "./seat-world.ts";
import { Trace } from "./trace.ts";

export class CoreWorld implements SeatWorld {
  readonly queue = new EventQueue();
  readonly random: Random;
  readonly trace: Trace;
  readonly settings: CoreSettings;
  readonly ledger: Ledger;
  readonly network: CoreNetwork;
  readonly clients: CoreClients;
  readonly timings = { heartbeatMs: 100, electionMinMs: 500, electionMaxMs: 1000 };
  /** Every machine that ever took part and is not gone for good. */
  readonly seats: Seat[] = [];
  readonly diskFactor = new Map<Seat, number>();
  readonly failingSync = new Set<Seat>();
  readonly fullDisks = new Set<Seat>();
  readonly #byId = new Map<MemberId, Seat>();
  #seatCount = 0;
  #healed = false;
  badChunks: number;

  constructor(seed: number, print: ((line: string) => void) | null) {
    this.random = new Random(seed);
    this.trace = new Trace(print);
    this.settings = drawSettings(this.random);
    this.badChunks = this.settings.badChunks;
    const founders = Array.from({ length: this.settings.members }, (_, index) => memberNumber(index));
    const founding = foundingConfiguration(founders);
    this.ledger = new Ledger({
      durable: { holds: (id, index, at) => this.#byId.get(id)?.disk.holds(index, at) ?? false },
      fastestRate: 1 + this.settings.clockError,
      founding,
    });
    this.network = new CoreNetwork(this, this.settings);
    this.clients = new CoreClients(this);
    for (let index = 0; index < this.settings.members; index++) this.#seat(founding);
  }

  get snapshotEvery(): number {
    return this.settings.snapshotEvery;
  }

  snapshotSize(): number {
    return Math.ceil(this.settings.snapshotBytes * this.random.between(0.5, 1.5));
  }

  seatOf(id: MemberId): Seat | null {
    return this.#byId.get(id) ?? null;
  }

  turnDelay(): number {
    return this.settings.turnMs === 0 ? 0 : this.settings.turnMs * this.random.next();
  }

  syncDelay(seat: Seat): number | null {
    if (this.fullDisks.has(seat)) return null;
    return Math.min(SYNC_MAX_MS, this.settings.syncMs * (0.5 + this.random.next()) * (this.diskFactor.get(seat) ?? 1));
  }

  syncFails(seat: Seat): boolean {
    if (!this.failingSync.delete(seat)) return false;
    // The member stops at once; what the sync would have covered may be there or not.
    crashFor(this, seat, this.random.between(100, 3000));
    return true;
  }

  snapshotDelay(seat: Seat): number {
    return this.settings.syncMs * this.random.between(1, 10) * Math.min(10, this.diskFactor.get(seat) ?? 1);
  }

  send(from: Seat, to: MemberId, message: Message): void {
    this.network.send(from, to, message);
  }

  point(seat: Seat, name: ProtocolPoint): boolean {
    const rate = this.settings.points.get(name);
    if (rate === undefined || this.#healed || !this.random.chance(rate)) return false;
    this.trace.fault(this.queue.now, `point-${name}`, seat.name);
    crashFor(this, seat, this.random.pick([5, 100, 1500]) * this.random.between(0.5, 1.5));
    return true;
  }

  answered(seat: Seat, output: Output, entries: readonly LogEntry[]): void {
    this.clients.answered(seat, output, entries);
  }

  /** Whoever leads the highest term. */
  leader(): Seat | null {
    let found: Seat | null = null;
    for (const seat of this.seats) {
      if (!seat.alive || seat.role.role !== "leader") continue;
      if (found === null || seat.role.term > found.role.term) found = seat;
    }
    return found;
  }

  memberCount(): number {
    const { voters, learners } = this.ledger.configuration;
    return voters.length + learners.length;
  }

  change(change: MembershipChange): void {
    this.leader()?.receive({ kind: "change-members", id: this.clients.nextId(), change });
  }

  /** A new machine, with nothing: it belongs to the cluster once the leader's log says so. */
  addSeat(): Seat {
    const seat = this.#seat({ voters: [], outgoing: null, learners: [] });
    seat.start();
    return seat;
  }

  #seat(configuration: Configuration): Seat {
    const number = this.#seatCount;
    this.#seatCount += 1;
    const founding: SavedSnapshot = {
      meta: { index: logIndex(0), term: term(0), time: 0, configuration, configurationIndex: logIndex(0) },
      size: 0,
      hash: 0,
    };
    const { clockError } = this.settings;
    const seat = new Seat(this, { number, founding, rate: 1 + this.random.between(-clockError, clockError) });
    this.seats.push(seat);
    this.#byId.set(seat.member.id, seat);
    return seat;
  }

  restart(seat: Seat): void {
    if (seat.state !== "down" || seat.membership === "removed") return;
    this.giveRoom(seat);
    this.failingSync.delete(seat);
    seat.start();
  }

  giveRoom(seat: Seat): void {
    if (!this.fullDisks.delete(seat)) return;
    seat.receive({ kind: "disk-room" });
    seat.sync();
  }

  heardLost(lost: Seat): void {
    for (const seat of this.seats) {
      if (seat === lost || !this.random.chance(this.settings.lossHeard)) continue;
      this.queue.after(this.settings.delay * (0.5 + this.random.next()), () => seat.receive({ kind: "peer-lost", peer: lost.member.id }));
    }
  }

  /** Nobody can refuse for the sake of a damage that the leader has not heard of. */
  hasUnknownRot(leader: Seat): boolean {
    const followers = leader.raft?.status().followers ?? [];
    const isKnown = (seat: Seat): boolean => followers.find(({ id }) => id === seat.member.id)?.trust === "doubted";
    return this.seats.some((seat) => seat.disk.mark === "damaged" && seat.membership !== "removed" && !isKnown(seat));
  }

  /** Corruption is survived where fewer than a majority have it, in every configuration that somebody believes in. */
  mayRot(victim: Seat): boolean {
    // A learner may be a voter before anybody knows.
    return this.seats.every(({ configuration: { voters, outgoing, learners } }) =>
      [voters, outgoing ?? voters, [...voters, ...learners]].every((set) => {
        const rotten = set.filter(({ id }) => {
          const seat = this.#byId.get(id);
          return seat === victim || seat === undefined || seat.disk.mark === "damaged";
        });
        return set.length === 0 || 2 * rotten.length < set.length;
      }),
    );
  }

  /** Who was a member and is none any more goes for good. */
  retire(): void {
    const { voters, outgoing, learners } = this.ledger.configuration;
    const members = new Set([...voters, ...(outgoing ?? []), ...learners].map(({ id }) => id));
    for (const seat of this.seats) {
      if (members.has(seat.member.id)) seat.membership = "member";
      else if (seat.membership === "member") {
        seat.crash();
        seat.membership = "removed";
      }
    }
  }

  heal(): void {
    this.#healed = true;
    this.badChunks = 0;
    this.network.heal();
    this.failingSync.clear();
    this.diskFactor.clear();
    for (const seat of this.seats) {
      this.giveRoom(seat);
      seat.resume();
      this.restart(seat);
    }
  }
}

/** The slowest disk: it still ends before the time to converge does. */
const SYNC_MAX_MS = 8000;
