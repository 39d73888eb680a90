// Owns the decision: the ordered table of all rules, and the first that applies. Pure: same observation, same decision.

import type { Decision } from "./decision.ts";
import type { Observation } from "./observation.ts";
import type { Rule } from "./rule.ts";
import { holderRules } from "./rules/holder.ts";
import { leaderRules } from "./rules/leader.ts";
import { leaderlessRules } from "./rules/leaderless.ts";
import { memberRules } from "./rules/member.ts";
import { outageRules } from "./rules/outage.ts";
import { processRules } from "./rules/process.ts";
import { promotionRules } from "./rules/promotion.ts";
import { restoreRules } from "./rules/restore.ts";
import { standbyLeaderRules } from "./rules/standby-leader.ts";
import { wayBackRules } from "./rules/way-back.ts";

/** In order: the first whose `when` holds decides. */
export const RULES: readonly Rule[] = [
  ...processRules,
  ...wayBackRules,
  ...outageRules,
  ...restoreRules,
  ...holderRules,
  ...promotionRules,
  ...standbyLeaderRules,
  ...leaderRules,
  ...memberRules,
  ...leaderlessRules,
];

/** Neighbours of one section: where it does not hold, none of its rules is looked at. */
const SECTIONS = neighbours(RULES);

/** Throws Error where no rule matches: a hole in the table. */
export function decide(o: Observation): Decision {
  // By index: this is the most frequent loop of all, and an iterator for each section costs more than its rules.
  for (let at = 0; at < SECTIONS.length; at += 1) {
    const { section, rules } = SECTIONS[at] as (typeof SECTIONS)[number];
    if (section !== undefined && !section(o)) continue;
    for (let index = 0; index < rules.length; index += 1) {
      const rule = rules[index] as Rule;
      if (rule.when(o)) return { rule: rule.id, why: rule.why(o), effect: rule.then(o) };
    }
  }
  throw new Error(
    `no rule matches: lock ${o.dcs.cluster?.leader?.name ?? "free"}, PostgreSQL ${o.local.process.kind}, ${o.local.dataDirectory.kind}`,
  );
}

function neighbours(table: readonly Rule[]): readonly { readonly section: Rule["section"]; readonly rules: readonly Rule[] }[] {
  const found: { readonly section: Rule["section"]; readonly rules: Rule[] }[] = [];
  for (const rule of table) {
    const last = found.at(-1);
    if (last !== undefined && last.section === rule.section) last.rules.push(rule);
    else found.push({ section: rule.section, rules: [rule] });
  }
  return found;
}
