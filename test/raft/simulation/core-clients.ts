// Owns the clients of simulated cores: proposals and reads at random members, and the check that a linearizable read is
// answered from no less than what was committed when it was asked.

import type { LogEntry, Output } from "../../../lib/dcs/raft/core/types.ts";
import type { CoreWorld } from "./core-world.ts";
import { commandPayload } from "./ledger.ts";
import type { Seat } from "./seat.ts";
import { Violation } from "./trace.ts";

export class CoreClients {
  readonly #world: CoreWorld;
  #ids = 0;
  /** By read: the last committed index when it was asked. */
  readonly #reads = new Map<number, number>();
  /** By index: what its proposer was told. */
  readonly #accepted: ({ readonly id: number; readonly term: number; readonly seat: Seat; readonly life: number } | undefined)[] = [];
  acknowledged = 0;
  readsAnswered = 0;

  constructor(world: CoreWorld) {
    this.#world = world;
  }

  nextId(): number {
    this.#ids += 1;
    return this.#ids;
  }

  /** One operation now: mostly at the leader, sometimes at anybody. */
  operate(): void {
    const { random, seats, settings } = this.#world;
    const seat = random.chance(0.8) ? (this.#world.leader() ?? random.pick(seats)) : random.pick(seats);
    if (random.chance(settings.readShare)) this.read(seat);
    else for (let count = random.chance(0.1) ? random.whole(2, 40) : 1; count > 0; count--) this.propose(seat);
  }

  propose(seat: Seat): void {
    const id = this.nextId();
    seat.receive({ kind: "propose", id, payload: commandPayload(id) });
  }

  read(seat: Seat): void {
    const id = this.nextId();
    if (!seat.alive) return;
    this.#reads.set(id, this.#world.ledger.committed);
    seat.receive({ kind: "read", id });
  }

  answered(seat: Seat, output: Output, entries: readonly LogEntry[]): void {
    for (const { id, index, term } of output.accepted) {
      const leads = seat.role.role === "leader" && seat.role.term === term;
      if (leads && seat.written.termAt(index) !== term && index > seat.written.base)
        throw new Violation(
          `${seat.name} says that #${id} stands at ${index} of term ${term}; there is term ${seat.written.termAt(index) ?? "none"}`,
        );
      this.#accepted[index] = { id, term, seat, life: seat.life };
    }
    for (const entry of entries) {
      const waiting = this.#accepted[entry.index];
      if (waiting === undefined || waiting.seat !== seat || waiting.life !== seat.life) continue;
      this.#accepted[entry.index] = undefined;
      if (waiting.term === entry.term) this.acknowledged += 1;
    }
    for (const { id, index } of output.readsReady) {
      const least = this.#reads.get(id);
      if (least === undefined) continue;
      if (index < least)
        throw new Violation(`read #${id} is answered at ${index} by ${seat.name}; ${least} was committed before it was asked`);
      this.#reads.delete(id);
      this.readsAnswered += 1;
    }
    for (const { id } of output.refused) this.#reads.delete(id);
  }
}
