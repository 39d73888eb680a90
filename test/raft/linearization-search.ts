// Owns the search for an order in which a sequential specification explains a history. Sources: Wing and Gong, "Testing and
// Verifying Concurrent Objects" (1993); Lowe, "Testing for linearizability" (2017), for remembering what was tried. Knows no store.

/** What the search has to know of an operation. */
export interface Timed {
  readonly invokedAt: number;
  /** Null: it may have happened at any time since its invocation, or never. */
  readonly answeredAt: number | null;
}

export interface Specification<State, Operation> {
  readonly initial: State;
  /** Every state that the operation may lead to with the answer that it got; none where it cannot have got that answer. */
  step(state: State, operation: Operation): readonly State[];
  /** What may happen by itself, and when at the earliest. */
  spontaneous(state: State): readonly { readonly state: State; readonly notBefore: number }[];
  /** Equal for equal states. */
  fingerprint(state: State): string;
  describe(operation: Operation): string;
}

export type SearchVerdict =
  | { readonly kind: "linearizable"; readonly steps: number }
  /** `explained`: how many operations the best order explains; `report` names the others. */
  | { readonly kind: "violation"; readonly steps: number; readonly explained: number; readonly report: string }
  | { readonly kind: "undecided"; readonly steps: number; readonly report: string };

interface Node<State> {
  readonly state: State;
  /** No later point may lie before it. */
  readonly now: number;
  readonly done: bigint;
  readonly count: number;
}

/** Depth first. `stepsMax`: states looked at, at most. */
export function search<State, Operation extends Timed>(
  specification: Specification<State, Operation>,
  operations: readonly Operation[],
  stepsMax: number,
): SearchVerdict {
  const ordered = [...operations].sort((a, b) => (a.answeredAt ?? Number.POSITIVE_INFINITY) - (b.answeredAt ?? Number.POSITIVE_INFINITY));
  const needed = ordered.filter((operation) => operation.answeredAt !== null).length;
  const needs = (1n << BigInt(needed)) - 1n;
  /** For each set of operations and state the earliest point that was tried. */
  const tried = new Map<string, number>();
  const stack: Node<State>[] = [{ state: specification.initial, now: Number.NEGATIVE_INFINITY, done: 0n, count: 0 }];
  let best: Node<State> = stack[0] as Node<State>;
  let steps = 0;
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if ((node.done & needs) === needs) return { kind: "linearizable", steps };
    const name = `${node.done.toString(36)} ${specification.fingerprint(node.state)}`;
    const before = tried.get(name);
    if (before !== undefined && before <= node.now) continue;
    if (steps >= stepsMax) return { kind: "undecided", steps, report: `${operations.length} operations, ${steps} steps` };
    tried.set(name, node.now);
    steps++;
    if (node.count > best.count) best = node;
    for (const next of successors(specification, ordered, node)) stack.push(next);
  }
  return { kind: "violation", steps, explained: best.count, report: reportOf(specification, ordered, best) };
}

/** The most promising last, so that it is looked at first. */
function successors<State, Operation extends Timed>(
  specification: Specification<State, Operation>,
  ordered: readonly Operation[],
  { state, now, done, count }: Node<State>,
): readonly Node<State>[] {
  const found: Node<State>[] = [];
  // What was answered before another asked comes before it: nothing may be chosen that asked, or happened, after the first
  // missing answer. So no point that was reached lies behind it.
  let firstAnswer = Number.POSITIVE_INFINITY;
  for (const [at, operation] of ordered.entries()) {
    if ((done >> BigInt(at)) & 1n || operation.answeredAt === null) continue;
    firstAnswer = operation.answeredAt;
    break;
  }
  for (const [at, operation] of ordered.entries()) {
    if ((done >> BigInt(at)) & 1n || operation.invokedAt > firstAnswer) continue;
    const point = Math.max(now, operation.invokedAt);
    for (const next of specification.step(state, operation)) {
      found.push({ state: next, now: point, done: done | (1n << BigInt(at)), count: count + 1 });
    }
  }
  for (const { state: next, notBefore } of specification.spontaneous(state)) {
    if (notBefore <= firstAnswer) found.push({ state: next, now: Math.max(now, notBefore), done, count });
  }
  return found.reverse();
}

function reportOf<State, Operation extends Timed>(
  specification: Specification<State, Operation>,
  ordered: readonly Operation[],
  { state, done }: Node<State>,
): string {
  const left = ordered.filter((operation, at) => !((done >> BigInt(at)) & 1n) && operation.answeredAt !== null);
  const lines = left.slice(0, 10).map((operation) => `  ${specification.describe(operation)}`);
  return [`in no order can these follow on ${specification.fingerprint(state)}:`, ...lines].join("\n");
}
