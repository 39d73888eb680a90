// Rules for a synchronous standby that is about to stop: it asks the leader to wait for others first, so that no commit waits for a server
// that is not there. Only a hint: what stops goes on after a while whatever the leader does. Pure.

import { leaderMember } from "../../model/cluster.ts";
import { isNosync } from "../../model/member.ts";
import { isSyncStandby } from "../../model/sync-state.ts";
import { ms } from "../../model/units.ts";
import { clusterOf, didThisCycle, isPaused, lockIsForeign, runsAsStandby } from "../facts.ts";
import type { Observation } from "../observation.ts";
import { inSection, type Rule, wait } from "../rule.ts";

/** A leader of ours is woken by the request and acts on it at once. */
const RELEASE_LIMIT_MS = 3_000;

export const releaseRules: readonly Rule[] = inSection(stopsOnDuty, [
  {
    id: "sync-release-ask",
    when: (o) => stopsOnDuty(o) && o.self.releaseAskedAt === null && didThisCycle(o, "ask-release") === null,
    then: () => ({ kind: "ask-release" }),
    why: () => "Waiting for primary to release us from synchronous standby",
  },
  {
    id: "sync-release-wait",
    when: (o) => stopsOnDuty(o) && o.self.releaseAskedAt !== null && o.now < releaseEnd(o),
    then: (o) => wait(ms(Math.min(releaseEnd(o), o.now + o.config.loopWaitMs))),
    why: () => "Waiting for primary to release us from synchronous standby",
  },
]);

/** A synchronous standby of the present leader whose PostgreSQL is to stop or to restart. */
function stopsOnDuty(o: Observation): boolean {
  if (!isToStop(o) || o.task !== null || o.dcs.kind === "unreachable" || o.config.synchronousMode === "off") return false;
  const cluster = clusterOf(o);
  if (cluster === null || !lockIsForeign(o) || !runsAsStandby(o)) return false;
  if (cluster.sync.leader !== cluster.leader?.name || !isSyncStandby(cluster.sync, o.self.name)) return false;
  return !staysNamed(o);
}

function isToStop(o: Observation): boolean {
  const { shutdown, restart, reinitialize } = o.requests;
  return (shutdown && !isPaused(o)) || restart || reinitialize !== null;
}

/** Strict keeps a name that nobody can replace. */
function staysNamed(o: Observation): boolean {
  const cluster = clusterOf(o);
  if (cluster === null || !o.config.synchronousModeStrict) return false;
  return !cluster.members.some(({ name, tags }) => name !== o.self.name && name !== cluster.leader?.name && !isNosync(tags));
}

/** A Patroni looks once a loop_wait. */
function releaseEnd(o: Observation): number {
  const cluster = clusterOf(o);
  const leader = cluster === null ? null : leaderMember(cluster);
  const limit = leader?.product === null ? 2 * o.config.loopWaitMs : RELEASE_LIMIT_MS;
  return (o.self.releaseAskedAt ?? o.now) + limit;
}
