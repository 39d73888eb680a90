// Owns `ctl topology`: the members as a tree of who replicates from whom.

import type { Command } from "commander";
import { positiveSeconds } from "../../command-line.ts";
import { repeatedly, type WatchFlags } from "../live-view.ts";
import type { CommandHost } from "../program.ts";
import { lookAt, scopesOf } from "./list.ts";

export function addTopology({ command, run }: CommandHost): void {
  command("topology [clusters...]", "draw who replicates from whom")
    .option("-W", "look again every 2 seconds")
    .option("-w, --watch <seconds>", "look again after so many seconds", positiveSeconds)
    .action((clusters: readonly string[], flags: WatchFlags, self: Command) =>
      run(self, (context) =>
        repeatedly(context, flags, () =>
          lookAt(context, scopesOf(context, clusters), { format: "pretty", extended: false, names: "tree" }),
        ),
      ),
    );
}
