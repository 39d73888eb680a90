// Owns `ctl failover`: a change of the leader that works without one, and that may lose what a replica has not received.

import type { Command } from "commander";
import type { Format } from "../formats.ts";
import { changeLeader } from "../leader-change.ts";
import type { CommandHost } from "../program.ts";
import { formatOption } from "./list.ts";

interface FailoverFlags {
  readonly candidate?: string;
  readonly force?: true;
  readonly dryRun?: true;
  readonly format: Format;
}

export function addFailover({ command, run }: CommandHost): void {
  command("failover [cluster]", "make a replica the leader although the cluster is not healthy")
    .option("--candidate <name>", "who shall lead")
    .option("--force", "ask nothing")
    .option("--dry-run", "only say who could lead and who not, and why; changes nothing")
    .addOption(formatOption("pretty", "of --dry-run"))
    .action((cluster: string | undefined, flags: FailoverFlags, self: Command) =>
      run(self, (context) =>
        changeLeader(context, {
          action: "failover",
          scope: context.scopeOf(cluster),
          leader: null,
          candidate: flags.candidate ?? null,
          scheduled: null,
          force: flags.force === true,
          dryRun: flags.dryRun ? flags.format : null,
        }),
      ),
    );
}
