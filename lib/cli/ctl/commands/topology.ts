// Owns `ctl topology`: the members as a tree of who replicates from whom.

import type { Command } from "commander";
import type { CommandHost } from "../program.ts";
import { positiveSeconds, repeatedly, scopesOf } from "./list.ts";

export function addTopology({ command, run }: CommandHost): void {
  command("topology [clusters...]", "draw who replicates from whom")
    .option("-W", "look again every 2 seconds")
    .option("-w, --watch <seconds>", "look again after so many seconds", positiveSeconds)
    .action((clusters: readonly string[], flags: { readonly W?: true; readonly watch?: number }, self: Command) =>
      run(self, (context) =>
        repeatedly(context, flags, async () => {
          for (const scope of scopesOf(context, clusters)) {
            context.list(await context.readAll(scope), { format: "pretty", extended: false, names: "tree" });
          }
        }),
      ),
    );
}
