// Owns what a request needs to know of the leader: who it is, whether it can be reached, and waiting for that to change.

import type { Clock } from "../../../model/clock.ts";
import type { MemberId } from "../../../model/raft.ts";
import { type Ms, ms } from "../../../model/units.ts";
import type { Deadlines } from "../deadlines.ts";
import type { Engine } from "./engine.ts";
import type { Forwarder } from "./forwarder.ts";

/** Without news, the leader is looked at again after this long: it may lead already without our knowing. */
const LOOK_AGAIN_MS = 50;

export type Leader = { readonly kind: "self" } | { readonly kind: "other"; readonly id: MemberId } | { readonly kind: "none" };

export class Leadership {
  readonly #engine: Engine;
  readonly #forwarder: Forwarder;
  readonly #clock: Clock;
  readonly #deadlines: Deadlines;
  readonly #waiting = new Set<() => void>();

  constructor(options: { readonly engine: Engine; readonly forwarder: Forwarder; readonly clock: Clock; readonly deadlines: Deadlines }) {
    this.#engine = options.engine;
    this.#forwarder = options.forwarder;
    this.#clock = options.clock;
    this.#deadlines = options.deadlines;
  }

  /** `none` also where the leader is known and not connected. */
  get current(): Leader {
    const { role, leader } = this.#engine.role;
    if (role === "leader") return { kind: "self" };
    return leader !== null && this.#forwarder.isConnected(leader) ? { kind: "other", id: leader } : { kind: "none" };
  }

  /** Role, leader or its connection is another one. */
  changed(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** Resolves when something has changed, and after a moment in any case; false once `until` is over. */
  async change(until: Ms): Promise<boolean> {
    const now = this.#clock.now();
    if (now >= until) return false;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        cancel();
        this.#waiting.delete(wake);
        resolve();
      };
      const cancel = this.#deadlines.add(ms(Math.min(until, now + LOOK_AGAIN_MS)), wake);
      this.#waiting.add(wake);
    });
    return true;
  }
}
