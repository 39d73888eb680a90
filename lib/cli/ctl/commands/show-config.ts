// Owns `ctl show-config`: the dynamic configuration as it stands in the DCS.

import type { Command } from "commander";
import { EXIT } from "../../../runtime/exit-codes.ts";
import { type CtlContext, orRefuse, type ReadCluster } from "../context.ts";
import { type Format, formatListing, yamlText } from "../formats.ts";
import type { CommandHost } from "../program.ts";
import { CtlRefusal } from "../refusal.ts";
import { formatOption } from "./list.ts";

interface ShowFlags {
  readonly history?: true;
  readonly format: Format;
}

export function addShowConfig({ command, run }: CommandHost): void {
  command("show-config [cluster]", "print the dynamic configuration")
    .option("--history", "print who changed what with ctl, and when; edit-config --undo goes back")
    .addOption(formatOption("pretty", "of --history"))
    .action((cluster: string | undefined, flags: ShowFlags, self: Command) =>
      run(self, async (context) => {
        const read = await context.read(context.scopeOf(cluster));
        if (read.cluster.config === null) throw new CtlRefusal(`The config key does not exist in the cluster ${read.scope}`);
        const { data } = read.cluster.config;
        context.terminal.out(
          flags.history ? await historyText(context, read, { present: data, format: flags.format }) : `${yamlText(data)}\n`,
        );
        return EXIT.ok;
      }),
    );
}

/** Changes that were made past ctl are told too, as far as they show: between two records, and after the last one. */
async function historyText(
  context: CtlContext,
  read: ReadCluster,
  { present, format }: { readonly present: Readonly<Record<string, unknown>>; readonly format: Format },
): Promise<string> {
  const [{ readConfigHistory }, { changedValues }, { sameContent }] = await Promise.all([
    import("../../../dcs/config-history.ts"),
    import("../config-diff.ts"),
    import("../../../config/tree.ts"),
  ]);
  const { changes } = orRefuse(await readConfigHistory(context.store, read.store.keys, context.storeDeadline()));
  const told = (values: readonly string[]): unknown =>
    format === "pretty" ? values.join("\n") : format === "tsv" ? values.join("; ") : values;
  const rows = changes.flatMap((change, index) => {
    const own = { Number: index + 1, Time: change.time, By: change.by, Changes: told(changedValues(change.before, change.after)) };
    const next = changes[index + 1]?.before ?? present;
    if (sameContent(change.after, next)) return [own];
    return [own, { By: "not by ctl", Changes: told(changedValues(change.after, next)) }];
  });
  return formatListing({ title: null, columns: HISTORY_COLUMNS, rows }, format);
}

const HISTORY_COLUMNS = [
  { title: "Number", align: "right" },
  { title: "Time", align: "left" },
  { title: "By", align: "left" },
  { title: "Changes", align: "left" },
] as const;
