// Owns `ctl failover`: a change of the leader that works without one, and that may lose what a replica has not received.

import type { Command } from "commander";
import { changeLeader } from "../leader-change.ts";
import type { CommandHost } from "../program.ts";

export function addFailover({ command, run }: CommandHost): void {
  command("failover [cluster]", "make a replica the leader although the cluster is not healthy")
    .option("--candidate <name>", "who shall lead")
    .option("--force", "ask nothing")
    .action((cluster: string | undefined, flags: { readonly candidate?: string; readonly force?: true }, self: Command) =>
      run(self, (context) =>
        changeLeader(context, {
          action: "failover",
          scope: context.scopeOf(cluster),
          leader: null,
          candidate: flags.candidate ?? null,
          scheduled: null,
          force: flags.force === true,
        }),
      ),
    );
}
