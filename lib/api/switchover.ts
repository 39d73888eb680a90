// Owns POST /switchover, POST /failover and DELETE /switchover: checks, writes the `failover` key, and waits for the
// outcome by changes of the cluster. Works from any node; the change itself is the HA loop's.

import type * as v from "valibot";
import { readFlag, synchronousModeOf } from "../core/cluster-view.ts";
import {
  isFitCandidate,
  requestRefusal,
  type SwitchoverAction,
  type SwitchoverPlan,
  switchoverCandidates,
} from "../core/switchover-check.ts";
import { switchoverOutcome } from "../core/switchover-outcome.ts";
import { type Cluster, leaderMember } from "../model/cluster.ts";
import { describeStoreError } from "../model/errors.ts";
import { type Ms, ms, revision, seconds } from "../model/units.ts";
import type { OperatorAnswer } from "../runtime/node-service.ts";
import { bodyRefusal, textAnswer } from "./answers.ts";
import { readBody } from "./body.ts";
import type { ApiApp, ApiContext } from "./context.ts";
import { LONG_ANSWER_SECONDS, readAppointment } from "./operations.ts";
import { SWITCHOVER_BODY } from "./request-schemas.ts";

type SwitchoverBody = v.InferOutput<typeof SWITCHOVER_BODY>;

/** How long a member may take to say that it is there. */
const ASK_MEMBER_MS = seconds(2);
/** Longer than any name or time. */
const SHOWN_MAX_CHARACTERS = 200;
/** An outcome takes at most two cycles of the loop and this, as Patroni waits for it. */
const OUTCOME_GRACE_MS = seconds(10);

export function switchoverRoutes(app: ApiApp, context: ApiContext): void {
  for (const path of ["switchover", "failover"] as const) {
    app.post(`/${path}`, async (c) => {
      const body = await readBody(c.req.raw, SWITCHOVER_BODY, { empty: "refused" });
      if (!body.ok) return bodyRefusal(body.error);
      c.env.allowSilence(LONG_ANSWER_SECONDS);
      const answer = await changeLeader(context, path, body.value);
      return textAnswer(answer.status, answer.text);
    });
  }

  app.delete("/switchover", async () => {
    const answer = await deleteScheduled(context);
    return textAnswer(answer.status, answer.text);
  });
}

async function changeLeader(context: ApiContext, path: SwitchoverAction, body: SwitchoverBody): Promise<OperatorAnswer> {
  const { service } = context;
  const { leader, scheduled_at: appointmentText } = body;
  const plan: SwitchoverPlan = {
    action: path === "failover" && leader === null ? "failover" : "switchover",
    leader,
    candidate: body.candidate ?? body.member,
  };
  const read = await service.readCluster();
  if (!read.ok) return { status: 503, text: describeStoreError(read.error) };
  context.log.info(
    `received ${path} request with leader=${shown(leader)} candidate=${shown(plan.candidate)} scheduled_at=${shown(appointmentText)}`,
  );
  if (path === "failover" && leader !== null)
    context.log.warning("received failover request with leader specified - performing switchover instead");
  const cluster = read.value;
  const paused = readFlag(cluster.config?.data["pause"]);
  const refusal = requestRefusal(path, plan, { scheduled: appointmentText !== null, paused });
  if (refusal !== null) return refusal;
  if (appointmentText !== null) return scheduleSwitchover(context, plan, cluster, appointmentText);
  const unfit = await candidatesRefusal(context, plan, cluster);
  return unfit ?? performNow(context, plan, cluster);
}

/** A word of a request in the log, as Patroni writes it; escaped, because whoever may ask may ask for anything. */
function shown(word: string | null): string {
  return word === null ? "None" : JSON.stringify(word).slice(1, -1).slice(0, SHOWN_MAX_CHARACTERS);
}

/** At the appointed time everything is checked again; here only what is certainly a slip of the pen is refused. */
async function scheduleSwitchover(context: ApiContext, plan: SwitchoverPlan, cluster: Cluster, text: string): Promise<OperatorAnswer> {
  const appointment = readAppointment(text, "switchover", context.wallNow());
  if (!appointment.ok) return appointment.error;
  if (cluster.leader?.name !== plan.leader) return { status: 412, text: "leader name does not match" };
  const request = { leader: plan.leader, candidate: plan.candidate, scheduledAt: appointment.value };
  const written = await context.service.writeFailover(request, cluster.failover?.revision ?? null);
  if (!written.ok) return { status: 503, text: `Switchover could not be scheduled: ${describeStoreError(written.error)}` };
  context.service.wake();
  return { status: 202, text: "Switchover scheduled" };
}

/** Asks all members that might take over, at once; null when one of them is fit. */
async function candidatesRefusal(context: ApiContext, plan: SwitchoverPlan, cluster: Cluster): Promise<OperatorAnswer | null> {
  const { service } = context;
  const facts = service.factsNow();
  const found = switchoverCandidates(plan, cluster, synchronousModeOf(cluster.config?.data ?? {}));
  if (found.kind === "refused") return found.refusal;
  const limits = {
    action: plan.action,
    leaderLsn: cluster.status.optime,
    leaderTimeline: leaderMember(cluster)?.timeline ?? null,
    maximumLagBytes: facts.dynamic.maximumLagOnFailoverBytes,
    checkTimeline: facts.dynamic.checkTimeline,
  };
  const deadline = ms(facts.now + ASK_MEMBER_MS);
  const verdicts = found.members.map(async (member) => isFitCandidate(member, await service.askMember(member.name, deadline), limits));
  return (await anyTrue(verdicts)) ? null : { status: 412, text: `${plan.action} is not possible: no good candidates have been found` };
}

/** True at the first true: a silent member delays nobody. */
function anyTrue(verdicts: readonly Promise<boolean>[]): Promise<boolean> {
  return new Promise((resolve, reject) => {
    for (const verdict of verdicts) verdict.then((value) => (value ? resolve(true) : undefined), reject);
    Promise.all(verdicts).then(() => resolve(false), reject);
  });
}

async function performNow(context: ApiContext, plan: SwitchoverPlan, cluster: Cluster): Promise<OperatorAnswer> {
  const { service } = context;
  const facts = service.factsNow();
  const title = plan.action === "switchover" ? "Switchover" : "Failover";
  const deadline = ms(facts.now + 2 * facts.dynamic.loopWaitMs + OUTCOME_GRACE_MS);
  const written = await service.writeFailover(
    { leader: plan.leader, candidate: plan.candidate, scheduledAt: null },
    cluster.failover?.revision ?? null,
  );
  if (!written.ok) return { status: 503, text: `${title} failed: ${describeStoreError(written.error)}` };
  service.wake();
  const outcome = await awaitOutcome(context, plan, cluster, deadline);
  if (outcome === "unknown") return { status: 503, text: `${title} status unknown` };
  if (outcome === "failed") return { status: 503, text: `${title} failed` };
  const done = plan.action === "switchover" ? "switched" : "failed";
  if (plan.candidate === null || plan.candidate === outcome.leader)
    return { status: 200, text: `Successfully ${done} over to "${outcome.leader}"` };
  const verb = plan.action === "switchover" ? "Switched" : "Failed";
  return { status: 200, text: `${verb} over to "${outcome.leader}" instead of "${plan.candidate}"` };
}

/**
 * Judges every view of the cluster that is at least as new as our own write (an older one lacks the request and would look
 * like a refusal), until one decides or the deadline passes.
 */
async function awaitOutcome(
  context: ApiContext,
  plan: SwitchoverPlan,
  before: Cluster,
  deadline: Ms,
): Promise<{ readonly leader: string } | "failed" | "unknown"> {
  const { service } = context;
  let change = service.clusterChange(deadline);
  const reread = await service.readCluster();
  const newEnough = reread.ok ? reread.value.revision : revision(before.revision + 1);
  let view: Cluster | null = reread.ok ? reread.value : null;
  for (;;) {
    if (view !== null && view.revision >= newEnough) {
      const outcome = switchoverOutcome(plan, before.leader, view);
      if (outcome.kind === "failed") return "failed";
      if (outcome.kind === "done") return { leader: outcome.leader };
    }
    if (service.factsNow().now >= deadline) return "unknown";
    await change;
    // Subscribed before the look at the present view, so that no change falls between the two.
    change = service.clusterChange(deadline);
    view = service.factsNow().cluster;
  }
}

async function deleteScheduled(context: ApiContext): Promise<OperatorAnswer> {
  const { service } = context;
  const read = await service.readCluster();
  if (!read.ok) return { status: 503, text: describeStoreError(read.error) };
  const request = read.value.failover;
  if (request === null || request.scheduledAt === null) return { status: 404, text: "no switchover is scheduled" };
  const written = await service.writeFailover(null, request.revision);
  if (written.ok) {
    service.wake();
    return { status: 200, text: "scheduled switchover deleted" };
  }
  if (written.error.kind === "condition-failed")
    return { status: 409, text: "the scheduled switchover was changed by someone else meanwhile" };
  return { status: 503, text: describeStoreError(written.error) };
}
