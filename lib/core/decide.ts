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
import { standbyLeaderRules } from "./rules/standby-leader.ts";

/** In order: the first whose `when` holds decides. */
export const RULES: readonly Rule[] = [
  ...processRules,
  ...outageRules,
  ...holderRules,
  ...promotionRules,
  ...standbyLeaderRules,
  ...leaderRules,
  ...memberRules,
  ...leaderlessRules,
];

/** Throws Error where no rule matches: a hole in the table. */
export function decide(o: Observation): Decision {
  let section: Rule["section"];
  let open = true;
  for (const rule of RULES) {
    if (rule.section !== section) {
      section = rule.section;
      open = section === undefined || section(o);
    }
    if (open && rule.when(o)) return { rule: rule.id, why: rule.why(o), effect: rule.then(o) };
  }
  throw new Error(
    `no rule matches: lock ${o.dcs.cluster?.leader?.name ?? "free"}, PostgreSQL ${o.local.process.kind}, ${o.local.dataDirectory.kind}`,
  );
}
