// Owns `ctl history`: how each timeline of the cluster ended.

import type { Command } from "commander";
import { EXIT } from "../../../runtime/exit-codes.ts";
import { type Format, formatListing } from "../formats.ts";
import type { CommandHost } from "../program.ts";
import { formatOption } from "./list.ts";

export function addHistory({ command, run }: CommandHost): void {
  command("history [cluster]", "show the failovers and switchovers so far")
    .addOption(formatOption("pretty"))
    .action((cluster: string | undefined, flags: { readonly format: Format }, self: Command) =>
      run(self, async (context) => {
        const read = await context.read(context.scopeOf(cluster));
        const rows = read.cluster.history.map((line) => ({
          TL: line.timeline,
          LSN: line.lsn,
          Reason: line.reason,
          Timestamp: line.time ?? "",
          "New Leader": line.newLeader ?? "",
        }));
        context.terminal.out(formatListing({ title: null, columns: COLUMNS, rows }, flags.format));
        return EXIT.ok;
      }),
    );
}

const COLUMNS = [
  { title: "TL", align: "right" },
  { title: "LSN", align: "right" },
  { title: "Reason", align: "left" },
  { title: "Timestamp", align: "left" },
  { title: "New Leader", align: "left" },
] as const;
