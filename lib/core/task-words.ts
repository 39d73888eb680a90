// Owns what a task is called while it is under way: in Patroni's words, which operators and monitoring look for in the log. Pure.

import type { Cluster } from "../model/cluster.ts";
import type { Effect } from "./decision.ts";
import type { OperatorRequests, RunningTask } from "./observation.ts";
import { overhaulOf } from "./overhaul.ts";

export interface TaskSurroundings {
  /** What an operator has asked this node for. */
  readonly requests: OperatorRequests;
  /** As it was seen last. */
  readonly cluster: Pick<Cluster, "restore" | "upgrade"> | null;
}

/** What is told of a task: `<words> in progress`. */
export function taskTold(effect: Effect, surroundings: TaskSurroundings): Pick<RunningTask, "words" | "step"> {
  const words = wordsOf(effect, surroundings);
  return effect.kind === "restore" ? { words, step: effect.step } : { words };
}

/** What has no word of Patroni's is called by its kind. */
function wordsOf(effect: Effect, { cluster, requests: { reinitialize } }: TaskSurroundings): string {
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
    case "restore":
      return overhaulOf(cluster)?.of === "upgrade" ? "upgrade" : "restore";
    default:
      return effect.kind;
  }
}
