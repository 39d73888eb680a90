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
/** From one attempt to take an announcement back to the next, for as long as it would stand: until our session ends. */
const AGAIN_MS = 1_000;
/** What was sent and not answered may still be carried out this long. */
const LATE_MS = 10_000;

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
      if (announced.error.kind !== "unknown-outcome") return GO;
      // It may stand, or be there soon.
      const late = ms(clock.now() + LATE_MS);
      return { ...GO, withdraw: async () => this.#keepWithdrawing({ id, session, late }) };
    }
    const longest = Math.min(WAIT_MAX_MS, 2 * state.settings.dynamic.loopWaitMs + WAIT_BESIDE_CYCLES_MS);
    const patience = Math.min(longest, Math.max(...poolers.map(({ patienceMs }) => patienceMs)));
    const began = clock.now();
    // What is left has to do for a clean shutdown.
    const until = ms(Math.min(began + patience, began + (deadline - began) / 2));
    const answered = await this.#answers(id, { poolers, revision }, until, signal);
    const withdraw = () => this.#withdraw({ id, session, revision: announced.value });
    return { verdict: this.#verdict(id, answered, ms(clock.now() - began)), withdraw };
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

  async #withdraw(announced: { readonly id: string; readonly session: string; readonly revision: Revision }): Promise<void> {
    const { clock, log } = this.#context;
    const withdrawn = await this.#board.withdraw(announced.revision, { deadline: ms(clock.now() + DCS_WITHIN_MS) });
    // Another's by now, or gone.
    if (withdrawn.ok || withdrawn.error.kind === "condition-failed") return;
    log.info(`the announced handover is taken back as soon as the DCS answers: ${describeStoreError(withdrawn.error)}`);
    this.#keepWithdrawing({ ...announced, late: clock.now() });
  }

  /** Beside everything else: under a session that stays ours the announcement would keep pools waiting, and those that come later as well. */
  #keepWithdrawing(announced: { readonly id: string; readonly session: string; readonly late: Ms }): void {
    const { log } = this.#context;
    this.#untilWithdrawn(announced).catch((reason: unknown) => log.error(`the announced handover is not taken back: ${String(reason)}`));
  }

  /** Until a look at `late` or after it finds no such announcement, or it is gone with our session. */
  async #untilWithdrawn({ id, session, late }: { readonly id: string; readonly session: string; readonly late: Ms }): Promise<void> {
    const { clock, store } = this.#context;
    while (store.session()?.id === session) {
      const began = clock.now();
      const withdrawn = await this.#board.withdrawById(id, { deadline: ms(began + DCS_WITHIN_MS) });
      if (withdrawn.ok && began >= late) return;
      await clock.sleepUntil(ms(clock.now() + AGAIN_MS));
    }
  }

  #soon(deadline: Ms): Ms {
    return ms(Math.min(deadline, this.#context.clock.now() + DCS_WITHIN_MS));
  }
}
