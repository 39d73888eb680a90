// Owns `ctl reload`: members read their own configuration file again.

import { type Command, Option } from "commander";
import { EXIT } from "../../../runtime/exit-codes.ts";
import { chooseMembers, confirmFor, ROLES, type RoleChoice } from "../member-choice.ts";
import { ANSWERS_WITHIN, askMember, failureLine, loopWait } from "../member-requests.ts";
import type { CommandHost } from "../program.ts";

export function addReload({ command, run }: CommandHost): void {
  command("reload [cluster] [members...]", "make members read their configuration again")
    .addOption(new Option("-r, --role <role>", "only members with this role").choices(ROLES).default("any"))
    .option("--force", "ask nothing")
    .action(
      (cluster: string | undefined, names: readonly string[], flags: { readonly role: RoleChoice; readonly force?: true }, self: Command) =>
        run(self, async (context) => {
          const { terminal } = context;
          const read = await context.read(context.scopeOf(cluster));
          context.list([read]);
          const members = chooseMembers(read, { names, role: flags.role });
          await confirmFor(context, members, { action: "reload", force: flags.force === true });
          let failed = 0;
          for (const member of members) {
            const asked = await askMember(context, member, { method: "POST", path: "/reload", body: null, within: ANSWERS_WITHIN });
            if (!asked.ok) {
              failed++;
              terminal.complain(`Failed: reload for member ${member.name}, no answer (${asked.reason})\n`);
            } else if (asked.answer.status === 202) {
              const within = loopWait(read) / 1000;
              terminal.out(`Reload request received for member ${member.name} and will be processed within ${within} seconds\n`);
            } else if (asked.answer.status === 200) {
              terminal.out(`No changes to apply on member ${member.name}\n`);
            } else {
              failed++;
              terminal.complain(failureLine("reload", member, asked.answer));
            }
          }
          return failed === 0 ? EXIT.ok : EXIT.failed;
        }),
    );
}
