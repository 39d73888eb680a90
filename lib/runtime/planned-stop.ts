// Owns what precedes a stop of PostgreSQL that somebody wants: the poolers are asked, then clients are turned away, then before_stop runs.
// Until the first of these is sure, nothing is done that could not be taken back. It stops nothing itself.

import type { Ms } from "../model/units.ts";
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

  /** Resolves when everybody who is to hear of it has. `mayAbandon`: whoever wants the stop can ask again. */
  async prepare(options: { readonly deadline: Ms; readonly signal: AbortSignal; readonly mayAbandon: () => boolean }): Promise<Verdict> {
    const { deadline, signal, mayAbandon } = options;
    this.#asked = await this.#context.state.poolers.beforeStop(deadline, signal);
    if (this.#asked.verdict.kind === "abandon" && mayAbandon() && !signal.aborted) return "stay";
    await goDown(this.#context, deadline);
    return "go";
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

/** From here on the server takes no part: health checks say so, and before_stop runs. Its exit status keeps nobody from stopping. */
export async function goDown({ log, postgres, state }: NodeContext, deadline: Ms): Promise<void> {
  state.goesDown();
  if (state.settings.node.postgresql.beforeStop === null) return;
  const hook = await postgres.hook("before_stop", deadline);
  if (!hook.ok) log.warning(`before_stop: ${hook.error.message}`);
}
