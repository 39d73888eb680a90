// Owns the leader's proposals to end sessions whose time is over. The machine says which are due and judges each proposal
// again when it is applied; here is only the alarm, by the leader's cluster time.

import type { Clock } from "../../../model/clock.ts";
import { ms } from "../../../model/units.ts";
import { encodeEnvelope } from "../kv/command-codec.ts";
import type { KeyValueMachine } from "../kv/machine.ts";
import type { Engine } from "./engine.ts";

/** After proposals were refused (a transfer runs, too much is uncommitted). */
const AGAIN_MS = 50;

export class Expiry {
  readonly #engine: Engine;
  readonly #machine: KeyValueMachine;
  readonly #clock: Clock;
  #alarm: { /** Cluster time. */ readonly due: number; readonly stop: AbortController } | null = null;
  #proposed = 0;
  #leads = false;

  constructor(options: { readonly engine: Engine; readonly machine: KeyValueMachine; readonly clock: Clock }) {
    this.#engine = options.engine;
    this.#machine = options.machine;
    this.#clock = options.clock;
  }

  lead(leads: boolean): void {
    this.#leads = leads;
    if (leads) this.review();
    else this.stop();
  }

  /** The earliest deadline may be another one: entries were applied. */
  review(): void {
    if (!this.#leads || this.#proposed > 0) return;
    const due = this.#machine.nextExpiryAt;
    // An alarm that is too early only looks again: most renewals move the deadline back.
    if (due === null || (this.#alarm !== null && this.#alarm.due <= due)) return;
    this.#arm(due, this.#clock.now() + Math.max(0, due - this.#engine.status().clusterTime));
  }

  stop(): void {
    this.#alarm?.stop.abort();
    this.#alarm = null;
  }

  #arm(due: number, at: number): void {
    this.stop();
    const alarm = { due, stop: new AbortController() };
    this.#alarm = alarm;
    void this.#clock.sleepUntil(ms(at), alarm.stop.signal).then(() => {
      if (this.#alarm !== alarm) return;
      this.#alarm = null;
      this.#propose();
    });
  }

  /** All that is due at once; the next ones after these have been answered. */
  #propose(): void {
    if (!this.#leads || this.#proposed > 0) return;
    const due = this.#machine.dueExpiries(this.#engine.status().clusterTime);
    if (due.length === 0) {
      this.review();
      return;
    }
    this.#proposed = due.length;
    let refused = false;
    for (const command of due) {
      const payload = encodeEnvelope({ client: null, sequence: 0, acknowledged: 0, command });
      this.#engine.propose(payload, (outcome) => {
        refused ||= outcome.kind === "refused";
        if (--this.#proposed > 0 || !this.#leads) return;
        if (refused) this.#arm(Number.NEGATIVE_INFINITY, this.#clock.now() + AGAIN_MS);
        else this.review();
      });
    }
  }
}
