// Owns the vocabulary of the key-value machine: commands as they stand in the log, answers, and the requests of a client.
// Types alone; encoding and checking are in command-codec.ts.

import type { StoreError } from "../../../model/errors.ts";
import type { Result } from "../../../model/result.ts";
import type { Ms, Revision } from "../../../model/units.ts";
import type { Change, Condition, Session, Snapshot } from "../../store.ts";

/** A change with the one condition more that the Raft offers: the key holds exactly this value. */
export type RaftCondition = Condition | { readonly kind: "value"; readonly value: string };
export type RaftChange =
  | Exclude<Change, { readonly condition?: Condition }>
  | { readonly kind: "put"; readonly key: string; readonly value: string; readonly condition?: RaftCondition; readonly session?: string }
  | { readonly kind: "delete"; readonly key: string; readonly condition?: RaftCondition };

export type Command =
  /** All or none, at most 32. */
  | { readonly kind: "change"; readonly changes: readonly RaftChange[] }
  | { readonly kind: "delete-prefix"; readonly prefix: string }
  /** The id is chosen by the proposer (random), so that a repeated request opens one session. */
  | { readonly kind: "open-session"; readonly id: string; readonly name: string; readonly ttl: Ms; readonly place: string | null }
  | { readonly kind: "renew-session"; readonly id: string }
  | { readonly kind: "close-session"; readonly id: string }
  /** Proposed by the leader: applies only if the session was not renewed since and cluster time has reached its deadline. */
  | { readonly kind: "expire-session"; readonly id: string; readonly renewal: number }
  /**
   * Registers a client, so that its requests are applied once. `id` is a random name of the proposer's; what envelopes
   * carry as `client` is the id of the ANSWER, which no other entry of the log can ever answer: a request that was
   * delivered twice must not bring a forgotten registration back to life.
   */
  | { readonly kind: "open-client"; readonly id: string };

/**
 * A command as it stands in the log. The answer to (client, sequence) is kept until the client says, by a higher
 * `acknowledged`, that it will not ask for it again.
 */
export interface Envelope {
  /** Null for open-client and expire-session, and for them alone: anything else without a registration is `rejected`. */
  readonly client: string | null;
  /** From 1 on, each number for one command; 0 where `client` is null. Requests in flight may arrive in any order. */
  readonly sequence: number;
  /** No answer up to this sequence will be asked for again; less than `sequence`. Never goes back. */
  readonly acknowledged: number;
  readonly command: Command;
}

export type CommandValue =
  | { readonly kind: "revisions"; readonly revisions: readonly Revision[] }
  | { readonly kind: "session"; readonly session: Session }
  /** Answers open-client: what envelopes carry as `client` from now on. */
  | { readonly kind: "client"; readonly id: string }
  | { readonly kind: "done" };

/**
 * `unknown-client`: the client's registration is not there (any more), or its answer to this sequence was acknowledged
 * already; the command was NOT applied by this entry. An attempt BEFORE this one may have been: only who has sent the
 * command once may take it for "not applied"; register anew then.
 */
export type CommandError = StoreError | { readonly kind: "unknown-client" };

export type CommandAnswer = Result<CommandValue, CommandError>;

/** A read of the machine's state. */
export type Query =
  | { readonly kind: "snapshot"; readonly prefix: string; readonly consistency: "linearizable" | "stale" }
  | { readonly kind: "session-info"; readonly id: string };

export type QueryValue =
  | { readonly kind: "snapshot"; readonly snapshot: Snapshot }
  | { readonly kind: "session-info"; readonly session: Session | null };
