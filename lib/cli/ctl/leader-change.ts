// Owns what switchover and failover have in common: the questions, the request to a member, and where no member answers,
// the `failover` key. Whether the change is allowed is judged by the members; here only what is certainly a slip is refused.

import type { MemberView } from "../../core/cluster-view.ts";
import { synchronousModeOf } from "../../core/cluster-view.ts";
import { isNofailover } from "../../model/member.ts";
import { isSyncStandby } from "../../model/sync-state.ts";
import { ms, seconds } from "../../model/units.ts";
import { EXIT, type ExitCode } from "../../runtime/exit-codes.ts";
import { askScheduled, readScheduled, timestamp } from "./appointment.ts";
import { type CtlContext, leaderOf, orRefuse, type ReadCluster } from "./context.ts";
import type { Format } from "./formats.ts";
import { chooseGroup } from "./group-choice.ts";
import { askAnyMember, isPaused, loopWait } from "./member-requests.ts";
import { tellChanges } from "./progress.ts";
import { ask, confirm } from "./prompt.ts";
import { CtlRefusal } from "./refusal.ts";

/** A member answers at the latest two loops and ten seconds after the request; this comes on top. */
const ANSWER_GRACE = seconds(30);

export interface LeaderChange {
  readonly action: "switchover" | "failover";
  readonly scope: string;
  readonly leader: string | null;
  readonly candidate: string | null;
  /** As written: a time, `now`, or null = not said. */
  readonly scheduled: string | null;
  readonly force: boolean;
  /** Only say what would happen, in this format; null = do it. */
  readonly dryRun: Format | null;
}

interface Decided {
  readonly action: "switchover" | "failover";
  readonly leader: string | null;
  readonly candidate: string | null;
  readonly scheduledAt: string | null;
}

/** Throws CtlRefusal: refused here or by the members, the operator said no, or the outcome is not known. */
export async function changeLeader(context: CtlContext, change: LeaderChange): Promise<ExitCode> {
  const { terminal } = context;
  const read = await chooseGroup(context, change.scope, change.dryRun !== null ? "silent" : change.force ? "shown" : "ask");
  if (change.dryRun !== null) return dryRun(context, read, change, change.dryRun);
  const decided = await decide(context, read, change);
  if (!change.force) await foretell(context, read, decided);
  await confirmChange(context, read, decided, change.force);

  const request = askAnyMember(context, read, {
    method: "POST",
    path: `/${change.action}`,
    body: requestBody(decided),
    within: ms(2 * loopWait(read) + ANSWER_GRACE),
    // A failover is for a leader that is in trouble: a silent host must not be waited for.
    first: change.action === "failover" ? decided.candidate : null,
  });
  const asked = await tellChanges(context, read, request);
  if (asked.kind === "nobody") return writeRequest(context, read, decided, asked.reasons);
  const { status, text } = asked.answer;
  if (status !== 200 && status !== 202) throw new CtlRefusal(`${titleOf(change.action)} failed, details: ${status}, ${text}`);
  terminal.out(`${timestamp(terminal.clock.wallNow())} ${text}\n`);
  context.list([await context.readGroup(read.scope, read.group)]);
  return EXIT.ok;
}

/** Asks nothing of the operator and changes nothing. Status 1 where the request would be refused. */
async function dryRun(context: CtlContext, read: ReadCluster, change: LeaderChange, format: Format): Promise<ExitCode> {
  const { previewChange, previewText } = await import("./preview.ts");
  const at = change.scheduled === null ? null : readScheduled(change.scheduled);
  const leader = change.action === "failover" ? null : (change.leader ?? read.cluster.leader?.name ?? null);
  const plan = { action: change.action, leader, candidate: change.candidate };
  const preview = await previewChange(context, read, { plan, scheduled: at !== null });
  context.terminal.out(previewText(read, { plan, preview, format }));
  // A table says so itself; the rows of a machine format have no place for it.
  if (format !== "pretty" && preview.refusal !== null) context.terminal.complain(`Error: ${preview.refusal}\n`);
  return preview.refusal === null ? EXIT.ok : EXIT.failed;
}

/** What a yes to the next question means. */
async function foretell(context: CtlContext, read: ReadCluster, { action, leader, candidate, scheduledAt }: Decided): Promise<void> {
  const { outcomeText, previewChange } = await import("./preview.ts");
  const plan = { action, leader, candidate };
  const preview = await previewChange(context, read, { plan, scheduled: scheduledAt !== null });
  const { out } = context.terminal;
  const present = leaderOf(read)?.name ?? null;
  if (preview.refusal === null && present !== null) {
    out(`${present} stops after a checkpoint: its clients are disconnected, and writes wait until the new leader is promoted.\n`);
  }
  out(`${outcomeText(preview)}${scheduledAt === null ? "" : " All of this is checked again at that time."}\n`);
  for (const { name, reasons } of preview.candidates) if (reasons.length > 0) out(`${name} could not: ${reasons.join("; ")}\n`);
}

async function decide(context: CtlContext, read: ReadCluster, change: LeaderChange): Promise<Decided> {
  const { terminal } = context;
  const present = leaderOf(read)?.name ?? null;
  let leader: string | null = null;
  if (change.action === "switchover") {
    if (present === null) throw new CtlRefusal("This cluster has no leader");
    leader = change.leader ?? (change.force ? present : await ask(terminal, leaderLabel(read), present));
    if (leader !== present) throw new CtlRefusal(`Member ${leader} is not the leader of cluster ${read.scope}`);
  }
  const names = candidatesFor(read).map((member) => member.name);
  if (names.length === 0 && change.candidate === null) throw new CtlRefusal(`No candidates found to ${change.action} to`);
  const asked =
    change.candidate ?? (change.force ? "" : await ask(terminal, `Candidate [${names.map((name) => `'${name}'`).join(", ")}]`, ""));
  const candidate = asked === "" ? null : asked;
  if (candidate === null && change.action === "failover") throw new CtlRefusal("Failover could be performed only to a specific candidate");
  if (candidate !== null && candidate === present)
    throw new CtlRefusal(`Member ${candidate} is already the leader of cluster ${read.scope}`);
  if (candidate !== null && !names.includes(candidate)) {
    throw new CtlRefusal(`Member ${candidate} does not exist in cluster ${read.scope} or is tagged as nofailover`);
  }
  const scheduledAt = await decideTime(context, change);
  if (scheduledAt !== null && isPaused(read)) throw new CtlRefusal("Can't schedule switchover in the paused state");
  return { action: change.action, leader, candidate, scheduledAt };
}

async function decideTime(context: CtlContext, change: LeaderChange): Promise<string | null> {
  if (change.action === "failover") return null;
  if (change.scheduled !== null) return readScheduled(change.scheduled);
  return change.force ? null : askScheduled(context.terminal, "switchover");
}

/** Who may be named; that a synchronous standby is wanted is the members' business to refuse. */
function candidatesFor(read: ReadCluster): readonly MemberView[] {
  const leader = leaderOf(read)?.name;
  return read.view.members.filter((member) => member.name !== leader && !isNofailover(member.tags ?? {}));
}

async function confirmChange(context: CtlContext, read: ReadCluster, decided: Decided, force: boolean): Promise<void> {
  const leader = decided.leader ?? leaderOf(read)?.name ?? null;
  const demoting = leader === null ? "" : `, demoting current leader ${leader}`;
  const scheduled = decided.scheduledAt !== null;
  const what = scheduled
    ? `schedule ${decided.action} of cluster ${read.scope} at ${decided.scheduledAt}`
    : `${decided.action} cluster ${read.scope}`;
  const refusal = scheduled ? `Aborting scheduled ${decided.action}` : `Aborting ${decided.action}`;
  await confirm(context.terminal, `Are you sure you want to ${what}${demoting}?`, { force, refusal });
  if (decided.action === "failover" && decided.candidate !== null && losesCommits(read, decided.candidate)) {
    const question = `Are you sure you want to failover to the asynchronous node ${decided.candidate}?`;
    await confirm(context.terminal, question, { force, refusal });
  }
}

/** In synchronous mode only the synchronous standbys are known to have every acknowledged commit. */
function losesCommits(read: ReadCluster, candidate: string): boolean {
  const mode = synchronousModeOf(read.cluster.config?.data ?? {});
  return mode !== "off" && !isSyncStandby(read.cluster.sync, candidate);
}

function requestBody(decided: Decided): Readonly<Record<string, unknown>> {
  return {
    ...(decided.leader === null ? {} : { leader: decided.leader }),
    ...(decided.candidate === null ? {} : { candidate: decided.candidate }),
    ...(decided.scheduledAt === null ? {} : { scheduled_at: decided.scheduledAt }),
  };
}

/** No member answers: the request goes where the next leader finds it. */
async function writeRequest(context: CtlContext, read: ReadCluster, decided: Decided, reasons: readonly string[]): Promise<ExitCode> {
  const { terminal } = context;
  const why = reasons.length === 0 ? "no member publishes an api_url" : reasons.join("; ");
  terminal.complain(
    `${timestamp(terminal.clock.wallNow())} Could not ${decided.action} using the members' API (${why}), falling back to DCS\n`,
  );
  const value = { leader: decided.leader, member: decided.candidate, scheduled_at: decided.scheduledAt };
  const expected = read.cluster.failover?.revision ?? null;
  orRefuse(await read.store.values.setFailoverValue(value, expected, context.storeDeadline()));
  const from = decided.leader === null ? "" : ` from leader ${decided.leader}`;
  const to = decided.candidate === null ? "" : ` to ${decided.candidate}`;
  terminal.out(`${timestamp(terminal.clock.wallNow())} Initialized ${decided.action}${from}${to}\n`);
  context.list([await context.readGroup(read.scope, read.group)]);
  return EXIT.ok;
}

function leaderLabel(read: ReadCluster): string {
  return leaderOf(read)?.role === "standby_leader" ? "Standby Leader" : "Primary";
}

function titleOf(action: LeaderChange["action"]): string {
  return action === "switchover" ? "Switchover" : "Failover";
}
