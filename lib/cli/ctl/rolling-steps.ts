// Owns the steps of a rolling restart as they are performed: asking the members, one restart or switchover at a time, and waiting until
// all are well again. What is next is lib/core's; nothing is asked for twice.

import { synchronousModeOf } from "../../core/cluster-view.ts";
import {
  isRestarted,
  type RollingNode,
  type RollingStep,
  remainingSteps,
  restartBody,
  restartOutcome,
  troubles,
} from "../../core/rolling-restart.ts";
import { deleteRollingRecord, type RollingRecord, writeRollingRecord } from "../../dcs/rolling-record.ts";
import { priorityOf, tagEnabled } from "../../model/member.ts";
import { isSyncStandby } from "../../model/sync-state.ts";
import { type Ms, ms, type Revision, seconds } from "../../model/units.ts";
import type { CtlContext, ReadCluster } from "./context.ts";
import { leaderOf, orRefuse } from "./context.ts";
import { ANSWERS_WITHIN, askAnyMember, askMember, loopWait } from "./member-requests.ts";
import { previewChange } from "./preview.ts";
import { tellChanges } from "./progress.ts";
import { CtlRefusal } from "./refusal.ts";
import { awaitCluster } from "./watch-cluster.ts";

/** A member answers when its restart is done, and gives up itself before this. */
const RESTART_ANSWERS_WITHIN = seconds(300);
/** A member answers a switchover at the latest two loops and ten seconds after the request; this comes on top. */
const SWITCHOVER_GRACE = seconds(30);

export interface RollingRun {
  readonly context: CtlContext;
  readonly inPlace: boolean;
  /** How long one step may take until all members are well again. */
  readonly stepWithin: Ms;
  /** For a restart itself, as the operator wrote it. */
  readonly timeout: string | null;
}

/** The cluster and its members as they answer now; the leader's status and the replicas'. */
export async function lookAtNodes(context: CtlContext, read: ReadCluster): Promise<readonly RollingNode[]> {
  const deadline = context.within(ANSWERS_WITHIN);
  const leader = leaderOf(read)?.name ?? null;
  return Promise.all(
    read.view.members.map(async (member): Promise<RollingNode> => {
      const answer = member.api_url === undefined ? null : await context.peers.status(member.api_url, deadline);
      const status = answer?.ok === true ? answer.value : null;
      return {
        name: member.name,
        leads: member.name === leader,
        synchronous: isSyncStandby(read.cluster.sync, member.name),
        streams: !tagEnabled(member.tags ?? {}, "nostream"),
        status: status === null ? null : { ...status, startedAt: status.postmasterStartTime },
      };
    }),
  );
}

/** Members of the record that still run the server of before. */
export function leftOf(record: RollingRecord, nodes: readonly RollingNode[]): readonly string[] {
  return Object.entries(record.before)
    .filter(([name, before]) => {
      const node = nodes.find((candidate) => candidate.name === name);
      return node === undefined || !isRestarted(node, before);
    })
    .map(([name]) => name);
}

/** Everything that is left, step by step. `revision`: of the record as it stands. Throws CtlRefusal: what went wrong, and what is left. */
export async function performRolling(
  run: RollingRun,
  first: ReadCluster,
  begun: { readonly record: RollingRecord; readonly revision: Revision | null },
): Promise<void> {
  const { context } = run;
  let { record, revision } = begun;
  let read = first;
  let left: readonly string[] = [];
  try {
    for (let steps = 0; ; steps++) {
      const nodes = await lookAtNodes(context, read);
      left = leftOf(record, nodes);
      const [step] = remainingSteps(nodes, { left, inPlace: run.inPlace });
      if (step === undefined) {
        if (left.length > 0) throw new CtlRefusal(`${left.join(", ")} cannot be found in the cluster`);
        break;
      }
      if (steps > 0) record = { ...record, turn: record.turn + 1 };
      if (steps > 0 && revision !== null) revision = await writeTurn(context, read, record, revision);
      read = await performStep(run, read, { step, record });
    }
    if (revision !== null) {
      const { keys } = read.store;
      orRefuse(await deleteRollingRecord(context.store, keys, { expected: revision, ...context.storeDeadline() }));
    }
  } catch (error) {
    if (!(error instanceof CtlRefusal)) throw error;
    const rest = left.length === 0 ? "" : `\nNot restarted yet, or not seen to be: ${left.join(", ")}.`;
    throw new CtlRefusal(
      `${error.message}${rest}\nNothing more was touched. Once that is mended, the same command goes on where it ended.`,
      error.status,
    );
  }
}

/** Two calls at one time: the one that wrote last goes on, the other ends here. */
async function writeTurn(context: CtlContext, read: ReadCluster, record: RollingRecord, expected: Revision): Promise<Revision> {
  const written = await writeRollingRecord(context.store, read.store.keys, { record, expected, ...context.storeDeadline() });
  if (!written.ok && written.error.kind === "condition-failed")
    throw new CtlRefusal("Another rolling restart of this cluster has taken over");
  return orRefuse(written);
}

async function performStep(
  run: RollingRun,
  read: ReadCluster,
  { step, record }: { readonly step: RollingStep; readonly record: RollingRecord },
): Promise<ReadCluster> {
  const { context } = run;
  const begin = context.terminal.clock.now();
  const deadline = context.within(run.stepWithin);
  const member = step.kind === "restart" ? step.member : step.from;
  const work = async (): Promise<ReadCluster> => {
    if (step.kind === "restart") {
      context.terminal.out(`${member}: restart\n`);
      await restartOne(run, read, member);
    } else {
      const candidate = await awaitCandidate(run, read, { from: member, record, deadline });
      context.terminal.out(`${member}: switchover to ${candidate}\n`);
      await switchOver(context, read, member, candidate);
    }
    return awaitWell(context, read, { member, record, deadline });
  };
  const well = await tellChanges(context, read, work());
  const took = ((context.terminal.clock.now() - begin) / 1000).toFixed(1);
  const leader = leaderOf(well)?.name;
  context.terminal.out(`${member}: restarted, and ${member === leader ? "leads again" : `streams from ${leader}`} (${took} s)\n`);
  return well;
}

/** An answer that does not come is no failure yet: whether the server was started anew, its start time tells. */
async function restartOne(run: RollingRun, read: ReadCluster, name: string): Promise<void> {
  const { context } = run;
  const member = read.view.members.find((candidate) => candidate.name === name);
  if (member === undefined) throw new CtlRefusal(`${name} is not a member of the cluster any more`);
  const body = restartBody({ leads: leaderOf(read)?.name === name, timeout: run.timeout });
  const asked = await askMember(context, member, { method: "POST", path: "/restart", body, within: RESTART_ANSWERS_WITHIN });
  if (!asked.ok)
    return context.terminal.complain(`Warning: ${name} gave no answer to POST /restart (${asked.reason}); looking what came of it\n`);
  const { status, text } = asked.answer;
  const outcome = restartOutcome(asked.answer);
  if (outcome === "unknown") context.terminal.complain(`Warning: ${name} answered ${status}, ${text}; waiting for what comes of it\n`);
  if (outcome === "refused") throw new CtlRefusal(`${name} was not restarted: ${status}, ${text}`);
}

async function switchOver(context: CtlContext, read: ReadCluster, leader: string, candidate: string): Promise<void> {
  const asked = await askAnyMember(context, read, {
    method: "POST",
    path: "/switchover",
    body: { leader, candidate },
    within: ms(2 * loopWait(read) + SWITCHOVER_GRACE),
  });
  if (asked.kind === "nobody") throw new CtlRefusal(`no member can be asked for a switchover: ${asked.reasons.join("; ")}`);
  const { status, text } = asked.answer;
  if (status !== 200) throw new CtlRefusal(`the switchover from ${leader} to ${candidate} failed: ${status}, ${text}`);
}

/** The best of those that were restarted, or need not be, and that may lead now. Waits for one: a synchronous standby may only just be chosen. */
async function awaitCandidate(
  run: RollingRun,
  read: ReadCluster,
  { from, record, deadline }: { readonly from: string; readonly record: RollingRecord; readonly deadline: Ms },
): Promise<string> {
  let found: string | null = null;
  let why = "";
  const holds = async (now: ReadCluster): Promise<boolean> => {
    const left = leftOf(record, await lookAtNodes(run.context, now));
    const { fit, reasons } = await candidatesNow(run.context, now, from, left);
    found = fit[0] ?? null;
    why = reasons;
    return found !== null;
  };
  await awaitCluster(run.context, read, holds, deadline);
  if (found === null) throw new CtlRefusal(`nobody can take over from ${from}: ${why}`);
  return found;
}

/** Who could take over, the best first; and why the others could not. */
export async function candidatesNow(
  context: CtlContext,
  read: ReadCluster,
  leader: string,
  except: readonly string[],
): Promise<{ readonly fit: readonly string[]; readonly reasons: string }> {
  const { candidates } = await previewChange(context, read, { plan: { action: "switchover", leader, candidate: null }, scheduled: false });
  const tags = (name: string) => read.view.members.find((member) => member.name === name)?.tags ?? {};
  const fit = candidates
    .filter(({ name, reasons }) => reasons.length === 0 && !except.includes(name))
    .sort((a, b) => priorityOf(tags(b.name), "failover_priority") - priorityOf(tags(a.name), "failover_priority"));
  const words = candidates.map(({ name, reasons }) => {
    if (except.includes(name)) return `${name}: it is not restarted itself`;
    return reasons.length === 0 ? "" : `${name}: ${reasons.join(", ")}`;
  });
  const reasons = words.filter((word) => word !== "").join("; ");
  return { fit: fit.map(({ name }) => name), reasons: reasons === "" ? "there is no other member" : reasons };
}

/** The member runs another server, every member is well, and as many standbys are synchronous as before. */
async function awaitWell(
  context: CtlContext,
  read: ReadCluster,
  { member, record, deadline }: { readonly member: string; readonly record: RollingRecord; readonly deadline: Ms },
): Promise<ReadCluster> {
  let missing = "";
  const well = await awaitCluster(
    context,
    await context.readGroup(read.scope, read.group),
    async (now) => {
      const nodes = await lookAtNodes(context, now);
      const wanted = synchronousModeOf(now.cluster.config?.data ?? {}) === "off" ? 0 : record.synchronous;
      missing = [
        ...(leftOf(record, nodes).includes(member) ? [`${member}: it still runs the server of before, or does not say`] : []),
        ...troubles(nodes),
        ...(now.cluster.sync.standbys.length < wanted ? [`${now.cluster.sync.standbys.length} of ${wanted} synchronous standbys`] : []),
      ].join("; ");
      return missing === "";
    },
    deadline,
  );
  if (well !== null) return well;
  const { aborted } = context.terminal.signal;
  throw new CtlRefusal(`${aborted ? "Interrupted" : "The cluster has not come back in time"} after ${member}: ${missing}`);
}
