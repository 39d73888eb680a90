// Owns how long the slot of a member that is away is kept (member_slots_ttl): a replica that is restarted finds its WAL.

import type { Clock } from "../model/clock.ts";
import type { SlotStatus } from "../model/postgres.ts";
import type { Ms } from "../model/units.ts";

export class SlotMemory {
  readonly #clock: Clock;
  /** Slot → when its member was last known. */
  readonly #seenAt = new Map<string, Ms>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes note of the members' slots and of those that the server has. Value: what may not be dropped yet. */
  kept(wanted: readonly string[], present: readonly SlotStatus[], ttl: Ms): readonly string[] {
    const now = this.#clock.now();
    for (const name of wanted) this.#seenAt.set(name, now);
    for (const { name, type } of present) {
      if (type === "physical" && !this.#seenAt.has(name)) this.#seenAt.set(name, now);
    }
    for (const [name, seenAt] of this.#seenAt) if (now - seenAt > ttl) this.#seenAt.delete(name);
    return [...this.#seenAt.keys()].filter((name) => !wanted.includes(name));
  }

  /** A slot that was kept for a member that is away has had its time. */
  isDue(wanted: readonly string[], ttl: Ms): boolean {
    const now = this.#clock.now();
    for (const [name, seenAt] of this.#seenAt) if (!wanted.includes(name) && now - seenAt > ttl) return true;
    return false;
  }
}
