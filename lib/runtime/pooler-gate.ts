// Owns the leader's side of a planned stop that poolers wait for (docs/adr/0008): it announces the handover, waits a bounded time until
// each living pooler has paused its clients, and takes the announcement back at the end. Whatever of it fails, the stop goes on.

import { randomUUID } from "node:crypto";
import { PoolerBoard } from "../dcs/poolers.ts";
import type { Store } from "../dcs/store.ts";
import { describeStoreError } from "../model/errors.ts";
import type { PoolerRecord } from "../model/pgbouncer.ts";
import { type Ms, ms, type Revision } from "../model/units.ts";
import type { NodeContext } from "./node-context.ts";

/** Of one question to the DCS: nobody's switchover waits for it any longer. */
const DCS_WITHIN_MS = 2000;
/** However patient a pooler asks us to be; and, with two loop_wait, less than the API waits for the outcome of a switchover. */
const WAIT_MAX_MS = 20_000;
const WAIT_BESIDE_CYCLES_MS = 5_000;

export interface PoolersBeforeStop {
  /** `abandon`: a pooler's operator wants no switchover that its clients would see; `why` names it. */
  readonly verdict: { readonly kind: "go" } | { readonly kind: "abandon"; readonly why: string };
  /** To be called once the stop is over, however it ended. Never fails. */
  readonly withdraw: () => Promise<void>;
}

/** What a node knows of the poolers of its cluster. */
export interface PoolerGate {
  /** Resolves when every living pooler has answered, the time is up, or the signal ends it. Never rejects. */
  beforeStop(deadline: Ms, signal: AbortSignal): Promise<PoolersBeforeStop>;
}

const GO: PoolersBeforeStop = { verdict: { kind: "go" }, withdraw: async () => undefined };

/** For a node that has nobody to ask: a worker that runs alone. */
export const NO_POOLERS: PoolerGate = { beforeStop: async () => GO };

export class DcsPoolerGate implements PoolerGate {
  readonly #context: NodeContext;
  readonly #board: PoolerBoard;

  constructor(options: { readonly context: NodeContext; readonly store: Store }) {
    this.#context = options.context;
    this.#board = new PoolerBoard({ store: options.store, keys: options.context.store.keys });
  }

  async beforeStop(deadline: Ms, signal: AbortSignal): Promise<PoolersBeforeStop> {
    const { clock, log, state } = this.#context;
    const session = state.heldFacts()?.session ?? null;
    // A DCS that is known to be away is asked nothing more: the stop does not wait for it.
    if (session === null || signal.aborted || state.dcsFailure !== null) return GO;
    const read = await this.#board.read({ deadline: this.#soon(deadline) });
    if (!read.ok) {
      log.warning(`the poolers are not waited for: ${describeStoreError(read.error)}`);
      return GO;
    }
    const { poolers, revision } = read.value;
    if (poolers.length === 0) return GO;
    const id = randomUUID();
    const announced = await this.#board.announce({ id, leader: state.settings.node.name }, { deadline: this.#soon(deadline), session });
    if (!announced.ok) {
      log.warning(`the poolers are not waited for: ${describeStoreError(announced.error)}`);
      return GO;
    }
    const longest = Math.min(WAIT_MAX_MS, 2 * state.settings.dynamic.loopWaitMs + WAIT_BESIDE_CYCLES_MS);
    const patience = Math.min(longest, Math.max(...poolers.map(({ patienceMs }) => patienceMs)));
    const began = clock.now();
    // What is left has to do for a clean shutdown.
    const until = ms(Math.min(began + patience, began + (deadline - began) / 2));
    const answered = await this.#answers(id, { poolers, revision }, until, signal);
    return { verdict: this.#verdict(id, answered, ms(clock.now() - began)), withdraw: () => this.#withdraw(announced.value) };
  }

  /** The poolers as they are when all of them have answered, or when it is over. One whose worker dies is not waited for. */
  async #answers(
    id: string,
    first: { readonly poolers: readonly PoolerRecord[]; readonly revision: Revision },
    until: Ms,
    signal: AbortSignal,
  ): Promise<readonly PoolerRecord[]> {
    const { clock, log } = this.#context;
    const names = new Set(first.poolers.map(({ name }) => name));
    let seen = first;
    // Who comes later knows nothing of this handover.
    const waitedFor = (): readonly PoolerRecord[] => seen.poolers.filter(({ name }) => names.has(name));
    while (waitedFor().some(({ answer }) => answer?.handover !== id) && clock.now() < until && !signal.aborted) {
      const next = await this.#board.watch(seen.revision, { deadline: until, signal });
      if (!next.ok) {
        if (!signal.aborted) log.warning(`the poolers are not waited for any longer: ${describeStoreError(next.error)}`);
        break;
      }
      seen = next.value;
    }
    return waitedFor();
  }

  #verdict(id: string, poolers: readonly PoolerRecord[], took: Ms): PoolersBeforeStop["verdict"] {
    const { log } = this.#context;
    const tell = (name: string, why: string) => log.warning(`pooler ${name} is not paused: ${why}`);
    for (const { name, answer } of poolers) {
      if (answer?.handover !== id) tell(name, "it did not answer in time");
      else if (!answer.paused) tell(name, answer.why);
    }
    const against = poolers.find(({ answer }) => answer?.handover === id && !answer.paused && answer.wish === "abandon");
    if (against !== undefined) return { kind: "abandon", why: `pooler ${against.name} cannot be paused (${against.answer?.why})` };
    const paused = poolers.filter(({ answer }) => answer?.handover === id && answer.paused).length;
    log.info(`${paused} of ${poolers.length} poolers have paused their clients (${Math.round(took)} ms)`);
    return { kind: "go" };
  }

  async #withdraw(announced: Revision): Promise<void> {
    const withdrawn = await this.#board.withdraw(announced, { deadline: ms(this.#context.clock.now() + DCS_WITHIN_MS) });
    // It goes with our session at the latest, and no pooler stays paused for it.
    if (!withdrawn.ok) this.#context.log.info(`the announced handover is left to our session: ${describeStoreError(withdrawn.error)}`);
  }

  #soon(deadline: Ms): Ms {
    return ms(Math.min(deadline, this.#context.clock.now() + DCS_WITHIN_MS));
  }
}
