// Owns what a task is called while it is under way: in Patroni's words, which operators and monitoring look for in the log. Pure.

import type { Effect } from "./decision.ts";
import type { OperatorRequests, RunningTask } from "./observation.ts";

/** What is told of a task: `<words> in progress`. `requests`: what an operator has asked this node for. */
export function taskTold(effect: Effect, requests: OperatorRequests): Pick<RunningTask, "words" | "step"> {
  const words = wordsOf(effect, requests);
  return effect.kind === "restore" ? { words, step: effect.step } : { words };
}

/** What has no word of Patroni's is called by its kind. */
function wordsOf(effect: Effect, { reinitialize }: OperatorRequests): string {
  switch (effect.kind) {
    case "bootstrap-standby":
      return "bootstrap_standby_leader";
    case "clone":
      if (reinitialize !== null) return "reinitialize";
      return `bootstrap ${effect.from === null ? "(without leader)" : `from ${effect.from}`}`;
    case "copy-slots":
      return "copy_logical_slots";
    case "start":
      return effect.role === "primary" ? "starting primary after failure" : "restarting after failure";
    default:
      return effect.kind;
  }
}
