// Owns `ctl rolling restart`: every member's PostgreSQL restarted, one after the other, so that somebody can always write but for a
// switchover. Shows what it would do first; what it has done stands in the DCS, so that a second call goes on.

import { Argument, type Command, InvalidArgumentError } from "commander";
import { parsePostgresVersion } from "../../../core/restart-filters.ts";
import {
  chosenNodes,
  type RollingNode,
  type RollingStep,
  remainingSteps,
  shrinkingSettings,
  troubles,
} from "../../../core/rolling-restart.ts";
import { type RollingRecord, readRollingRecord, writeRollingRecord } from "../../../dcs/rolling-record.ts";
import { describeStoreError } from "../../../model/errors.ts";
import { type Revision, seconds } from "../../../model/units.ts";
import { EXIT, type ExitCode } from "../../../runtime/exit-codes.ts";
import { type CtlContext, orRefuse, type ReadCluster } from "../context.ts";
import { chooseGroup } from "../group-choice.ts";
import { chooseMembers } from "../member-choice.ts";
import { isPaused } from "../member-requests.ts";
import { operatorOf } from "../operator.ts";
import type { CommandHost } from "../program.ts";
import { confirm } from "../prompt.ts";
import { CtlRefusal } from "../refusal.ts";
import { candidatesNow, leftOf, lookAtNodes, performRolling } from "../rolling-steps.ts";

interface RollingFlags {
  readonly pending?: true;
  readonly pgVersion?: string;
  readonly inPlace?: true;
  readonly timeout?: string;
  readonly stepTimeout: number;
  readonly anew?: true;
  readonly dryRun?: true;
  readonly force?: true;
  readonly yes?: true;
}

/** A large server that recovers after its restart takes minutes. */
const STEP_SECONDS = 600;
const STEP_SECONDS_MAX = 7 * 24 * 3600;
/** Nobody comes back after longer than that to what he had begun. */
const GOES_ON_FOR_MS = 24 * 3600 * 1000;

export function addRolling({ command, run }: CommandHost): void {
  const self = command("rolling", "restart members one after the other: replicas first, then a switchover, then the old leader");
  self.addArgument(new Argument("<action>").choices(["restart"]));
  self
    .argument("[cluster]")
    .argument("[members...]")
    .option("--pending", "only members where a restart is pending")
    .option("--pg-version <version>", "only where PostgreSQL is older than this, e.g. 15.4: after new packages were installed")
    .option("--in-place", "restart the leader where it leads instead of a switchover: nobody can write meanwhile")
    .option("--timeout <time>", "how long a member may take for its restart (seconds, or with a unit)")
    .option("--step-timeout <seconds>", "how long a step may take until all members are well again", stepSeconds, STEP_SECONDS)
    .option("--anew", "forget what an earlier call has done")
    .option("--dry-run", "only show the steps")
    .option("--force", "ask nothing")
    .option("--yes", "the same")
    .action((_action: string, cluster: string | undefined, names: readonly string[], flags: RollingFlags, own: Command) =>
      run(own, async (context) => {
        const how = flags.dryRun ? "silent" : asksNothing(flags) ? "shown" : "ask";
        return rollingRestart(context, await chooseGroup(context, context.scopeOf(cluster), how), names, flags);
      }),
    );
}

/** A rolling restart as it is about to go on: what is recorded of it, and as which revision. */
interface Begun {
  readonly record: RollingRecord;
  /** Of what is recorded now; null: nothing is. */
  readonly revision: Revision | null;
}

async function rollingRestart(context: CtlContext, read: ReadCluster, names: readonly string[], flags: RollingFlags): Promise<ExitCode> {
  const { terminal } = context;
  chooseMembers(read, { names, role: "any" });
  if (isPaused(read)) throw new CtlRefusal("Cluster is paused: nobody would take over from a node that does not come back. Resume first");
  const nodes = await lookAtNodes(context, read);
  const begun = await recall(context, read, { nodes, names, flags });
  const left = leftOf(begun.record, nodes);
  const trouble = troubles(nodes);
  if (trouble.length > 0) throw new CtlRefusal(`A rolling restart needs every member to be well first:\n${trouble.join("\n")}`);
  if (left.length === 0) {
    terminal.out("No member needs a restart\n");
    return EXIT.ok;
  }
  refuseShrinking(read, flags);

  const inPlace = flags.inPlace === true;
  const steps = remainingSteps(nodes, { left, inPlace });
  const candidates = await refuseWithoutSuccessor(context, read, { nodes, steps, left });
  terminal.out(planText(read, { nodes, steps, candidates, stepSeconds: flags.stepTimeout }));
  if (flags.dryRun) {
    terminal.out("Nothing was changed.\n");
    return EXIT.ok;
  }
  const question = `Are you sure you want to restart members ${left.join(", ")} one after the other?`;
  await confirm(terminal, question, { force: asksNothing(flags), refusal: "Aborted rolling restart" });
  const revision = await note(context, read, begun);
  const run = { context, inPlace, stepWithin: seconds(flags.stepTimeout), timeout: flags.timeout ?? null };
  await performRolling(run, read, { record: begun.record, revision });
  terminal.out("Success: every member was restarted\n");
  context.list([await context.readGroup(read.scope, read.group)]);
  return EXIT.ok;
}

/** What an earlier call has left, else a new beginning from how the members are now. */
async function recall(
  context: CtlContext,
  read: ReadCluster,
  { nodes, names, flags }: { readonly nodes: readonly RollingNode[]; readonly names: readonly string[]; readonly flags: RollingFlags },
): Promise<Begun> {
  const kept = orRefuse(await readRollingRecord(context.store, read.store.keys, context.storeDeadline()));
  if (kept.record !== null && flags.anew !== true && goesOn(context, kept.record, nodes)) {
    return { record: { ...kept.record, turn: kept.record.turn + 1 }, revision: kept.revision };
  }
  const olderThan = flags.pgVersion === undefined ? null : parsePostgresVersion(flags.pgVersion);
  if (flags.pgVersion !== undefined && olderThan === null) throw new CtlRefusal(`Invalid PostgreSQL version: ${flags.pgVersion}`);
  const chosen = chosenNodes(nodes, { names, pending: flags.pending === true, olderThan });
  const record: RollingRecord = {
    begunAt: new Date(context.terminal.clock.wallNow()).toISOString(),
    by: operatorOf(context.terminal.env),
    before: Object.fromEntries(chosen.map(({ name, status }) => [name, status?.startedAt ?? ""])),
    synchronous: read.cluster.sync.standbys.length,
    turn: 0,
  };
  return { record, revision: kept.revision };
}

/** Whether this call goes on with an earlier one, and tells so. One that is done, or of another day, says nothing of what is wanted now. */
function goesOn({ terminal }: CtlContext, record: RollingRecord, nodes: readonly RollingNode[]): boolean {
  const left = leftOf(record, nodes);
  const done = Object.keys(record.before).filter((name) => !left.includes(name));
  const words = `A rolling restart was begun at ${record.begunAt} by ${record.by}; restarted: ${done.join(", ") || "nobody"}; left: ${left.join(", ") || "nobody"}`;
  const on = left.length > 0 && terminal.clock.wallNow() - Date.parse(record.begunAt) < GOES_ON_FOR_MS;
  terminal.out(`${words}. ${on ? "It goes on (--anew begins again)." : "A new one begins."}\n`);
  return on;
}

/** From here on a second call goes on. Null where the store lets us write no such key. */
async function note(context: CtlContext, read: ReadCluster, { record, revision }: Begun): Promise<Revision | null> {
  const { keys } = read.store;
  const written = await writeRollingRecord(context.store, keys, { record, expected: revision, ...context.storeDeadline() });
  if (!written.ok && written.error.kind === "rejected") {
    const why = describeStoreError(written.error);
    context.terminal.complain(`Warning: this is not recorded, a second call will begin with all members again: ${why}\n`);
    return null;
  }
  if (!written.ok && written.error.kind === "condition-failed")
    throw new CtlRefusal("Another rolling restart of this cluster has just begun");
  return orRefuse(written);
}

/** A lower value is refused by standbys of a primary with the higher one: it would stay pending for ever. */
function refuseShrinking(read: ReadCluster, flags: RollingFlags): void {
  if (flags.pending !== true) return;
  const names = [...new Set(read.cluster.members.flatMap(({ pendingRestartReason }) => shrinkingSettings(pendingRestartReason ?? {})))];
  if (names.length === 0) return;
  throw new CtlRefusal(
    `${names.join(", ")}: a lower value is restarted on the leader first, where it leads: ctl restart --role leader --pending, then this again`,
  );
}

/** Who could take over, where anybody has to. Throws CtlRefusal where nobody can. */
async function refuseWithoutSuccessor(
  context: CtlContext,
  read: ReadCluster,
  {
    nodes,
    steps,
    left,
  }: { readonly nodes: readonly RollingNode[]; readonly steps: readonly RollingStep[]; readonly left: readonly string[] },
): Promise<readonly string[]> {
  const change = steps.find((step) => step.kind === "switchover");
  if (change === undefined) return [];
  // A standby that is restarted on the way can take over then.
  const stays = left.filter((name) => nodes.some((node) => node.name === name && node.leads));
  const { fit, reasons } = await candidatesNow(context, read, change.from, stays);
  if (fit.length > 0) return fit;
  throw new CtlRefusal(
    `Nobody can take over from ${change.from} (${reasons}). After a change of leader that passes in seconds: call it again then; ` +
      "--in-place restarts it where it leads, and nobody can write meanwhile",
  );
}

function planText(
  read: ReadCluster,
  plan: {
    readonly nodes: readonly RollingNode[];
    readonly steps: readonly RollingStep[];
    readonly candidates: readonly string[];
    readonly stepSeconds: number;
  },
): string {
  const lines = plan.steps.map((step, index) => `${String(index + 1).padStart(2)}. ${stepText(step, plan)}\n`);
  const end = `After each step, at most ${plan.stepSeconds} s, until all members are well and every standby streams.\n`;
  return `Rolling restart of ${read.scope}, ${plan.steps.length} of ${plan.nodes.length} members\n${lines.join("")}${end}`;
}

function stepText(
  step: RollingStep,
  { nodes, candidates }: { readonly nodes: readonly RollingNode[]; readonly candidates: readonly string[] },
): string {
  if (step.kind === "switchover") {
    return `switchover from ${step.from} to ${candidates.join(" or ")}: writes wait for it; ${step.from} stops and starts again as a standby`;
  }
  const node = nodes.find(({ name }) => name === step.member);
  if (node?.leads) return `restart ${step.member} where it leads: nobody can write meanwhile`;
  return `restart ${step.member}: its readers are disconnected${node?.synchronous ? "; another standby is synchronous meanwhile, where there is one" : ""}`;
}

function asksNothing(flags: RollingFlags): boolean {
  return flags.force === true || flags.yes === true;
}

function stepSeconds(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > STEP_SECONDS_MAX)
    throw new InvalidArgumentError(`write seconds, 1 to ${STEP_SECONDS_MAX}`);
  return value;
}
