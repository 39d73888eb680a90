// Owns remembering what a pure question about an observation was answered, while rules ask it again and again. Knows no question.

import type { Observation } from "./observation.ts";

/** The same question, thought out once for the observation that it was last asked about. */
export function perObservation<T>(answer: (o: Observation) => T): (o: Observation) => T {
  let last: { readonly of: Observation; readonly said: T } | null = null;
  return (o) => {
    if (last === null || last.of !== o) last = { of: o, said: answer(o) };
    return last.said;
  };
}
