// Owns the ways between simulated cores: delay, loss, duplication, reordering and cuts, each in one direction. What is under
// way to a process that dies is lost with it where connections are streams.

import type { Message } from "../../../lib/dcs/raft/core/types.ts";
import type { MemberId } from "../../../lib/model/raft.ts";
import type { Fires, SimEvent } from "../../simulation/virtual-clock.ts";
import type { CoreSettings } from "./core-settings.ts";
import type { Seat } from "./seat.ts";
import type { SeatWorld } from "./seat-world.ts";

export class CoreNetwork {
  readonly #world: SeatWorld;
  readonly #settings: CoreSettings;
  /** `from * 64 + to`. */
  readonly #cut = new Set<number>();
  readonly #slow = new Map<number, number>();
  #healed = false;

  constructor(world: SeatWorld, settings: CoreSettings) {
    this.#world = world;
    this.#settings = settings;
  }

  send(from: Seat, to: MemberId, message: Message): void {
    const target = this.#world.seatOf(to);
    if (target === null) return;
    const { random } = this.#world;
    const { drop, duplicate } = this.#settings;
    const way = from.number * WAY + target.number;
    if (this.#cut.has(way)) return;
    if (!this.#healed && drop > 0 && random.chance(drop)) return;
    this.#carry(from, target, way, message);
    if (!this.#healed && duplicate > 0 && random.chance(duplicate)) this.#carry(from, target, way, message);
  }

  #carry(from: Seat, target: Seat, way: number, message: Message): void {
    const { random, queue } = this.#world;
    const { delay, late } = this.#settings;
    let takes = delay * (0.5 + random.next()) * (this.#slow.get(way) ?? 1);
    if (!this.#healed && late > 0 && random.chance(late)) takes *= random.pick([10, 100, 1000]);
    queue.enter(queue.now + takes, new Delivery(this, from, target, way, message));
  }

  /** At the end of its way: what was cut meanwhile, or died with the process that it was for, does not arrive. */
  arrive(delivery: Delivery): void {
    if (this.#cut.has(delivery.way) || (this.#settings.network === "streams" && delivery.target.life !== delivery.life)) return;
    delivery.target.receive(delivery);
  }

  cut(from: Seat, to: Seat): void {
    if (from !== to) this.#cut.add(from.number * WAY + to.number);
  }

  mend(from: Seat, to: Seat): void {
    this.#cut.delete(from.number * WAY + to.number);
  }

  slow(from: Seat, to: Seat, factor: number): void {
    this.#slow.set(from.number * WAY + to.number, factor);
  }

  mendAll(): void {
    this.#cut.clear();
    this.#slow.clear();
  }

  /** No loss, no duplicates, nothing late any more. */
  heal(): void {
    this.#healed = true;
    this.mendAll();
  }
}

const WAY = 1024;

/** A message on its way, and the event that it is for its receiver: one object, as most of what happens is this. */
class Delivery implements SimEvent, Fires {
  readonly kind = "message";
  readonly from: MemberId;
  readonly message: Message;
  readonly target: Seat;
  readonly way: number;
  /** Of the target, when it was sent. */
  readonly life: number;
  run: (() => void) | Fires | null = this;
  readonly #network: CoreNetwork;

  constructor(network: CoreNetwork, from: Seat, target: Seat, way: number, message: Message) {
    this.#network = network;
    this.from = from.member.id;
    this.target = target;
    this.way = way;
    this.message = message;
    this.life = target.life;
  }

  fire(): void {
    this.#network.arrive(this);
  }
}
