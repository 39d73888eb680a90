// Owns `ctl reinit`: replicas throw their data away and are cloned again.

import type { Command } from "commander";
import type { MemberView } from "../../../core/cluster-view.ts";
import { ms, seconds } from "../../../model/units.ts";
import { EXIT, type ExitCode } from "../../../runtime/exit-codes.ts";
import { type CtlContext, leaderOf, type ReadCluster } from "../context.ts";
import { chooseMembers, confirmFor } from "../member-choice.ts";
import { ANSWERS_WITHIN, askMember, failureLine } from "../member-requests.ts";
import type { CommandHost } from "../program.ts";
import { LINE_START, tellCopies } from "../progress.ts";
import { ask, askYes } from "../prompt.ts";
import { CtlRefusal } from "../refusal.ts";
import { awaitCluster } from "../watch-cluster.ts";

interface ReinitFlags {
  readonly wait?: true;
  readonly force?: true;
  readonly fromLeader?: true;
}

/** Stopping a busy server comes before the answer. */
const REINIT_ANSWERS_WITHIN = seconds(240);
/** A clone of a large cluster takes its time; the operator can interrupt the wait. */
const CLONE_WITHIN = seconds(7 * 24 * 3600);

export function addReinit({ command, run }: CommandHost): void {
  command("reinit [cluster] [members...]", "clone replicas again from scratch")
    .option("--force", "ask nothing")
    .option("--from-leader", "take the base backup from the leader")
    .option("--wait", "wait until they run again")
    .action((cluster: string | undefined, names: readonly string[], flags: ReinitFlags, self: Command) =>
      run(self, async (context) => {
        const read = await context.read(context.scopeOf(cluster));
        context.list([read]);
        return reinit(context, read, { names, flags });
      }),
    );
}

async function reinit(
  context: CtlContext,
  read: ReadCluster,
  { names, flags }: { readonly names: readonly string[]; readonly flags: ReinitFlags },
): Promise<ExitCode> {
  const replicas = chooseMembers(read, { names: [], role: "replica" });
  const wanted = names.length > 0 ? names : [await askMemberName(context, replicas)];
  const members = chooseMembers(read, { names: wanted, role: "replica" });
  await confirmFor(context, members, { action: "reinitialize", force: flags.force === true, means: () => meaning(read, flags) });
  const begun: { readonly member: MemberView; readonly startedBefore: string | null }[] = [];
  let failed = wanted.length - members.length;
  for (const member of members) {
    const startedBefore = await serverStart(context, member);
    if (await request(context, member, flags)) begun.push({ member, startedBefore });
    else failed++;
  }
  if (flags.wait && begun.length > 0) {
    const cloned = begun.map(({ member }) => member);
    await tellCopies(context, cloned, awaitClones(context, read, begun));
  }
  return failed === 0 ? EXIT.ok : EXIT.failed;
}

function meaning(read: ReadCluster, flags: ReinitFlags): string {
  const leader = leaderOf(read)?.name ?? "whoever leads then";
  const source = flags.fromLeader ? leader : `${leader}, or a member tagged clonefrom`;
  return `its data directory is deleted and copied again from ${source}; until then it serves nobody and cannot take over`;
}

async function askMemberName(context: CtlContext, replicas: readonly MemberView[]): Promise<string> {
  const names = replicas.map((member) => member.name);
  const name = await ask(context.terminal, `Which member do you want to reinitialize [${names.join(", ")}]?`, "");
  if (names.includes(name)) return name;
  throw new CtlRefusal(name === "" ? "no member was named" : `${name} is not a replica of this cluster`);
}

async function request(context: CtlContext, member: MemberView, flags: ReinitFlags): Promise<boolean> {
  const { terminal } = context;
  let force = flags.force === true;
  for (;;) {
    const body = { force, ...(flags.fromLeader ? { from_leader: true } : {}) };
    const asked = await askMember(context, member, { method: "POST", path: "/reinitialize", body, within: REINIT_ANSWERS_WITHIN });
    if (!asked.ok) {
      terminal.complain(`Failed: reinitialize for member ${member.name}, no answer (${asked.reason})\n`);
      return false;
    }
    if (asked.answer.status === 200) {
      terminal.out(`Success: reinitialize for member ${member.name}\n`);
      return true;
    }
    terminal.complain(failureLine("reinitialize", member, asked.answer));
    // What is under way there may be cancelled, if the operator says so.
    const busy = /already in progress/.test(asked.answer.text);
    if (force || !busy || !(await askYes(terminal, "Do you want to cancel it and reinitialize anyway?"))) return false;
    force = true;
  }
}

/** A clone is done when the server runs that was started after the request. */
async function awaitClones(
  context: CtlContext,
  read: ReadCluster,
  begun: readonly { readonly member: MemberView; readonly startedBefore: string | null }[],
): Promise<void> {
  const { terminal } = context;
  const waiting = new Map(begun.map(({ member, startedBefore }) => [member.name, startedBefore]));
  const say = (line: string): void => terminal.out(`${terminal.outIsTerminal ? LINE_START : ""}${line}\n`);
  say(`Waiting for reinitialize to complete on: ${[...waiting.keys()].join(", ")}`);
  const done = await awaitCluster(
    context,
    await context.readGroup(read.scope, read.group),
    async (now) => {
      for (const [name, before] of waiting) {
        const member = now.view.members.find((candidate) => candidate.name === name);
        if (member === undefined || member.state === "creating replica") continue;
        const started = await serverStart(context, member);
        if (started === null || started === before) continue;
        waiting.delete(name);
        say(`Reinitialize is completed on: ${name}`);
      }
      return waiting.size === 0;
    },
    context.within(ms(CLONE_WITHIN)),
  );
  if (done === null) throw new CtlRefusal(`no longer waiting for ${[...waiting.keys()].join(", ")}; it goes on without us`);
}

/** When the member's server was started; null where none runs, or where the member does not answer. */
async function serverStart(context: CtlContext, member: MemberView): Promise<string | null> {
  if (member.api_url === undefined) return null;
  const status = await context.peers.status(member.api_url, context.within(ANSWERS_WITHIN));
  return status.ok && status.value.state === "running" ? status.value.postmasterStartTime : null;
}
