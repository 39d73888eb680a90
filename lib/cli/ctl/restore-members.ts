// Owns the question to each member before a restore: whether its version knows of restores at all, and whether the leader's directory
// and file allow one. Changes nothing.

import * as v from "valibot";
import { type Cluster, leaderMember } from "../../model/cluster.ts";
import type { Member } from "../../model/member.ts";
import { seconds } from "../../model/units.ts";
import type { CtlContext, ReadCluster } from "./context.ts";

const ANSWERED_WITHIN = seconds(10);
const schema = v.pipe(v.string(), v.parseJson(), v.strictObject({ obstacle: v.nullable(v.string()) }));

/** One line for each reason; `back`: the id of a restore that is to be taken back. A member that knows nothing of the request in the DCS would start its PostgreSQL meanwhile. */
export async function memberObstacles(
  context: CtlContext,
  { cluster }: Pick<ReadCluster, "cluster">,
  back: string | null = null,
): Promise<readonly string[]> {
  // A Patroni is told of in the plan.
  const asked = cluster.members.filter(({ product }) => product !== null);
  const reasons = await Promise.all(asked.map((member) => obstacleOf(context, cluster, member, back)));
  return reasons.filter((reason) => reason !== null);
}

async function obstacleOf(
  context: CtlContext,
  cluster: Cluster,
  { name, apiUrl, product }: Member,
  back: string | null,
): Promise<string | null> {
  if (apiUrl === null) return `${name} publishes no api_url: it cannot be asked whether it knows of restores`;
  const answer = await context.peers.send(
    "GET",
    apiUrl,
    back === null ? "/restore" : `/restore?back=${back}`,
    null,
    context.within(ANSWERED_WITHIN),
  );
  if (!answer.ok) return `${name} cannot be asked whether it knows of restores: ${answer.error.message}`;
  const parsed = v.safeParse(schema, answer.value.text);
  if (answer.value.status === 401) return `${name} does not say whether it knows of restores: ${answer.value.text}`;
  if (answer.value.status !== 200 || !parsed.success)
    return `${name} (${product?.version ?? "unknown"}) knows nothing of restores and would start its PostgreSQL meanwhile: update it first`;
  return parsed.output.obstacle === null || leaderMember(cluster)?.name !== name
    ? null
    : `${name} leads, and cannot restore: ${parsed.output.obstacle}`;
}
