// Owns the verdict whether a history of clients (history.ts) is linearizable: it looks as if each command and each read had
// happened at one instant between its question and its answer. It must not be lenient where it cannot decide: what is not
// shown to be linearizable is not.
//
// How to use it, for each run:
// - Write one Operation for each command (all its attempts together, under one `identity`) and for each read that was answered.
// - `checkWitnessed({ log, operations })`, after the run: `log` is every committed entry from index 1 on. Its order is taken for
//   the order of events; each command is found by (registration, sequence), each read by the index it was answered at. A slow
//   second machine (kv-model.ts) replays the log: every answer and every read must be what it says, at a point of the log that
//   lies within the operation's time. Linear in the length of the log. The answer is a list of violations, empty = fine.
// - recording-store.ts writes the operations of a Store down, for the search.
// - `checkBySearch(operations)`, for small histories (up to about a hundred operations that overlap little): knows no log and
//   believes nothing but what clients saw. Operations that touch no common key or session are judged apart (locality), each
//   group by linearization-search.ts. Sessions end by themselves in it, never before the invocation of their last renewal + ttl.
//   Verdict: `linearizable`, `violation`, or `undecided` (too many steps); `isPassed` counts undecided as failed.
// A lease that ends early because cluster time runs fast is seen by the search alone: the log that it stands in agrees with it.
// What neither sees: a fault that no client could have seen.

import type { LogEntry } from "../../lib/dcs/raft/core/types.ts";
import { KEY_VALUE_BOUNDS, type KeyValueBounds } from "../../lib/dcs/raft/kv/bounds.ts";
import type { Command, CommandAnswer, Envelope, QueryValue } from "../../lib/dcs/raft/kv/command.ts";
import { decodeEnvelope, encodeEnvelope } from "../../lib/dcs/raft/kv/command-codec.ts";
import { type CommandOperation, describeOperation, isLinearizable, type Operation, outcomeOf, type QueryOperation } from "./history.ts";
import { Model } from "./kv-model.ts";
import { type SearchVerdict, search } from "./linearization-search.ts";
import { groupOperations, type SnapshotRevision, StoreSpecification } from "./store-specification.ts";

export interface Witnessed {
  /** Every committed entry, from index 1 on, without a gap. */
  readonly log: readonly LogEntry[];
  readonly operations: readonly Operation[];
  readonly bounds?: KeyValueBounds;
}

/** One sentence for each violation; empty = linearizable. Throws RangeError where the log has a gap. */
export function checkWitnessed({ log, operations, bounds = KEY_VALUE_BOUNDS }: Witnessed): readonly string[] {
  const violations: string[] = [];
  const replay = new Replay(operations, bounds, violations);
  for (const entry of log) replay.apply(entry);
  replay.finish();
  const positions = new Map<Operation, number>();
  for (const operation of operations) {
    const position = operation.kind === "command" ? replay.positionOf(operation) : positionOfRead(operation);
    if (position !== null) positions.set(operation, position);
  }
  checkOrder(positions, violations);
  return violations;
}

export interface SearchOptions {
  /** Of all groups together; beyond it the verdict is `undecided`. */
  readonly stepsMax?: number;
  /** How much earlier than promised a session may end: what the clocks of the run may differ over a ttl. Default 0. */
  readonly leaseSlackMs?: number;
  /** Default `global`: what the built-in Raft gives. `prefix` for stores that promise no more than lib/dcs/store.ts. */
  readonly snapshotRevision?: SnapshotRevision;
}

const STEPS_MAX = 1_000_000;

/** A violation in any group, else what could not be decided, else linearizable. */
export function checkBySearch(operations: readonly Operation[], options: SearchOptions = {}): SearchVerdict {
  const stepsMax = options.stepsMax ?? STEPS_MAX;
  let steps = 0;
  let undecided: SearchVerdict | null = null;
  for (const group of groupOperations(operations.filter(isJudged))) {
    const verdict = search(new StoreSpecification(options), group, stepsMax - steps);
    if (verdict.kind === "violation") return verdict;
    steps += verdict.steps;
    if (verdict.kind === "undecided") undecided = verdict;
  }
  return undecided ?? { kind: "linearizable", steps };
}

/** Not decided is not passed. */
export function isPassed(verdict: SearchVerdict): boolean {
  return verdict.kind === "linearizable";
}

/** Registrations are nobody's business but the machine's; what was refused did nothing; a stale read promised nothing. */
function isJudged(operation: Operation): boolean {
  if (operation.kind === "query") return isLinearizable(operation);
  return operation.command.kind !== "open-client" && outcomeOf(operation) !== "refused";
}

/** What the log made of one (registration, sequence). */
interface Execution {
  /** Index of the entry that was really applied; null where each was answered without being applied. */
  index: number | null;
  command: Command | null;
  readonly answers: CommandAnswer[];
}

/** The log, applied to the slow machine, with the reads looked at in passing. */
class Replay {
  readonly #model: Model;
  readonly #bounds: KeyValueBounds;
  readonly #violations: string[];
  readonly #executions = new Map<string, Execution>();
  readonly #reads = new Map<number, QueryOperation[]>();

  constructor(operations: readonly Operation[], bounds: KeyValueBounds, violations: string[]) {
    this.#model = new Model(bounds);
    this.#bounds = bounds;
    this.#violations = violations;
    for (const operation of operations) {
      if (operation.kind !== "query" || operation.index === null) continue;
      this.#reads.set(operation.index, [...(this.#reads.get(operation.index) ?? []), operation]);
    }
    this.#look();
  }

  apply(entry: LogEntry): void {
    if (entry.index !== this.#model.index + 1) throw new RangeError(`the log has a gap before index ${entry.index}`);
    const envelope =
      entry.kind === "command" && entry.payload.length <= this.#bounds.payloadBytesMax ? decodeEnvelope(entry.payload) : null;
    if (envelope === null) this.#model.advance(entry.time);
    else this.#execute(envelope, entry.time);
    this.#look();
  }

  /** Reads that name an index which was never committed. */
  finish(): void {
    for (const reads of this.#reads.values()) {
      for (const read of reads) this.#violations.push(`read at an index that is not in the log: ${describeOperation(read)}`);
    }
  }

  /** Twice the index where it took effect (a read at that index comes right behind it); null where it took none. */
  positionOf(operation: CommandOperation): number | null {
    if (operation.identity === null) return null;
    const execution = this.#executions.get(nameOf(operation.identity));
    const outcome = outcomeOf(operation);
    const index = execution?.index ?? null;
    const fault = (what: string): void => {
      this.#violations.push(`${what}${index === null ? "" : ` (index ${index})`}: ${describeOperation(operation)}`);
    };
    if (outcome === "refused" && index !== null) fault("applied, although the client was told that it was not");
    if (outcome === "settled" && execution === undefined) fault("answered, but not in the log: a lost update");
    if (outcome === "settled" && execution !== undefined && !execution.answers.some((answer) => Bun.deepEquals(answer, operation.answer))) {
      fault(`answered otherwise than the log says, ${JSON.stringify(execution.answers[0])}`);
    }
    if (index !== null && !sameCommand(execution?.command ?? null, operation.command)) fault("another command stands in the log");
    return index === null ? null : index * 2;
  }

  #execute(envelope: Envelope, time: number): void {
    const appliedBefore = this.#model.applied.length;
    const answer = this.#model.apply(envelope, time);
    if (envelope.client === null) return;
    const name = nameOf({ client: envelope.client, sequence: envelope.sequence });
    let execution = this.#executions.get(name);
    if (execution === undefined) {
      execution = { index: null, command: null, answers: [] };
      this.#executions.set(name, execution);
    }
    execution.answers.push(answer);
    if (this.#model.applied.length === appliedBefore) return;
    execution.index = this.#model.index;
    execution.command = envelope.command;
  }

  #look(): void {
    const reads = this.#reads.get(this.#model.index);
    if (reads === undefined) return;
    this.#reads.delete(this.#model.index);
    for (const read of reads) {
      const wanted = this.#read(read);
      if (!Bun.deepEquals(read.value, wanted)) {
        this.#violations.push(`read otherwise than the log says, ${JSON.stringify(wanted)}: ${describeOperation(read)}`);
      }
    }
  }

  #read({ query }: QueryOperation): QueryValue {
    if (query.kind === "snapshot") return { kind: "snapshot", snapshot: this.#model.snapshot(query.prefix) };
    return { kind: "session-info", session: this.#model.sessionInfo(query.id) };
  }
}

function positionOfRead(operation: QueryOperation): number | null {
  return operation.index === null || !isLinearizable(operation) ? null : operation.index * 2 + 1;
}

/** Whoever was answered before another asked comes before him. */
function checkOrder(positions: ReadonlyMap<Operation, number>, violations: string[]): void {
  const byInvocation = [...positions].sort(([a], [b]) => a.invokedAt - b.invokedAt);
  const byAnswer = [...positions]
    .filter(([operation]) => operation.answeredAt !== null)
    .sort(([a], [b]) => (a.answeredAt as number) - (b.answeredAt as number));
  let furthest: { readonly position: number; readonly operation: Operation } | null = null;
  let next = 0;
  for (const [operation, position] of byInvocation) {
    for (; next < byAnswer.length; next++) {
      const [answered, at] = byAnswer[next] as [Operation, number];
      if ((answered.answeredAt as number) >= operation.invokedAt) break;
      if (furthest === null || at > furthest.position) furthest = { position: at, operation: answered };
    }
    if (furthest === null || furthest.position < position) continue;
    // Two reads may see the same state.
    if (furthest.position === position && operation.kind === "query") continue;
    violations.push(
      `took effect before what was answered before it was asked, ${describeOperation(furthest.operation)}: ${describeOperation(operation)}`,
    );
  }
}

function nameOf({ client, sequence }: { readonly client: string; readonly sequence: number }): string {
  return `${client}/${sequence}`;
}

/** Compared as bytes: a condition `none` and no condition are the same. */
function sameCommand(a: Command | null, b: Command): boolean {
  if (a === null) return false;
  const [left, right] = [a, b].map((command) => encodeEnvelope({ client: null, sequence: 0, acknowledged: 0, command }));
  return Buffer.compare(left as Uint8Array, right as Uint8Array) === 0;
}
