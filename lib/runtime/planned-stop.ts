// Owns what precedes a stop of PostgreSQL that somebody wants: the poolers are asked, then clients are turned away, then before_stop runs;
// and its end by force where the lease ends first. Until the poolers' answer is sure, nothing is done that could not be taken back.

import { type Ms, ms } from "../model/units.ts";
import type { NodeContext } from "./node-context.ts";
import type { PoolersBeforeStop } from "./pooler-gate.ts";

/** `stay`: a pooler's operator is against it, and PostgreSQL was not touched. */
export type Verdict = "go" | "stay";

export class PlannedStop {
  readonly #context: NodeContext;
  #asked: PoolersBeforeStop | null = null;

  constructor(context: NodeContext) {
    this.#context = context;
  }

  /** Resolves when the poolers have answered. `mayAbandon`: whoever wants the stop can ask again. */
  async ask(options: { readonly deadline: Ms; readonly signal: AbortSignal; readonly mayAbandon: () => boolean }): Promise<Verdict> {
    const { deadline, signal, mayAbandon } = options;
    this.#asked = await this.#context.state.poolers.beforeStop(deadline, signal);
    return this.#asked.verdict.kind === "abandon" && mayAbandon() && !signal.aborted ? "stay" : "go";
  }

  /** Why it was given up. */
  get why(): string {
    const verdict = this.#asked?.verdict;
    return verdict?.kind === "abandon" ? verdict.why : "the stop was called off";
  }

  /** It is over, however it ended: clients that wait for it alone go on. */
  async end(): Promise<void> {
    const asked = this.#asked;
    this.#asked = null;
    await asked?.withdraw();
  }
}

/**
 * From here on the server takes no part: health checks say so, and before_stop runs. Its exit status keeps nobody from stopping; it is ended
 * with the signal (null: nothing hurries), and when half of the time is over: what is left has to do for a clean shutdown.
 */
export async function goDown({ clock, log, postgres, state }: NodeContext, deadline: Ms, signal: AbortSignal | null): Promise<void> {
  state.goesDown();
  if (state.settings.node.postgresql.beforeStop === null || signal?.aborted === true) return;
  const began = clock.now();
  const hook = await postgres.hook("before_stop", ms(began + Math.max(0, deadline - began) / 2), signal ?? undefined);
  if (hook.ok) return;
  if (hook.error.kind !== "timeout") log.warning(`before_stop: ${hook.error.message}`);
  else
    log.warning(`before_stop was ended after ${Math.round((clock.now() - began) / 1000)} s: PostgreSQL needs the rest of the time to stop`);
}

type Stopped = Awaited<ReturnType<NodeContext["postgres"]["stop"]>>;

export interface StopAtOnce {
  /** What became of it; pending where the signal was never given. */
  readonly stopped: Promise<Stopped>;
  /** The planned stop has come to its end: a signal from now on stops nothing. */
  readonly over: () => void;
}

/** The lease ends before the planned stop of a primary does: PostgreSQL is stopped at once. */
export function stopOnAbort({ clock, log, postgres, state }: NodeContext, signal: AbortSignal): StopAtOnce {
  const { promise, resolve, reject } = Promise.withResolvers<Stopped>();
  promise.catch((reason: unknown) => log.error(`PostgreSQL was not stopped in time: ${String(reason)}`));
  const stopAtOnce = async (): Promise<Stopped> => {
    void state.vip.release();
    const done = await postgres.stop({ mode: "immediate", deadline: clock.now() });
    if (!done.ok) log.error(`PostgreSQL was not stopped in time: ${done.error.message}`);
    return done;
  };
  const onAbort = (): void => void stopAtOnce().then(resolve, reject);
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  return { stopped: promise, over: () => signal.removeEventListener("abort", onAbort) };
}
