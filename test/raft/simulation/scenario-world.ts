// Owns a cluster of cores that a scenario file drives step by step: nothing is delivered, synced or timed out by itself, and every
// member has a clock of its own that moves only when the file says so. The checks are those of the simulation.

import { foundingConfiguration } from "../../../lib/dcs/raft/core/configuration.ts";
import type { Configuration, LogEntry, Message, Output } from "../../../lib/dcs/raft/core/types.ts";
import { logIndex, type MemberId, term } from "../../../lib/model/raft.ts";
import { Random } from "../../simulation/random.ts";
import { EventQueue } from "../../simulation/virtual-clock.ts";
import { Ledger } from "./ledger.ts";
import { memberNumber, Seat } from "./seat.ts";
import type { SeatWorld } from "./seat-world.ts";
import { Trace, Violation } from "./trace.ts";

export interface UnderWay {
  readonly from: Seat;
  readonly to: Seat;
  readonly message: Message;
}

/** Real time that passes with each command: clocks of members may be ahead of it, so cluster time may be as well. */
const STEP_MS = 1;
const FASTEST_RATE = 1_000_000;

/** Every election timeout is the longest: who should stand is told so by the file. No two draws are the same. */
class Longest extends Random {
  #draws = 0;

  constructor() {
    super(1);
  }

  override next(): number {
    this.#draws += 1;
    return 0.999 + this.#draws * 1e-8;
  }
}

export class ScenarioWorld implements SeatWorld {
  readonly queue = new EventQueue();
  readonly random = new Longest();
  readonly trace = new Trace(null);
  readonly ledger: Ledger;
  readonly timings = { heartbeatMs: 100, electionMinMs: 500, electionMaxMs: 1000 };
  readonly snapshotEvery = Number.POSITIVE_INFINITY;
  readonly badChunks = 0;
  readonly seats: Seat[] = [];
  /** In the order in which they were sent. */
  underWay: UnderWay[] = [];
  /** Whose syncs wait for a command. */
  readonly held = new Set<Seat>();
  /** What clients were told, since the last look. */
  answers: string[] = [];
  readonly #reads = new Map<number, number>();
  #ids = 0;

  constructor(members: number) {
    const founding = foundingConfiguration(Array.from({ length: members }, (_, index) => memberNumber(index)));
    this.ledger = new Ledger({
      durable: { holds: (id, index, at) => this.seatOf(id)?.disk.holds(index, at) ?? false },
      fastestRate: FASTEST_RATE,
      founding,
    });
    for (let index = 0; index < members; index++) this.#seat(founding).start();
    this.settle();
  }

  /** A machine that belongs to nobody yet. */
  newcomer(): Seat {
    const seat = this.#seat({ voters: [], outgoing: null, learners: [] });
    seat.start();
    this.settle();
    return seat;
  }

  #seat(configuration: Configuration): Seat {
    const meta = { index: logIndex(0), term: term(0), time: 0, configuration, configurationIndex: logIndex(0) };
    const seat = new Seat(this, { number: this.seats.length, founding: { meta, size: 0, hash: 0 }, rate: 1 });
    this.seats.push(seat);
    return seat;
  }

  seatOf(id: MemberId): Seat | null {
    return this.seats.find(({ member }) => member.id === id) ?? null;
  }

  nextId(): number {
    this.#ids += 1;
    return this.#ids;
  }

  /** Lets disks that are not held finish; time stands still for everybody's timers, as their clocks do not move. */
  settle(): void {
    const end = this.queue.now + STEP_MS;
    while (this.queue.nextTime() <= end) this.queue.runNext();
    this.queue.now = end;
  }

  /** It has not heard of its leader for long enough to help another one; a leader has not heard of a majority. */
  forget(seat: Seat): void {
    if (seat.role.role === "leader") {
      this.wait(seat, 2 * this.timings.electionMaxMs);
      seat.receive({ kind: "tick" });
      this.settle();
    } else if (seat.role.leader !== null) this.wait(seat, 1.2 * this.timings.electionMinMs);
  }

  /** Moves the member's clock without telling it. */
  wait(seat: Seat, forMs: number): void {
    seat.clock.offset += forMs;
  }

  deliver(which: (way: UnderWay) => boolean): number {
    const chosen = this.underWay.filter(which);
    this.underWay = this.underWay.filter((way) => !chosen.includes(way));
    for (const { from, to, message } of chosen) to.receive({ kind: "message", from: from.member.id, message });
    this.settle();
    return chosen.length;
  }

  read(seat: Seat): void {
    const id = this.nextId();
    this.#reads.set(id, this.ledger.committed);
    seat.receive({ kind: "read", id });
    this.settle();
  }

  snapshotSize(): number {
    return 100;
  }

  turnDelay(): number {
    return 0;
  }

  syncDelay(seat: Seat): number | null {
    return this.held.has(seat) ? null : 0;
  }

  syncFails(): boolean {
    return false;
  }

  snapshotDelay(): number {
    return 0;
  }

  send(from: Seat, to: MemberId, message: Message): void {
    const target = this.seatOf(to);
    if (target !== null) this.underWay.push({ from, to: target, message });
  }

  point(): boolean {
    return false;
  }

  answered(seat: Seat, output: Output, _entries: readonly LogEntry[]): void {
    for (const { id, index } of output.accepted) this.answers.push(`${seat.name} accepts #${id} at ${index}`);
    for (const { id, refusal } of output.refused) {
      this.#reads.delete(id);
      this.answers.push(`${seat.name} refuses #${id}: ${refusal.kind}${refusal.kind === "not-leader" ? "" : ` (${refusal.reason})`}`);
    }
    for (const { id, index } of output.readsReady) {
      const least = this.#reads.get(id) ?? 0;
      if (index < least)
        throw new Violation(`read #${id} is answered at ${index} by ${seat.name}; ${least} was committed before it was asked`);
      this.answers.push(`${seat.name} reads #${id} at ${index}`);
    }
  }
}
