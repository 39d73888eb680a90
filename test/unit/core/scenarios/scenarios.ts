// Owns the list of the rules that stand for themselves: one scenario each, which rare-rules.test.ts holds to its rule. Every other rule
// has to decide in the simulated clusters of the default tier (test/simulation/simulation.test.ts): a new rule goes into one or the other.

import { LEADER } from "./leader.ts";
import { MEMBER } from "./member.ts";
import { PROCESS } from "./process.ts";
import { RESTORE } from "./restore.ts";
import type { Scenarios } from "./situations.ts";
import { STANDBY_LEADER } from "./standby-leader.ts";

export const SCENARIOS: Scenarios = { ...PROCESS, ...RESTORE, ...LEADER, ...STANDBY_LEADER, ...MEMBER };
