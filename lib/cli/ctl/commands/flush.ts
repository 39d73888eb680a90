// Owns `ctl flush`: drops what was scheduled, a switchover of the cluster or restarts of its members.

import { type Command, Option } from "commander";
import { EXIT, type ExitCode } from "../../../runtime/exit-codes.ts";
import { type CtlContext, orRefuse, type ReadCluster } from "../context.ts";
import { chooseMembers, confirmFor, ROLES, type RoleChoice } from "../member-choice.ts";
import { ANSWERS_WITHIN, askAnyMember, askMember, failureLine } from "../member-requests.ts";
import type { CommandHost } from "../program.ts";
import { CtlRefusal, usageRefusal } from "../refusal.ts";

interface FlushFlags {
  readonly role: RoleChoice;
  readonly force?: true;
}

export function addFlush({ command, run }: CommandHost): void {
  command("flush [words...]", "drop scheduled events")
    .usage("[OPTIONS] [CLUSTER] [MEMBERS...] restart|switchover")
    .addOption(new Option("-r, --role <role>", "only restarts of members with this role").choices(ROLES).default("any"))
    .option("--force", "ask nothing")
    .action((words: readonly string[], flags: FlushFlags, self: Command) =>
      run(self, async (context) => {
        const target = words.at(-1);
        if (target !== "restart" && target !== "switchover") throw usageRefusal("the last word must be restart or switchover");
        const [cluster, ...names] = words.slice(0, -1);
        const read = await context.read(context.scopeOf(cluster));
        return target === "restart" ? flushRestarts(context, read, { names, flags }) : flushSwitchover(context, read);
      }),
    );
}

async function flushRestarts(
  context: CtlContext,
  read: ReadCluster,
  { names, flags }: { readonly names: readonly string[]; readonly flags: FlushFlags },
): Promise<ExitCode> {
  const { terminal } = context;
  context.list([read]);
  const members = chooseMembers(read, { names, role: flags.role });
  await confirmFor(context, members, { action: "flush", force: flags.force === true });
  let failed = 0;
  for (const member of members) {
    if (member.scheduled_restart === undefined) {
      terminal.out(`No scheduled restart for member ${member.name}\n`);
      continue;
    }
    const asked = await askMember(context, member, { method: "DELETE", path: "/restart", body: null, within: ANSWERS_WITHIN });
    if (asked.ok && asked.answer.status === 200) {
      terminal.out(`Success: flush scheduled restart for member ${member.name}\n`);
      continue;
    }
    failed++;
    terminal.complain(
      asked.ok
        ? failureLine("flush scheduled restart", member, asked.answer)
        : `Failed: flush scheduled restart for member ${member.name}, no answer (${asked.reason})\n`,
    );
  }
  return failed === 0 ? EXIT.ok : EXIT.failed;
}

async function flushSwitchover(context: CtlContext, read: ReadCluster): Promise<ExitCode> {
  const { terminal } = context;
  const request = read.cluster.failover;
  if (request === null || request.scheduledAt === null) {
    terminal.out("No pending scheduled switchover\n");
    return EXIT.ok;
  }
  const asked = await askAnyMember(context, read, { method: "DELETE", path: "/switchover", body: null, within: ANSWERS_WITHIN });
  if (asked.kind === "nobody") {
    orRefuse(await read.store.values.setFailoverValue(null, request.revision, context.storeDeadline()));
  } else if (asked.answer.status !== 200 && asked.answer.status !== 404) {
    throw new CtlRefusal(`Failed: member=${asked.by.name}, status_code=${asked.answer.status}, (${asked.answer.text})`);
  }
  terminal.out("Success: scheduled switchover deleted\n");
  return EXIT.ok;
}
