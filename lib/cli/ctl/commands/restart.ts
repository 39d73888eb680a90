// Owns `ctl restart`: restarts of PostgreSQL, now or at an appointed time, one member after the other.

import { type Command, Option } from "commander";
import type { MemberView } from "../../../core/cluster-view.ts";
import { restartVersionFault } from "../../../core/restart-filters.ts";
import { seconds } from "../../../model/units.ts";
import { EXIT, type ExitCode } from "../../../runtime/exit-codes.ts";
import { askScheduled, readScheduled } from "../appointment.ts";
import type { CtlContext, ReadCluster } from "../context.ts";
import { chooseMembers, confirmFor, ROLES, type RoleChoice } from "../member-choice.ts";
import { ANSWERS_WITHIN, askMember, failureLine, isPaused } from "../member-requests.ts";
import type { CommandHost } from "../program.ts";
import { askPlain, askYes } from "../prompt.ts";
import { CtlRefusal } from "../refusal.ts";

interface RestartFlags {
  readonly role: RoleChoice;
  readonly any?: true;
  readonly scheduled?: string;
  readonly pgVersion?: string;
  readonly pending?: true;
  readonly timeout?: string;
  readonly force?: true;
}

/** A member answers when its restart is done, and gives up itself before this. */
const RESTART_ANSWERS_WITHIN = seconds(300);

export function addRestart({ command, run }: CommandHost): void {
  command("restart [cluster] [members...]", "restart PostgreSQL on members")
    .addOption(new Option("-r, --role <role>", "only members with this role").choices(ROLES).default("any"))
    .option("--any", "only one of them, whichever")
    .option("--scheduled <time>", "when, e.g. in ISO 8601 with a time zone; or now")
    .option("--pg-version <version>", "only where PostgreSQL is older than this, e.g. 15.4")
    .option("--pending", "only where a restart is pending")
    .option("--timeout <time>", "give up after this time (seconds, or with a unit), and fail over where it is the primary")
    .option("--force", "ask nothing")
    .action((cluster: string | undefined, names: readonly string[], flags: RestartFlags, self: Command) =>
      run(self, async (context) => {
        const read = await context.read(context.scopeOf(cluster));
        context.list([read]);
        return restart(context, read, { names, flags });
      }),
    );
}

async function restart(
  context: CtlContext,
  read: ReadCluster,
  { names, flags }: { readonly names: readonly string[]; readonly flags: RestartFlags },
): Promise<ExitCode> {
  const chosen = chooseMembers(read, { names, role: flags.role });
  const at = await appointment(context, flags);
  if (at !== null && isPaused(read)) throw new CtlRefusal("Can't schedule restart in the paused state");
  if (flags.pgVersion !== undefined) refuseBadVersion(flags.pgVersion);
  const pending = flags.pending ? chosen.filter((member) => member.pending_restart) : chosen;
  const members = flags.any ? oneOf(pending) : pending;
  if (members.length === 0) {
    context.terminal.out("No member has a pending restart\n");
    return EXIT.ok;
  }
  await confirmFor(context, members, { action: "restart", force: flags.force === true, at, means: (member) => meaning(read, member) });
  const version = flags.pgVersion ?? (await askVersion(context, flags));
  const body = {
    ...(at === null ? {} : { schedule: at }),
    ...(version === null ? {} : { postgres_version: version }),
    ...(flags.pending ? { restart_pending: true } : {}),
    ...(flags.timeout === undefined ? {} : { timeout: flags.timeout }),
  };
  let failed = 0;
  for (const member of members) {
    const clear = at === null || (await replaceAppointment(context, member, flags));
    if (!clear || !(await restartMember(context, member, body))) failed++;
  }
  return failed === 0 ? EXIT.ok : EXIT.failed;
}

/** What its clients notice. */
function meaning(read: ReadCluster, member: MemberView): string {
  const { role } = member;
  if (role === "leader")
    return "PostgreSQL stops and starts again; it is the primary: nobody can write meanwhile, unless --timeout passes and another takes over";
  const below = read.view.members.filter(({ tags }) => tags?.["replicatefrom"] === member.name).map(({ name }) => name);
  const cascade = below.length === 0 ? "" : `; ${below.join(", ")} replicate from it and wait`;
  const waits =
    role === "sync_standby" || role === "quorum_standby"
      ? "; it is synchronous: another one takes its place first, where there is one"
      : "";
  return `PostgreSQL stops and starts again; its readers are disconnected${cascade}${waits}`;
}

async function appointment(context: CtlContext, flags: RestartFlags): Promise<string | null> {
  if (flags.scheduled !== undefined) return readScheduled(flags.scheduled);
  return flags.force ? null : askScheduled(context.terminal, "restart");
}

/** Null: restart whatever version runs. */
async function askVersion(context: CtlContext, flags: RestartFlags): Promise<string | null> {
  if (flags.force) return null;
  const version = await askPlain(context.terminal, "Restart if the PostgreSQL version is less than provided (e.g. 9.5.2)  []");
  if (version === "") return null;
  refuseBadVersion(version);
  return version;
}

function refuseBadVersion(version: string): void {
  const fault = restartVersionFault(version);
  if (fault !== null) throw new CtlRefusal(fault);
}

/** A member keeps one appointment: an older one is dropped first. False where the operator or the member will not. */
async function replaceAppointment(context: CtlContext, member: MemberView, flags: RestartFlags): Promise<boolean> {
  if (member.scheduled_restart === undefined) return true;
  const question = `Another restart is already scheduled on member ${member.name}. Do you want to replace it?`;
  if (!flags.force && !(await askYes(context.terminal, question))) return false;
  const asked = await askMember(context, member, { method: "DELETE", path: "/restart", body: null, within: ANSWERS_WITHIN });
  if (asked.ok && (asked.answer.status === 200 || asked.answer.status === 404)) return true;
  context.terminal.complain(
    asked.ok
      ? failureLine("flush scheduled restart", member, asked.answer)
      : `Failed: flush scheduled restart for member ${member.name}, no answer (${asked.reason})\n`,
  );
  return false;
}

async function restartMember(context: CtlContext, member: MemberView, body: Readonly<Record<string, unknown>>): Promise<boolean> {
  const { terminal } = context;
  const asked = await askMember(context, member, { method: "POST", path: "/restart", body, within: RESTART_ANSWERS_WITHIN });
  if (!asked.ok) {
    terminal.complain(`Failed: restart for member ${member.name}, no answer (${asked.reason})\n`);
    return false;
  }
  const { status } = asked.answer;
  if (status === 200) terminal.out(`Success: restart on member ${member.name}\n`);
  else if (status === 202) terminal.out(`Success: restart scheduled on member ${member.name}\n`);
  else terminal.complain(failureLine("restart", member, asked.answer));
  return status === 200 || status === 202;
}

function oneOf(members: readonly MemberView[]): readonly MemberView[] {
  const chosen = members[Math.floor(Math.random() * members.length)];
  return chosen === undefined ? [] : [chosen];
}
