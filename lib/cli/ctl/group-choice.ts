// Owns which group of a Citus cluster a change is about, where -g does not say: the operator is asked, or the command refused.

import type { CtlContext, ReadCluster } from "./context.ts";
import { askPlain } from "./prompt.ts";
import { CtlRefusal } from "./refusal.ts";

/** In patronictl's words. */
export const GROUP_WANTED = "For Citus clusters the --group must me specified";
/** A wrong answer is asked for again this often, so that a pipe of nonsense ends. */
const ANSWERS_MAX = 10;

/**
 * The one cluster, or the group that is meant; unless `silent` with all groups shown before. Throws CtlRefusal where one would have to be
 * asked for, and may not be.
 */
export async function chooseGroup(context: CtlContext, scope: string, how: "ask" | "shown" | "silent"): Promise<ReadCluster> {
  const { terminal } = context;
  const parts = await context.readAll(scope);
  const [first] = parts;
  if (first === undefined) throw new Error("readAll always gives a cluster");
  if (how !== "silent") {
    terminal.out("Current cluster topology\n");
    context.list(parts);
  }
  if (context.group !== null || first.group === null) return first;
  if (how !== "ask") throw new CtlRefusal(GROUP_WANTED);
  for (let asked = 0; asked < ANSWERS_MAX; asked++) {
    const answer = await askPlain(terminal, "Citus group");
    if (/^\d+$/.test(answer)) return await context.readGroup(scope, Number(answer));
    terminal.out(`Error: '${answer}' is not a valid integer.\n`);
  }
  throw new CtlRefusal(GROUP_WANTED);
}
