// Owns `ctl switchover`: a planned change of the leader.

import { type Command, Option } from "commander";
import type { Format } from "../formats.ts";
import { changeLeader } from "../leader-change.ts";
import type { CommandHost } from "../program.ts";
import { formatOption } from "./list.ts";

interface SwitchoverFlags {
  readonly leader?: string;
  readonly primary?: string;
  readonly candidate?: string;
  readonly scheduled?: string;
  readonly force?: true;
  readonly dryRun?: true;
  readonly format: Format;
}

export function addSwitchover({ command, run }: CommandHost): void {
  command("switchover [cluster]", "hand the leadership over to a replica")
    .option("--leader <name>", "the present leader")
    .addOption(new Option("--primary <name>").hideHelp())
    .option("--candidate <name>", "who shall lead (default: the best replica)")
    .option("--scheduled <time>", "when, e.g. in ISO 8601 with a time zone; or now")
    .option("--force", "ask nothing")
    .option("--dry-run", "only say who could lead and who not, and why; changes nothing")
    .addOption(formatOption("pretty", "of --dry-run"))
    .action((cluster: string | undefined, flags: SwitchoverFlags, self: Command) =>
      run(self, (context) =>
        changeLeader(context, {
          action: "switchover",
          scope: context.scopeOf(cluster),
          leader: flags.leader ?? flags.primary ?? null,
          candidate: flags.candidate ?? null,
          scheduled: flags.scheduled ?? null,
          force: flags.force === true,
          dryRun: flags.dryRun ? flags.format : null,
        }),
      ),
    );
}
