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
  /** Each decision of the loop, before it is told and performed. Value: the event that it is, as JSON, for its line in the log. */
  decided(decision: Decision, observation: Observation): string | null;
  /** An effect that was done within the cycle. */
  performed(effect: Performed): void;
  /** A task beside the loop has ended. */
  taskEnded(task: Performed): void;
  /** From the loop's waking to its sleep. */
  cycleEnded(took: Ms): void;
}

/** Nobody looks. */
export const UNOBSERVED: NodeObserver = {
  decided: () => null,
  performed: () => undefined,
  taskEnded: () => undefined,
  cycleEnded: () => undefined,
};

/** Two onlookers, in this order; the second one's events are told. */
export function bothOf(first: NodeObserver, second: NodeObserver): NodeObserver {
  return {
    decided: (decision, observation) => {
      first.decided(decision, observation);
      return second.decided(decision, observation);
    },
    performed: (effect) => {
      first.performed(effect);
      second.performed(effect);
    },
    taskEnded: (task) => {
      first.taskEnded(task);
      second.taskEnded(task);
    },
    cycleEnded: (took) => {
      first.cycleEnded(took);
      second.cycleEnded(took);
    },
  };
}
