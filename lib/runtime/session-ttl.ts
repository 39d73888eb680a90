// Owns that the session follows the ttl and the check in force: what it was last asked for, and when it is asked again. How the keys go
// over to another session is in dcs/session-move.ts.

import { describeStoreError } from "../model/errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import type { Ms } from "../model/units.ts";
import { settleLease } from "./confirmed-lock.ts";
import { dcsDeadline } from "./lease-bounds.ts";
import type { NodeContext } from "./node-context.ts";

/** An agent that was cut off tells the servers of a check so late (docs/consul.md has measures: 10 s). */
const CHECK_LATE_MS = 15_000;
/** Where the store is against the check for longer, it may be so for as long as its agent runs: it is asked after so long, not in each cycle. */
const CHECK_REFUSED_PAUSE_MS = 30_000;

interface Wanted {
  readonly ttl: Ms;
  readonly sessionCheckTtl: Ms | null;
}

export class SessionTtl {
  readonly #context: NodeContext;
  /** What the session has and leases are counted with; null while the two may differ. */
  #settled: Wanted | null;
  /** What the session was asked for when the two were last the same. */
  #ttl: Ms;
  /** An exchange that failed, for another check and nothing else; null after any other. */
  #refused: { readonly wanted: Wanted; readonly since: Ms; readonly at: Ms } | null = null;

  /** Why the last exchange of the session failed. */
  #told = "";

  constructor(context: NodeContext) {
    this.#context = context;
    const wanted = wantedOf(context);
    this.#settled = wanted;
    this.#ttl = wanted.ttl;
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
    const { clock, state, store, log } = this.#context;
    if (this.settled || state.task !== null || state.dcsFailure !== null) return;
    const wanted = wantedOf(this.#context);
    if (this.#waits(wanted)) return;
    // From this call on leases are counted with it, whatever becomes of the session: a ttl that goes back to the former one
    // before the session has followed has to be told as well.
    this.#settled = null;
    const changed = await store.reloadConfig({ ...wanted, deadline: dcsDeadline(this.#context) });
    if (!changed.ok) {
      // Tried again in each cycle, for as long as the store is against it; a check alone now and then.
      const why = describeStoreError(changed.error);
      if (why !== this.#told) log.warning(`the session stays what it was for now, without another TTL or check: ${why}`);
      this.#told = why;
      const at = clock.now();
      const since = this.#isRefused(wanted)?.since ?? at;
      this.#refused = wanted.ttl === this.#ttl && changed.error.kind === "unavailable" ? { wanted, since, at } : null;
      return;
    }
    if (!changed.value.pending) {
      this.#settled = wanted;
      this.#ttl = wanted.ttl;
    }
    this.#refused = null;
    this.#told = "";
    if (changed.value.lock === null) return;
    state.hold(changed.value.lock);
    // At once: whoever goes on for a supervisor that dies now knows the lease under this session, and no longer under the former one.
    await settleLease(this.#context, changed.value.lock);
  }

  /** What was refused costs half a second of a cycle each time, and nobody has that to spare while the lock is free. */
  #waits(wanted: Wanted): boolean {
    const refused = this.#isRefused(wanted);
    if (refused === null) return false;
    const { clock, state } = this.#context;
    if ((state.cluster?.leader ?? null) === null) return true;
    return clock.now() - refused.since >= CHECK_LATE_MS && clock.now() - refused.at < CHECK_REFUSED_PAUSE_MS;
  }

  #isRefused({ ttl, sessionCheckTtl }: Wanted): { readonly since: Ms; readonly at: Ms } | null {
    const { wanted } = this.#refused ?? {};
    return wanted?.ttl === ttl && wanted.sessionCheckTtl === sessionCheckTtl ? this.#refused : null;
  }
}

/** Of the check that ends this node's session; null where none is wanted, or the store has no such thing. */
export function sessionCheckOf({ consul }: Pick<NodeConfig, "consul">): Ms | null {
  return consul?.sessionCheckTtlMs ?? null;
}

function wantedOf({ state }: NodeContext): Wanted {
  return { ttl: state.settings.dynamic.ttlMs, sessionCheckTtl: sessionCheckOf(state.settings.node) };
}
