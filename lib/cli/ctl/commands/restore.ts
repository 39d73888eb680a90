// Owns `ctl restore`: the plan, the question, the request in the DCS, and the wait for its end. The nodes carry it out; this may be
// interrupted at any time.

import { type Command, Option } from "commander";
import { parseAppointment } from "../../../core/appointment.ts";
import {
  isUnderWay,
  isUnreadable,
  NEWEST_TIMELINE,
  RECOVERY_TIMELINE,
  type RestorePhase,
  type RestoreRequest,
} from "../../../model/restore.ts";
import { EXIT, type ExitCode } from "../../../runtime/exit-codes.ts";
import { readScheduled } from "../appointment.ts";
import { readBackups } from "../backup-listing.ts";
import { type CtlContext, orRefuse, type ReadCluster } from "../context.ts";
import { isPaused } from "../member-requests.ts";
import type { CommandHost } from "../program.ts";
import { askYes } from "../prompt.ts";
import { CtlRefusal, usageRefusal } from "../refusal.ts";
import { followRequest, requestId } from "../request.ts";
import { memberObstacles } from "../restore-members.ts";
import { abandonObstacle, overhaulObstacles, planRestore, type RestoreWish } from "../restore-plan.ts";

interface RestoreFlags {
  readonly to?: string;
  readonly latest?: true;
  readonly set?: string;
  readonly timeline?: string;
  readonly yes?: true;
  readonly plan?: true;
  readonly wait: boolean;
  readonly status?: true;
  readonly retry?: true;
  readonly undo?: true;
  readonly abandon?: true;
}

export function addRestore({ command, run }: CommandHost): void {
  command("restore [cluster]", "restore the whole cluster from a backup, to a point in time or to the end of the archive")
    .option("--to <time>", "the point in time, e.g. 2026-01-31T12:00:00+00:00")
    .option("--latest", "to the end of the archive")
    .option("--set <label>", "from this backup (default: the last that was complete by then)")
    .option(
      "--timeline <id>",
      "recover along this timeline of the archive: a number, current (the backup's own) or latest",
      NEWEST_TIMELINE,
    )
    .option("--yes", "ask nothing")
    .option("--plan", "only say what would be done")
    .option("--no-wait", "do not wait for the end")
    .option("--status", "how the last restore stands")
    .option("--retry", "try one that failed again")
    .option("--undo", "put the old data back; what was written since the restore is kept beside it, and lost to the cluster")
    .addOption(new Option("--abandon", "give up a restore whose node is lost: the other members go on with the old data"))
    .action((cluster: string | undefined, flags: RestoreFlags, self: Command) =>
      run(self, async (context) => {
        const read = await context.read(context.scopeOf(cluster));
        if (flags.status) return status(context, read);
        if (flags.retry) return await go(context, read, { from: ["failed"], to: "restore", question: "Try the restore again?", flags });
        if (flags.undo) return await undo(context, read, flags);
        if (flags.abandon)
          return await go(context, read, {
            from: ["stop", "restore", "clone", "failed", "undo"],
            to: "done",
            question: `Is the restoring node lost, and shall the others go on with ${dataOfOthers(read.cluster.restore)}?`,
            flags,
          });
        return await begin(context, read, flags);
      }),
    );
}

async function begin(context: CtlContext, read: ReadCluster, flags: RestoreFlags): Promise<ExitCode> {
  const { terminal } = context;
  const wish = wishOf(flags);
  if (read.group !== null) throw new CtlRefusal("a group of an MPP cluster is not restored alone: its groups would not fit each other");
  const plan = planRestore(read.cluster, await readBackups(context, read), wish, {
    wallNow: terminal.clock.wallNow(),
    paused: isPaused(read),
  });
  const obstacles = [...(plan.ok ? [] : plan.error), ...(await memberObstacles(context, read))];
  if (!plan.ok || obstacles.length > 0) throw new CtlRefusal(`nothing can be restored now:\n  ${obstacles.join("\n  ")}`);
  terminal.out(`Restore of ${read.scope}:\n${plan.value.lines.map((line) => ` ${line}\n`).join("")}`);
  if (flags.plan) {
    terminal.out(" Nothing was changed.\n");
    return EXIT.ok;
  }
  if (!flags.yes && !(await askYes(terminal, `Restore cluster ${read.scope}?`))) throw new CtlRefusal("restore aborted");
  // The answer may have taken a while: somebody else may lead by now.
  const now = (await context.readGroup(read.scope, read.group)).cluster.leader?.name ?? null;
  if (now !== plan.value.node) throw new CtlRefusal(`nothing was changed: ${now ?? "nobody"} leads now, and no longer ${plan.value.node}`);
  const request: Omit<RestoreRequest, "revision"> = {
    id: requestId(terminal.clock.wallNow()),
    phase: "stop",
    direction: "forward",
    node: plan.value.node,
    label: plan.value.backup.label,
    target: wish.target?.text ?? null,
    recoveryTimeline: wish.recoveryTimeline,
    timeline: null,
    cloned: [],
    message: null,
  };
  orRefuse(await read.store.values.setRestoreValue(request, read.cluster.restore?.revision ?? null, context.storeDeadline()));
  terminal.out(`Restore ${request.id} was asked for\n`);
  return flags.wait ? await follow(context, read) : EXIT.ok;
}

/** One of --to and --latest. Throws CtlRefusal. */
function wishOf({ to, latest, set, timeline = NEWEST_TIMELINE }: RestoreFlags): RestoreWish {
  if ((to === undefined) === (latest === undefined)) throw usageRefusal("write --to TIME or --latest");
  const text = to === undefined ? null : readScheduled(to);
  const read = text === null ? null : parseAppointment(text);
  if (to !== undefined && read?.kind !== "ok") throw usageRefusal(`--to ${to}: not a point in time`);
  if (!RECOVERY_TIMELINE.test(timeline)) throw usageRefusal(`--timeline ${timeline}: write a number, current or latest`);
  const target = read?.kind === "ok" ? { text: read.text, epochMs: read.epochMs } : null;
  return { target, label: set ?? null, recoveryTimeline: timeline };
}

/** From one of these phases to another, after a question. Throws CtlRefusal where it is in none of them. */
async function go(
  context: CtlContext,
  read: ReadCluster,
  step: { readonly from: readonly RestorePhase[]; readonly to: RestorePhase; readonly question: string; readonly flags: RestoreFlags },
): Promise<ExitCode> {
  const { restore } = read.cluster;
  if (restore === null) throw new CtlRefusal("no restore was ever asked for");
  if (!step.from.includes(restore.phase)) throw new CtlRefusal(`${describe(restore)}: ${refusal(restore)}`);
  if (isUnreadable(restore) && step.to !== "done") throw new CtlRefusal(describe(restore));
  refuseAbandon(read, step.to);
  context.terminal.out(`${describe(restore)}\n`);
  if (!step.flags.yes && !(await askYes(context.terminal, step.question))) throw new CtlRefusal("nothing was changed");
  // The answer may have taken a while: the lost node may be back. The request itself is written over the one that was read.
  if (step.to === "done") refuseAbandon(await context.readGroup(read.scope, read.group), step.to);
  const { revision, ...value } = restore;
  const theirs = dataOfOthers(restore);
  const message = step.to === "done" ? `abandoned: the other members went on with ${theirs}` : null;
  orRefuse(await read.store.values.setRestoreValue({ ...value, phase: step.to, message }, revision, context.storeDeadline()));
  if (step.flags.wait && step.to !== "done") return await follow(context, read);
  const says = step.to === "done" ? `abandoned: the other members go on with ${theirs}` : "the members go on with it";
  context.terminal.out(`Restore ${restore.id}: ${says}\n`);
  if (step.to === "done" && restore.phase === "clone") context.terminal.out(`${afterItLed(read.scope, restore)}\n`);
  return EXIT.ok;
}

/** The position, the timeline and the synchronous standbys in the DCS are those of data that is lost: measured by them nobody may lead. */
function afterItLed(scope: string, { node }: RestoreRequest): string {
  return `What the DCS says of the cluster's WAL and synchronous standbys is of the data on ${node}, which has led: where nobody takes the lead, say who is to, with ctl failover ${scope} --candidate NAME`;
}

/** Before what was restored has led, its phases only go the other way; behind that it is work of its own. */
async function undo(context: CtlContext, read: ReadCluster, flags: RestoreFlags): Promise<ExitCode> {
  const { restore } = read.cluster;
  if (restore === null || !hasLed(restore)) {
    const question = restore?.direction === "back" ? "Give up the way back, and go on with what was restored?" : "Put the old data back?";
    return await go(context, read, { from: ["stop", "restore", "failed"], to: "undo", question, flags });
  }
  await refuseWayBack(context, read);
  const { id, node } = restore;
  context.terminal.out(`${describe(restore)}\n`);
  const question = `Stop every server, and go back to the data of ${node} as it was before restore ${id}? What was written since is lost to the cluster.`;
  if (!flags.yes && !(await askYes(context.terminal, question))) throw new CtlRefusal("nothing was changed");
  // The answer may have taken a while.
  const now = await context.readGroup(read.scope, read.group);
  const seen = now.cluster.restore;
  if (seen === null || seen.id !== id || !hasLed(seen))
    throw new CtlRefusal("the restore has gone on meanwhile: nothing was changed; ctl restore --status");
  await refuseWayBack(context, now);
  const { revision, ...value } = seen;
  const asked = { ...value, phase: "stop", direction: "back", cloned: [] } as const;
  orRefuse(await read.store.values.setRestoreValue(asked, revision, context.storeDeadline()));
  return flags.wait ? await follow(context, now) : EXIT.ok;
}

/** Somebody leads with what was restored, or has. */
function hasLed({ direction, message, phase }: RestoreRequest): boolean {
  return direction === "forward" && message === null && (phase === "clone" || phase === "done");
}

/** Throws CtlRefusal where the data from before could not lead now. */
async function refuseWayBack(context: CtlContext, read: ReadCluster): Promise<void> {
  const { cluster } = read;
  const { restore } = cluster;
  // The restore itself is what is under way in the phase `clone`.
  const obstacles = overhaulObstacles({ ...cluster, restore: null }, { work: "restore", paused: isPaused(read) });
  if (restore !== null && cluster.leader?.name !== restore.node)
    obstacles.push(`${restore.node} has the data from before it, and does not lead: switch over to it first`);
  obstacles.push(...(await memberObstacles(context, read, restore?.id ?? null)));
  if (obstacles.length > 0) throw new CtlRefusal(`it cannot be taken back now:\n  ${obstacles.join("\n  ")}`);
}

/** Throws CtlRefusal where somebody has, or may have, what was restored. */
function refuseAbandon({ cluster }: ReadCluster, to: RestorePhase): void {
  const obstacle = to === "done" ? abandonObstacle(cluster) : null;
  if (obstacle !== null) throw new CtlRefusal(`it cannot be given up: ${obstacle}`);
}

/** What the members other than the node have, until they copy it. */
function dataOfOthers(restore: RestoreRequest | null): string {
  return restore?.direction === "back" ? "what was restored" : "the old data";
}

function refusal({ direction, message, phase }: RestoreRequest): string {
  if (direction === "back" && phase === "done")
    return message === null ? "it was taken back already" : "that is not possible any more: the cluster went on with what was restored";
  if (direction === "back" && phase === "clone") return "the cluster runs with the data from before it already";
  if (phase === "done" && message !== null) return "that is not possible any more: the cluster went on without it";
  if (phase === "clone" || phase === "done")
    return "that is not possible any more: the cluster runs with what was restored; ctl restore --undo goes back to the data from before";
  return "that is not possible now";
}

function status(context: CtlContext, { cluster }: ReadCluster): ExitCode {
  const { restore } = cluster;
  context.terminal.out(restore === null ? "no restore was ever asked for\n" : `${describe(restore)}\n`);
  return restore === null || restore.phase === "failed" ? EXIT.failed : EXIT.ok;
}

function describe({ id, phase, direction, node, label, target, cloned, message }: RestoreRequest): string {
  const isBack = direction === "back";
  const words: Readonly<Record<RestorePhase, string>> = {
    stop: "every server is being stopped",
    restore: isBack
      ? `${node} puts its data from before it back`
      : `${node} restores ${label} ${target === null ? "to the end of the archive" : `to ${target}`}`,
    clone: `${node} leads with ${isBack ? "the data from before it" : "what was restored"}; copied so far: ${cloned.length === 0 ? "nobody" : cloned.join(", ")}`,
    failed: node === "" ? "unknown" : `failed on ${node}`,
    undo: isBack ? `${node} keeps what was restored` : `${node} puts the old data back`,
    // One that was abandoned says so itself.
    done: isBack && message === null ? "taken back" : "done",
  };
  return `Restore ${id}: ${words[phase]}${message === null ? "" : ` (${message})`}`;
}

/** Tells each change until it is over. Exit status 1 where it failed. */
async function follow(context: CtlContext, from: ReadCluster): Promise<ExitCode> {
  const { restore } = await followRequest(context, from, {
    line: ({ restore }) => (restore === null ? null : describe(restore)),
    isOver: ({ restore }) => !isUnderWay(restore) || restore.phase === "failed",
    status: "ctl restore --status",
  });
  if (restore?.phase !== "done") throw new CtlRefusal("the restore did not come to its end: ctl restore --retry or --undo");
  if (restore.message === null) context.terminal.out("Take a new full backup now: the ones before are of the line that was left.\n");
  return EXIT.ok;
}
