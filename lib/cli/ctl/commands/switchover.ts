// Owns `ctl switchover`: a planned change of the leader.

import { type Command, Option } from "commander";
import { changeLeader } from "../leader-change.ts";
import type { CommandHost } from "../program.ts";

interface SwitchoverFlags {
  readonly leader?: string;
  readonly primary?: string;
  readonly candidate?: string;
  readonly scheduled?: string;
  readonly force?: true;
}

export function addSwitchover({ command, run }: CommandHost): void {
  command("switchover [cluster]", "hand the leadership over to a replica")
    .option("--leader <name>", "the present leader")
    .addOption(new Option("--primary <name>").hideHelp())
    .option("--candidate <name>", "who shall lead (default: the best replica)")
    .option("--scheduled <time>", "when, e.g. in ISO 8601 with a time zone; or now")
    .option("--force", "ask nothing")
    .action((cluster: string | undefined, flags: SwitchoverFlags, self: Command) =>
      run(self, (context) =>
        changeLeader(context, {
          action: "switchover",
          scope: context.scopeOf(cluster),
          leader: flags.leader ?? flags.primary ?? null,
          candidate: flags.candidate ?? null,
          scheduled: flags.scheduled ?? null,
          force: flags.force === true,
        }),
      ),
    );
}
