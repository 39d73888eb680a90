// Owns that the session follows the ttl and the check in force: what it was last asked for, and when it is asked again. How the keys go
// over to another session is in dcs/session-move.ts.

import { describeStoreError } from "../model/errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { Ms } from "../model/units.ts";
import { settleLease } from "./confirmed-lock.ts";
import { dcsDeadline } from "./lease-bounds.ts";
import type { NodeContext } from "./node-context.ts";

export class SessionTtl {
  readonly #context: NodeContext;
  /** What the session has and leases are counted with; null while the two may differ. */
  #settled: { readonly ttl: Ms; readonly sessionCheckTtl: Ms | null } | null;

  /** Why the last exchange of the session failed. */
  #told = "";

  constructor(context: NodeContext) {
    this.#context = context;
    this.#settled = wantedOf(context);
  }

  /** Nothing is to be done. */
  get settled(): boolean {
    const { state, store } = this.#context;
    // One that was adopted may have another check than is wanted here.
    if (store.sessionOutdated) return false;
    return this.#settled?.ttl === state.settings.dynamic.ttlMs && this.#settled.sessionCheckTtl === sessionCheckOf(state.settings.node);
  }

  /** Between two cycles, so that no rule sees the lock on its way from one session to the other. */
  async follow(): Promise<void> {
    const { state, store, log } = this.#context;
    if (this.settled || state.task !== null || state.dcsFailure !== null) return;
    const wanted = wantedOf(this.#context);
    // From this call on leases are counted with it, whatever becomes of the session: a ttl that goes back to the former one
    // before the session has followed has to be told as well.
    this.#settled = null;
    const changed = await store.reloadConfig({ ...wanted, deadline: dcsDeadline(this.#context) });
    if (!changed.ok) {
      // Tried again in each cycle, for as long as the store is against it.
      const why = describeStoreError(changed.error);
      if (why !== this.#told) log.warning(`the session stays what it was for now, without another TTL or check: ${why}`);
      this.#told = why;
    } else if (!changed.value.pending) this.#settled = wanted;
    if (!changed.ok) return;
    this.#told = "";
    if (changed.value.lock === null) return;
    state.hold(changed.value.lock);
    // At once: whoever goes on for a supervisor that dies now knows the lease under this session, and no longer under the former one.
    await settleLease(this.#context, changed.value.lock);
  }
}

/** Of the check that ends this node's session; null where none is wanted, or the store has no such thing. */
export function sessionCheckOf({ consul }: Pick<NodeConfig, "consul">): Ms | null {
  return consul?.sessionCheckTtlMs ?? null;
}

function wantedOf({ state }: NodeContext): { readonly ttl: Ms; readonly sessionCheckTtl: Ms | null } {
  return { ttl: state.settings.dynamic.ttlMs, sessionCheckTtl: sessionCheckOf(state.settings.node) };
}
