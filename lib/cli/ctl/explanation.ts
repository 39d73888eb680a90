// Owns asking members for GET /explain and reading the answer. What it means is the member's to say.

import * as v from "valibot";
import type { MemberView } from "../../core/cluster-view.ts";
import { err, ok, type Result } from "../../model/result.ts";
import type { CtlContext } from "./context.ts";
import { ANSWERS_WITHIN } from "./member-requests.ts";

const word = v.nullable(v.string());
const obstacles = v.array(v.object({ rule: v.string(), reason: v.string() }));
const schema = v.object({
  name: v.string(),
  leader: word,
  paused: v.boolean(),
  synchronous_mode: v.string(),
  members: v.array(
    v.object({
      name: v.string(),
      role: word,
      state: word,
      timeline: v.nullable(v.number()),
      wal: word,
      leads: v.boolean(),
      promotable: v.boolean(),
      obstacles,
      switchover: v.object({ possible: v.boolean(), obstacles: v.array(v.string()) }),
    }),
  ),
  decision: v.nullable(v.object({ rule: v.string(), why: v.string() })),
  last_race: v.nullable(v.looseObject({ time: v.string(), text: v.string(), rule: v.string() })),
});

export type ReadExplanation = v.InferOutput<typeof schema>;

/** The error is a line for the operator. */
export async function askExplanation(context: CtlContext, member: MemberView): Promise<Result<ReadExplanation, string>> {
  if (member.api_url === undefined) return err(`${member.name}: it publishes no api_url`);
  const answer = await context.peers.send("GET", member.api_url, "/explain", null, context.within(ANSWERS_WITHIN));
  if (!answer.ok) return err(`${member.name}: ${answer.error.message}`);
  if (answer.value.status !== 200)
    return err(`${member.name}: it does not explain (GET /explain answered ${answer.value.status}); is it a Patroni?`);
  try {
    const parsed = v.safeParse(schema, JSON.parse(answer.value.text));
    if (parsed.success) return ok(parsed.output);
  } catch {
    // Told below: whatever it is, it is no explanation.
  }
  return err(`${member.name}: GET /explain answered with something else than an explanation`);
}
