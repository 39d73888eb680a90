// Owns the shape of a rule: an ordered table of them is the whole of the decision (decide.ts).

import { type Ms, ms } from "../model/units.ts";
import type { Effect } from "./decision.ts";
import { nextCycle } from "./facts.ts";
import type { Observation } from "./observation.ts";

export interface Rule {
  /** Never reused; appears in the log, the status document and the history. */
  readonly id: string;
  readonly when: (o: Observation) => boolean;
  readonly then: (o: Observation) => Effect;
  /** For people: one sentence. */
  readonly why: (o: Observation) => string;
  /** What every neighbour's `when` implies too, by inSection: where it does not hold, none of them is asked. */
  readonly section?: (o: Observation) => boolean;
}

/**
 * Rules that stand together and can only apply where `section` holds: a decision asks for it once instead of in each of them. A rule that
 * has a section already keeps it, as the narrower one.
 */
export function inSection(section: (o: Observation) => boolean, rules: readonly Rule[]): readonly Rule[] {
  return rules.map((rule) => (rule.section === undefined ? { ...rule, section } : rule));
}

export function wait(until: Ms): Extract<Effect, { kind: "wait" }> {
  return { kind: "wait", until };
}

export function waitCycle(o: Observation): Effect {
  return wait(nextCycle(o));
}

export function waitAtMost(o: Observation, duration: number): Extract<Effect, { kind: "wait" }> {
  return wait(ms(Math.min(nextCycle(o), o.now + duration)));
}
