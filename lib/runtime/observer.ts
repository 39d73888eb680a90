// Owns the interface to whoever looks on while a node works: measures, events. An onlooker changes nothing, throws nothing and never waits.

import type { Decision, EffectKind } from "../core/decision.ts";
import type { Observation } from "../core/observation.ts";
import type { Ms } from "../model/units.ts";

/** How an effect, or a task beside the loop, ended. */
export interface Performed {
  readonly kind: EffectKind;
  readonly ok: boolean;
  readonly message: string;
  readonly took: Ms;
}

export interface NodeObserver {
  /** Each decision of the loop, before it is performed. */
  decided(decision: Decision, observation: Observation): void;
  /** An effect that was done within the cycle. */
  performed(effect: Performed): void;
  /** A task beside the loop has ended. */
  taskEnded(task: Performed): void;
  /** From the loop's waking to its sleep. */
  cycleEnded(took: Ms): void;
}

/** Nobody looks. */
export const UNOBSERVED: NodeObserver = {
  decided: () => undefined,
  performed: () => undefined,
  taskEnded: () => undefined,
  cycleEnded: () => undefined,
};
