// Owns what clients write down of what they asked and were answered, for the checkers of linearizability.ts. Judges nothing.

import type { Command, CommandAnswer, Query, QueryValue } from "../../lib/dcs/raft/kv/command.ts";
import type { LogIndex } from "../../lib/model/raft.ts";

interface Interval {
  /** For the reports. */
  readonly who: string;
  /** True time in ms, one clock for the whole history, before the first attempt was sent. Equal instants count as concurrent. */
  readonly invokedAt: number;
  /** When the answer was there; null where none came, and then it may have happened at any time since, or never. */
  readonly answeredAt: number | null;
}

/**
 * One command with all its attempts. Of the answers, `unavailable` says that it was certainly not applied;
 * `unknown-outcome` and `unknown-client` say as little as no answer does.
 */
export interface CommandOperation extends Interval {
  readonly kind: "command";
  readonly command: Command;
  readonly answer: CommandAnswer | null;
  /** Under which registration and sequence it stands in the log; null where that is not known (no check by witness). */
  readonly identity: { readonly client: string; readonly sequence: number } | null;
}

/** One read. What got no answer need not be written down. */
export interface QueryOperation extends Interval {
  readonly kind: "query";
  readonly query: Query;
  readonly value: QueryValue;
  /** Applied index of the member that answered, as it answered; null where that is not known (no check by witness). */
  readonly index: LogIndex | null;
}

export type Operation = CommandOperation | QueryOperation;

/** Whether the read promised to be linearizable. */
export function isLinearizable({ query }: QueryOperation): boolean {
  return query.kind === "session-info" || query.consistency === "linearizable";
}

/** `settled`: applied, with this answer. `refused`: certainly not applied. `open`: who knows. */
export function outcomeOf({ answer, answeredAt }: CommandOperation): "settled" | "refused" | "open" {
  if (answer === null || answeredAt === null) return "open";
  if (answer.ok) return "settled";
  switch (answer.error.kind) {
    case "unavailable":
      return "refused";
    case "unknown-outcome":
    case "unknown-client":
      return "open";
    case "condition-failed":
    case "session-gone":
    case "compacted":
    case "rejected":
      return "settled";
  }
}

export function describeOperation(operation: Operation): string {
  const what =
    operation.kind === "command"
      ? `${JSON.stringify(operation.command)} → ${operation.answer === null ? "no answer" : JSON.stringify(operation.answer)}`
      : `${JSON.stringify(operation.query)} → ${JSON.stringify(operation.value)} at index ${operation.index ?? "?"}`;
  return `${operation.who} [${operation.invokedAt}, ${operation.answeredAt ?? "…"}] ${what}`;
}
