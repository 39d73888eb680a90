// Owns that the session follows the ttl in force: what it was last asked for, and when it is asked again. How the keys go
// over to another session is in dcs/session-move.ts.

import { describeStoreError } from "../model/errors.ts";
import type { Ms } from "../model/units.ts";
import { dcsDeadline } from "./lease-bounds.ts";
import type { NodeContext } from "./node-context.ts";

export class SessionTtl {
  readonly #context: NodeContext;
  /** The ttl that the session has and that leases are counted with; null while the two may differ. */
  #settled: Ms | null;

  constructor(context: NodeContext) {
    this.#context = context;
    this.#settled = context.state.settings.dynamic.ttlMs;
  }

  /** Nothing is to be done. */
  get settled(): boolean {
    return this.#settled === this.#context.state.settings.dynamic.ttlMs;
  }

  /** Between two cycles, so that no rule sees the lock on its way from one session to the other. */
  async follow(): Promise<void> {
    const { state, store, log } = this.#context;
    if (this.settled || state.task !== null || state.dcsFailure !== null) return;
    const ttl = state.settings.dynamic.ttlMs;
    // From this call on leases are counted with it, whatever becomes of the session: a ttl that goes back to the former one
    // before the session has followed has to be told as well.
    this.#settled = null;
    const changed = await store.reloadConfig({ ttl, deadline: dcsDeadline(this.#context) });
    if (!changed.ok) log.warning(`the session keeps its former TTL for now: ${describeStoreError(changed.error)}`);
    else if (!changed.value.pending) this.#settled = ttl;
    if (changed.ok && changed.value.lock !== null) state.hold(changed.value.lock);
  }
}
